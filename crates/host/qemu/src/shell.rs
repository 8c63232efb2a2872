//! The shell of a machine: the container whose first process is QEMU.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use vnode_driver::{
    Device, Error, Limits, Machine, Mount, MountKind, NodeSpec, Process, Result, Security,
};

use crate::accel::Accelerators;
use crate::command::{self, Command};
use crate::nic::Nic;

/// The machine's folder within the node's, and where the shell shows it. QEMU may do in it what it likes: the daemon
/// follows no link there.
pub(crate) const FOLDER: &str = "vm";
pub(crate) const INSIDE: &str = "/vm";
/// What the daemon writes for QEMU, and for whoever serves the machine's metadata, to read.
pub const GIVEN: &str = "given";
pub(crate) const GIVEN_INSIDE: &str = "/given";
/// Where the shell shows the files of the definition that lie elsewhere on the host.
pub(crate) const IMAGES: &str = "/image";
/// Users of machines begin here on the host, as those of containers with a user namespace do.
const FIRST_ID: u32 = 0x4000_0000;
const IDS: u32 = 65_536;

pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let doing = doing.into();
    move |source| Error::Io { doing, source }
}

pub(crate) fn machine(spec: &NodeSpec) -> Result<&Machine> {
    spec.machine.as_ref().ok_or_else(|| Error::Invalid {
        node: spec.node.clone(),
        what: "it is no virtual machine".to_owned(),
    })
}

/// The user QEMU runs as: each machine's own.
pub(crate) fn user(spec: &NodeSpec) -> Result<u32> {
    let first = spec.vmid.checked_mul(IDS).and_then(|offset| offset.checked_add(FIRST_ID));
    first.ok_or_else(|| Error::Invalid {
        node: spec.node.clone(),
        what: format!("its number {} is too large", spec.vmid),
    })
}

/// The folder that is every shell's lowest layer: names for what is mounted there, and nothing else.
pub(crate) fn make_layer(folder: &Path) -> Result<PathBuf> {
    let layer = folder.join("root");
    let fail = |path: &Path| io(format!("make {}", path.display()));
    for name in ["usr", "dev", "proc", "sys", "tmp", "etc", "vm", "given", "image"] {
        let path = layer.join(name);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&path);
        made.map_err(fail(&path))?;
    }
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let link = layer.join(name);
        match std::fs::read_link(Path::new("/").join(name)) {
            Ok(to) => match std::os::unix::fs::symlink(&to, &link) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(fail(&link)(e)),
                _ => {}
            },
            // A folder of its own on hosts that have not merged it with /usr: mounted.
            Err(_) if Path::new("/").join(name).is_dir() => {
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&link);
                made.map_err(fail(&link))?;
            }
            Err(_) => {}
        }
    }
    Ok(layer)
}

/// Makes the machine's folders in the node's: one is its user's, the other the daemon's.
pub(crate) fn make_folders(spec: &NodeSpec, dir: &Path) -> Result<()> {
    for (name, mode) in [(GIVEN, 0o755), (FOLDER, 0o700)] {
        let path = dir.join(name);
        match std::fs::DirBuilder::new().mode(mode).create(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(io(format!("make folder {}", path.display()))(e)),
        }
    }
    own(spec, &dir.join(FOLDER))
}

/// Gives a file to the machine's user.
pub(crate) fn own(spec: &NodeSpec, path: &Path) -> Result<()> {
    let user = user(spec)?;
    std::os::unix::fs::lchown(path, Some(user), Some(user))
        .map_err(io(format!("change the owner of {}", path.display())))
}

fn read_only(source: &Path, target: String) -> Mount {
    Mount {
        target,
        kind: MountKind::Bind { source: source.to_owned(), recursive: false },
        read_only: true,
        options: vec!["nosuid".to_owned()],
    }
}

/// A file of the host that QEMU is to read: it must be a file, and everybody's to read, because QEMU is nobody special.
fn readable(spec: &NodeSpec, what: &str, path: &Path) -> Result<()> {
    let invalid = |why: String| Error::Invalid {
        node: spec.node.clone(),
        what: format!("{what} `{}`: {why}", path.display()),
    };
    let found = std::fs::metadata(path).map_err(|e| invalid(e.to_string()))?;
    if !found.is_file() {
        return Err(invalid("not a file".to_owned()));
    }
    if found.permissions().mode() & 0o004 == 0 {
        return Err(invalid(
            "the machine runs as a user of its own, who may not read it: `chmod o+r`".to_owned(),
        ));
    }
    Ok(())
}

/// Files outside the node's folder that the machine reads, with the names the shell shows them by.
pub(crate) fn files(spec: &NodeSpec) -> Result<Vec<(String, PathBuf)>> {
    let machine = machine(spec)?;
    let mut files: Vec<(&str, &str, &Path)> = Vec::new();
    if let vnode_driver::Start::Kernel { kernel, initrd, .. } = &machine.start {
        files.push(("kernel", "kernel", kernel));
        if let Some(initrd) = initrd {
            files.push(("initial RAM disk", "initrd", initrd));
        }
    }
    if let Some(disk) = &machine.disk {
        files.push(("disk image", "disk", &disk.image));
    }
    for (what, _, path) in &files {
        readable(spec, what, path)?;
    }
    Ok(files
        .into_iter()
        .map(|(_, name, path)| (format!("{IMAGES}/{name}"), path.to_owned()))
        .collect())
}

/// The definition of the shell that can be made before any interface is there: what is checked at creation.
pub(crate) fn bare(spec: &NodeSpec, dir: &Path, layer: &Path) -> Result<NodeSpec> {
    around(spec, dir, layer, Vec::new(), None)
}

/// The definition of the shell with QEMU's whole command line.
pub(crate) fn whole(
    spec: &NodeSpec,
    dir: &Path,
    layer: &Path,
    accelerators: &Accelerators,
    nics: &[Nic],
) -> Result<NodeSpec> {
    let Command { argv, kvm } = command::build(spec, accelerators, nics)?;
    around(spec, dir, layer, argv, kvm)
}

fn around(
    spec: &NodeSpec,
    dir: &Path,
    layer: &Path,
    argv: Vec<String>,
    kvm: Option<u32>,
) -> Result<NodeSpec> {
    let machine = machine(spec)?;
    let user = user(spec)?;
    let mut mounts = vec![read_only(Path::new("/usr"), "/usr".to_owned())];
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let path = Path::new("/").join(name);
        if path.is_dir() && !path.is_symlink() {
            mounts.push(read_only(&path, format!("/{name}")));
        }
    }
    if Path::new("/etc/ld.so.cache").exists() {
        let path = Path::new("/etc/ld.so.cache");
        mounts.push(read_only(path, path.display().to_string()));
    }
    for (inside, path) in files(spec)? {
        mounts.push(read_only(&path, inside));
    }
    mounts.push(read_only(&dir.join(GIVEN), GIVEN_INSIDE.to_owned()));
    mounts.push(Mount {
        target: INSIDE.to_owned(),
        kind: MountKind::Bind { source: dir.join(FOLDER), recursive: false },
        read_only: false,
        options: vec!["nosuid".to_owned(), "nodev".to_owned(), "noexec".to_owned()],
    });
    let mut devices = vec!["/dev/net/tun"];
    if kvm.is_some() {
        devices.push("/dev/kvm");
    }
    if machine.vsock {
        devices.push("/dev/vhost-vsock");
    }
    // QEMU is alone in there, and no root: hosts without udev let nobody else open them.
    let device = |path: &str| Device {
        source: path.into(),
        target: path.to_owned(),
        access: "rw".to_owned(),
        mode: Some(0o666),
    };
    Ok(NodeSpec {
        layers: vec![layer.to_owned()],
        read_only_root: false,
        process: Process {
            argv,
            env: vec!["PATH=/usr/bin:/bin".to_owned(), "HOME=/".to_owned(), "LC_ALL=C".to_owned()],
            cwd: "/".to_owned(),
            // The group that may open /dev/kvm, where it is used.
            user: format!("{user}:{}", kvm.unwrap_or(user)),
            tty: true,
        },
        mounts,
        sysctls: std::collections::BTreeMap::new(),
        devices: devices.into_iter().map(device).collect(),
        security: Security::default(),
        limits: limits(&spec.limits),
        // QEMU ends at once, as when its power is cut.
        stop_signal: 15,
        machine: None,
        ..spec.clone()
    })
}

/// Limits of the shell: `memory` and whole processors are the machine's own size, not its bounds.
pub(crate) fn limits(limits: &Limits) -> Limits {
    Limits { memory_bytes: None, shm_bytes: None, ..limits.clone() }
}
