//! What `cargo xtask dist` packs, unpacked again.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::support::PROGRAM;

fn done(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

#[test]
fn the_package_unpacks_to_a_working_agent() {
    if !there("dpkg-deb") {
        println!("skipped: no dpkg-deb");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    // Packs the program of this test run: the optimised build is `cargo xtask dist` without it. The task runner lies
    // beside our program where `cargo xtask` runs the tests.
    let built = Path::new(PROGRAM).with_file_name("xtask");
    let mut xtask = if built.exists() {
        Command::new(built)
    } else {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "--quiet", "--locked", "--package", "xtask", "--"]);
        cargo
    };
    // Without the debug information of a test build, which is most of it.
    let stripped = out.path().join("stripped");
    if there("strip") {
        done(Command::new("strip").arg("-o").arg(&stripped).arg(PROGRAM));
    } else {
        std::fs::copy(PROGRAM, &stripped).unwrap();
    }
    xtask
        .args(["dist", "--program"])
        .arg(&stripped)
        .arg("--out")
        .arg(out.path())
        .current_dir(checkout);
    done(&mut xtask);
    let package = std::fs::read_dir(out.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .unwrap();
    let root = out.path().join("root");
    done(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root));
    let at = |name: &str| root.join(name);
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(at("usr/bin/vnode-agent")), 0o755);
    let config = done(
        Command::new(at("usr/bin/vnode-agent"))
            .arg("check")
            .arg("--config")
            .arg(at("etc/vnode/agent.toml")),
    );
    assert!(config.contains("channel qga"), "{config}");
    for name in ["usr/bin/nova-agent", "usr/lib/vnode/agent/qemu-ga"] {
        assert_eq!(
            at(name).canonicalize().unwrap(),
            at("usr/bin/vnode-agent").canonicalize().unwrap()
        );
        assert!(Command::new(at(name)).arg("--version").status().unwrap().success());
    }
    for script in [
        "etc/init.d/vnode-agent",
        "usr/share/vnode-agent/openrc/vnode-agent",
        "usr/share/vnode-agent/freebsd/vnode_agent",
    ] {
        assert_eq!(mode(at(script)), 0o755, "{script}");
        done(Command::new("sh").arg("-n").arg(at(script)));
    }
    let usage = Command::new("sh").arg(at("etc/init.d/vnode-agent")).output().unwrap();
    assert_eq!(usage.status.code(), Some(3));
    let control = done(Command::new("dpkg-deb").arg("--info").arg(&package));
    assert!(
        control.contains("Package: vnode-agent")
            && !control.contains('@'.to_string().repeat(2).as_str())
    );
    assert!(!control.contains("@VERSION@"), "{control}");
    if there("systemd-analyze") {
        let unit = at("lib/systemd/system/vnode-agent.service");
        // Its program and its page are not in their places here, of which it complains; of nothing else.
        let output = Command::new("systemd-analyze").arg("verify").arg(unit).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let other = said.lines().filter(|line| line.contains("vnode-agent.service"));
        let other: Vec<&str> = other
            .filter(|line| !line.contains("/usr/bin/vnode-agent") && !line.contains("'man "))
            .collect();
        assert!(other.is_empty(), "{other:?}");
    }
}

#[test]
fn the_sysvinit_script_starts_and_stops_the_agent() {
    // The script as packed, with places of this test's own.
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let script = include_str!("../../../../../packaging/agent/sysvinit/vnode-agent")
        .replace("/usr/bin/vnode-agent", PROGRAM)
        .replace("/run/vnode-agent.pid", at("pid").to_str().unwrap())
        .replace("/var/log/vnode-agent.log", at("log").to_str().unwrap())
        .replace("/etc/default/vnode-agent", at("default").to_str().unwrap());
    std::fs::write(at("script"), script).unwrap();
    std::fs::write(at("default"), format!("OPTIONS=\"--config {}\"\n", at("agent.toml").display()))
        .unwrap();
    let config = format!(
        "defaults = false\n[[channel]]\nname = \"n\"\nexchange = \"unix\"\nparser = \"native\"\npath = {:?}\n",
        at("agent.sock")
    );
    std::fs::write(at("agent.toml"), config).unwrap();
    let run = |word: &str| {
        let mut command = Command::new("sh");
        command.arg(at("script")).arg(word).stdin(Stdio::null());
        command.output().unwrap()
    };
    assert_eq!(run("status").status.code(), Some(3));
    assert!(run("start").status.success(), "{:?}", run("start"));
    assert!(run("status").status.success());
    assert!(run("reload").status.success());
    assert!(run("stop").status.success());
    assert_eq!(run("status").status.code(), Some(3));
    assert!(!at("pid").exists());
}
