//! Overlays over a node's root, for file systems that do not show through it.
//!
//! The writable layer of each is the folder of its name in the root's writable layer: what the node writes is on one
//! disk, so that snapshots, a fresh disk and `mount` know nothing of file systems. Over `/usr` of a node:
//!
//! ```text
//!  upper/usr/   writable layer      work.0/   work folder      /usr of the machine, below its part of the mask
//! ```

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use vnode_monitor::overlay::{self, Failure, Overlay, Part};
use vnode_monitor::wire;

use super::connection::open_dir;
use crate::spec::Over;
use crate::{Error, NodeSpec, Result};

/// A folder that is made gets its place only when it has its owner and mode.
const NEW: &str = "over.new";

/// Makes the folders that the overlays need, where they are missing. The node must not run.
pub(super) fn prepare(spec: &NodeSpec, dir: &Path) -> Result<()> {
    for (number, over) in spec.over.iter().enumerate() {
        one(spec, dir, number, over).map_err(|e| {
            let what = format!("prepare {} on the disk of `{}`", over.target.display(), spec.node);
            Error::io(what, e)
        })?;
    }
    Ok(())
}

fn one(spec: &NodeSpec, dir: &Path, number: usize, over: &Over) -> io::Result<()> {
    let folder = open_dir(dir)?;
    match rustix::fs::mkdirat(&folder, overlay::work_of(number).as_str(), Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    // The node has written what lies there: a link is not followed.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(&folder, wire::UPPER, flags, Mode::empty())?;
    let mut inside = PathBuf::new();
    for name in over.target.components() {
        let Component::Normal(name) = name else { continue };
        inside.push(name);
        at = match rustix::fs::openat(&at, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                // As the folder that it is the node's version of.
                let whole = Path::new("/").join(&inside) == over.target;
                let below = spec.layers.iter().map(|layer| layer.join(&inside));
                let own = whole.then(|| over.layers.clone()).into_iter().flatten();
                let model = own.chain(below).find_map(|path| path.metadata().ok());
                let model = model.ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
                match rustix::fs::mkdirat(&folder, NEW, Mode::RWXU) {
                    // Of a crash.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                let (user, group) = (Uid::from_raw(model.uid()), Gid::from_raw(model.gid()));
                rustix::fs::chownat(&folder, NEW, Some(user), Some(group), AtFlags::empty())?;
                let mode = Mode::from_raw_mode(model.mode() & 0o7777);
                rustix::fs::chmodat(&folder, NEW, mode, AtFlags::empty())?;
                rustix::fs::renameat(&folder, NEW, &at, name)?;
                rustix::fs::openat(&at, name, flags, Mode::empty())?
            }
            other => other?,
        };
    }
    Ok(())
}

/// Makes the overlays, attached nowhere.
pub(super) fn make(spec: &NodeSpec, dir: BorrowedFd<'_>) -> Result<Vec<Overlay>, Failure> {
    let mut made = Vec::with_capacity(spec.over.len());
    for (number, over) in spec.over.iter().enumerate() {
        let target = over.target.to_string_lossy();
        let (layers, upper, work) =
            overlay::open_parts(dir, &over.layers, Part::Over(&target, number))?;
        made.push(overlay::detached(
            overlay::make(overlay::Naming::Descriptor, dir, &layers, &upper, &work)?,
            dir,
        )?);
    }
    Ok(made)
}

/// Attaches them over a root that is mounted.
pub(super) fn attach(
    spec: &NodeSpec,
    made: Vec<Overlay>,
    root: BorrowedFd<'_>,
) -> Result<(), Failure> {
    for (overlay, over) in made.into_iter().zip(&spec.over) {
        let failed =
            |e: Errno| -> Failure { (format!("mount on {}", over.target.display()), e.into()) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let inside = over.target.strip_prefix("/").unwrap_or(&over.target);
        let target: OwnedFd =
            rustix::fs::openat2(root, inside, flags, Mode::empty(), resolve).map_err(failed)?;
        overlay::attach(overlay, target.as_fd())?;
    }
    Ok(())
}
