//! A file of a guest.

use std::fmt;

use crate::exec::Reader;

/// What the guest says of a file before its bytes come; what it does not say is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileHead {
    /// Its size when it was opened, bytes; the bytes that come may be more or fewer.
    pub size: Option<u64>,
    /// Rights, the lowest twelve bits.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Last change, seconds since 1970.
    pub modified_s: Option<i64>,
}

/// A file being read.
pub struct FileReader {
    pub head: FileHead,
    /// Its bytes. A file that breaks off ends with an error, not with an end of file.
    pub bytes: Reader,
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader").field("head", &self.head).finish_non_exhaustive()
    }
}

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSpec {
    /// Absolute path inside.
    pub path: String,
    /// Rights of the new file. QEMU's form cannot set them (they are then what the agent's umask leaves), nor the owner.
    pub mode: u32,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Makes missing folders above it. Not in QEMU's form.
    pub folders: bool,
}

impl FileSpec {
    /// A file of that path, mode 0644.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), mode: 0o644, uid: None, gid: None, folders: false }
    }
}
