//! A file that has not arrived whole: its bytes, and whose they are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{DownloadError, Job};

/// Paths of a job in its folder.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) bytes: PathBuf,
    note: PathBuf,
    pub(super) whole: PathBuf,
}

/// Beside the bytes: from where they are, and what the server called the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) uri: String,
    /// A strong ETag, or a date.
    pub(super) validator: Option<String>,
    pub(super) size: u64,
    pub(super) sha512: String,
}

impl Part {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        Self {
            bytes: folder.join(format!("{name}.part")),
            note: folder.join(format!("{name}.part.json")),
            whole: folder.join(name),
        }
    }

    /// How much is here of this job from this source, and the validator to go on with.
    pub(super) fn here(&self, job: &Job, uri: &str) -> Option<(u64, String)> {
        let text = fs::read(&self.note).ok().filter(|text| text.len() < 64 << 10)?;
        let note: Note = serde_json::from_slice(&text).ok()?;
        let meta = fs::symlink_metadata(&self.bytes).ok().filter(fs::Metadata::is_file)?;
        let same = note.uri == uri && note.size == job.size && note.sha512 == job.sha512;
        let usable = same && (1..job.size).contains(&meta.len());
        usable.then_some(meta.len()).zip(note.validator)
    }

    /// Whether all bytes are here, under the name of the part or of the whole; they are then under the part's.
    pub(super) fn is_whole(&self, job: &Job) -> bool {
        let long = |path: &Path| {
            fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == job.size)
        };
        if long(&self.whole) && fs::rename(&self.whole, &self.bytes).is_err() {
            return false;
        }
        job.size > 0 && long(&self.bytes)
    }

    pub(super) fn write_note(&self, note: &Note) -> Result<(), DownloadError> {
        let cannot =
            |source| DownloadError::File { doing: "write", path: self.note.clone(), source };
        let text = serde_json::to_vec(note).map_err(|e| cannot(io::Error::other(e)))?;
        remove(&self.note)?;
        let mut file = super::open(&self.note, true).map_err(cannot)?;
        io::Write::write_all(&mut file, &text).map_err(cannot)
    }

    /// Forgets what arrived.
    pub(super) fn discard(&self) -> Result<(), DownloadError> {
        remove(&self.note)?;
        remove(&self.bytes)
    }

    /// Gives the whole file its name.
    pub(super) fn complete(&self) -> Result<(), DownloadError> {
        let cannot =
            |source| DownloadError::File { doing: "rename", path: self.bytes.clone(), source };
        fs::rename(&self.bytes, &self.whole).map_err(cannot)?;
        remove(&self.note)
    }
}

/// Removes a file that may be there.
pub(super) fn remove(path: &Path) -> Result<(), DownloadError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DownloadError::File { doing: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
