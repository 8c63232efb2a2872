//! The files of machines that do not run, by the commands. No guest is booted here; `vm` has one that reads what was written.

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{SOON, ext4_disk, state, wait_for_state};

/// A machine with a disk, made and not booted; its kernel is never read.
fn machine(host: &Host) {
    ext4_disk(host, "root.raw");
    host.write("vmlinux", "none");
    let dir = host.dir().display().to_string();
    let text = format!(
        "name: files\ntopology:\n  nodes:\n    vm:\n      kind: vm\n      image: {dir}/root.raw\n      \
         network-mode: none\n      vm: {{kernel: {dir}/vmlinux}}\n    \
         bare: {{kind: vm, network-mode: none, vm: {{kernel: {dir}/vmlinux}}}}\n"
    );
    let file = host.write("files.clab.yml", &text).display().to_string();
    let out = host.vnode(&["up", "--no-boot", &file, "--json"]);
    assert_eq!(out.code, 0, "{}", out.all());
}

/// What is written through a mount is there in the next one.
fn round(host: &Host, word: &str) {
    let folder = host.vnode(&["mount", "vm"]).ok().stdout.trim().to_owned();
    assert_eq!(state(host, "vm"), "mounted", "{word}");
    host.run("sh", &["-c", "echo \"$2\" >>\"$1\"/words", "sh", &folder, word]).ok();
    host.vnode(&["unmount", "vm"]).ok();
    assert_eq!(state(host, "vm"), "stopped", "{word}");
}

#[test]
fn t23_t35_t37_t38_t39_a_mount_of_a_machines_root_outlives_daemons_and_is_undone_wherever_one_died()
{
    needs!(
        Root,
        Program("nft"),
        Program("fuse2fs"),
        Program("mke2fs"),
        Program("qemu-storage-daemon")
    );
    if let Some(why) = vnode_testkit::guest::missing() {
        println!("skipped: {why}");
        return;
    }
    let host = Host::new();
    let before = host.snapshot();
    machine(&host);
    round(&host, "first");
    // T-37: one without a disk is told so, and stays what it is.
    let refused = host.vnode(&["mount", "bare"]);
    assert!(refused.code == 1 && refused.all().contains("no disk"), "{}", refused.all());
    assert_eq!(state(&host, "bare"), "stopped");
    // Copied to and from without being mounted by hand.
    let own = host.write("note", "well met\n").display().to_string();
    host.vnode(&["cp", &own, "vm:/"]).ok();
    let back = host.dir().join("back").display().to_string();
    host.vnode(&["cp", "vm:/note", &back]).ok();
    assert_eq!(std::fs::read_to_string(&back).expect("copied"), "well met\n");
    assert_eq!(state(&host, "vm"), "stopped");
    assert!(host.vnode(&["doctor"]).stdout.contains("ext2, ext3 and ext4 can be mounted"));

    // T-39: mounted, the daemon is killed; the next one has it as it was, and what is written meanwhile is kept.
    let folder = host.vnode(&["mount", "vm"]).ok().stdout.trim().to_owned();
    host.kill9_daemon();
    host.run("sh", &["-c", "echo alone >>\"$1\"/words", "sh", &folder]).ok();
    assert_eq!(state(&host, "vm"), "mounted");
    assert_eq!(host.vnode(&["mount", "vm"]).ok().stdout.trim(), folder, "again gives the same");
    // T-52: somebody who stands in it does not hold it.
    let words = ["-c", "cd \"$1\" && echo here && exec cat", "sh", &folder];
    let mut holder = host.command("sh");
    holder.args(words).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().expect("sh starts");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(holder.stdout.take().expect("piped"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("a pipe can be read");
    host.vnode(&["unmount", "vm"]).ok();
    drop(holder.stdin.take());
    holder.wait().expect("a started child can be waited for");

    // T-23: a daemon is killed wherever it may be: the next one finds out what stands, and it is undone.
    let mut written = vec!["first", "alone"];
    for point in [
        "machine.mount.disk",
        "machine.mount.table",
        "machine.mount.files",
        // Mounting passes these once: it clears away what was left.
        "machine.unmount.files#2",
        "machine.unmount.disk#2",
    ] {
        host.kill9_daemon();
        let mut daemon = host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
        host.vnode(&["mount", "vm"]);
        host.vnode(&["unmount", "vm"]);
        eventually(&format!("{point}: the daemon is killed"), SOON, || {
            daemon.has_ended().then_some(())
        });
        drop(daemon);
        host.vnode(&["unmount", "vm"]).ok();
        wait_for_state(&host, "vm", "stopped");
        round(&host, point);
        written.push(point);
    }
    host.vnode(&["cp", "vm:/words", &back]).ok();
    let words = std::fs::read_to_string(&back).expect("copied");
    assert_eq!(words.lines().collect::<Vec<_>>(), written);

    // a definition that cannot be carried out leaves the machine its disk.
    let lab = host.dir().join("files.clab.yml");
    let right = std::fs::read_to_string(&lab).expect("the lab is there");
    for (wrong, reason) in [
        (("vmlinux}\n    bare", "absent}\n    bare"), "/absent"),
        (("vmlinux}\n    bare", "vmlinux, user-data: /absent-data}\n    bare"), "/absent-data"),
    ] {
        let text = right.replacen(wrong.0, wrong.1, 1);
        assert_ne!(text, right);
        host.write("files.clab.yml", &text);
        let out = host.vnode(&["apply", &lab.display().to_string()]);
        assert!(out.code != 0 && out.all().contains(reason), "{}", out.all());
    }
    host.write("files.clab.yml", &right);
    host.vnode(&["cp", "vm:/words", &back]).ok();
    assert_eq!(std::fs::read_to_string(&back).expect("copied"), words);

    // Destroyed while it is mounted and the daemon that did it is gone.
    host.vnode(&["mount", "vm"]).ok();
    host.kill9_daemon();
    host.vnode(&["down", "files"]).ok();
    host.kill9_daemon();
    host.assert_nothing_but_files(&before);
}
