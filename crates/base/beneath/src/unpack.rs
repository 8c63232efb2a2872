//! Bounded unpacking of tar archives below a folder.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use rustix::io::Errno;

use crate::archive::{self, Member, Reader};
use crate::{Decoder, Dir, dir};

mod path;
mod tree;

use tree::Tree;

/// Bounds on one archive. What exceeds one ends the unpacking with an error that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sum of the files' sizes, holes of sparse files counted; the decompressed stream is bounded with it.
    pub bytes: u64,
    /// Entries of any kind.
    pub entries: u64,
    /// Components of one path.
    pub depth: usize,
    /// Bytes of one path or link target.
    pub path_length: usize,
    /// Bytes of one component of a path.
    pub name_length: usize,
    /// Bytes of all folders' paths, which are kept until the end: an archive of little more than names must not fill the
    /// memory.
    pub folder_paths: u64,
    /// Bytes of one entry's extension headers: long names, extended attributes.
    pub extension_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 2_000_000,
            depth: 128,
            path_length: 4095,
            name_length: 255,
            folder_paths: 32 << 20,
            extension_bytes: 1 << 20,
        }
    }
}

/// What the archive is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A root file system or a layer of one: paths are taken from the root whatever they say, owners, modes,
    /// setuid bits and extended attributes are kept.
    RootFileSystem(RootFileSystem),
    /// A parcel of files from a stranger: only files, folders and links that stay inside; absolute paths, `..`,
    /// duplicates and anything special are refused; owners and setuid bits are dropped.
    Files,
}

/// Choices of [`Mode::RootFileSystem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootFileSystem {
    pub devices: Devices,
    pub whiteouts: Whiteouts,
    /// Set owners from the archive's numbers; needs root.
    pub owners: bool,
}

/// What happens to character and block devices in an archive. FIFOs are always made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    Refuse,
    /// Left out and counted: a node gets its own `/dev`.
    Skip,
    Create,
}

/// What happens to OCI whiteouts (`.wh.NAME`, `.wh..wh..opq`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// They are files like others.
    Keep,
    /// They become what overlayfs understands: a character device 0/0, or `trusted.overlay.opaque=y`. Devices 0/0
    /// in the archive itself are refused, so that only we make whiteouts.
    Overlay,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub entries: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// Devices left out, see [`Devices::Skip`].
    pub devices_skipped: u64,
    /// Extended attributes left out: of a kind we do not keep, or that the file system does not.
    pub attributes_skipped: u64,
    /// Folders made only because something below them was in the archive; their owner and mode are guessed.
    pub implied_folders: Vec<PathBuf>,
}

/// Why an archive was not unpacked. Paths are as the archive gives them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("unpacking was cancelled")]
    Cancelled,
    #[error("the archive cannot be read")]
    Archive(#[from] archive::Error),
    #[error("the archive holds more than {limit} {what}; raise the limit if it is trusted")]
    TooMuch { what: &'static str, limit: u64 },
    #[error("path `{path}` is too long: more than {limit} {what}")]
    PathTooLong { path: PathBuf, what: &'static str, limit: usize },
    /// A member that this mode does not take.
    #[error("member `{path}` is refused: {why}")]
    Refused { path: PathBuf, why: &'static str },
    #[error("hard link `{path}` leads to `{target}`, which is not in the archive before it")]
    DanglingHardLink { path: PathBuf, target: PathBuf },
    #[error("cannot unpack `{path}`")]
    Dir {
        path: PathBuf,
        #[source]
        source: dir::Error,
    },
    #[error("cannot unpack `{path}`: {action} failed")]
    Io {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// True when the disk, a quota or the file table is full: nothing is wrong with the archive.
    pub fn is_disk_full(&self) -> bool {
        let number = match self {
            Error::Io { source, .. } => source.raw_os_error(),
            Error::Dir { source, .. } => source.raw_os_error(),
            _ => None,
        };
        [Errno::NOSPC, Errno::DQUOT].iter().any(|e| number == Some(e.raw_os_error()))
    }
}

/// Unpacks a tar stream, plain or packed with gzip or zstd, below `dir`.
///
/// One pass; blocks. `cancelled` is asked at each member and each piece of data. On an error the caller removes what
/// was made. The stream is read to its end, so that a digest taken of it is complete.
pub fn unpack(
    reader: impl Read,
    dir: &Dir,
    limits: &Limits,
    mode: Mode,
    cancelled: &dyn Fn() -> bool,
) -> Result<Report, Error> {
    let decoder = Decoder::new(reader).map_err(archive::Error::Read)?;
    unpack_tar(decoder, dir, limits, mode, cancelled)
}

/// As [`unpack`], of a stream that is known to be plain tar.
pub fn unpack_tar(
    reader: impl Read,
    dir: &Dir,
    limits: &Limits,
    mode: Mode,
    cancelled: &dyn Fn() -> bool,
) -> Result<Report, Error> {
    // What headers and padding may add to the files' bytes; more is a bomb of another kind.
    let overhead = limits.entries.saturating_mul(2048).saturating_add(1 << 20);
    let cap = limits.bytes.saturating_add(overhead);
    let mut members = Reader::new(reader.take(cap), limits.extension_bytes);
    let mut tree = Tree::new(dir, limits, mode)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        match members.next_member() {
            Ok(Some(member)) => tree
                .add(&member, &mut |to| copy(&mut members, &member, to, &mut buffer, cancelled))?,
            Ok(None) => break,
            Err(archive::Error::Truncated { .. }) if members.position() >= cap => {
                return Err(Error::TooMuch { what: "bytes", limit: limits.bytes });
            }
            Err(e) => return Err(e.into()),
        }
    }
    let mut rest = members.into_inner();
    loop {
        if cancelled() {
            return Err(Error::Cancelled);
        }
        match rest.read(&mut buffer) {
            Ok(0) if rest.limit() == 0 => {
                return Err(Error::TooMuch { what: "bytes", limit: limits.bytes });
            }
            Ok(0) => break,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(archive::Error::Read(e).into()),
        }
    }
    tree.finish()
}

/// Copies a member's data into its file, leaving the holes of a sparse one.
fn copy<R: Read>(
    members: &mut Reader<R>,
    member: &Member,
    to: &mut File,
    buffer: &mut [u8],
    cancelled: &dyn Fn() -> bool,
) -> Result<(), Error> {
    let io = |action| move |source| Error::Io { path: member.path.clone(), action, source };
    let whole = [(0, member.stored_size)];
    for (offset, length) in member.pieces.as_deref().unwrap_or(&whole) {
        if member.pieces.is_some() {
            to.seek(SeekFrom::Start(*offset)).map_err(io("seek"))?;
        }
        let mut left = *length;
        while left > 0 {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = members.read_data(&mut buffer[..most])?;
            to.write_all(&buffer[..n]).map_err(io("write"))?;
            left -= n as u64;
        }
    }
    if member.pieces.is_some() {
        to.set_len(member.size).map_err(io("set the size"))?;
    }
    Ok(())
}
