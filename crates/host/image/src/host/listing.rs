//! Folders of the host's root, as a plan looks over them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use vnode_beneath::{Dir, DirError};

use super::failed;
use super::plan::{ENTRIES, gone, masked};
use crate::Error;

/// What is in a folder. Nothing is looked at before it is asked for: most of `/etc` are links, of which only the name is
/// wanted.
pub(super) struct Listing {
    path: PathBuf,
    /// `None` when it is not there.
    folder: Option<Dir>,
    pub(super) entries: Vec<(OsString, FileType)>,
}

impl Listing {
    pub(super) fn of(root: &Dir, path: &Path) -> Result<Self, Error> {
        let too_many = || std::io::Error::other(format!("more than {ENTRIES} files in it"));
        Self::at_most(root, path, ENTRIES)?
            .ok_or_else(|| failed(path, "looking over it")(too_many()))
    }

    /// `None` when there is more in it.
    pub(super) fn at_most(root: &Dir, path: &Path, limit: usize) -> Result<Option<Self>, Error> {
        let opened = root.open_dir(path);
        let found = opened.and_then(|dir| Ok((dir.list_kinds(limit)?, Some(dir))));
        let (entries, folder) = match found {
            Err(e) if gone(&e) => (Vec::new(), None),
            Err(DirError::TooMany { .. }) => return Ok(None),
            other => other.map_err(|e| masked(path, e))?,
        };
        Ok(Some(Self { path: path.to_owned(), folder, entries }))
    }

    /// A link that something else took the place of since it was listed is not seen, as if it had been made now.
    pub(super) fn all_but_links(&self) -> impl Iterator<Item = &OsString> {
        self.entries.iter().filter(|(_, kind)| *kind != FileType::Symlink).map(|(name, _)| name)
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = (&OsString, Result<Stat, Error>)> {
        let folders = self.entries.iter().filter(|(_, kind)| *kind == FileType::Directory);
        folders.filter_map(|(name, _)| match self.stat(name) {
            Ok(Some(stat)) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => None,
            other => Some((name, other.transpose()?)),
        })
    }

    /// `None` when it is gone.
    pub(super) fn stat(&self, name: &OsStr) -> Result<Option<Stat>, Error> {
        let stat = self.folder.as_ref().map_or(Ok(None), |folder| folder.stat_entry(name));
        stat.map_err(|e| masked(&self.path.join(name), e))
    }
}
