//! The root of a node: its read-only layers, its own writable layer, one overlay.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::wire::{ROOT, UPPER, WORK};

/// An overlay and how it is reached.
#[derive(Debug)]
pub enum Overlay {
    /// Not attached anywhere yet.
    Detached(OwnedFd),
    /// Attached at [`ROOT`] of the node's folder (kernels before 6.8, whose overlay has no `lowerdir+`).
    Attached(OwnedFd),
}

/// Why an overlay could not be made: what was being done, and the kernel's answer.
pub type Failure = (String, io::Error);

fn open_dir(at: BorrowedFd<'_>, path: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    Ok(openat(at, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Which of a node's overlays is meant.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    Root,
    /// One over a folder of the root, and its number among those.
    Over(&'a str, usize),
}

/// Name of the work folder of the overlay with this number.
pub fn work_of(number: usize) -> String {
    format!("{WORK}.{number}")
}

/// Opens layers, upper and work folder, all as paths.
///
/// # Errors
/// The layer that is not there.
pub fn open_parts(
    dir: BorrowedFd<'_>,
    layers: &[impl AsRef<Path>],
    part: Part<'_>,
) -> Result<(Vec<OwnedFd>, OwnedFd, OwnedFd), Failure> {
    let mut open = Vec::with_capacity(layers.len());
    for layer in layers {
        let layer = layer.as_ref();
        open.push(
            open_dir(rustix::fs::CWD, layer)
                .map_err(|e| (format!("open layer {}", layer.display()), e))?,
        );
    }
    let mut upper = open_dir(dir, UPPER).map_err(|e| (format!("open `{UPPER}` of the node"), e))?;
    let mut work = WORK.to_owned();
    if let Part::Over(target, number) = part {
        // What lies there the node has written: a link is not followed.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for name in target.split('/').filter(|name| !name.is_empty()) {
            upper = openat(&upper, name, flags, Mode::empty())
                .map_err(|e| (format!("open {target} of the node's disk"), e.into()))?;
        }
        work = work_of(number);
    }
    let work =
        open_dir(dir, work.as_str()).map_err(|e| (format!("open `{work}` of the node"), e))?;
    Ok((open, upper, work))
}

/// Detaches an overlay that had to be attached at [`ROOT`], to be attached elsewhere.
///
/// # Errors
/// Names the step.
pub fn detached(overlay: Overlay, dir: BorrowedFd<'_>) -> Result<Overlay, Failure> {
    let Overlay::Attached(root) = overlay else { return Ok(overlay) };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(root.as_fd(), "", flags)
        .map_err(|e| ("take the overlay".to_owned(), e.into()))?;
    drop(root);
    let target = format!("/proc/self/fd/{}/{ROOT}", dir.as_raw_fd());
    rustix::mount::unmount(target.as_str(), UnmountFlags::DETACH)
        .map_err(|e| ("take the overlay".to_owned(), e.into()))?;
    Ok(Overlay::Detached(tree))
}

/// How the kernel is told of a folder. Either way names are short whatever the host's paths are, and the node reads no
/// host path in its mount table.
#[derive(Debug, Clone, Copy)]
pub enum Naming {
    /// As `/proc/self/fd/N`; `/proc` must be the host's.
    Descriptor,
    /// As `.`, the working folder, which is changed: for a process that has it for itself. `/proc` would make entries for
    /// each process that looks there, and take them away at its end.
    WorkingFolder,
}

impl Naming {
    fn tell(self, fs: BorrowedFd<'_>, key: &str, folder: &OwnedFd) -> rustix::io::Result<()> {
        match self {
            Self::Descriptor => {
                let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
                fsconfig_set_string(fs, key, path.as_str())
            }
            Self::WorkingFolder => {
                rustix::process::fchdir(folder)?;
                fsconfig_set_string(fs, key, ".")
            }
        }
    }
}

/// Makes the overlay of `layers` (uppermost first), `upper` and `work`.
///
/// # Errors
/// Names the step.
pub fn make(
    naming: Naming,
    dir: BorrowedFd<'_>,
    layers: &[OwnedFd],
    upper: &OwnedFd,
    work: &OwnedFd,
) -> Result<Overlay, Failure> {
    let fail = |what: &str, e: rustix::io::Errno| (format!("mount overlay: {what}"), e.into());
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| fail("fsopen", e))?;
    // Without a name the mount table shows an empty field, which programs misread.
    fsconfig_set_string(fs.as_fd(), "source", "overlay").map_err(|e| fail("source", e))?;
    for layer in layers {
        match naming.tell(fs.as_fd(), "lowerdir+", layer) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => return make_before_6_8(dir, layers, upper, work),
            Err(e) => return Err(fail("lowerdir", e)),
        }
    }
    naming.tell(fs.as_fd(), "upperdir", upper).map_err(|e| fail("upperdir", e))?;
    naming.tell(fs.as_fd(), "workdir", work).map_err(|e| fail("workdir", e))?;
    // Layers are shared between nodes and may be anywhere, so no index of them may be kept.
    fsconfig_set_string(fs.as_fd(), "index", "off").map_err(|e| fail("index=off", e))?;
    match fsconfig_create(fs.as_fd()) {
        Ok(()) => {}
        // Kernels before 6.5 take every key, and find here that they do not know `lowerdir+`.
        Err(rustix::io::Errno::INVAL) => {
            return make_before_6_8(dir, layers, upper, work);
        }
        Err(e) => return Err(fail("layers do not go together", e)),
    }
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map(Overlay::Detached)
        .map_err(|e| fail("fsmount", e))
}

fn make_before_6_8(
    dir: BorrowedFd<'_>,
    layers: &[OwnedFd],
    upper: &OwnedFd,
    work: &OwnedFd,
) -> Result<Overlay, Failure> {
    let lower: Vec<String> =
        layers.iter().map(|l| format!("/proc/self/fd/{}", l.as_raw_fd())).collect();
    let data = format!(
        "lowerdir={},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{},index=off",
        lower.join(":"),
        upper.as_raw_fd(),
        work.as_raw_fd()
    );
    let fail = |what: &str, e: rustix::io::Errno| (format!("mount overlay: {what}"), e.into());
    let data = std::ffi::CString::new(data).expect("made of numbers only");
    match rustix::fs::mkdirat(dir, ROOT, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(fail("make its mount point", e)),
    }
    let target = format!("/proc/self/fd/{}/{ROOT}", dir.as_raw_fd());
    rustix::mount::mount(
        "overlay",
        target.as_str(),
        "overlay",
        rustix::mount::MountFlags::empty(),
        data.as_c_str(),
    )
    .map_err(|e| fail("layers do not go together, or are too many for this kernel", e))?;
    open_dir(dir, ROOT).map(Overlay::Attached).map_err(|e| ("open the overlay".to_owned(), e))
}

/// Attaches the overlay over `target`, a folder opened in this process' mount namespace, and gives its
/// descriptor. One that is attached already stays where it is.
///
/// # Errors
/// The folder is of another namespace, or gone.
pub fn attach(overlay: Overlay, target: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    match overlay {
        Overlay::Attached(root) => Ok(root),
        Overlay::Detached(root) => {
            let flags =
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(root.as_fd(), "", target, "", flags)
                .map_err(|e| ("attach the root".to_owned(), e.into()))?;
            Ok(root)
        }
    }
}

/// Opens a folder again in this process' own mount namespace: overlays take no layer of another's.
///
/// # Errors
/// It is not where it was, or something else is.
pub fn reopen(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new())?;
    let again = open_dir(rustix::fs::CWD, path.as_c_str())?;
    let (was, is) = (rustix::fs::fstat(dir)?, rustix::fs::fstat(&again)?);
    if (was.st_dev, was.st_ino) == (is.st_dev, is.st_ino) {
        Ok(again)
    } else {
        Err(io::Error::other("the node's folder has been replaced"))
    }
}

/// Whether something is mounted at [`ROOT`] of the node's folder.
///
/// # Errors
/// The folder cannot be looked at; one that is missing has nothing mounted.
pub fn is_attached(dir: &Path) -> io::Result<bool> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match statx(rustix::fs::CWD, dir.join(ROOT), flags, StatxFlags::empty()) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Takes everything mounted at [`ROOT`] of the node's folder away; idempotent.
///
/// # Errors
/// The kernel refused.
pub fn detach(dir: &Path) -> io::Result<()> {
    let root = dir.join(ROOT);
    // A mount may be stacked on another; sixteen is more than anyone did by mistake.
    for _ in 0..16 {
        if !is_attached(dir)? {
            return Ok(());
        }
        rustix::mount::unmount(&root, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    Err(io::Error::other("too many mounts stacked on the root"))
}
