//! What can go wrong with the store.

use std::path::PathBuf;

use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the store; the text names the file, key or version.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    #[error("`{key}` was changed by another request; read it again and retry")]
    Conflict { key: String },
    #[error(
        "the store {path} is in use by another vnode daemon{holder}; stop that one or choose another --state-dir"
    )]
    Held { path: PathBuf, holder: String },
    #[error("{path} is not a vnode store; move it away or choose another --state-dir")]
    Foreign {
        path: PathBuf,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    #[error(
        "{what} has version {found}, this vnode knows versions up to {known}; use the vnode that wrote it"
    )]
    Newer { what: String, found: u32, known: u32 },
    #[error("a stored value is corrupt: {reason}")]
    Corrupt { reason: String },
    #[error("a stored value of schema version {from} cannot be migrated: {reason}")]
    Migration { from: u32, reason: String },
    #[error("a value cannot be encoded")]
    Encode(#[source] serde_json::Error),
    #[error("a commit is refused: {reason}")]
    Invalid { reason: String },
    #[error("cannot {doing} the store {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the store cannot {doing}")]
    Engine {
        doing: &'static str,
        #[source]
        source: Box<redb::Error>,
    },
    #[error(
        "the store {path} is damaged: {reason}; start with --repair to go on with what is whole, or put a copy in its \
         place"
    )]
    Damaged { path: PathBuf, reason: String },
    #[error("a commit could not be written: {reason}")]
    Write { reason: String },
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Whether reading the current state and trying again may help.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}
