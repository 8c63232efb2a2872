//! QG-40: a file system of a loop device, frozen and thawed in a mount namespace of the test's own.
//!
//! Freezing is of the file system, not of the namespace: `guest-fsfreeze-freeze`, which takes all of them, is blocked,
//! so that nothing of the machine can be frozen.
#![allow(clippy::disallowed_methods)] // tests start the built program
#![allow(clippy::unwrap_used)] // in a test the right report

mod qga;

use std::{path::Path, process::Command, time::Duration};

use qga::{Program, ours};
use serde_json::json;
use vnode_testkit::{eventually, needs};

const WAIT: Duration = Duration::from_secs(60);

/// Runs a script in the mount namespace of the process.
fn in_namespace(pid: u32, script: &str) -> std::process::Output {
    let target = format!("--target={pid}");
    Command::new("nsenter").args([&target, "--mount", "--", "sh", "-c", script]).output().unwrap()
}

/// Starts what follows in a mount namespace of its own, in which the image is mounted at `mnt` of the folder.
fn in_new_namespace(folder: &Path) -> Command {
    let script =
        format!("mkdir -p {0}/mnt; mount -o loop {0}/image {0}/mnt; exec \"$@\"", folder.display());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "sh", "-ec", &script, "sh"]);
    command
}

#[test]
fn qg_40_freeze_refuse_thaw_and_a_kill_while_frozen() {
    needs!(Root, Program("mkfs.ext4"), Program("unshare"), Program("nsenter"));
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let image = folder.join("image");
    std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(&image).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tried = in_new_namespace(folder).arg("true").output().unwrap();
    if !tried.status.success() {
        vnode_testkit::skip("no loop device can be mounted here");
        return;
    }
    let mut command = in_new_namespace(folder);
    let program = ours();
    command.arg(program.get_program()).args(program.get_args());
    let mut agent = Program::start(command, folder, &["-b", "guest-fsfreeze-freeze"]);
    let mount = folder.join("mnt").display().to_string();
    let holder = Holder::of(agent.pid(), &mount);
    // Only unknown paths: nothing is frozen.
    let none =
        agent.call("guest-fsfreeze-freeze-list", json!({ "mountpoints": ["/no/such/place"] }));
    assert_eq!(none, json!({ "return": 0 }));
    assert_eq!(agent.call("guest-fsfreeze-status", json!({}))["return"], "thawed");

    let freeze = json!({ "mountpoints": [&mount] });
    assert_eq!(agent.call("guest-fsfreeze-freeze-list", freeze.clone()), json!({ "return": 1 }));
    assert_eq!(agent.call("guest-fsfreeze-status", json!({}))["return"], "frozen");
    let (class, text) = qga::error_of(&agent.call("guest-get-osinfo", json!({})));
    assert_eq!(class, "CommandNotFound");
    assert_eq!(text, "Command guest-get-osinfo has been disabled: the agent is in frozen state");
    let info = agent.call("guest-info", json!({}));
    let enabled: Vec<_> = info["return"]["supported_commands"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|command| command["enabled"] == true)
        .map(|command| command["name"].as_str().unwrap())
        .collect();
    let wanted = [
        "guest-fsfreeze-status",
        "guest-fsfreeze-thaw",
        "guest-info",
        "guest-ping",
        "guest-sync",
        "guest-sync-delimited",
    ];
    assert_eq!(enabled, wanted);
    // A write waits until the thaw.
    let target = format!("--target={}", agent.pid());
    let file = format!("{mount}/file");
    let mut writer =
        Command::new("nsenter").args([&target, "--mount", "--", "touch", &file]).spawn().unwrap();
    assert_eq!(agent.call("guest-fsfreeze-thaw", json!({})), json!({ "return": 1 }));
    assert!(writer.wait().unwrap().success());
    assert_eq!(agent.call("guest-fsfreeze-thaw", json!({})), json!({ "return": 0 }));
    assert!(agent.call("guest-get-osinfo", json!({})).get("return").is_some());
    assert!(!folder.join("qga.state.isfrozen").exists());

    // Killed while frozen: the next start, in the same namespace, thaws.
    assert_eq!(agent.call("guest-fsfreeze-freeze-list", freeze), json!({ "return": 1 }));
    assert!(folder.join("qga.state.isfrozen").exists());
    agent.kill();
    let mut command = Command::new("nsenter");
    let again = ours();
    command.arg(format!("--target={}", holder.0.id())).args(["--mount", "--"]);
    command.arg(again.get_program()).args(again.get_args());
    let agent = Program::start(command, folder, &[]);
    assert_eq!(agent.call("guest-fsfreeze-status", json!({}))["return"], "thawed");
    let written = in_namespace(holder.0.id(), &format!("timeout 60 touch {mount}/after"));
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    assert!(!folder.join("qga.state.isfrozen").exists());
    drop(agent);
    drop(holder);
    eventually("no loop device holds the image", WAIT, || {
        let devices = Command::new("losetup").arg("-j").arg(&image).output().unwrap();
        devices.stdout.is_empty().then_some(())
    });
}

/// A process that keeps the namespace of another, and cleans up in it at the end, whatever became of the test.
struct Holder(std::process::Child, String);

impl Holder {
    fn of(pid: u32, mount: &str) -> Self {
        let target = format!("--target={pid}");
        let holder =
            Command::new("nsenter").args([&target, "--mount", "--", "sleep", "600"]).spawn();
        let holder = Self(holder.unwrap(), mount.to_owned());
        // nsenter execs the program once it is inside.
        eventually("the holder is inside", WAIT, || {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", holder.0.id())).ok()?;
            (name.trim() == "sleep").then_some(())
        });
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let script = format!("fsfreeze --unfreeze {0} 2>/dev/null; umount {0}", self.1);
        in_namespace(self.0.id(), &format!("{{ {script}; }}"));
        // It sleeps, and nothing else.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
