//! What `security` takes from scripts and from a process of ours.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::common::{Pkg, Service, eventually, read, unique};

const STATUS: &str = "grep -E 'CapPrm|CapEff|CapBnd|NoNewPrivs' /proc/self/status";

fn work(service: &Service, file: &str) -> String {
    let shown = service.ask(json!({ "verb": "show", "name": "x" }));
    let folder = shown["work_dir"].as_str().expect("a folder").to_owned();
    read(&Path::new(&folder).join(file))
}

/// The words of [`STATUS`] for these capabilities and no new privileges.
fn status(bits: u64) -> String {
    let sets = ["CapPrm", "CapEff", "CapBnd"].map(|set| format!("{set}:\t{bits:016x}\n"));
    format!("{}NoNewPrivs:\t1\n", sets.concat())
}

#[test]
fn without_more_words_there_are_no_capabilities_and_none_to_be_had() {
    let service = Service::start();
    let name = unique("s");
    let package = Pkg::new(&service, "x", &name)
        .set("security", json!({}))
        .set("start_command", json!([service.program(&name), service.lifeline()]))
        .on("INSTANTIATE", &format!("{STATUS} > rights; id -u > who; echo a=b > $VNF_OUTPUT_FILE"));
    let op = service.instantiate(&package);
    assert_eq!((work(&service, "rights"), work(&service, "who")), (status(0), "0\n".to_owned()));
    assert_eq!(op["outputs"]["a"], "b");
    let pid = eventually("it runs", || service.status("x")["pids"][0].as_i64());
    let text = read(Path::new(&format!("/proc/{pid}/status")));
    for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(text.contains(line), "{text}");
    }
    service.ask(json!({ "verb": "terminate", "name": "x" }));
}

#[test]
fn capabilities_that_are_named_are_had_by_any_user() {
    for user in ["root", "nobody"] {
        let service = Service::start();
        let package = Pkg::new(&service, "x", "p")
            .set("user", json!(user))
            .set("security", json!({ "capabilities": ["CAP_NET_BIND_SERVICE", "CAP_CHOWN"] }))
            .on("INSTANTIATE", &format!("{STATUS} > rights; touch own; chown 1234 own"));
        service.instantiate(&package);
        assert_eq!(work(&service, "rights"), status(1 << 10 | 1), "{user}");
    }
}

#[test]
fn paths_are_read_only_but_for_the_instances_own_and_the_network_is_none() {
    let service = Service::start();
    let closed = service.path("closed");
    fs::create_dir(&closed).expect("made");
    let body = format!(
        "{{ echo x > {0}/file; }} 2> errors; echo kept > here; echo a=b > $VNF_OUTPUT_FILE; \
         tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' > links; told $$",
        closed.display()
    );
    let of = |version: &str, paths: Value| {
        Pkg::new(&service, "x", "p")
            .set("version", json!(version))
            .set("security", json!({ "network": false, "read_only_paths": paths }))
            .on("INSTANTIATE", &body)
    };
    let before = read(Path::new("/proc/self/mountinfo"));
    let op = service.instantiate(&of("1.0.0", json!([closed, "/proc"])));
    assert_eq!(op["outputs"]["a"], "b");
    assert!(work(&service, "errors").contains("Read-only file system"));
    assert_eq!((work(&service, "here"), work(&service, "links")), ("kept\n".into(), "lo\n".into()));
    assert!(!closed.join("file").exists());
    assert_eq!(read(Path::new("/proc/self/mountinfo")), before, "nothing is seen outside");
    // Nothing runs where a path is not there.
    service.ask(json!({ "verb": "terminate", "name": "x" }));
    service.push(&of("2.0.0", json!(["/nowhere/at-all"])));
    let failed = service.fails(json!({ "verb": "instantiate", "package": "x" }));
    let failed = failed.expect_err("it cannot be");
    for word in ["security.read_only_paths", "/nowhere/at-all"] {
        assert!(failed.detail.contains(word), "{failed}");
    }
    assert_eq!(service.told().len(), 1);
}

#[test]
fn all_is_read_only_and_temporary_files_are_a_scripts_own() {
    let service = Service::outside_of_tmp();
    let outside = tempfile::NamedTempFile::new().expect("a file");
    let body = format!(
        "ls {} 2> seen; echo x > /tmp/x && ls /tmp > list; {{ echo y > /etc/vnode-test; }} 2> errors; true",
        outside.path().display()
    );
    let package = Pkg::new(&service, "x", "p")
        .set("security", json!({ "private_tmp": true, "read_only_paths": ["/"] }))
        .with("INSTANTIATE", json!({}), &[json!({}), json!({})], &[&body, "test ! -e /tmp/x"]);
    service.instantiate(&package);
    assert_eq!(work(&service, "list"), "x\n");
    assert!(work(&service, "seen").contains("No such file"));
    assert!(work(&service, "errors").contains("Read-only file system"));
    assert!(!Path::new("/etc/vnode-test").exists());
    // Where the agent's own files would be hidden, it is refused.
    let service = Service::start();
    service.push(&package);
    let failed = service.fails(json!({ "verb": "instantiate", "package": "x" }));
    let failed = failed.expect_err("it cannot be");
    for word in ["security.private_tmp", "--state-dir"] {
        assert!(failed.detail.contains(word), "{failed}");
    }
}

#[test]
fn an_agent_that_may_not_take_rights_runs_nothing() {
    let words = ["setpriv", "--no-new-privs", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin"];
    let service = Service::behind(|_| words.map(str::to_owned).to_vec());
    for (name, security, word) in [
        ("network", json!({ "network": false }), "CAP_SYS_ADMIN"),
        ("admin", json!({ "capabilities": ["CAP_SYS_ADMIN"] }), "security.capabilities"),
    ] {
        let package =
            Pkg::new(&service, name, "p").set("security", security).on("INSTANTIATE", "told ran");
        service.push(&package);
        let failed = service.fails(json!({ "verb": "instantiate", "package": name }));
        let failed = failed.expect_err("it cannot be");
        assert!(failed.detail.contains(word), "{failed}");
    }
    assert!(service.told().is_empty());
}
