//! QG-37: the same requests to QEMU's own agent and to ours; class of errors and names of members are the same.
#![allow(clippy::disallowed_methods)] // tests start QEMU's agent
#![allow(clippy::unwrap_used)] // in a test the right report

mod qga;

use std::collections::BTreeSet;

use qga::{Program, ours};
use serde_json::{Value, json};
use vnode_testkit::{needs, tools};

/// Commands that change the machine the test runs on: blocked on both sides, so that only their refusal is compared.
const BLOCKED: &str = "guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-fsfreeze-thaw,guest-shutdown,\
                       guest-set-time,guest-suspend-ram,guest-suspend-disk,guest-suspend-hybrid,guest-fstrim";

fn both() -> (tempfile::TempDir, Program, Program) {
    let dir = tempfile::tempdir().unwrap();
    let theirs = tools::command("usr/sbin/qemu-ga").unwrap();
    let theirs = Program::start(theirs, &dir.path().join("theirs"), &["-b", BLOCKED]);
    let ours = Program::start(ours(), &dir.path().join("ours"), &["-b", BLOCKED]);
    (dir, theirs, ours)
}

/// What is compared of an answer: the error's class, or the names of all members with the kinds of their values.
/// Of a list, what its elements have together.
fn shape(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                shape(member, &format!("{at}.{name}"), into);
            }
        }
        Value::Array(items) => {
            into.insert(format!("{at}[]"));
            for item in items {
                shape(item, &format!("{at}[]"), into);
            }
        }
        Value::String(text) if at.ends_with(".class") => {
            into.insert(format!("{at}={text}"));
        }
        Value::String(_) => {
            into.insert(format!("{at}: text"));
        }
        Value::Number(_) => {
            into.insert(format!("{at}: number"));
        }
        Value::Bool(_) => {
            into.insert(format!("{at}: bool"));
        }
        Value::Null => {
            into.insert(format!("{at}: null"));
        }
    }
}

fn shapes(answers: &[Value]) -> Vec<BTreeSet<String>> {
    let one = |answer| {
        let mut set = BTreeSet::new();
        shape(answer, "", &mut set);
        set
    };
    answers.iter().map(one).collect()
}

/// Members that newer releases of QEMU have and the one compared with has not, or only at times.
const NEWER: [&str; 4] = ["total-bytes-privileged", "statistics", "smart", "alias"];

fn assert_same(request: &[u8], theirs: &[Value], ours: &[Value]) {
    let known = |set: BTreeSet<String>| -> BTreeSet<String> {
        set.into_iter().filter(|line| !NEWER.iter().any(|newer| line.contains(newer))).collect()
    };
    let (a, b) = (shapes(theirs), shapes(ours));
    let (a, b): (Vec<_>, Vec<_>) =
        (a.into_iter().map(known).collect(), b.into_iter().map(known).collect());
    assert_eq!(a, b, "{}\ntheirs: {theirs:?}\nours: {ours:?}", String::from_utf8_lossy(request));
}

#[test]
fn qg_37_the_envelope_and_bad_input() {
    needs!(Root, Tool("usr/sbin/qemu-ga"));
    let (_dir, theirs, ours) = both();
    let ping = r#"{"execute":"guest-ping"}"#;
    let requests: Vec<Vec<u8>> = [
        ping,
        "{'execute':'guest-ping'}",
        r#"{"execute":"guest-ping","id":"abc"}"#,
        r#"{"execute":"guest-ping","id":{"a":[1,2.5,1e3,null,true]}}"#,
        r#"{"execute":"x"}"#,
        r#"{"execute":"guest-shutdown"}"#,
        r#"{"execute":"guest-sync"}"#,
        r#"{"execute":"guest-sync","arguments":{"id":"x"}}"#,
        r#"{"execute":"guest-sync","arguments":{"id":9223372036854775808}}"#,
        r#"{"execute":"guest-sync","arguments":{"id":-9223372036854775808}}"#,
        r#"{"execute":"guest-sync","arguments":{"id":1.0}}"#,
        r#"{"execute":"guest-sync","arguments":{"id":1,"zz":1}}"#,
        r#"{"execute":"guest-sync-delimited","arguments":{"id":1}}"#,
        r#"{"execute":"guest-ping","foo":1}"#,
        r#"{"exec-oob":"guest-ping"}"#,
        r#"{"execute":1}"#,
        r#"{"execute":"guest-ping","arguments":[]}"#,
        r#"{"execute":"guest-ping","execute":"guest-info"}"#,
        r#"{"execute":"guest\u002dping"}"#,
        r#"{"arguments":{}}"#,
        "[]",
        "123 ",
        "\"abc\"",
        "{}",
        "}",
        "{]",
        "{\"a\" 1}",
        "garbage\n",
        "GARBAGE,B ",
        "A:",
        "-x\n",
        "1.x\n",
        "01 ",
        "{\"a\":tru}",
        "{\"a\":%s}",
        "{\"a\":\"x\n",
        "{\"a\":\"\\q\"}",
        "/* */",
        "\u{0}",
    ]
    .iter()
    .map(|text| [text.as_bytes(), ping.as_bytes()].concat())
    .collect();
    for request in requests {
        assert_same(&request, &theirs.ask(&request), &ours.ask(&request));
    }
    let deep = [&b"[".repeat(1025)[..], ping.as_bytes()].concat();
    assert_same(&deep, &theirs.ask(&deep), &ours.ask(&deep));
}

#[test]
fn qg_37_commands_that_tell() {
    needs!(Root, Tool("usr/sbin/qemu-ga"));
    let (_dir, theirs, ours) = both();
    for name in [
        "guest-ping",
        "guest-get-osinfo",
        "guest-get-host-name",
        "guest-get-timezone",
        "guest-get-users",
        "guest-get-time",
        "guest-network-get-interfaces",
        "guest-get-fsinfo",
        "guest-fsfreeze-status",
        "guest-get-vcpus",
        "guest-get-disks",
        "guest-get-memory-blocks",
        "guest-get-memory-block-info",
        "guest-get-cpustats",
        "guest-get-diskstats",
    ] {
        let request = json!({ "execute": name }).to_string();
        let request = request.as_bytes();
        assert_same(request, &theirs.ask(request), &ours.ask(request));
    }
    // What they can do, we can; but for what only Windows has.
    let commands = |program: &Program| -> BTreeSet<(String, bool, bool)> {
        let info = program.call("guest-info", json!({}));
        let list = info["return"]["supported_commands"].as_array().unwrap().clone();
        list.iter()
            .map(|c| {
                let is = |member: &str| c[member].as_bool().unwrap();
                (c["name"].as_str().unwrap().to_owned(), is("enabled"), is("success-response"))
            })
            .filter(|(name, ..)| name != "guest-get-devices")
            .collect()
    };
    let missing: Vec<_> = commands(&theirs).difference(&commands(&ours)).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn qg_37_files_and_programs() {
    needs!(Root, Tool("usr/sbin/qemu-ga"));
    let (dir, theirs, ours) = both();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let handle = |program: &Program, name: &str| {
        let open = json!({ "path": file(name), "mode": "w+" });
        program.call("guest-file-open", open)["return"].as_i64().unwrap()
    };
    let (their_handle, our_handle) = (handle(&theirs, "a"), handle(&ours, "b"));
    assert_eq!((their_handle, our_handle), (1000, 1000));
    let rows = [
        ("guest-file-open", json!({})),
        ("guest-file-open", json!({ "path": 1 })),
        ("guest-file-open", json!({ "path": "/nonexistent" })),
        ("guest-file-open", json!({ "path": "/tmp", "mode": "w" })),
        ("guest-file-open", json!({ "path": "/tmp", "mode": "zz" })),
        ("guest-file-write", json!({ "handle": 1000, "buf-b64": "aGVsbG8=" })),
        ("guest-file-write", json!({ "handle": 1000, "buf-b64": "aGVsbG8=", "count": 100 })),
        ("guest-file-write", json!({ "handle": 1000, "buf-b64": "!!" })),
        ("guest-file-read", json!({ "handle": 1000 })),
        ("guest-file-seek", json!({ "handle": 1000, "offset": 0, "whence": "set" })),
        ("guest-file-seek", json!({ "handle": 1000, "offset": 0, "whence": 9 })),
        ("guest-file-seek", json!({ "handle": 1000, "offset": 0, "whence": "zz" })),
        ("guest-file-seek", json!({ "handle": 1000, "offset": 0, "whence": true })),
        ("guest-file-seek", json!({ "handle": 1000, "offset": -1, "whence": 0 })),
        ("guest-file-read", json!({ "handle": 1000, "count": 3 })),
        ("guest-file-read", json!({ "handle": 1000, "count": -1 })),
        ("guest-file-read", json!({ "handle": 1000, "count": 50_331_649 })),
        ("guest-file-flush", json!({ "handle": 1000 })),
        ("guest-file-close", json!({ "handle": 1000 })),
        ("guest-file-close", json!({ "handle": 1000 })),
        ("guest-exec", json!({ "path": "/nonexistent" })),
        ("guest-exec", json!({ "path": "/tmp" })),
        ("guest-exec", json!({ "path": "true", "arg": "x" })),
        ("guest-exec", json!({ "path": "true", "arg": ["a", {}] })),
        ("guest-exec", json!({ "path": "true", "input-data": "!!" })),
        ("guest-exec-status", json!({ "pid": 0 })),
        (
            "guest-set-user-password",
            json!({ "username": "nobody-here", "password": "eA==", "crypted": false }),
        ),
        (
            "guest-set-user-password",
            json!({ "username": "a:b", "password": "eA==", "crypted": false }),
        ),
        (
            "guest-set-user-password",
            json!({ "username": "a", "password": "eAp5", "crypted": false }),
        ),
        ("guest-ssh-get-authorized-keys", json!({ "username": "nobody-here" })),
        ("guest-ssh-add-authorized-keys", json!({ "username": "root", "keys": ["# x"] })),
        ("guest-ssh-remove-authorized-keys", json!({ "username": "nobody-here", "keys": ["x"] })),
        ("guest-set-vcpus", json!({ "vcpus": [] })),
        ("guest-set-vcpus", json!({ "vcpus": [{ "logical-id": 999_999, "online": true }] })),
        ("guest-set-vcpus", json!({ "vcpus": [{ "logical-id": 0 }] })),
    ];
    for (name, arguments) in rows {
        let request = json!({ "execute": name, "arguments": arguments }).to_string();
        let request = request.as_bytes();
        assert_same(request, &theirs.ask(request), &ours.ask(request));
    }
    for script in ["echo out; echo err >&2; exit 3", "kill -9 $$", "true"] {
        let exec = json!({ "path": "sh", "arg": ["-c", script], "capture-output": true });
        let result = |program: &Program| {
            let pid = program.call("guest-exec", exec.clone())["return"]["pid"].clone();
            vnode_testkit::eventually(
                "the program ends",
                std::time::Duration::from_secs(60),
                || {
                    let last = program.call("guest-exec-status", json!({ "pid": pid }));
                    (last["return"]["exited"] == true).then_some(last)
                },
            )
        };
        assert_eq!(result(&theirs), result(&ours), "{script}");
    }
}
