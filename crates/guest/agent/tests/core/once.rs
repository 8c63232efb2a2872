//! Early boot: sources, once for each instance.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use super::support::PROGRAM;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJhrfUmYtqwWT0RZmQ0oM0ZJ6zbT1mkKrAmcJ1oWZqyY a@b";

/// A machine's root folder with a config drive.
fn machine() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    write("etc/network/interfaces", "auto lo\niface lo inet loopback\n");
    write("etc/hostname", "old\n");
    std::fs::create_dir_all(root.path().join("root")).unwrap();
    write(
        "agent.toml",
        "[log]\nlevel = \"error\"\n[boot]\nsources = [\"config-drive\", \"nocloud\"]\n",
    );
    root
}

fn config_drive(root: &Path, instance: &str) {
    let folder = root.join("media/configdrive/openstack/latest");
    std::fs::create_dir_all(&folder).unwrap();
    let meta = format!(
        r#"{{"uuid": "{instance}", "hostname": "fresh.example.org", "public_keys": {{"k": "{KEY}"}}}}"#
    );
    std::fs::write(folder.join("meta_data.json"), meta).unwrap();
}

fn once(root: &Path, more: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(["--once", "--config"])
        .arg(root.join("agent.toml"))
        .arg("--root")
        .arg(root)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn what_a_config_drive_holds_is_applied_once_for_each_instance() {
    let machine = machine();
    let root = machine.path();
    assert_eq!(once(root, &[]).status.code(), Some(2), "no source");
    config_drive(root, "i-1");
    let planned = once(root, &["--plan"]);
    assert_eq!(planned.status.code(), Some(0), "{planned:?}");
    assert!(String::from_utf8_lossy(&planned.stdout).contains("instance i-1"), "{planned:?}");
    assert_eq!(std::fs::read_to_string(root.join("etc/hostname")).unwrap(), "old\n");
    let keys = || std::fs::read_to_string(root.join("root/.ssh/authorized_keys"));
    assert!(keys().is_err());
    let applied = once(root, &[]);
    assert_eq!(applied.status.code(), Some(0), "{applied:?}");
    let name = std::fs::read_to_string(root.join("etc/hostname")).unwrap();
    assert!(name.starts_with("fresh"), "{name}");
    assert!(keys().unwrap().contains(KEY));
    // The same instance keeps what its administrator does afterwards; another begins anew.
    std::fs::write(root.join("etc/hostname"), "mine\n").unwrap();
    assert_eq!(once(root, &[]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(root.join("etc/hostname")).unwrap(), "mine\n");
    config_drive(root, "i-2");
    assert_eq!(once(root, &[]).status.code(), Some(0));
    assert_ne!(std::fs::read_to_string(root.join("etc/hostname")).unwrap(), "mine\n");
}

#[test]
fn a_nocloud_seed_is_read() {
    let machine = machine();
    let seed = machine.path().join("var/lib/cloud/seed/nocloud");
    std::fs::create_dir_all(&seed).unwrap();
    let meta = format!("instance-id: seed-1\nlocal-hostname: seeded\npublic-keys:\n  - {KEY}\n");
    std::fs::write(seed.join("meta-data"), meta).unwrap();
    let applied = once(machine.path(), &[]);
    assert_eq!(applied.status.code(), Some(0), "{applied:?}");
    let name = std::fs::read_to_string(machine.path().join("etc/hostname")).unwrap();
    assert!(name.starts_with("seeded"), "{name}");
}

/// A machine made from the disk of another has that one's note.
#[test]
fn a_seed_that_names_no_instance_is_applied_once_for_each_machine() {
    let machine = machine();
    let root = machine.path();
    let seed = root.join("var/lib/cloud/seed/nocloud");
    let firmware = root.join("sys/class/dmi/id");
    std::fs::create_dir_all(&seed).unwrap();
    std::fs::write(seed.join("meta-data"), "local-hostname: seeded\n").unwrap();
    let name = || std::fs::read_to_string(root.join("etc/hostname")).unwrap();
    let mut noted = Vec::new();
    for uuid in [None, Some("AAAA-1"), Some("AAAA-2")] {
        if let Some(uuid) = uuid {
            std::fs::create_dir_all(&firmware).unwrap();
            std::fs::write(firmware.join("product_uuid"), format!("{uuid}\n")).unwrap();
        }
        assert_eq!(once(root, &[]).status.code(), Some(0));
        assert!(name().starts_with("seeded"), "{uuid:?}: {}", name());
        std::fs::write(root.join("etc/hostname"), "mine\n").unwrap();
        assert_eq!(once(root, &[]).status.code(), Some(0));
        assert_eq!(name(), "mine\n", "{uuid:?}: once");
        noted.push(std::fs::read_to_string(root.join("var/lib/vnode-agent/instance")).unwrap());
    }
    assert_eq!(noted[1..], ["aaaa-1\n", "aaaa-2\n"]);
}

#[test]
fn a_source_that_cannot_be_read_changes_nothing_and_is_tried_again() {
    let machine = machine();
    config_drive(machine.path(), "i-1");
    let folder = machine.path().join("media/configdrive/openstack/latest");
    std::fs::write(folder.join("network_data.json"), "{").unwrap();
    let refused = once(machine.path(), &[]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert_eq!(std::fs::read_to_string(machine.path().join("etc/hostname")).unwrap(), "old\n");
    assert!(!machine.path().join("var/lib/vnode-agent/instance").exists());
}
