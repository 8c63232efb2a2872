//! What the journal holds.

use serde::{Deserialize, Serialize};

use crate::model::Interface;
use crate::render::Step;

/// Largest journal.
pub(super) const MAX: u64 = 8 << 20;

/// How far a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Files may be old or new: go back.
    Prepared,
    /// All files are new, the running system may not be: apply, or go back.
    Committed,
    /// It is ended but for the backups.
    Done,
}

/// What is needed to finish a committed change, or to take it back, after a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What makes the new files take effect.
    pub after: Vec<Step>,
    /// Interfaces with their new configuration, all of those that are managed.
    pub interfaces: Vec<Interface>,
    /// Names of those that change.
    pub changed: Vec<String>,
    /// What the kernel had for those before.
    pub before: Vec<Interface>,
    /// Nobody applies it now, so the kernel is not compared.
    #[serde(default)]
    pub files_only: bool,
    /// The guest's new name, and its old one.
    pub hostname: Option<(String, String)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Journal {
    /// Version of this file's form.
    pub(super) version: u32,
    pub(super) phase: Phase,
    pub(super) entries: Vec<Entry>,
    pub(super) note: Note,
}

/// One file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) old: OldEntry,
    /// Folders that were made for it, the outermost first.
    pub(super) made: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OldEntry {
    Absent,
    Link { target: String },
    File { backup: String, sha256: String, mode: u32, uid: u32, gid: u32 },
}
