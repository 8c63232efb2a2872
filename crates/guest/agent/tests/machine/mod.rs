//! A small emulated machine with Debian's kernel: its first file system, made of busybox, modules and our programs.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests build it with the machine's own tools

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vnode_testkit::{find_program, tools};

/// Debian's kernel, installed or unpacked by `cargo xtask setup`.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    version: String,
    /// Where its modules' tree begins.
    top: PathBuf,
}

impl Kernel {
    pub(crate) fn find() -> Option<Self> {
        let unpacked = tools::root().ok().and_then(|root| Some(root.parent()?.join("kernel")));
        [Some(PathBuf::from("/")), unpacked].into_iter().flatten().find_map(|top| {
            let images = fs::read_dir(top.join("boot")).ok()?.flatten();
            let mut versions: Vec<String> = images
                .filter_map(|e| Some(e.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned()))
                .filter(|v| top.join("lib/modules").join(v).join("modules.dep").exists())
                .collect();
            versions.sort();
            let version = versions.pop()?;
            Some(Self { image: top.join("boot").join(format!("vmlinuz-{version}")), version, top })
        })
    }
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn write(path: PathBuf, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A guest's first file system, as a folder that is packed at the end.
pub(crate) struct Tree {
    folder: PathBuf,
    tree: PathBuf,
}

impl Tree {
    /// Busybox under all its names, the kernel's modules with what they need in `/modules`, numbered in their order
    /// in `/modules/order`, and two users.
    pub(crate) fn new(folder: &Path, kernel: &Kernel, modules: &[&str]) -> Self {
        let made = Self { folder: folder.to_owned(), tree: folder.join("tree") };
        for name in
            ["proc", "sys", "dev", "modules", "home/alice", "bin", "sbin", "usr/bin", "usr/sbin"]
        {
            fs::create_dir_all(made.tree.join(name)).unwrap();
        }
        let busybox = find_program("busybox").unwrap();
        made.program(&busybox, "bin/busybox");
        let applets = text(&Command::new(&busybox).arg("--list").output().unwrap());
        for applet in applets.lines().filter(|applet| *applet != "busybox") {
            std::os::unix::fs::symlink("/bin/busybox", made.tree.join("bin").join(applet)).unwrap();
        }
        made.modules(kernel, modules);
        let users = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        made.file("etc/passwd", users, 0o644);
        made.file("etc/shadow", "root:*:1::::::\nalice:*:1::::::\n", 0o600);
        made.file("etc/group", "root:x:0:\nalice:x:1000:\n", 0o644);
        made.file("etc/os-release", "ID=tiny\nVERSION_ID=\"1\"\nNAME='Tiny'\n", 0o644);
        made
    }

    fn modules(&self, kernel: &Kernel, modules: &[&str]) {
        let mut order = String::new();
        for module in modules {
            let shown = Command::new("modprobe")
                .args(["--show-depends", "-S", &kernel.version, "-d"])
                .arg(&kernel.top)
                .arg(module)
                .output()
                .unwrap();
            for line in text(&shown).lines() {
                let Some(path) = line.strip_prefix("insmod ") else { continue };
                let path = Path::new(path.trim());
                let name = path.file_name().unwrap().to_str().unwrap();
                if !order.lines().any(|known| known == name) {
                    fs::copy(path, self.tree.join("modules").join(name)).unwrap();
                    order += &format!("{name}\n");
                }
            }
        }
        self.file("modules/order", &order, 0o644);
    }

    pub(crate) fn file(&self, name: &str, content: &str, mode: u32) {
        write(self.tree.join(name), content, mode);
    }

    /// A program without its debug information, and the libraries it wants.
    pub(crate) fn program(&self, program: &Path, name: &str) {
        let to = self.tree.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let stripped = Command::new("strip").arg("-o").arg(&to).arg(program).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(program, &to).unwrap();
        }
        let wants = text(&Command::new("ldd").arg(program).output().unwrap());
        for library in wants.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = self.tree.join(&library[1..]);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(library, to).unwrap();
        }
    }

    /// Packs it; the path of what the kernel unpacks.
    pub(crate) fn pack(&self) -> PathBuf {
        let packed = Command::new("sh")
            .args(["-ec", "find . | busybox cpio -o -H newc > ../initrd"])
            .current_dir(&self.tree)
            .output()
            .unwrap();
        assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        self.folder.join("initrd")
    }
}
