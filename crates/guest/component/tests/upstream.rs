//! Upstream's documented example, unchanged: its two files, a script of its days, its places, its programs' names and
//! options, the packaged bus.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]
#![allow(clippy::disallowed_methods, reason = "tests start the programs they test")]

use std::{path::Path, process::Command};

#[test]
fn the_documented_example_works_unchanged() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, for a mount namespace");
        return;
    }
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = crate_folder.join("tests/upstream");
    let out = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(example.join("run"))
        .arg(env!("CARGO_BIN_EXE_vnode-component"))
        .arg(&example)
        .arg(crate_folder.join("packaging"))
        .output()
        .unwrap();
    let (text, log) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if log.contains("overlay") && log.contains("mount:") {
        println!("skipped: no overlay here: {log}");
        return;
    }
    assert!(out.status.success(), "{text}\n{log}");
    let name = "net.vyatta.eng.vci.example.ephemeral.toaster";
    let installed: Vec<String> =
        text.lines().take_while(|line| line.starts_with('/')).map(str::to_owned).collect();
    assert!(installed.iter().any(|file| file.ends_with("toaster.service")), "{text}");
    assert!(installed.contains(&format!("/etc/vci/bus.d/{name}.v1.conf")), "{text}");
    let answers: Vec<&str> =
        text.lines().skip(installed.len()).map(str::trim).filter(|line| !line.is_empty()).collect();
    let wanted = [
        "AccessDenied",
        r#"{"a":2}"#,
        &format!(r#"{{"toaster:toaster":{{"model":"{name}.v1","message":"State/Get"}}}}"#),
        r#"{"toaster:by":{"Pid":7}}"#,
        "com.vyatta.rpcerror.application",
        r#"{"toaster:amount-of-bread":5}"#,
        // The bus would start its unit now, if there were a service manager.
        "org.freedesktop.DBus.Error.",
        "ended",
    ];
    assert_eq!(answers.len(), wanted.len(), "{text}\n{log}");
    for (answer, wanted) in answers.iter().zip(wanted) {
        assert!(answer.contains(wanted), "{answer}: not {wanted}\n{log}");
    }
}
