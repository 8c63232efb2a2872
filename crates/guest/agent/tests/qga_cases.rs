//! QG-1 to QG-29: the cases of QEMU's own test of its guest agent, restated.
#![allow(clippy::disallowed_methods)] // tests start the built program
#![allow(clippy::unwrap_used)] // in a test the right report

mod qga;

use qga::{Agent, Program, base64, ours};
use serde_json::{Value, json};

#[tokio::test]
async fn qg_01_sync_delimited_begins_with_the_delimiter() {
    let mut agent = Agent::new();
    let request = br#"{"execute":"guest-sync-delimited","arguments":{"id":12345678901}}"#;
    agent.send(&[b"\xff", &request[..]].concat()).await;
    assert_eq!(agent.line().await, b"\xff{\"return\": 12345678901}\n");
}

#[tokio::test]
async fn qg_02_sync_gives_its_id() {
    let mut agent = Agent::new();
    for id in [0, -1, i64::MAX, i64::MIN] {
        assert_eq!(agent.get("guest-sync", json!({ "id": id })).await, json!(id));
    }
}

#[tokio::test]
async fn qg_03_ping() {
    assert_eq!(Agent::new().get("guest-ping", json!({})).await, json!({}));
}

#[tokio::test]
async fn qg_04_info_has_a_version_and_all_commands() {
    let info = Agent::new().get("guest-info", json!({})).await;
    let parts: Vec<_> = info["version"].as_str().unwrap().split('.').collect();
    assert!(parts.len() >= 2 && parts.iter().all(|p| p.parse::<u32>().is_ok()), "{info}");
    let commands = info["supported_commands"].as_array().unwrap();
    let silent: Vec<_> = commands
        .iter()
        .filter(|command| command["success-response"] == false)
        .map(|command| command["name"].as_str().unwrap())
        .collect();
    let wanted =
        ["guest-shutdown", "guest-suspend-disk", "guest-suspend-hybrid", "guest-suspend-ram"];
    assert_eq!(silent, wanted);
    assert!(commands.iter().all(|command| command["enabled"] == true), "{info}");
    assert!(commands.len() > 40, "{info}");
}

#[tokio::test]
async fn qg_05_interfaces_have_names() {
    let list = Agent::live().get("guest-network-get-interfaces", json!({})).await;
    let lo =
        list.as_array().unwrap().iter().find(|i| i["name"] == "lo").expect("there is always lo");
    assert_eq!(lo["hardware-address"], "00:00:00:00:00:00");
    for interface in list.as_array().unwrap() {
        for address in interface["ip-addresses"].as_array().into_iter().flatten() {
            assert!(address["prefix"].is_u64() && address["ip-address"].is_string(), "{address}");
        }
    }
}

#[tokio::test]
async fn qg_06_vcpus_are_online() {
    let list = Agent::live().get("guest-get-vcpus", json!({})).await;
    let first = &list.as_array().unwrap()[0];
    assert!(first["online"].is_boolean() && first["logical-id"].is_u64(), "{list}");
    assert_eq!(Agent::live().get("guest-set-vcpus", json!({ "vcpus": [] })).await, json!(0));
    let wrong = json!({ "vcpus": [{ "logical-id": 999_999, "online": true }] });
    let (_, text) = Agent::live().refused("guest-set-vcpus", wrong).await;
    assert!(text.contains("/sys/devices/system/cpu/cpu999999/"), "{text}");
}

#[tokio::test]
async fn qg_07_fsinfo_has_all_members() {
    let list = Agent::live().get("guest-get-fsinfo", json!({})).await;
    for entry in list.as_array().unwrap() {
        for member in ["name", "mountpoint", "type"] {
            assert!(entry[member].is_string(), "{entry}");
        }
        for disk in entry["disk"].as_array().unwrap() {
            for member in ["bus", "target", "unit"] {
                assert!(disk[member].is_i64(), "{disk}");
            }
            for member in ["domain", "bus", "slot", "function"] {
                assert!(disk["pci-controller"][member].is_i64(), "{disk}");
            }
        }
    }
}

#[tokio::test]
async fn qg_08_load_has_three_numbers() {
    let load = Agent::live().get("guest-get-load", json!({})).await;
    for member in ["load1m", "load5m", "load15m"] {
        assert!(load[member].is_f64(), "{load}");
    }
}

#[tokio::test]
async fn qg_09_memory_blocks_have_a_size() {
    let answer = Agent::live().call("guest-get-memory-block-info", json!({})).await;
    let size = answer["return"]["size"].as_u64();
    assert!(size.is_some_and(|size| size > 0) || answer.get("error").is_some(), "{answer}");
}

#[tokio::test]
async fn qg_10_memory_blocks() {
    let answer = Agent::live().call("guest-get-memory-blocks", json!({})).await;
    for block in answer["return"].as_array().into_iter().flatten() {
        assert!(block["phys-index"].is_u64() && block["online"].is_boolean(), "{block}");
    }
    let set = json!({ "mem-blks": [{ "phys-index": 99_999_999, "online": true }] });
    let done = Agent::live().get("guest-set-memory-blocks", set).await;
    assert_eq!(done[0]["response"], "not-found");
}

#[tokio::test]
async fn qg_11_files_are_written_read_and_sought() {
    let mut agent = Agent::new();
    let open = json!({ "path": "/tmp/foo", "mode": "w+" });
    let id = agent.get("guest-file-open", open).await;
    assert_eq!(id, 1000);
    let text = "SGVsbG8gV29ybGQhCgA="; // "Hello World!", newline, NUL
    let written = agent.get("guest-file-write", json!({ "handle": id, "buf-b64": text })).await;
    assert_eq!(written, json!({ "count": 14, "eof": false }));
    agent.get("guest-file-flush", json!({ "handle": id })).await;
    agent.get("guest-file-close", json!({ "handle": id })).await;
    assert_eq!(std::fs::read(agent.root.path().join("tmp/foo")).unwrap(), b"Hello World!\n\0");

    let id = agent.get("guest-file-open", json!({ "path": "/tmp/foo" })).await;
    assert_eq!(id, 1001);
    let read = agent.get("guest-file-read", json!({ "handle": id })).await;
    assert_eq!(read, json!({ "count": 14, "buf-b64": text, "eof": true }));
    let read = agent.get("guest-file-read", json!({ "handle": id })).await;
    assert_eq!(read, json!({ "count": 0, "buf-b64": "", "eof": true }));
    let seek = json!({ "handle": id, "offset": 6, "whence": "set" });
    let sought = agent.get("guest-file-seek", seek).await;
    assert_eq!(sought, json!({ "position": 6, "eof": false }));
    let read = agent.get("guest-file-read", json!({ "handle": id, "count": 8 })).await;
    assert_eq!(base64(read["buf-b64"].as_str().unwrap()), b"World!\n\0");
    agent.get("guest-file-close", json!({ "handle": id })).await;
    let (class, text) = agent.refused("guest-file-close", json!({ "handle": id })).await;
    assert_eq!(
        (class.as_str(), text.as_str()),
        ("GenericError", "handle '1001' has not been found")
    );
}

#[tokio::test]
async fn qg_12_a_read_after_a_write_meets_the_end() {
    let mut agent = Agent::new();
    let id = agent.get("guest-file-open", json!({ "path": "/tmp/bar", "mode": "w+" })).await;
    let write = json!({ "handle": id, "buf-b64": "SGVsbG8=" });
    assert_eq!(agent.get("guest-file-write", write).await["count"], 5);
    let read = agent.get("guest-file-read", json!({ "handle": id })).await;
    assert_eq!(read, json!({ "count": 0, "buf-b64": "", "eof": true }));
    agent.get("guest-file-seek", json!({ "handle": id, "offset": 0, "whence": 0 })).await;
    let read = agent.get("guest-file-read", json!({ "handle": id })).await;
    assert_eq!(read["buf-b64"], "SGVsbG8=");
}

#[tokio::test]
async fn qg_12_the_edges_of_files() {
    let mut agent = Agent::new();
    let open = |path: &str, mode: &str| json!({ "path": path, "mode": mode });
    let (_, text) = agent.refused("guest-file-open", open("/tmp/x", "zz")).await;
    assert_eq!(text, "invalid file open mode 'zz'");
    let (_, text) = agent.refused("guest-file-open", json!({ "path": "/none" })).await;
    assert_eq!(text, "failed to open file '/none' (mode: 'r'): No such file or directory");
    let id = agent.get("guest-file-open", open("/tmp/x", "a+b")).await;
    for count in [-1, (48 << 20) + 1] {
        let (_, text) =
            agent.refused("guest-file-read", json!({ "handle": id, "count": count })).await;
        assert_eq!(text, format!("value '{count}' is invalid for argument count"));
    }
    let write = |data: &str, count: i64| json!({ "handle": id, "buf-b64": data, "count": count });
    let (_, text) = agent.refused("guest-file-write", write("aGVsbG8=", 100)).await;
    assert_eq!(text, "value '100' is invalid for argument count");
    let (_, text) = agent.refused("guest-file-write", write("!!", 1)).await;
    assert_eq!(text, "Base64 data contains invalid characters");
    let seek = |whence: Value| json!({ "handle": id, "offset": 0, "whence": whence });
    let (_, text) = agent.refused("guest-file-seek", seek(json!(9))).await;
    assert_eq!(text, "invalid whence code 9");
    let (_, text) = agent.refused("guest-file-seek", seek(json!("zz"))).await;
    assert_eq!(text, "Parameter 'whence' does not accept value 'zz'");
    // A FIFO that nobody writes does not hold the agent.
    let fifo = agent.root.path().join("tmp/fifo");
    rustix_mkfifo(&fifo);
    let id = agent.get("guest-file-open", open("/tmp/fifo", "r")).await;
    let read = agent.get("guest-file-read", json!({ "handle": id })).await;
    assert_eq!(read["count"], 0);
    // Handles are not used twice, also not by the next start.
    let counter =
        std::fs::read_to_string(agent.root.path().join("run/vnode-agent/qga.state")).unwrap();
    assert_eq!(counter, "[global]\nfd_counter=1002\n");
}

fn rustix_mkfifo(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[tokio::test]
async fn qg_12_a_large_read_is_streamed_whole() {
    let mut agent = Agent::new();
    let content: Vec<u8> = (0..1_000_003u32).map(|n| (n * 7 + n / 256) as u8).collect();
    std::fs::write(agent.root.path().join("tmp/large"), &content).unwrap();
    let id = agent.get("guest-file-open", json!({ "path": "/tmp/large" })).await;
    let first = agent.get("guest-file-read", json!({ "handle": id, "count": 400_000 })).await;
    assert_eq!((&first["count"], &first["eof"]), (&json!(400_000), &json!(false)));
    let rest = agent.get("guest-file-read", json!({ "handle": id, "count": 48 << 20 })).await;
    assert_eq!((&rest["count"], &rest["eof"]), (&json!(600_003), &json!(true)));
    let both = [&first, &rest].map(|part| base64(part["buf-b64"].as_str().unwrap())).concat();
    assert!(both == content);
}

#[tokio::test]
async fn qg_13_time_is_after_the_epoch() {
    let time = Agent::live().get("guest-get-time", json!({})).await;
    assert!(time.as_i64().is_some_and(|time| time > 0), "{time}");
}

#[tokio::test]
async fn qg_14_the_id_comes_back() {
    let mut agent = Agent::new();
    let answer = agent.ask(br#"{"execute":"guest-ping","id":1}"#).await;
    assert_eq!(answer, json!({ "return": {}, "id": 1 }));
    let answer = agent.ask(br#"{"execute":"nope","id":{"a":[null,true,1.5]}}"#).await;
    assert_eq!(answer["id"], json!({ "a": [null, true, 1.5] }));
    assert_eq!(answer["error"]["class"], "CommandNotFound");
}

#[tokio::test]
async fn qg_15_no_command_runs_out_of_band() {
    let answer = Agent::new().ask(br#"{"exec-oob":"guest-ping"}"#).await;
    let (class, text) = qga::error_of(&answer);
    assert_eq!(class, "GenericError");
    assert_eq!(text, "QMP input member 'exec-oob' is unexpected");
}

#[tokio::test]
async fn qg_16_an_unknown_command() {
    let (class, text) = Agent::new().refused("guest-non-existent", json!({})).await;
    assert_eq!(class, "CommandNotFound");
    assert_eq!(text, "The command guest-non-existent has not been found");
}

#[tokio::test]
async fn qg_17_an_argument_too_many() {
    let (class, text) = Agent::new().refused("guest-ping", json!({ "foo": 42 })).await;
    assert_eq!((class.as_str(), text.as_str()), ("GenericError", "Parameter 'foo' is unexpected"));
    let (_, text) = Agent::new().refused("guest-sync", json!({})).await;
    assert_eq!(text, "Parameter 'id' is missing");
    for wrong in [json!("x"), json!(1.5), json!(u64::MAX), Value::Null] {
        let (_, text) = Agent::new().refused("guest-sync", json!({ "id": wrong })).await;
        assert_eq!(text, "Invalid parameter type for 'id', expected: integer");
    }
}

#[tokio::test]
async fn qg_18_nothing_is_frozen() {
    assert_eq!(Agent::live().get("guest-fsfreeze-status", json!({})).await, "thawed");
}

/// Which of three commands the program answers with these options.
fn answered(options: &[&str]) -> [bool; 3] {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(ours(), dir.path(), options);
    ["guest-ping", "guest-get-time", "guest-get-osinfo"].map(|name| {
        let answer = program.call(name, json!({}));
        if answer.get("return").is_some() {
            return true;
        }
        let (class, text) = qga::error_of(&answer);
        assert_eq!(class, "CommandNotFound");
        assert!(text.contains("has been disabled"), "{text}");
        false
    })
}

#[test]
fn qg_19_blocked_commands_are_disabled() {
    assert_eq!(answered(&["-b", "guest-ping,guest-get-time"]), [false, false, true]);
}

#[test]
fn qg_20_only_allowed_commands_are_enabled() {
    // guest-sync is what the test asks with.
    assert_eq!(answered(&["-a", "guest-sync,guest-ping,guest-get-time"]), [true, true, false]);
    let both = ["-a", "guest-sync,guest-ping,guest-get-time", "-b", "guest-ping"];
    assert_eq!(answered(&both), [false, true, false]);
}

#[test]
fn qg_21_the_configuration_is_dumped() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("qemu-ga.conf");
    let text = "[general]\ndaemon=false\nmethod=virtio-serial\npath=/dev/virtio-ports/org.qemu.guest_agent.0\n\
                pidfile=/var/foo/qemu-ga.pid\nstatedir=/var/state\nverbose=true\n\
                block-rpcs=guest-ping;guest-get-time\n";
    std::fs::write(&file, text).unwrap();
    let dump = |arguments: &[&str]| {
        let output = ours().env("QGA_CONF", &file).arg("-D").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let dumped = dump(&[]);
    assert!(dumped.starts_with("[general]\n"));
    for line in text.lines() {
        assert!(dumped.lines().any(|l| l == line), "{line} in\n{dumped}");
    }
    let over = dump(&["-p", "/x", "-b", "a", "-F"]);
    for line in [
        "path=/x",
        "block-rpcs=guest-ping;guest-get-time,a",
        "fsfreeze-hook=/etc/qemu/fsfreeze-hook",
    ] {
        assert!(over.lines().any(|l| l == line), "{line} in\n{over}");
    }
    std::fs::write(&file, "[general]\nverbose=maybe\n").unwrap();
    assert!(!ours().env("QGA_CONF", &file).arg("-D").output().unwrap().status.success());
}

#[test]
fn qg_21_options_that_only_tell() {
    let said = |arguments: &[&str]| {
        let output = ours().env("QGA_CONF", "/no/such/file").args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, version) = said(&["-V"]);
    assert!(code == 0 && version.starts_with("QEMU Guest Agent "), "{version}");
    let (code, usage) = said(&["--help"]);
    assert!(code == 0 && usage.starts_with("Usage: "), "{usage}");
    let (code, list) = said(&["-b", "help"]);
    assert!(code == 0 && list.lines().any(|line| line == "guest-ping"), "{list}");
    assert_eq!(said(&["-z"]).0, 1);
    assert_eq!(said(&["-m", "unix-listen"]).0, 1);
    assert_eq!(said(&["-m", "virtio-serial", "-p", "/no/such/file"]).0, 1);
}

#[test]
fn qg_21_a_daemon_tells_when_it_serves_and_leaves_no_pid_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (socket, pid, state) = (at("socket"), at("pid"), at("state"));
    let options = ["-d", "-m", "unix-listen", "-p", &socket, "-f", &pid, "-t", &state];
    let status = ours().env("QGA_CONF", "/no/such/file").args(options).status().unwrap();
    assert!(status.success());
    let number: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    let wait = std::time::Duration::from_secs(60);
    vnode_testkit::eventually("the daemon listens", wait, || {
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    let kill = std::process::Command::new("kill").arg(number.to_string()).status().unwrap();
    assert!(kill.success());
    vnode_testkit::eventually("the pid file goes with it", wait, || {
        (!std::path::Path::new(&pid).exists()).then_some(())
    });
}

#[tokio::test]
async fn qg_22_a_program_prints() {
    let mut agent = Agent::live();
    let request =
        json!({ "path": "/bin/echo", "arg": ["-n", "\" test_str \""], "capture-output": true });
    let status = agent.exec(request).await;
    assert_eq!(status["exitcode"], 0);
    assert_eq!(base64(status["out-data"].as_str().unwrap()), b"\" test_str \"");
    assert_eq!(status["out-truncated"], false);
    assert!(status.get("err-data").is_none());

    let quiet = agent.exec(json!({ "path": "/bin/echo", "arg": ["x"] })).await;
    assert_eq!(quiet, json!({ "exited": true, "exitcode": 0 }));
    let killed = json!({ "path": "sh", "arg": ["-c", "kill -9 $$"], "capture-output": true });
    assert_eq!(agent.exec(killed).await, json!({ "exited": true, "signal": 9 }));
    let fed = json!({ "path": "cat", "input-data": "aGk=", "capture-output": true });
    assert_eq!(agent.exec(fed).await["out-data"], "aGk=");
    let env = json!({ "path": "/usr/bin/env", "env": ["A=1"], "capture-output": "stdout" });
    assert_eq!(agent.exec(env).await["out-data"], "QT0xCg==");
}

/// Prints 14 bytes on each stream, in turn.
const BOTH: &str = "for i in 1 2; do printf stdout$i; printf stderr$i >&2; done";

#[tokio::test]
async fn qg_23_streams_apart() {
    let request =
        |how: Value| json!({ "path": "/bin/sh", "arg": ["-c", BOTH], "capture-output": how });
    for how in [json!("separated"), json!(true)] {
        let status = Agent::live().exec(request(how)).await;
        assert_eq!(base64(status["out-data"].as_str().unwrap()), b"stdout1stdout2");
        assert_eq!(base64(status["err-data"].as_str().unwrap()), b"stderr1stderr2");
    }
    let only = Agent::live().exec(request(json!("stderr"))).await;
    assert!(only.get("out-data").is_none() && only.get("err-data").is_some(), "{only}");
    let none = Agent::live().exec(request(json!("none"))).await;
    assert_eq!(none, json!({ "exited": true, "exitcode": 0 }));
}

#[tokio::test]
async fn qg_24_streams_together_keep_their_order() {
    let request = json!({ "path": "/bin/sh", "arg": ["-c", BOTH], "capture-output": "merged" });
    let status = Agent::live().exec(request).await;
    let text = base64(status["out-data"].as_str().unwrap());
    assert_eq!(text, b"stdout1stderr1stdout2stderr2");
    assert!(status.get("err-data").is_none());
}

#[tokio::test]
async fn qg_24_much_output_is_cut_and_streamed() {
    let script = "head -c 20000000 /dev/zero; head -c 100000 /dev/zero >&2";
    let request = json!({ "path": "/bin/sh", "arg": ["-c", script], "capture-output": true });
    let status = Agent::live().exec(request).await;
    let length = |name: &str| base64(status[name].as_str().unwrap()).len();
    assert_eq!((length("out-data"), &status["out-truncated"]), (16 << 20, &json!(true)));
    assert_eq!((length("err-data"), &status["err-truncated"]), (100_000, &json!(false)));
    assert_eq!(status["exitcode"], 0);
}

#[tokio::test]
async fn qg_25_what_cannot_be_run() {
    let mut agent = Agent::live();
    let (class, text) =
        agent.refused("guest-exec", json!({ "path": "/bin/invalid-command42" })).await;
    assert_eq!(class, "GenericError");
    assert!(text.contains("Failed to execute child process"), "{text}");
    let (class, text) = agent.refused("guest-exec-status", json!({ "pid": 0 })).await;
    assert_eq!((class.as_str(), text.as_str()), ("GenericError", "Invalid parameter 'pid'"));
}

#[test]
fn qg_26_the_release_file_is_read_as_a_shell_would() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("os-release");
    let text = "ID=qemu-ga-test\nNAME=QEMU-GA\nPRETTY_NAME=\"QEMU Guest Agent test\"\nVERSION=\"Test 1\"\n\
                VERSION_ID=1\nVARIANT=\"Unit test \\\"\\'\\$\\`\\\\ and \\\\\\\\ etc.\"\nVARIANT_ID=unit-test\n";
    std::fs::write(&file, text).unwrap();
    let mut command = ours();
    command.env("QGA_OS_RELEASE", &file);
    let program = Program::start(command, dir.path(), &[]);
    let info = program.call("guest-get-osinfo", json!({}))["return"].clone();
    for (name, value) in [
        ("id", "qemu-ga-test"),
        ("name", "QEMU-GA"),
        ("pretty-name", "QEMU Guest Agent test"),
        ("version", "Test 1"),
        ("version-id", "1"),
        ("variant", "Unit test \"'$`\\ and \\\\ etc."),
        ("variant-id", "unit-test"),
    ] {
        assert_eq!(info[name], value, "{name}");
    }
    for name in ["kernel-release", "kernel-version", "machine"] {
        assert!(info[name].is_string(), "{info}");
    }
}

#[tokio::test]
async fn qg_27_the_host_name() {
    let answer = Agent::live().get("guest-get-host-name", json!({})).await;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(answer["host-name"], name.trim());
}

#[tokio::test]
async fn qg_28_the_time_zone_has_an_offset() {
    let zone = Agent::live().get("guest-get-timezone", json!({})).await;
    assert!(zone["offset"].as_i64().is_some_and(|offset| offset.abs() < 24 * 3600), "{zone}");
    // Without a file it is UTC.
    let zone = Agent::new().get("guest-get-timezone", json!({})).await;
    assert_eq!(zone, json!({ "zone": "UTC", "offset": 0 }));
}

#[tokio::test]
async fn qg_29_users_are_a_list() {
    assert!(Agent::live().get("guest-get-users", json!({})).await.is_array());
}
