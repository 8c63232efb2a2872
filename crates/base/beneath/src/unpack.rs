//! Bounded unpacking of tar archives below a folder.

use std::io::Read;
use std::path::PathBuf;

use crate::Dir;

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
    /// Folders made only because something below them was in the archive; their owner and mode are guessed.
    pub implied_folders: Vec<PathBuf>,
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cancelled")]
    Cancelled,
}

/// Unpacks a tar stream below `dir`; see the crate's page. On an error the caller removes what was made.
pub fn unpack(
    _reader: impl Read,
    _dir: &Dir,
    _limits: &Limits,
    _mode: Mode,
    _cancelled: &dyn Fn() -> bool,
) -> Result<Report, Error> {
    Err(Error::Cancelled)
}
