//! Making a damaged store one that opens.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    file::{self, Engine},
    lockfile::LockFile,
    pages::{Damage, Pages},
};

/// Damaged files kept of one store.
const KEPT: u32 = 100;
/// Wrong pages whose bytes are tried; a file with more is not damaged in single bytes.
const TRIES: usize = 16;

/// What a repair has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The file as it was found.
    pub kept: PathBuf,
    /// Where it was damaged, in order of offsets.
    pub damage: Vec<Damage>,
    /// Entries that the store has now.
    pub entries: usize,
    /// Whether that is all that was committed.
    pub is_all: bool,
    /// Keys whose values are lost; where the keys cannot be read either there are more.
    pub lost: Vec<String>,
    /// Whether the store is as the commit before the last one left it, which was whole.
    pub went_back: bool,
}

/// Makes the store in the file `path` usable where [`open`](crate::open) refuses it as damaged: the file is kept beside
/// it, and a new one holds what is whole. A single wrong byte in a page is put right and loses nothing. Gives `None`
/// for a store that is not damaged.
///
/// # Errors
/// As [`open`](crate::open); [`Error::Damaged`] when nothing in the file can be read.
pub fn repair(path: &Path) -> Result<Option<Repaired>> {
    match Engine::open(path) {
        Ok(_) => return Ok(None),
        Err(Error::Damaged { .. }) => {}
        Err(error) => return Err(error),
    }
    let _lock = LockFile::take(path)?;
    let io = |doing| move |source| Error::Io { doing, path: path.to_owned(), source };
    let file = File::open(path).map_err(io("open"))?;
    let found = match Pages::open(&file, TRIES).map_err(io("read"))? {
        Some(mut pages) => pages.read().map_err(io("read"))?,
        None => return Err(Error::Foreign { path: path.to_owned(), source: None }),
    };
    if !found.is_readable() {
        return Err(Error::Damaged {
            path: path.to_owned(),
            reason: "nothing in it can be read, not even by a repair".to_owned(),
        });
    }
    let kept = keep(path).map_err(io("keep the damaged file of"))?;
    // One more than any that was ever told: who waits for another revision must not wait for one that was lost.
    file::create(path, found.revision + 1, &found.entries)?;
    Ok(Some(Repaired {
        kept,
        damage: found.damage,
        entries: found.entries.len(),
        is_all: !found.lacks && !found.before,
        lost: found.lost.into_iter().collect(),
        went_back: found.before,
    }))
}

/// Another name for the file, which stays when its own is given to a new one.
fn keep(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=KEPT {
        let mut kept = path.as_os_str().to_owned();
        kept.push(if number == 1 { ".damaged".to_owned() } else { format!(".damaged-{number}") });
        let kept = PathBuf::from(kept);
        if kept.try_exists()? {
            continue;
        }
        match fs::hard_link(path, &kept) {
            Ok(()) => return Ok(kept),
            // A file system without a second name for a file.
            Err(_) => return fs::copy(path, &kept).map(|_| kept),
        }
    }
    Err(io::Error::other(format!("{KEPT} damaged ones are kept already; move them away")))
}
