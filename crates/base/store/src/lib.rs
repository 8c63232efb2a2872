//! The daemon's memory: keys with values and revisions, changed all or nothing and durable when told so.
//!
//! * [`Store`]: what an engine gives. Two engines: one redb file ([`open`]) and process memory ([`memory`]).
//! * [`record`]: the envelope of a value, with magic, schema version and checksum, so that corruption is
//!   told from absence and an old value is migrated.
//! * [`repair`]: makes a damaged file one that opens, with what is whole in it.
//!
//! Invariants: a commit that returned is there after SIGKILL at any later instant; a commit that failed
//! left nothing; one process at a time holds a file.
#![forbid(unsafe_code)]

use std::{fmt, path::Path, sync::Arc};

use futures_util::future::BoxFuture;

mod error;
mod file;
mod lockfile;
mod memory;
mod pages;
pub mod record;
mod repair;
mod watch;

pub use error::{Error, Result};
pub use pages::Damage;
pub use repair::{Repaired, repair};
pub use watch::{Changes, Notice, Watch};

/// Longest key, bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Longest value, bytes.
pub const MAX_VALUE_BYTES: usize = 64 << 20;

/// A value and the revision of the commit that put it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub value: Vec<u8>,
    pub revision: u64,
}

/// What must hold of a key for a change to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Nothing: last writer wins.
    #[default]
    Any,
    /// The key is not there.
    Absent,
    /// The key was last put by the commit of this revision.
    Revision(u64),
}

/// One change of a commit. A commit names a key at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put {
        key: String,
        value: Vec<u8>,
        expect: Expect,
    },
    /// Deleting a key that is not there is no error under [`Expect::Any`].
    Delete {
        key: String,
        expect: Expect,
    },
}

impl Change {
    /// Puts `value` whatever was there.
    pub fn put(key: impl Into<String>, value: Vec<u8>) -> Self {
        Self::Put { key: key.into(), value, expect: Expect::Any }
    }

    /// Puts `value` where nothing is.
    pub fn create(key: impl Into<String>, value: Vec<u8>) -> Self {
        Self::Put { key: key.into(), value, expect: Expect::Absent }
    }

    /// Replaces the value that was read with `revision`.
    pub fn replace(key: impl Into<String>, value: Vec<u8>, revision: u64) -> Self {
        Self::Put { key: key.into(), value, expect: Expect::Revision(revision) }
    }

    /// Deletes whatever is there.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into(), expect: Expect::Any }
    }

    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    pub fn expect(&self) -> Expect {
        match self {
            Self::Put { expect, .. } | Self::Delete { expect, .. } => *expect,
        }
    }
}

/// An engine that keeps entries. Futures may be dropped at any time: a commit once begun still ends
/// whole, its caller only does not learn how.
pub trait Store: Send + Sync + fmt::Debug {
    /// The entry of `key`, if there is one.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>>;

    /// At most `limit` entries whose key begins with `prefix` and is greater than or equal to `from`, in
    /// order of keys. `from` of `""` begins at the prefix.
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        from: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>>>;

    /// All entries whose key begins with `prefix`, in order of keys.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<(String, Entry)>>> {
        self.scan(prefix, "", usize::MAX)
    }

    /// The entry with the greatest key that begins with `prefix`.
    fn last<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Option<(String, Entry)>>>;

    /// Makes all changes or none; durable on return. Gives the revision that the entries now carry.
    ///
    /// # Errors
    /// [`Error::Conflict`] names the first key whose expectation did not hold.
    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<u64>>;

    /// As [`Store::commit`], but seen by readers on return and durable only with the next durable commit or
    /// after a second, whichever is first. For what may be lost in a crash: events.
    fn commit_lazily(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<u64>>;

    /// Tells of keys that begin with `prefix` and are changed by commits that end after this call.
    fn watch(&self, prefix: &str) -> Watch;

    /// Counts the commits that change keys that begin with `prefix`, from now on.
    fn changes(&self, prefix: &str) -> Changes;
}

/// Opens or makes the store in the file `path`; folders that are missing are made, mode 0700.
///
/// # Errors
/// [`Error::Held`] when another process has it open, [`Error::Foreign`] when the file is not a store of
/// ours, [`Error::Newer`] when a newer vnode wrote it, [`Error::Damaged`] with the place when it was altered by
/// somebody else; that leaves the file as it is.
pub fn open(path: &Path) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(file::Engine::open(path)?))
}

/// A store in memory, gone with the last reference to it. For tests and for `--dry-run`.
pub fn memory() -> Arc<dyn Store> {
    Arc::new(memory::Engine::default())
}
