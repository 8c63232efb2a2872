//! QG-38: libvirt's own daemon and `virsh`, a small emulated machine, and our agent in it in the place of qemu-ga.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test; it starts libvirt and QEMU

mod machine;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use machine::{Kernel, Tree, text, write};
use vnode_testkit::{find_program, needs, skip, tools};

const MODULES: [&str; 5] = ["virtio_pci", "virtio_console", "virtio_blk", "crc32c_generic", "ext4"];

fn domain(folder: &Path, kernel: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        "<domain type='qemu'><name>guest</name><memory unit='MiB'>320</memory><vcpu>2</vcpu>
         <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
         <cmdline>console=ttyS0 quiet panic=-1 random.trust_cpu=on no_timer_check</cmdline></os>
         <features><acpi/></features><on_poweroff>destroy</on_poweroff>
         <devices><emulator>{qemu}</emulator>
         <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{disk}'/>
         <target dev='vda' bus='virtio'/></disk>
         <serial type='file'><source path='{console}'/></serial>
         <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
         </devices></domain>",
        kernel = kernel.display(),
        initrd = at("initrd"),
        qemu = find_program("qemu-system-x86_64").unwrap().display(),
        disk = at("disk"),
        console = at("console"),
    )
}

/// What each command printed, and how it ended.
fn results(text: &str) -> BTreeMap<String, (i32, String)> {
    let mut found = BTreeMap::new();
    let mut current: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("@ ") {
            current = Some((words.to_owned(), String::new()));
        } else if let Some(status) = line.strip_prefix("= ") {
            if let Some((words, output)) = current.take() {
                found.insert(words, (status.parse().unwrap_or(-1), output));
            }
        } else if let Some((_, output)) = &mut current {
            *output += line;
            output.push('\n');
        }
    }
    found
}

#[test]
fn qg_38_virsh_against_a_small_machine() {
    needs!(
        Root,
        Program("qemu-system-x86_64"),
        Program("busybox"),
        Program("unshare"),
        Program("mkfs.ext2"),
        Program("modprobe"),
        Tool("usr/sbin/libvirtd"),
        Tool("usr/bin/virsh"),
    );
    let Some(kernel) = Kernel::find() else {
        return skip("no Debian kernel: run `cargo xtask setup`");
    };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let tree = Tree::new(folder, &kernel, &MODULES);
    tree.program(Path::new(env!("CARGO_BIN_EXE_vnode-agent")), "usr/sbin/qemu-ga");
    tree.file("init", include_str!("qga_virsh/init.sh"), 0o755);
    tree.pack();
    let disk = folder.join("disk");
    fs::File::create(&disk).unwrap().set_len(8 << 20).unwrap();
    assert!(Command::new("mkfs.ext2").arg("-q").arg(&disk).status().unwrap().success());
    write(
        folder.join("keys"),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample alice@example\n",
        0o644,
    );
    write(folder.join("domain.xml"), &domain(folder, &kernel.image), 0o644);
    write(folder.join("libvirt.sh"), tools::LIBVIRT, 0o644);
    write(folder.join("inside.sh"), include_str!("qga_virsh/inside.sh"), 0o755);
    // The first process of the namespace is the script: all it started ends with it.
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh"])
        .arg(folder.join("inside.sh"))
        .arg(folder)
        .arg(tools::root().unwrap())
        .output()
        .unwrap();
    let all = text(&output);
    assert!(output.status.success(), "{all}\n{}", String::from_utf8_lossy(&output.stderr));
    let found = results(&all);
    let said = |words: &str| -> &str {
        let (status, output) = found.get(words).unwrap_or_else(|| panic!("`{words}` in\n{all}"));
        assert_eq!(*status, 0, "{words}: {output}");
        output
    };
    let has = |words: &str, wanted: &str| {
        let output = said(words);
        assert!(output.contains(wanted), "{words}: no `{wanted}` in\n{output}");
    };
    has("qemu-agent-command guest {\"execute\":\"guest-ping\"}", "{\"return\":{}}");
    has("qemu-agent-command guest {\"execute\":\"guest-get-osinfo\"}", "\"id\":\"tiny\"");
    has("domifaddr guest --source agent", "127.0.0.1/8");
    has("guestinfo guest", "tiny");
    has("guestinfo guest", "virsh-guest");
    has("guestinfo guest", "/mnt");
    has("guestvcpus guest", "0-1");
    has("domtime guest", "Time: ");
    said("domtime guest --time 1700000000");
    has("domhostname guest --source agent", "virsh-guest");
    has("domfsinfo guest", "/mnt");
    has("domfsinfo guest", "vda");
    has("domfsfreeze guest", "Froze 1 filesystem(s)");
    has("qemu-agent-command guest {\"execute\":\"guest-fsfreeze-status\"}", "frozen");
    has("domfsthaw guest", "Thawed 1 filesystem(s)");
    has("set-user-password guest alice secret", "Password set successfully");
    has("get-user-sshkeys guest alice", "alice@example");
    has("list --all", "Id");
    assert!(!said("list --all").contains("running"), "{all}");
}
