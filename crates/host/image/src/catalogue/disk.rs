//! Disks of virtual machines: one file each, under its SHA-512, never written after it came.
//!
//! A disk is made below `tmp/` and gets its name by one rename, under the lock under which its record is written. It is
//! named by SHA-512, not SHA-256 as layers are, because that is what signed lists promise: one pass over the bytes of a
//! download is enough.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha512};
use vnode_beneath::DirError;

use super::record::DiskRecord;
use super::{Inner, Pulled};
use crate::ImageConfig;
use crate::digest::Digest;
use crate::disk::{self, Format, HEAD_BYTES};
use crate::error::PullError;

/// Bytes copied at a time.
const PIECE: usize = 1 << 20;
/// Mode of a disk's file.
const EVERYBODY: u32 = 0o644;
/// Largest disk a machine may see: 16 TiB, more than any image has.
const MAX_VIRTUAL: u64 = 16 << 40;

/// A disk that has come whole, and has not got its name yet. Its file goes with the value.
pub(crate) struct Staged {
    inner: Arc<Inner>,
    /// Folder below `tmp/`.
    folder: PathBuf,
    pub(crate) disk: DiskRecord,
}

impl Staged {
    /// Gives the file its name; one that is there already is the same, by its hash.
    pub(super) fn place(&self) -> Result<(), DirError> {
        if self.inner.has_disk(&self.disk) {
            return Ok(());
        }
        self.inner.dir.rename(self.folder.join("disk"), self.disk.path())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = self.inner.dir.remove_tree(&self.folder) {
            // Swept at the next start.
            tracing::warn!(path = %self.folder.display(), %error, "temporary folder left behind");
        }
    }
}

impl Inner {
    /// Whether the file of a disk is here, as long as it was.
    pub(super) fn has_disk(&self, disk: &DiskRecord) -> bool {
        let meta = self.dir.open(disk.path()).ok().and_then(|file| file.metadata().ok());
        meta.is_some_and(|meta| meta.is_file() && meta.len() == disk.size_bytes)
    }

    fn stage(self: &Arc<Self>) -> Result<(PathBuf, File), PullError> {
        let folder = self.temporary()?.keep();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = self.dir.open_with(folder.join("disk"), flags, 0o600)?;
        let path = || self.root.join(&folder).join("disk");
        // For everybody who gets to it, which is root and the machines it is shown to: each runs as a user of its own.
        rustix::fs::fchmod(&file, EVERYBODY.into()).map_err(|e| PullError::Disk {
            action: "open",
            path: path(),
            source: e.into(),
        })?;
        Ok((folder, file))
    }
}

/// Copies a disk in, hashing it on the way. `path` is for messages. Blocks.
pub(crate) fn from_file(
    inner: &Arc<Inner>,
    path: &Path,
    reader: impl Read,
    size: u64,
    cancelled: &dyn Fn() -> bool,
) -> Result<Pulled, PullError> {
    Ok(pulled(inner, copy_in(inner, path, reader, size, cancelled)?))
}

fn copy_in(
    inner: &Arc<Inner>,
    path: &Path,
    mut reader: impl Read,
    size: u64,
    cancelled: &dyn Fn() -> bool,
) -> Result<Staged, PullError> {
    let failed = |action| move |source| PullError::Disk { action, path: path.to_owned(), source };
    let mut head = Vec::new();
    reader.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(failed("read"))?;
    let (format, virtual_size) = check(path, &head, size)?;
    let (folder, mut file) = inner.stage()?;
    let mut staged = Staged {
        inner: inner.clone(),
        folder,
        disk: DiskRecord { sha512: String::new(), format, virtual_size, size_bytes: 0 },
    };
    let mut hasher = Sha512::new();
    let mut piece = head;
    let mut copied = 0_u64;
    while !piece.is_empty() {
        if cancelled() {
            return Err(PullError::Cancelled);
        }
        hasher.update(&piece);
        file.write_all(&piece).map_err(failed("copy"))?;
        copied += piece.len() as u64;
        piece.resize(PIECE, 0);
        let read = loop {
            match reader.read(&mut piece) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(failed("read"))?,
            }
        };
        piece.truncate(read);
    }
    if copied != size {
        let why = "it changed while it was read".to_owned();
        return Err(PullError::NotADisk { path: path.to_owned(), why });
    }
    file.sync_all().map_err(failed("copy"))?;
    staged.disk.size_bytes = copied;
    staged.disk.sha512 = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(staged)
}

/// What a disk is named by, which who brings it in knows; hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The SHA-512 of its bytes, computed while they were written.
    Sha512(String),
    /// That of a text that says from what it was made, for nobody has signed its bytes.
    Made(String),
}

/// Takes over a file that is known: linked where it can be, else copied, and hashed again where its hash is known. Blocks.
pub(super) fn linked(inner: &Arc<Inner>, path: &Path, known: Known) -> Result<Pulled, PullError> {
    let failed = |action| move |source| PullError::Disk { action, path: path.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|e| failed("open")(e.into()))?;
    let file = File::from(file);
    let meta = file.metadata().map_err(failed("look at"))?;
    if !meta.is_file() {
        return Err(failed("read")(io::Error::other("not a regular file")));
    }
    let size = meta.len();
    // Made at once, so that whatever fails from here on takes the folder with it.
    let mut staged = Staged {
        inner: inner.clone(),
        folder: inner.temporary()?.keep(),
        disk: DiskRecord {
            sha512: String::new(),
            format: Format::Raw,
            virtual_size: 0,
            size_bytes: size,
        },
    };
    let to = inner.root.join(&staged.folder).join("disk");
    // The machines that use it have to be able to read it, and its mode is its owner's affair.
    let readable = meta.mode() & 0o004 != 0;
    let link = || {
        if readable {
            std::fs::hard_link(path, &to)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    };
    if let Err(error) = link() {
        tracing::debug!(path = %path.display(), %error, "a disk cannot be linked; it is copied");
        staged = copy_in(inner, path, file, size, &|| false)?;
        match known {
            Known::Sha512(sha512) if staged.disk.sha512 != sha512 => {
                let why = "it is not the file that was verified any more".to_owned();
                return Err(PullError::NotADisk { path: path.to_owned(), why });
            }
            Known::Sha512(sha512) | Known::Made(sha512) => staged.disk.sha512 = sha512,
        }
        return Ok(pulled(inner, staged));
    }
    let (Known::Sha512(sha512) | Known::Made(sha512)) = known;
    staged.disk.sha512 = sha512;
    let mut head = Vec::new();
    (&file).take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(failed("read"))?;
    (staged.disk.format, staged.disk.virtual_size) = check(path, &head, size)?;
    Ok(pulled(inner, staged))
}

/// What kind of disk a file is.
fn check(path: &Path, head: &[u8], size: u64) -> Result<(Format, u64), PullError> {
    let no = |why: String| PullError::NotADisk { path: path.to_owned(), why };
    let found = disk::probe(head)?;
    if found.format.is_packed() {
        let way = if found.format == Format::Tar {
            "a root file system in a tar is given as `tar:/PATH`, an OVA is brought in by a list"
        } else {
            "unpack it first"
        };
        return Err(no(format!("it is packed ({:?}); {way}", found.format).to_lowercase()));
    }
    if size == 0 {
        return Err(no("it is empty".to_owned()));
    }
    let virtual_size = found.virtual_size.unwrap_or(size);
    if virtual_size > MAX_VIRTUAL {
        return Err(no(format!("it claims a disk of {virtual_size} bytes")));
    }
    Ok((found.format, virtual_size))
}

fn pulled(inner: &Arc<Inner>, staged: Staged) -> Pulled {
    // What docker's image id is, of the least there is to say: the same disk is the same image wherever it came from.
    let said = format!(
        r#"{{"disk":"sha512:{}","format":"{:?}"}}"#,
        staged.disk.sha512, staged.disk.format
    );
    Pulled {
        id: Digest::of(said.as_bytes()),
        manifest_digest: None,
        layers: Vec::new(),
        disk: Some(staged),
        config: ImageConfig::default(),
        stamp: None,
        pins: inner.pin(&[]),
    }
}
