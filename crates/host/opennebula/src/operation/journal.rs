//! One image is published by one run at a time, and what that run has begun is written down until it has ended.
//!
//! In the work folder, `.journal/IDENTIFIER.lock` is held as long as an image is worked on, and
//! `.journal/IDENTIFIER.redb` is there as long as something is not finished: whoever takes the lock and finds it,
//! undoes what it tells of before anything else.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use vnode_store::Store;

/// Pauses between two tries to take a lock.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500)];

/// Why nothing can be written down.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    #[error("cannot {doing} {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{identifier}` is being published by another run since {limit:?}; see lock-limit")]
    Busy { identifier: String, limit: Duration },
    #[error("cannot open the journal of `{identifier}`")]
    Store {
        identifier: String,
        #[source]
        source: vnode_store::Error,
    },
    #[error("stopped")]
    Stopped,
}

/// The work folder.
#[derive(Debug, Clone)]
pub struct Work {
    folder: PathBuf,
}

impl Work {
    /// Makes the folder, for its owner only, when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or something else is there.
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        for folder in [folder.to_owned(), folder.join(".journal")] {
            let failed = failed("make", &folder);
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let there = std::fs::symlink_metadata(&folder).map_err(&failed)?;
                    if !there.is_dir() {
                        return Err(failed(io::Error::other("something else is there")));
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the disk of an image is prepared.
    pub fn disk_folder(&self, identifier: &str) -> PathBuf {
        self.folder.join(identifier)
    }

    fn journal(&self, identifier: &str) -> PathBuf {
        self.folder.join(".journal").join(format!("{identifier}.redb"))
    }

    /// Images that something is not finished of, or that a killed run has left its lock file of.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn unfinished(&self) -> Result<Vec<String>, JournalError> {
        let folder = self.folder.join(".journal");
        let failed = failed("read", &folder);
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name();
            // `ID.redb`, `ID.redb.lock` (the store's own) and `ID.lock`.
            let Some(name) = name.to_str() else { continue };
            let name = name.strip_suffix(".lock").unwrap_or(name);
            all.push(name.strip_suffix(".redb").unwrap_or(name).to_owned());
        }
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Waits until nobody else works on `identifier`.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub async fn lock(
        &self,
        identifier: &str,
        limit: Duration,
        cancellation: &CancellationToken,
    ) -> Result<Lock, JournalError> {
        let begin = Instant::now();
        let mut pauses = PAUSES.iter().chain(std::iter::repeat(&PAUSES[2]));
        loop {
            if let Some(lock) = self.try_lock(identifier)? {
                return Ok(lock);
            }
            if begin.elapsed() >= limit {
                return Err(JournalError::Busy { identifier: identifier.to_owned(), limit });
            }
            let pause = pauses.next().copied().unwrap_or_default();
            tokio::select! {
                () = cancellation.cancelled() => return Err(JournalError::Stopped),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The lock of an image, when nobody has it.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn try_lock(&self, identifier: &str) -> Result<Option<Lock>, JournalError> {
        let path = self.folder.join(".journal").join(format!("{identifier}.lock"));
        let failed = failed("lock", &path);
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)
                .map_err(&failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Who had it may have removed the file meanwhile; then it is no longer what others lock.
            let own = file.metadata().map_err(&failed)?;
            match std::fs::metadata(&path) {
                Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => {}
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            }
            return Ok(Some(Lock {
                identifier: identifier.to_owned(),
                journal: self.journal(identifier),
                path,
                _file: file,
            }));
        }
    }
}

/// Held as long as an image is worked on.
#[derive(Debug)]
pub struct Lock {
    identifier: String,
    journal: PathBuf,
    path: PathBuf,
    _file: File,
}

impl Lock {
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// Whether something was left unfinished.
    pub fn is_unfinished(&self) -> bool {
        self.journal.exists()
    }

    /// Opens the journal, makes it when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(&self) -> Result<Arc<dyn Store>, JournalError> {
        vnode_store::open(&self.journal)
            .map_err(|source| JournalError::Store { identifier: self.identifier.clone(), source })
    }

    /// Removes the journal, whose store nobody may use any more: all is finished.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn finish(self) -> Result<(), JournalError> {
        let mut lock = self.journal.clone().into_os_string();
        lock.push(".lock");
        // Our own lock file goes last, when this value does: until then nobody else looks for the journal.
        for path in [&self.journal, Path::new(&lock)] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock file that stays is empty and harmless; the next run of this image removes it.
        if !self.journal.exists() {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> JournalError + use<> {
    let path = path.to_owned();
    move |source| JournalError::File { doing, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h46_a_lock_is_had_by_one_and_its_file_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let work = Work::open(&folder.path().join("w")).unwrap();
        let lock = work.try_lock("a").unwrap().unwrap();
        assert!(work.try_lock("a").unwrap().is_none());
        assert!(work.try_lock("b").unwrap().is_some());
        lock.finish().unwrap();
        assert!(work.unfinished().unwrap().is_empty());
        let left = std::fs::read_dir(folder.path().join("w/.journal")).unwrap().count();
        assert_eq!(left, 0);
    }
}
