//! Snapshots of a stopped node's disk: copies of its writable layer under names, beside it in the node's folder.
//!
//! ```text
//!  upper/                     the disk
//!  snapshots/NAME/upper/      a copy of it
//!  snapshots/NAME/about.json  when, and over which layers: a copy over other layers is not the same disk
//!  snapshots/.new/            a copy under way; nothing, after a crash
//!  upper.new/                 a restore under way; nothing, after a crash
//! ```
//!
//! A copy is whole before it gets its name, and is on the disk by then; a restored disk is whole before it takes the
//! place of the old one, by one exchange of names (R-13). Snapshots end with their node.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use vnode_monitor::wire;

use super::destroy::remove_folder;
use super::tree;
use crate::{Error, Result, Snapshot};

const FOLDER: &str = "snapshots";
const UNDER_WAY: &str = ".new";
const ABOUT: &str = "about.json";
const RESTORED: &str = "upper.new";
/// Snapshots of one node.
const MOST: usize = 1000;

/// What is written beside a copy.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    created_unix_ms: u64,
    bytes: u64,
    /// Who took it: the same one that asks again, after a crash, has it already.
    mark: String,
    layers: Vec<PathBuf>,
}

/// One node's snapshots.
#[derive(Debug, Clone)]
pub(super) struct Snapshots {
    node: String,
    dir: PathBuf,
    layers: Vec<PathBuf>,
}

impl Snapshots {
    /// `layers`: what the node's root stands on.
    pub(super) fn new(node: &str, dir: &Path, layers: &[PathBuf]) -> Self {
        Self { node: node.to_owned(), dir: dir.to_owned(), layers: layers.to_vec() }
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 63 || name.starts_with('.') || !name.chars().all(word) {
            let what = format!(
                "snapshot name `{name}`: letters, digits, `-`, `_` and `.` make one, at most 63, the first no `.`"
            );
            return Err(Error::Invalid { node: self.node.clone(), what });
        }
        Ok(self.dir.join(FOLDER).join(name))
    }

    fn failed(&self, what: &str) -> impl Fn(io::Error) -> Error {
        let what = format!("{what} (node `{}`)", self.node);
        move |e| Error::io(what.clone(), e)
    }

    fn missing(&self, name: &str) -> Error {
        Error::Invalid { node: self.node.clone(), what: format!("it has no snapshot `{name}`") }
    }

    /// Copies the disk under a name that is free.
    pub(super) fn take(
        &self,
        name: &str,
        mark: &str,
        cancel: &CancellationToken,
    ) -> Result<Snapshot> {
        let place = self.place(name)?;
        let taken = || Error::Invalid {
            node: self.node.clone(),
            what: format!("it has a snapshot `{name}`"),
        };
        if place.symlink_metadata().is_ok() {
            let about = self.about(name)?;
            return if about.mark == mark {
                Ok(snapshot(name.to_owned(), &about))
            } else {
                Err(taken())
            };
        }
        let what = format!("take snapshot `{name}`");
        let failed = self.failed(&what);
        let folder = self.dir.join(FOLDER);
        make_folder(&folder).map_err(&failed)?;
        if std::fs::read_dir(&folder).map_err(&failed)?.count() >= MOST {
            let what = format!("it has {MOST} snapshots; remove one first");
            return Err(Error::Invalid { node: self.node.clone(), what });
        }
        let new = folder.join(UNDER_WAY);
        let work = || -> io::Result<About> {
            remove_folder(&new)?;
            make_folder(&new)?;
            let bytes = tree::copy(&self.dir.join(wire::UPPER), &new.join(wire::UPPER), cancel)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let created_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            let (mark, layers) = (mark.to_owned(), self.layers.clone());
            let about = About { created_unix_ms, bytes, mark, layers };
            std::fs::write(new.join(ABOUT), serde_json::to_vec(&about)?)?;
            rustix::fs::syncfs(open(&new)?)?;
            Ok(about)
        };
        let about = work().map_err(|e| {
            // What is left of it is removed by the next one, or with the node.
            let _ = remove_folder(&new);
            failed(e)
        })?;
        match rustix::fs::renameat_with(CWD, &new, CWD, &place, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(taken()),
            Err(e) => return Err(failed(e.into())),
        }
        sync(&folder).map_err(&failed)?;
        Ok(snapshot(name.to_owned(), &about))
    }

    /// Puts a copy of the snapshot in the place of the disk.
    pub(super) fn restore(&self, name: &str, cancel: &CancellationToken) -> Result<()> {
        let place = self.place(name)?;
        let about = self.about(name)?;
        if about.layers != self.layers {
            let what = format!(
                "snapshot `{name}` was taken over another image; it can be restored when the node has that again"
            );
            return Err(Error::Invalid { node: self.node.clone(), what });
        }
        let (upper, new) = (self.dir.join(wire::UPPER), self.dir.join(RESTORED));
        let work = || -> io::Result<()> {
            remove_folder(&new)?;
            tree::copy(&place.join(wire::UPPER), &new, cancel)?;
            rustix::fs::syncfs(open(&new)?)?;
            rustix::fs::renameat_with(CWD, &new, CWD, &upper, RenameFlags::EXCHANGE)?;
            sync(&self.dir)?;
            // The overlay makes its own folder in it again.
            remove_folder(&self.dir.join(wire::WORK).join("work"))?;
            remove_folder(&new)
        };
        work().map_err(self.failed(&format!("restore snapshot `{name}`")))
    }

    /// Removes a snapshot; nothing to do when it is not there, or not taken by `mark` where one is given.
    pub(super) fn remove(&self, name: &str, mark: Option<&str>) -> Result<()> {
        let place = self.place(name)?;
        if let Some(mark) = mark {
            match self.about(name) {
                Ok(about) if about.mark == mark => {}
                Ok(_) | Err(Error::Invalid { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let work = || -> io::Result<()> {
            // First it loses its name: a part of a snapshot never has one.
            let new = self.dir.join(FOLDER).join(UNDER_WAY);
            remove_folder(&new)?;
            match std::fs::rename(&place, &new) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other?,
            }
            remove_folder(&new)
        };
        work().map_err(self.failed(&format!("remove snapshot `{name}`")))
    }

    /// All snapshots, oldest first.
    pub(super) fn list(&self) -> Result<Vec<Snapshot>> {
        let failed = self.failed("list the snapshots");
        let entries = match std::fs::read_dir(self.dir.join(FOLDER)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(&failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(&failed)?.file_name();
            let Some(name) = name.to_str().filter(|n| *n != UNDER_WAY) else { continue };
            found.push(snapshot(name.to_owned(), &self.about(name)?));
        }
        found.sort_by(|a, b| (a.created_unix_ms, &a.name).cmp(&(b.created_unix_ms, &b.name)));
        Ok(found)
    }

    fn about(&self, name: &str) -> Result<About> {
        let path = self.place(name)?.join(ABOUT);
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(self.missing(name)),
            other => other.map_err(self.failed(&format!("read snapshot `{name}`")))?,
        };
        serde_json::from_slice(&text)
            .map_err(|e| self.failed(&format!("read {}", path.display()))(e.into()))
    }
}

fn snapshot(name: String, about: &About) -> Snapshot {
    Snapshot { name, created_unix_ms: about.created_unix_ms, bytes: about.bytes }
}

fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::from(open(folder)?.as_fd().try_clone_to_owned()?).sync_all()
}
