//! A machine that gets another image keeps its old disk until it has come up with the new one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{ext4_disk, node, nodes, pid, state};

/// Emulated machines on a busy host take their time.
const LONG: Duration = Duration::from_secs(200);

/// What lets a machine boot and never answer, given so many seconds.
fn deaf(limit: u32) -> String {
    format!("append: rdinit=/bin/cat quiet, ready-timeout: {limit}")
}

fn lab(host: &Host, name: &str, disk: &str, more: &str) -> String {
    let (dir, disk) = (host.dir().display(), host.dir().join(disk));
    let text = format!(
        "name: alone\ntopology:\n  nodes:\n    vm:\n      kind: vm\n      memory: 448MiB\n      network-mode: none\n      \
         image: {}\n      vm: {{kernel: {dir}/image/vmlinux, initrd: {dir}/image/initrd, ready: agent, {more}}}\n",
        disk.display()
    );
    host.write(name, &text).display().to_string()
}

/// The first bytes of its disk.
fn first(host: &Host) -> String {
    host.exec("vm", &["sh", "-c", "head -c 5 /dev/vda"]).ok().stdout
}

#[track_caller]
fn as_before(host: &Host, when: &str) {
    assert_eq!(state(host, "vm"), "running", "{when}: {}", node(host, "vm"));
    assert!(node(host, "vm")["image"].as_str().is_some_and(|i| i.ends_with("old.raw")), "{when}");
    assert_eq!(first(host), "first", "{when}");
    let folder = host.seen(host.state_dir().join("nodes/alone/vm"));
    for left in ["upper.kept", "upper.gone"] {
        assert!(!folder.join(left).exists(), "{when}: {left}");
    }
}

#[test]
fn vm_r13_t23_a_machine_whose_new_image_does_not_come_up_is_back_on_its_old_disk() {
    needs!(Root, Program("nft"), Program("mke2fs"));
    if let Some(why) = vnode_testkit::guest::missing() {
        println!("skipped: {why}");
        return;
    }
    let host = Host::new();
    let before = host.snapshot();
    host.build_image(&host.dir().join("image")).ok();
    ext4_disk(&host, "old.raw");
    ext4_disk(&host, "new.raw");
    let old = lab(&host, "old.clab.yml", "old.raw", "ready-timeout: 200");
    let new = lab(&host, "new.clab.yml", "new.raw", "ready-timeout: 200");
    let fails = lab(&host, "fails.clab.yml", "new.raw", &deaf(2));
    let waits = lab(&host, "waits.clab.yml", "new.raw", &deaf(86_400));
    host.vnode(&["up", &old]).ok();
    host.exec("vm", &["sh", "-c", "printf first >/dev/vda && sync"]).ok();

    let out = host.vnode(&["apply", &fails]);
    assert_eq!(out.code, 3, "{}", out.all());
    for part in [
        "node `vm` is what it was before, with its old disk",
        "the answer of its agent was given up after 2 s",
    ] {
        assert!(out.all().contains(part), "no `{part}` in {}", out.all());
    }
    as_before(&host, "given up");

    // Cancelled while the new one boots, which it would do for a day.
    let was = pid(&host, "vm");
    let mut waiting = host.vnode_command(&["apply", &waits]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    eventually("the new one boots", LONG, || {
        let there = nodes(&host);
        let new =
            there.iter().find(|n| n["pid"].as_i64().is_some_and(|pid| pid.to_string() != was));
        new.filter(|n| n["state"] == "booting").map(drop)
    });
    let operations = host.vnode(&["op", "ls", "--json"]).ok().json();
    let running =
        operations.as_array().and_then(|all| all.iter().find(|o| o["state"] == "running"));
    let id = running.and_then(|o| o["id"].as_str()).expect("it is under way").to_owned();
    host.vnode(&["op", "cancel", &id]).ok();
    let told = waiting.wait_with_output().expect("a started child can be waited for");
    assert!(!told.status.success());
    eventually("it runs again", LONG, || {
        let agent = host.exec("vm", &["true"]).code == 0;
        (agent && state(&host, "vm") == "running").then_some(())
    });
    as_before(&host, "cancelled");

    // Killed with the disk aside, and with it half way back.
    for point in ["node.renew.aside", "disk.put-back"] {
        host.kill9_daemon();
        let mut daemon = host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
        host.vnode(&["apply", &fails]);
        daemon.wait(LONG);
        drop(daemon);
        let daemon = host.start_daemon(&[]);
        eventually(&format!("{point}: it runs again"), LONG, || {
            (state(&host, "vm") == "running").then_some(())
        });
        as_before(&host, point);
        drop(daemon);
    }

    // Saved, it keeps its memory with the disk.
    host.kill9_daemon();
    let run = || host.exec("vm", &["cat", "/proc/sys/kernel/random/boot_id"]).ok().stdout;
    let boot = run();
    host.vnode(&["save", "vm"]).ok();
    assert_eq!(host.vnode(&["apply", &fails]).code, 3);
    assert_eq!(state(&host, "vm"), "stopped");
    host.vnode(&["restore", "vm"]).ok();
    assert_eq!(run(), boot);
    as_before(&host, "saved");

    host.vnode(&["apply", &new]).ok();
    assert_ne!(first(&host), "first");
    assert!(!Path::new(&host.state_dir()).join("nodes/alone/vm/upper.kept").exists());
    host.vnode(&["down", "alone"]).ok();
    host.kill9_daemon();
    host.assert_nothing_but_files(&before);
}
