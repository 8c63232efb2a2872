//! The machine's disks: an overlay over its image, empty further ones, the firmware's variables. All lie in one folder of
//! the shell's writable layer, so that what is done to a container's disk (snapshot, restore, an empty one) is done to them.

mod qcow2;

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vnode_driver::{Error, Machine, NodeSpec, Result, Start};
use vnode_monitor::wire;

use self::qcow2::Backing;
use crate::shell::{self, IMAGES, io, machine};

/// The folder of disks in the shell's root, and one that is being made.
pub(crate) const DISKS: &str = "disks";
const NEW: &str = "disks.new";
/// The firmware's variables.
pub(crate) const VARIABLES: &str = "/disks/uefi.fd";
const TEMPLATE: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// What the disks are made over.
const BASE: &str = "base.json";

/// What a folder of disks belongs to: an overlay over another image would be garbage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) image: Option<std::path::PathBuf>,
    /// Length and time of change of the image, which must not change under its overlays.
    pub(crate) length: u64,
    pub(crate) changed_ns: i64,
}

impl Base {
    pub(crate) fn of(machine: &Machine) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let Some(disk) = &machine.disk else { return Ok(Self::default()) };
        let found = std::fs::metadata(&disk.image)
            .map_err(io(format!("look at disk image {}", disk.image.display())))?;
        Ok(Self {
            image: Some(disk.image.clone()),
            length: found.len(),
            changed_ns: found
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(found.mtime_nsec()),
        })
    }

    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(BASE)).ok()?).ok()
    }
}

/// Checks what can be checked of disks before anything is made.
pub(crate) fn check(spec: &NodeSpec) -> Result<()> {
    let machine = machine(spec)?;
    let invalid = |what: String| Err(Error::Invalid { node: spec.node.clone(), what });
    let sizes =
        machine.disk.iter().map(|disk| disk.size_bytes).chain(machine.disks.iter().copied());
    for size in sizes {
        if size == 0 || size > qcow2::MOST_BYTES {
            let most = qcow2::MOST_BYTES >> 40;
            return invalid(format!("a disk has 1 byte to {most} TiB, not {size} bytes"));
        }
    }
    if machine.start == Start::Uefi && !Path::new(TEMPLATE).exists() {
        return Err(Error::Unsupported {
            node: spec.node.clone(),
            what: format!("UEFI needs {TEMPLATE}: apt-get install ovmf"),
        });
    }
    if !matches!(machine.start, Start::Kernel { .. }) && machine.disk.is_none() {
        return invalid("it has no image to boot from: give `image`, or a kernel".to_owned());
    }
    Ok(())
}

/// Makes the disks that are not there yet.
pub(crate) fn ensure(spec: &NodeSpec, dir: &Path) -> Result<()> {
    check(spec)?;
    let upper = dir.join(wire::UPPER);
    let (disks, new) = (upper.join(DISKS), upper.join(NEW));
    let base = Base::of(machine(spec)?)?;
    remove(&new)?;
    if disks.exists() {
        return same_base(spec, &disks, &base);
    }
    let made = make(spec, &base, &new).and_then(|()| {
        std::fs::rename(&new, &disks)
            .map_err(io(format!("put disks in place in {}", upper.display())))
    });
    if made.is_err() {
        // What is left of it is removed by the next one, or with the node; the first error is what is told.
        let _ = remove(&new);
    }
    made
}

/// Whether the snapshot's disks may lie over the definition's image.
pub(crate) fn check_snapshot(spec: &NodeSpec, dir: &Path, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.starts_with('.') || !name.chars().all(plain) {
        // Refused, with the reason, by whoever looks for it.
        return Ok(());
    }
    let disks = dir.join("snapshots").join(name).join(wire::UPPER).join(DISKS);
    if disks.exists() { same_base(spec, &disks, &Base::of(machine(spec)?)?) } else { Ok(()) }
}

fn same_base(spec: &NodeSpec, disks: &Path, base: &Base) -> Result<()> {
    match Base::read(disks) {
        Some(found) if found == *base => Ok(()),
        _ => Err(Error::Invalid {
            node: spec.node.clone(),
            what: "its disk lies over another image than the definition's, or the image's file was changed: \
                   recreate the node, or put the image back"
                .to_owned(),
        }),
    }
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(io(format!("remove {}", folder.display()))(e))
        }
        _ => Ok(()),
    }
}

fn make(spec: &NodeSpec, base: &Base, folder: &Path) -> Result<()> {
    let machine = machine(spec)?;
    // The files in it are the machine's user's, the folder is not: nothing can be put there that the daemon would follow.
    let made = std::fs::DirBuilder::new().mode(0o755).create(folder);
    made.map_err(io(format!("make folder {}", folder.display())))?;
    let image = |number: usize, size: u64, backing: Option<Backing<'_>>| {
        let path = folder.join(name(number));
        qcow2::write(&path, size.next_multiple_of(512), backing)
            .map_err(io(format!("make disk {}", path.display())))?;
        shell::own(spec, &path)
    };
    let inside = format!("{IMAGES}/disk");
    if let Some(disk) = &machine.disk {
        let backing = Backing { name: &inside, format: disk.format.as_str() };
        image(0, disk.size_bytes, Some(backing))?;
    }
    for (number, size) in machine.disks.iter().enumerate() {
        image(number + 1, *size, None)?;
    }
    if machine.start == Start::Uefi {
        let path = folder.join("uefi.fd");
        std::fs::copy(TEMPLATE, &path).map_err(io(format!("copy {TEMPLATE}")))?;
        shell::own(spec, &path)?;
    }
    let text =
        serde_json::to_vec(base).map_err(|e| io("write what the disks lie over")(e.into()))?;
    let path = folder.join(BASE);
    std::fs::write(&path, text).map_err(io(format!("write {}", path.display())))
}

/// The file of the first disk, below the node's folder.
pub(crate) fn first(dir: &Path) -> std::path::PathBuf {
    dir.join(wire::UPPER).join(DISKS).join(name(0))
}

fn name(number: usize) -> String {
    format!("disk{number}.qcow2")
}

/// QEMU's arguments for the disks.
pub(crate) fn arguments(machine: &Machine, bus: &str, all: &mut Vec<String>) {
    let first = usize::from(machine.disk.is_none());
    for number in first..=machine.disks.len() {
        let file = format!("/{DISKS}/{}", name(number));
        all.push("-blockdev".to_owned());
        all.push(format!(
            "driver=qcow2,node-name=disk{number},discard=unmap,file.driver=file,file.filename={file},file.locking=on"
        ));
        all.push("-device".to_owned());
        // 0 is that of a kernel given by itself.
        let order = number + 1;
        all.push(format!(
            "virtio-blk-{bus},id=blk{number},drive=disk{number},serial=disk{number},bootindex={order}"
        ));
    }
}
