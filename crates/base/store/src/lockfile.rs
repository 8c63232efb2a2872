//! One daemon, one store: a lock file beside the store, taken before the store is made or opened.
//!
//! The engine locks its own file too; this lock also covers the moment in which that file is made, and
//! holds the process id of its holder for the error text. The kernel releases it with the process (T-87).

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{Error, Result};

/// Held as long as the store is open.
#[derive(Debug)]
pub(crate) struct LockFile {
    _file: File,
}

impl LockFile {
    pub(crate) fn take(store: &Path) -> Result<Self> {
        let mut path = store.as_os_str().to_owned();
        path.push(".lock");
        let io = |source| Error::Io { doing: "lock", path: store.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The process id is a help in the text; without it the error still stands.
                let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut text);
                let holder = match text.trim() {
                    pid if !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()) => {
                        format!(" (process {pid})")
                    }
                    _ => String::new(),
                };
                return Err(Error::Held { path: store.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}
