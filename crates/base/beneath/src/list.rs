//! What is in a folder.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use crate::dir::{Dir, Error, failed};

impl Dir {
    /// Names in this folder, sorted; more than `limit` of them is an error.
    pub fn list(&self, limit: usize) -> Result<Vec<OsString>, Error> {
        Ok(self.entries(limit)?.into_iter().map(|(name, _)| name).collect())
    }

    /// What [`list`](Self::list) gives, each with what kind it is. Most file systems keep the kind beside the name, so
    /// that nothing is looked at; where they do not, what is gone by the time it is looked at is left out.
    pub fn list_kinds(&self, limit: usize) -> Result<Vec<(OsString, FileType)>, Error> {
        let mut found = self.entries(limit)?;
        let mut gone = Vec::new();
        for (at, (name, kind)) in found.iter_mut().enumerate() {
            if *kind == FileType::Unknown {
                match self.stat_entry(name)? {
                    Some(stat) => *kind = FileType::from_raw_mode(stat.st_mode),
                    None => gone.push(at),
                }
            }
        }
        for at in gone.into_iter().rev() {
            found.remove(at);
        }
        Ok(found)
    }

    /// What is at a name of [`list`](Self::list): one call, as a single name cannot lead anywhere. A link is not followed;
    /// `None` when it is gone.
    pub fn stat_entry(&self, name: &OsStr) -> Result<Option<Stat>, Error> {
        if Path::new(name).components().count() != 1 || name == ".." {
            return Err(Error::NoName { path: name.into() });
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        match rustix::fs::statat(self.as_fd(), name, flags) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("look at", Path::new(name), errno)),
        }
    }

    fn entries(&self, limit: usize) -> Result<Vec<(OsString, FileType)>, Error> {
        let here = Path::new(".");
        let entries = rustix::fs::Dir::read_from(self.as_fd())
            .map_err(|errno| failed("list", here, errno))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|errno| failed("list", here, errno))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if found.len() == limit {
                return Err(Error::TooMany { path: here.to_owned(), limit });
            }
            found.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(found)
    }
}
