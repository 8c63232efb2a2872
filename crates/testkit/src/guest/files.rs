//! The guest's files: programs with their shared libraries, busybox, modules, scripts.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use crate::find_program;

/// Programs the fixtures and tests call, beside busybox.
const TOOLS: &[&str] = &["unshare", "nsenter", "ip", "tc", "nft", "ping"];

enum Entry {
    Directory,
    Link(String),
    File(Vec<u8>, u32),
    Device(u32, u32, u32),
}

/// A file tree in memory.
pub(super) struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// Nothing yet: to be put over another tree.
    pub(super) fn empty() -> Tree {
        Tree { entries: BTreeMap::new() }
    }

    pub(super) fn new() -> Tree {
        let mut tree = Tree::empty();
        for dir in [
            "/proc", "/sys", "/dev", "/run", "/tmp", "/etc", "/root", "/home", "/var/lib", "/mnt",
            "/new",
        ] {
            tree.directory(dir);
        }
        // The kernel gives the first process these as its standard streams; devtmpfs covers them later.
        tree.entries.insert("/dev/console".into(), Entry::Device(0o600, 5, 1));
        tree.add_text(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
            0o644,
        );
        tree.add_text("/etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644);
        tree.add_text("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644);
        tree
    }

    fn directory(&mut self, path: &str) {
        let mut parent = String::new();
        for part in path.split('/').filter(|p| !p.is_empty()) {
            parent = format!("{parent}/{part}");
            self.entries.entry(parent.clone()).or_insert(Entry::Directory);
        }
    }

    fn add(&mut self, path: &str, entry: Entry) {
        let parent = path.rsplit_once('/').map_or("", |(p, _)| p).to_owned();
        self.directory(&parent);
        self.entries.insert(path.to_owned(), entry);
    }

    pub(super) fn add_text(&mut self, path: &str, text: &str, mode: u32) {
        self.add(path, Entry::File(text.as_bytes().to_vec(), mode));
    }

    /// A program at `path`, stripped, with the shared libraries it names at the paths where they are found.
    pub(super) fn add_program(&mut self, program: &Path, path: &str) {
        self.add_program_of(Path::new("/"), program, path);
    }

    /// The same of a program that is unpacked below `root`: its libraries are at the paths they have in there.
    pub(super) fn add_program_of(&mut self, root: &Path, program: &Path, path: &str) {
        self.add(path, Entry::File(stripped(program), 0o755));
        let mut ldd = Command::new("ldd");
        if root != Path::new("/") {
            ldd.env("LD_LIBRARY_PATH", crate::tools::library_path());
        }
        let out = ldd.arg(program).output().expect("ldd starts");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        for line in text.lines() {
            let after = line.split_once("=>").map_or(line, |(_, right)| right);
            let Some(library) = after.split_whitespace().next().filter(|p| p.starts_with('/'))
            else {
                continue;
            };
            let below = Path::new(library).strip_prefix(root).unwrap_or(Path::new(library));
            let inside = Path::new("/").join(below).display().to_string();
            if !self.entries.contains_key(&inside) {
                let bytes = std::fs::read(library).expect("ldd names files that exist");
                self.add(&inside, Entry::File(bytes, 0o755));
            }
        }
    }

    /// busybox under all its names.
    pub(super) fn add_busybox(&mut self) {
        self.add_program(Path::new("/bin/busybox"), "/bin/busybox");
        for applet in crate::image::applets() {
            self.add(&format!("/bin/{applet}"), Entry::Link("busybox".into()));
        }
    }

    /// busybox, and over it the programs that the tests want as Debian has them.
    pub(super) fn add_tools(&mut self, more: &[&str]) {
        self.add_busybox();
        // Not busybox's shell: that one takes its own `unshare` and `ip` before any on the search path.
        self.add_program(Path::new("/bin/sh"), "/bin/sh");
        for tool in TOOLS.iter().chain(more) {
            let found = find_program(tool)
                .unwrap_or_else(|| panic!("the program `{tool}` is not installed"));
            self.add_program(&found, &format!("/bin/{tool}"));
        }
    }

    pub(super) fn add_file(&mut self, from: &Path, to: &str) {
        let bytes =
            std::fs::read(from).unwrap_or_else(|e| panic!("cannot read {}: {e}", from.display()));
        self.add(to, Entry::File(bytes, 0o644));
    }

    /// QEMU as Debian has it: the program, its accelerator, what it starts machines with.
    pub(super) fn add_qemu(&mut self) {
        const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";
        const FIRMWARE: [&str; 6] = [
            "/usr/share/seabios/bios-256k.bin",
            "/usr/share/qemu/bios-256k.bin",
            "/usr/share/qemu/bios-microvm.bin",
            "/usr/share/qemu/kvmvapic.bin",
            "/usr/share/qemu/linuxboot_dma.bin",
            "/usr/share/qemu/pvh.bin",
        ];
        self.add_program(Path::new(PROGRAM), PROGRAM);
        let accelerator =
            format!("/usr/lib/{}-linux-gnu/qemu/accel-tcg-x86_64.so", std::env::consts::ARCH);
        for path in FIRMWARE.into_iter().chain([accelerator.as_str()]) {
            if Path::new(path).exists() {
                self.add_file(Path::new(path), path);
            }
        }
    }

    /// The modules, numbered in the order in which to load them.
    pub(super) fn add_modules(&mut self, files: Vec<PathBuf>) {
        for (number, path) in files.into_iter().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = std::fs::read(&path)
                .unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
            self.add(&format!("/modules/{number:03}-{name}"), Entry::File(bytes, 0o644));
        }
    }

    pub(super) fn write(&self, path: &PathBuf) {
        let file = std::fs::File::create(path).expect("the guest's directory is writable");
        self.write_to(file);
    }

    /// Puts the tree behind an initial RAM disk: the kernel unpacks one after the other, the later over the earlier.
    pub(super) fn append(&self, initrd: &Path) {
        let file = std::fs::File::options().append(true).open(initrd);
        self.write_to(file.expect("the image is writable"));
    }

    fn write_to(&self, file: std::fs::File) {
        let mut archive = Archive::new(BufWriter::new(file));
        let mut write = || -> std::io::Result<()> {
            for (name, entry) in &self.entries {
                let name = name.trim_start_matches('/');
                match entry {
                    Entry::Directory => archive.entry(name, 0o040_755, (0, 0), &[])?,
                    Entry::Link(to) => archive.entry(name, 0o120_777, (0, 0), to.as_bytes())?,
                    Entry::File(bytes, mode) => {
                        archive.entry(name, 0o100_000 | mode, (0, 0), bytes)?
                    }
                    Entry::Device(mode, major, minor) => {
                        archive.entry(name, 0o020_000 | mode, (*major, *minor), &[])?;
                    }
                }
            }
            Ok(())
        };
        write().and_then(|()| archive.end()).expect("the guest's directory is writable");
    }
}

/// The program without its debug information, where `strip` is installed: half of a test program is that.
fn stripped(program: &Path) -> Vec<u8> {
    let plain = || {
        std::fs::read(program).unwrap_or_else(|e| panic!("cannot read {}: {e}", program.display()))
    };
    if find_program("strip").is_none() {
        return plain();
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("stripped");
    let done = Command::new("strip").arg("-o").arg(&out).arg(program).output();
    match done {
        Ok(done) if done.status.success() => std::fs::read(out).expect("strip has written it"),
        _ => plain(),
    }
}
