//! A node's disk that lies aside while another is tried in its place (R-13).
//!
//! ```text
//!  upper/        the writable layer: the node's disk
//!  upper.kept/   the one that lies aside
//!  upper.gone/   one that is being removed; nothing, after a crash
//! ```
//!
//! Each disk changes its name at once and is removed only under the last of these, so that after a crash `upper.kept` is whole
//! or not there. Nothing is synced: a file system that keeps the order of its renames, as those with a journal do, is enough.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use vnode_monitor::wire;
use vnode_operation::fault;

use super::destroy::remove_folder;
use super::disk::make_disk;
use crate::{Error, NodeSpec, Result};

/// The folders of one node.
struct Places {
    node: String,
    upper: PathBuf,
    kept: PathBuf,
    gone: PathBuf,
    /// The overlay's own folder, which belongs to one disk.
    work: PathBuf,
}

impl Places {
    fn new(node: &str, dir: &Path) -> Self {
        let upper = dir.join(wire::UPPER);
        let beside = |end: &str| upper.with_extension(end);
        let (kept, gone) = (beside("kept"), beside("gone"));
        Self { node: node.to_owned(), work: dir.join(wire::WORK).join("work"), upper, kept, gone }
    }

    /// Removes the folder, which may be large, under a name that says that it is no disk any more.
    fn discard(&self, folder: &Path) -> io::Result<()> {
        remove_folder(&self.gone)?;
        match std::fs::rename(folder, &self.gone) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        remove_folder(&self.gone)
    }

    fn failed(&self, doing: &str) -> impl Fn(io::Error) -> Error {
        let doing = format!("{doing} of `{}`", self.node);
        move |e| Error::io(doing.clone(), e)
    }
}

pub(super) fn is_there(dir: &Path) -> bool {
    Places::new("", dir).kept.symlink_metadata().is_ok()
}

/// Puts the disk aside, and makes another that looks as the layers of `spec` do.
pub(super) fn set(spec: &NodeSpec, dir: &Path) -> Result<()> {
    let places = Places::new(&spec.node, dir);
    let work = || {
        if is_there(dir) {
            places.discard(&places.upper)?;
        } else {
            match std::fs::rename(&places.upper, &places.kept) {
                // A node that was never whole has none.
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        fault::point("disk.aside").map_err(io::Error::other)?;
        remove_folder(&places.work)
    };
    work().map_err(places.failed("put the disk aside"))?;
    make_disk(spec, dir)
}

/// Puts the disk that lies aside in its place again.
pub(super) fn put_back(node: &str, dir: &Path) -> Result<()> {
    let places = Places::new(node, dir);
    if !is_there(dir) {
        return Ok(());
    }
    let work = || {
        places.discard(&places.upper)?;
        fault::point("disk.put-back").map_err(io::Error::other)?;
        std::fs::rename(&places.kept, &places.upper)?;
        remove_folder(&places.work)
    };
    work().map_err(places.failed("put back the old disk"))
}

/// Removes the disk that lies aside, or what a crash has left of one.
pub(super) fn forget(node: &str, dir: &Path) -> Result<()> {
    let places = Places::new(node, dir);
    places.discard(&places.kept).map_err(places.failed("remove the old disk"))
}
