//! Changes several files as one.
//!
//! ```text
//!  old contents kept ─▶ journal "prepared" ─▶ new files staged ─▶ renamed one by one ─▶ journal "committed"
//!                            │ from here on a crash is rolled back                        │ from here on it is finished
//!                                                                       applied, checked ─▶ journal "done" ─▶ backups
//! ```
//!
//! Everything is below one folder of ours: `transaction/` while a change is under way, `backup/` with the last
//! content of each file. Every write is synced before the next one depends on it, and every step back can be repeated.

mod file;
mod journal;

use std::io;

use vnode_beneath::{Dir, DirError};

use journal::{Entry, Journal, OldEntry};
pub use journal::{Note, Phase};

use crate::draft::Content;
use crate::plan::{Change, Old, sha256};
use crate::view::{Kind, View, ViewError};

/// The files could not be changed, or not changed back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    #[error("cannot {what} `{path}`{}", cause(.source.as_ref()))]
    Write {
        what: &'static str,
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("`{path}` was changed by somebody else meanwhile; try again")]
    Changed { path: String },
    #[error("another network reset is under way in this guest; wait for it")]
    Busy,
    #[error("the journal `{path}` cannot be read; look at it and its folder, and remove them")]
    Journal {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the backup of `{path}` is not what was kept")]
    Backup { path: String },
}

/// The innermost reason, for a client that gets one line.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut at = Some(error);
    while let Some(error) = at {
        text = format!(": {error}");
        at = error.source();
    }
    text
}

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: &'static str,
    path: &str,
) -> impl FnOnce(E) -> CommitError {
    let path = path.to_owned();
    move |source| CommitError::Write { what, path, source: source.into() }
}

/// Our folder in a guest, locked: one change at a time.
#[derive(Debug)]
pub struct State<'a> {
    root: &'a Dir,
    folder: String,
    agent: String,
    lock: std::fs::File,
}

/// A change whose way back is durable.
#[derive(Debug)]
#[must_use = "a prepared change is committed or rolled back"]
pub struct Prepared {
    journal: Journal,
}

impl<'a> State<'a> {
    /// Opens the folder, making it if it is missing, and locks it.
    ///
    /// # Errors
    /// [`CommitError::Busy`] when another process has it.
    pub fn open(root: &'a Dir, folder: &str, agent: &str) -> Result<Self, CommitError> {
        root.mkdir_all(folder, 0o700).map_err(failed("make folder", folder))?;
        let path = format!("{folder}/lock");
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::RDWR;
        let lock = root.open_with(&path, flags, 0o600).map_err(failed("open", &path))?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(CommitError::Busy),
            Err(errno) => return Err(failed("lock", &path)(io::Error::from(errno))),
        }
        Ok(Self { root, folder: folder.to_owned(), agent: agent.to_owned(), lock })
    }

    fn transaction(&self) -> String {
        format!("{}/transaction", self.folder)
    }

    fn journal_path(&self) -> String {
        format!("{}/transaction/journal.json", self.folder)
    }

    fn write_journal(&self, journal: &Journal) -> Result<(), CommitError> {
        let path = self.journal_path();
        let text = serde_json::to_vec(journal).expect("plain data of ours is always JSON");
        self.root.write_atomic(&path, &text, 0o600).map_err(failed("write", &path))
    }

    /// The journal of a change that was not ended, if there is one.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn interrupted(&self) -> Result<Option<(Phase, Note)>, CommitError> {
        Ok(self.read_journal()?.map(|journal| (journal.phase, journal.note)))
    }

    fn read_journal(&self) -> Result<Option<Journal>, CommitError> {
        let path = self.journal_path();
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| CommitError::Journal {
            path: path.clone(),
            source,
        };
        match self.root.read_to_limit(&path, journal::MAX) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| failed(e.into())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Keeps the old contents and writes the journal: from here on [`State::roll_back`] finds the way back. `point` is
    /// called between any two writes.
    ///
    /// # Errors
    /// When something cannot be written; nothing of the guest is changed then.
    pub fn prepare(
        &self,
        changes: &[Change],
        note: &Note,
        point: &dyn Fn(&str),
    ) -> Result<Prepared, CommitError> {
        self.clean()?;
        match self.write_backups_and_journal(changes, note, point) {
            Ok(journal) => Ok(Prepared { journal }),
            Err(error) => {
                self.clean()?;
                Err(error)
            }
        }
    }

    /// Changes the files. The change is then committed, and ended by [`State::finish`] or [`State::roll_back`].
    ///
    /// # Errors
    /// When something cannot be written, or was changed by another: roll back.
    pub fn commit(
        &self,
        prepared: Prepared,
        changes: &[Change],
        point: &dyn Fn(&str),
    ) -> Result<(), CommitError> {
        let Prepared { journal } = prepared;
        self.stage_and_rename(changes, &journal, point)?;
        self.write_journal(&Journal { phase: Phase::Committed, ..journal })?;
        point("committed");
        Ok(())
    }

    /// Removes what a change left that never came as far as its journal.
    fn clean(&self) -> Result<(), CommitError> {
        let folder = self.transaction();
        self.root.remove_tree(&folder).map_err(failed("remove", &folder))
    }

    fn write_backups_and_journal(
        &self,
        changes: &[Change],
        note: &Note,
        point: &dyn Fn(&str),
    ) -> Result<Journal, CommitError> {
        let folder = self.transaction();
        self.root.mkdir_all(&folder, 0o700).map_err(failed("make folder", &folder))?;
        let mut entries = Vec::new();
        for (n, change) in changes.iter().enumerate() {
            let path = &change.path;
            let old = match &change.old {
                Old::Absent => OldEntry::Absent,
                Old::Link(target) => OldEntry::Link { target: target.clone() },
                Old::File(bytes) => {
                    let stat = self.root.stat(path).map_err(failed("look at", path))?;
                    let backup = format!("old-{n}");
                    let place = format!("{folder}/{backup}");
                    file::write(self.root, &place, bytes, &file::PRIVATE)
                        .map_err(failed("keep a copy of", path))?;
                    point("backup");
                    let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
                    OldEntry::File { backup, sha256: sha256(bytes), mode, uid, gid }
                }
            };
            let made = self.missing_folders(path);
            entries.push(Entry { path: path.clone(), old, made });
        }
        // The folder's own name must be there after a crash, and so must those above it.
        for path in [folder.as_str(), &self.folder, file::parent(&self.folder)] {
            let dir = self.root.open_dir(path).map_err(failed("open folder", path))?;
            dir.sync().map_err(failed("sync", path))?;
        }
        let journal = Journal { version: 1, phase: Phase::Prepared, entries, note: note.clone() };
        self.write_journal(&journal)?;
        point("prepared");
        Ok(journal)
    }

    /// Folders above a file that do not exist, the outermost first.
    fn missing_folders(&self, path: &str) -> Vec<String> {
        let mut missing = Vec::new();
        let mut at = file::parent(path);
        while at.len() > 1 && self.root.kind(at).is_none() {
            missing.push(at.to_owned());
            at = file::parent(at);
        }
        missing.reverse();
        missing
    }

    fn stage_and_rename(
        &self,
        changes: &[Change],
        journal: &Journal,
        point: &dyn Fn(&str),
    ) -> Result<(), CommitError> {
        for (change, entry) in changes.iter().zip(&journal.entries) {
            let path = &change.path;
            if change.new != Content::Absent {
                for folder in &entry.made {
                    self.root.mkdir_all(folder, 0o755).map_err(failed("make folder", folder))?;
                    file::sync_parent(self.root, folder)
                        .map_err(failed("sync the folder of", folder))?;
                }
            }
            let staged = file::staged(path, &self.agent);
            match &change.new {
                Content::Absent => continue,
                Content::Link { target } => {
                    file::remove(self.root, &staged).map_err(failed("remove", &staged))?;
                    self.root.symlink(target, &staged).map_err(failed("make link", path))?;
                }
                Content::File { bytes, mode, force_mode } => {
                    let attributes = match &entry.old {
                        OldEntry::File { mode, uid, gid, .. } if !force_mode => {
                            file::Attributes { mode: *mode, owner: Some((*uid, *gid)) }
                        }
                        _ => file::Attributes { mode: *mode, owner: force_mode.then_some((0, 0)) },
                    };
                    file::write(self.root, &staged, bytes, &attributes)
                        .map_err(failed("write", path))?;
                    file::copy_label(self.root, path, &staged).map_err(failed("label", path))?;
                }
            }
            point("staged");
        }
        for change in changes {
            let path = &change.path;
            if !self.is_still(change)? {
                return Err(CommitError::Changed { path: path.clone() });
            }
            match change.new {
                Content::Absent => file::remove(self.root, path).map_err(failed("remove", path))?,
                _ => self
                    .root
                    .rename(file::staged(path, &self.agent), path)
                    .map_err(failed("replace", path))?,
            }
            point("renamed");
            file::sync_parent(self.root, path).map_err(failed("sync the folder of", path))?;
        }
        Ok(())
    }

    /// Nobody changed the file since the plan was made.
    fn is_still(&self, change: &Change) -> Result<bool, CommitError> {
        let path = &change.path;
        Ok(match (&change.old, self.root.kind(path)) {
            (Old::Absent, None) => true,
            (Old::File(old), Some(Kind::File)) => self.root.read(path)?.as_ref() == Some(old),
            (Old::Link(old), Some(Kind::Link)) => self.root.link(path).as_ref() == Some(old),
            _ => false,
        })
    }

    /// Puts everything back as it was before the change that is under way; nothing to do when there is none.
    ///
    /// # Errors
    /// When something cannot be put back. What was kept stays, and the next call tries again.
    pub fn roll_back(&self, point: &dyn Fn(&str)) -> Result<Vec<String>, CommitError> {
        let Some(journal) = self.read_journal()? else {
            self.clean()?;
            return Ok(Vec::new());
        };
        let mut restored = Vec::new();
        for entry in journal.entries.iter().rev() {
            let staged = file::staged(&entry.path, &self.agent);
            file::remove(self.root, &staged).map_err(failed("remove", &staged))?;
            if self.restore(entry, &staged)? {
                restored.push(entry.path.clone());
                point("restored");
            }
            for folder in entry.made.iter().rev() {
                file::remove_empty_folder(self.root, folder)
                    .map_err(failed("remove folder", folder))?;
            }
        }
        self.close()?;
        point("rolled-back");
        Ok(restored)
    }

    /// Puts one file back; false when it is as it was.
    fn restore(&self, entry: &Entry, staged: &str) -> Result<bool, CommitError> {
        let path = &entry.path;
        let now = self.root.kind(path);
        match &entry.old {
            OldEntry::Absent => {
                if now.is_none() {
                    return Ok(false);
                }
                file::remove(self.root, path).map_err(failed("remove", path))?;
            }
            OldEntry::Link { target } => {
                if now == Some(Kind::Link) && self.root.link(path).as_ref() == Some(target) {
                    return Ok(false);
                }
                self.root.symlink(target, staged).map_err(failed("make link", path))?;
                self.root.rename(staged, path).map_err(failed("restore", path))?;
            }
            OldEntry::File { backup, sha256: digest, mode, uid, gid } => {
                if now == Some(Kind::File)
                    && self.root.read(path)?.is_some_and(|bytes| sha256(&bytes) == *digest)
                    && self.has_attributes(path, *mode, *uid, *gid)
                {
                    return Ok(false);
                }
                let place = format!("{}/{backup}", self.transaction());
                let bytes = self.root.read(&place)?.unwrap_or_default();
                if sha256(&bytes) != *digest {
                    return Err(CommitError::Backup { path: path.clone() });
                }
                let attributes = file::Attributes { mode: *mode, owner: Some((*uid, *gid)) };
                file::write(self.root, staged, &bytes, &attributes)
                    .map_err(failed("restore", path))?;
                file::copy_label(self.root, path, staged).map_err(failed("label", path))?;
                self.root.rename(staged, path).map_err(failed("restore", path))?;
            }
        }
        file::sync_parent(self.root, path).map_err(failed("sync the folder of", path))?;
        Ok(true)
    }

    fn has_attributes(&self, path: &str, mode: u32, uid: u32, gid: u32) -> bool {
        self.root.stat(path).is_ok_and(|stat| {
            stat.st_mode & 0o7777 == mode && stat.st_uid == uid && stat.st_gid == gid
        })
    }

    /// Ends a committed change: the old contents become the backups.
    ///
    /// # Errors
    /// When our folder cannot be written.
    pub fn finish(&self, point: &dyn Fn(&str)) -> Result<(), CommitError> {
        let Some(journal) = self.read_journal()? else { return self.clean() };
        let journal = Journal { phase: Phase::Done, ..journal };
        self.write_journal(&journal)?;
        point("done");
        let backups = format!("{}/backup", self.folder);
        self.root.mkdir_all(&backups, 0o700).map_err(failed("make folder", &backups))?;
        for entry in &journal.entries {
            let OldEntry::File { backup, .. } = &entry.old else { continue };
            let from = format!("{}/{backup}", self.transaction());
            let to = format!("{backups}/{}", file::flat_name(&entry.path));
            match self.root.rename(&from, &to) {
                Ok(()) => point("backed-up"),
                // Moved already, before a crash.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(failed("keep a copy of", &entry.path)(error)),
            }
        }
        let dir = self.root.open_dir(&backups).map_err(failed("open folder", &backups))?;
        dir.sync().map_err(failed("sync", &backups))?;
        self.close()
    }

    /// The journal goes first: without it there is nothing to recover.
    fn close(&self) -> Result<(), CommitError> {
        let path = self.journal_path();
        file::remove(self.root, &path).map_err(failed("remove", &path))?;
        file::sync_parent(self.root, &path).map_err(failed("sync the folder of", &path))?;
        self.clean()
    }
}

impl Drop for State<'_> {
    /// Closing alone would not do: a program that another thread is just starting has a copy of the descriptor until it
    /// runs, and the lock with it.
    fn drop(&mut self) {
        let unlocked = rustix::fs::flock(&self.lock, rustix::fs::FlockOperation::Unlock);
        if let Err(error) = unlocked {
            tracing::warn!(%error, "the lock of the network's state goes with its descriptor");
        }
    }
}

/// What [`Dir`] says of a file that is not there.
fn absent_is_fine(result: Result<(), DirError>) -> Result<(), DirError> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}
