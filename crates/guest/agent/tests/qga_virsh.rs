//! QG-38: libvirt's own daemon and `virsh`, a small emulated machine, and our agent in it in the place of qemu-ga.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test; it starts libvirt and QEMU

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vnode_testkit::{find_program, needs, skip, tools};

const MODULES: [&str; 5] = ["virtio_pci", "virtio_console", "virtio_blk", "crc32c_generic", "ext4"];

/// Debian's kernel: its image, its version, and where its modules' tree begins. Installed, or unpacked by
/// `cargo xtask setup`.
fn kernel() -> Option<(PathBuf, String, PathBuf)> {
    let unpacked = tools::root().ok().and_then(|root| Some(root.parent()?.join("kernel")));
    [Some(PathBuf::from("/")), unpacked].into_iter().flatten().find_map(|top| {
        let images = fs::read_dir(top.join("boot")).ok()?.flatten();
        let mut versions: Vec<String> = images
            .filter_map(|e| Some(e.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned()))
            .filter(|v| top.join("lib/modules").join(v).join("modules.dep").exists())
            .collect();
        versions.sort();
        let version = versions.pop()?;
        Some((top.join("boot").join(format!("vmlinuz-{version}")), version, top))
    })
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies a program and the libraries it wants.
fn add_program(tree: &Path, program: &Path, name: &str) {
    let to = tree.join(name);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(program, &to).unwrap();
    let wants = text(&Command::new("ldd").arg(program).output().unwrap());
    for library in wants.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = tree.join(&library[1..]);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(library, to).unwrap();
    }
}

fn write(path: PathBuf, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The guest's first file system: busybox, the modules, the agent.
fn initramfs(folder: &Path, version: &str, top: &Path) {
    let tree = folder.join("tree");
    for name in
        ["proc", "sys", "dev", "modules", "home/alice", "bin", "sbin", "usr/bin", "usr/sbin"]
    {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    let busybox = find_program("busybox").unwrap();
    add_program(&tree, &busybox, "bin/busybox");
    let applets = text(&Command::new(&busybox).arg("--list").output().unwrap());
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("/bin/busybox", tree.join("bin").join(applet)).unwrap();
    }
    add_program(&tree, Path::new(env!("CARGO_BIN_EXE_vnode-agent")), "usr/sbin/qemu-ga");
    let mut order = String::new();
    for module in MODULES {
        let shown = Command::new("modprobe")
            .args(["--show-depends", "-S", version, "-d"])
            .arg(top)
            .arg(module)
            .output()
            .unwrap();
        for line in text(&shown).lines() {
            let Some(path) = line.strip_prefix("insmod ") else { continue };
            let path = Path::new(path.trim());
            let name = path.file_name().unwrap().to_str().unwrap();
            if !order.lines().any(|known| known == name) {
                fs::copy(path, tree.join("modules").join(name)).unwrap();
                order += &format!("{name}\n");
            }
        }
    }
    write(tree.join("modules/order"), &order, 0o644);
    write(tree.join("init"), include_str!("qga_virsh/init.sh"), 0o755);
    let users = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
    write(tree.join("etc/passwd"), users, 0o644);
    write(tree.join("etc/shadow"), "root:*:1::::::\nalice:*:1::::::\n", 0o600);
    write(tree.join("etc/group"), "root:x:0:\nalice:x:1000:\n", 0o644);
    write(tree.join("etc/os-release"), "ID=tiny\nVERSION_ID=\"1\"\nNAME='Tiny'\n", 0o644);
    let packed = Command::new("sh")
        .args(["-ec", "find . | busybox cpio -o -H newc > ../initrd"])
        .current_dir(&tree)
        .output()
        .unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
}

fn domain(folder: &Path, kernel: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        "<domain type='qemu'><name>guest</name><memory unit='MiB'>320</memory><vcpu>2</vcpu>
         <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
         <cmdline>console=ttyS0 quiet panic=-1 random.trust_cpu=on</cmdline></os>
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
    let Some((image, version, top)) = kernel() else {
        return skip("no Debian kernel: run `cargo xtask setup`");
    };
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    initramfs(folder, &version, &top);
    let disk = folder.join("disk");
    fs::File::create(&disk).unwrap().set_len(8 << 20).unwrap();
    assert!(Command::new("mkfs.ext2").arg("-q").arg(&disk).status().unwrap().success());
    write(
        folder.join("keys"),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample alice@example\n",
        0o644,
    );
    write(folder.join("domain.xml"), &domain(folder, &image), 0o644);
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
