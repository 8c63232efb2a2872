//! What is written about an image and about a layer.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ImageConfig;
use crate::digest::Digest;
use crate::disk::Format;

/// Version of both forms; a record of another version is not read.
pub(super) const VERSION: u32 = 1;

/// `images/<id>.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(super) version: u32,
    pub(super) id: Digest,
    pub(super) references: BTreeMap<String, Name>,
    pub(super) manifest_digest: Option<Digest>,
    /// Lowest first.
    pub(super) layers: Vec<Digest>,
    pub(super) size_bytes: u64,
    /// The disk of a virtual machine; such an image has no layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) disk: Option<DiskRecord>,
    pub(super) config: ImageConfig,
    pub(super) warnings: Vec<String>,
    pub(super) created: Timestamp,
    pub(super) last_used: Timestamp,
}

/// A disk of the catalogue: `disks/<sha512>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiskRecord {
    /// Of the file, hexadecimal.
    pub(crate) sha512: String,
    pub(crate) format: Format,
    pub(crate) virtual_size: u64,
    pub(crate) size_bytes: u64,
}

impl DiskRecord {
    pub(crate) fn path(&self) -> PathBuf {
        Path::new("disks").join(&self.sha512)
    }
}

/// A name that leads to an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Name {
    /// When it came to lead there: after a crash in the middle of a change, the later one counts.
    pub(super) since: Timestamp,
    /// State of the local file it was read from.
    pub(super) stamp: Option<Stamp>,
}

/// What tells one content of a local file from another without reading it (T-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    /// Of a file, or of the index of an image layout; `None` when it cannot be looked at.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mut meta = std::fs::metadata(path).ok()?;
        if meta.is_dir() {
            meta = std::fs::metadata(path.join("index.json")).ok()?;
        }
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified_s: meta.mtime(),
            modified_ns: meta.mtime_nsec(),
        })
    }
}

/// `layers/<diff id>/layer.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(super) version: u32,
    pub(super) size_bytes: u64,
    pub(super) entries: u64,
    pub(super) devices_skipped: u64,
    pub(super) attributes_skipped: u64,
    /// Folders whose owner and mode the archive did not give.
    #[serde(with = "paths")]
    pub(super) implied_folders: Vec<PathBuf>,
}

/// Paths as text, or, where they are no UTF-8, as their bytes.
mod paths {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(paths.iter().map(|path| match path.to_str() {
            Some(text) => Written::Text(text.to_owned()),
            None => Written::Bytes(path.as_os_str().as_bytes().to_owned()),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<PathBuf>, D::Error> {
        let read = Vec::<Written>::deserialize(from)?;
        let path = |written| match written {
            Written::Text(text) => PathBuf::from(text),
            Written::Bytes(bytes) => PathBuf::from(OsString::from_vec(bytes)),
        };
        Ok(read.into_iter().map(path).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_layer_whose_folders_are_no_utf8_has_a_record() {
        let latin1 = PathBuf::from(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        let record = LayerRecord {
            version: VERSION,
            size_bytes: 1,
            entries: 1,
            devices_skipped: 0,
            attributes_skipped: 0,
            implied_folders: vec!["a/b".into(), latin1],
        };
        let bytes = serde_json::to_vec(&record).unwrap();
        assert!(
            String::from_utf8_lossy(&bytes).contains(r#"["a/b",["#),
            "as it was written before"
        );
        let read: LayerRecord = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read.implied_folders, record.implied_folders);
    }
}
