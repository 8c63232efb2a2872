//! From a verified file to a disk that the cloud takes.
//!
//! ```text
//! raw, qcow2 ─────────────────────────────────────────────▶ as it is, where it is
//! gzip, bzip2, xz, zstd ─▶ unpacked ─┐
//! tar (OVA), zip ─▶ its one disk ────┴▶ raw, qcow2 ▶ taken; vmdk, vdi ▶ converted by `qemu-img`
//! ```
//!
//! What a file is, its header says, not its name and not the list. A disk that refers to another file is refused before
//! any program sees it; nothing of an archive is unpacked but the one disk; everything written is bounded.

mod archive;
mod convert;
mod ovf;
mod unpack;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use vnode_image::disk::{Disk, DiskError, Format, HEAD_BYTES, probe};

use crate::settings::Settings;

/// Packings within packings, at most: `disk.vmdk.gz` in an OVA in gzip.
const PACKINGS: usize = 4;

/// Why a file cannot become a disk.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PrepareError {
    #[error("cannot {doing} {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is refused")]
    Disk {
        path: PathBuf,
        #[source]
        source: DiskError,
    },
    #[error("{path} is declared as `{declared}`, and holds no disk that is known here")]
    Unknown { path: PathBuf, declared: String },
    #[error("{path} is declared as an OVA, which is a tar archive, and is none")]
    NotAnArchive { path: PathBuf },
    #[error("{path} cannot be read as an archive: {reason}")]
    Archive { path: PathBuf, reason: String },
    #[error("{path} has no disk that can be chosen: {reason}")]
    NoDisk { path: PathBuf, reason: String },
    #[error("the disk in {path} is larger than {limit} bytes; see max-virtual-size")]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{path} grows more than {ratio} times when it is unpacked; see max-ratio")]
    Ratio { path: PathBuf, ratio: u64 },
    #[error("{folder} has too little room; make some, or see keep-free")]
    Space { folder: PathBuf },
    #[error("{path} is packed more than {PACKINGS} times")]
    TooDeep { path: PathBuf },
    #[error("{path} cannot be converted: {reason}; is the package qemu-utils installed?")]
    Convert { path: PathBuf, reason: String },
    #[error("stopped")]
    Stopped,
}

impl PrepareError {
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => {
                Self::Space { folder: path.parent().unwrap_or(&path).to_owned() }
            }
            _ => Self::File { doing, path: path.clone(), source },
        }
    }

    /// Whether trying again may help: room, stops and absent files come and go, what is in a file stays.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Space { .. } | Self::Stopped => true,
            Self::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// What is allowed to preparing.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) max_bytes: u64,
    pub(crate) max_ratio: u64,
    pub(crate) keep_free: u64,
}

impl Bounds {
    fn of(settings: &Settings) -> Self {
        Self {
            max_bytes: settings.max_virtual_size,
            max_ratio: settings.max_ratio,
            keep_free: settings.keep_free,
        }
    }

    /// How much may be written into `folder` now.
    fn room(&self, folder: &Path) -> Result<u64, PrepareError> {
        let stat = rustix::fs::statvfs(folder)
            .map_err(|e| PrepareError::file("look at", folder)(e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(self.keep_free))
    }
}

/// A disk for the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub path: PathBuf,
    pub disk: Disk,
}

/// Refuses at once what can be refused by looking at headers.
///
/// # Errors
/// As [`prepare`].
pub fn inspect(file: &Path, declared: Option<&str>, limit: u64) -> Result<(), PrepareError> {
    let disk = look(file, declared, true)?;
    check_size(file, disk, limit)?;
    if disk.format == Format::Tar {
        archive::choose_in_tar(file)?;
    } else if disk.format == Format::Zip {
        archive::choose_in_zip(file)?;
    }
    Ok(())
}

/// Makes a disk of `file`: `file` itself, or something new in `folder`, which is made anew and is the caller's to
/// remove. Checks `cancellation` between blocks.
///
/// # Errors
/// When the file is not what it is declared as, is hostile, or does not fit; `folder` may then hold anything.
pub async fn prepare(
    file: &Path,
    declared: Option<&str>,
    folder: &Path,
    settings: &Settings,
    cancellation: &CancellationToken,
) -> Result<Prepared, PrepareError> {
    let disk = look(file, declared, true)?;
    check_size(file, disk, settings.max_virtual_size)?;
    if matches!(disk.format, Format::Raw | Format::Qcow2) {
        return Ok(Prepared { path: file.to_owned(), disk });
    }
    make_folder(folder)?;
    let bounds = Bounds::of(settings);
    let unpacked = {
        let (file, folder, token) = (file.to_owned(), folder.to_owned(), cancellation.clone());
        // The token ends the work at the next block.
        tokio::task::spawn_blocking(move || unpack_all(&file, disk, &folder, &bounds, &token))
            .await
            .map_err(|_| PrepareError::Stopped)??
    };
    match unpacked.disk.format {
        Format::Raw | Format::Qcow2 => Ok(unpacked),
        _ => convert::convert(&unpacked, file, folder, settings, cancellation).await,
    }
}

/// Takes packings off until a disk is there.
fn unpack_all(
    file: &Path,
    disk: Disk,
    folder: &Path,
    bounds: &Bounds,
    cancellation: &CancellationToken,
) -> Result<Prepared, PrepareError> {
    let mut now = Prepared { path: file.to_owned(), disk };
    for step in 0..=PACKINGS {
        if !now.disk.format.is_packed() {
            return Ok(now);
        }
        if step == PACKINGS {
            break;
        }
        let next = folder.join(format!("unpacked-{step}"));
        let trusted = match now.disk.format {
            Format::Tar => archive::take_from_tar(&now.path, &next, bounds, cancellation)?,
            Format::Zip => archive::take_from_zip(&now.path, &next, bounds, cancellation)?,
            format => {
                unpack::unpack(&now.path, format, &next, bounds, cancellation)?;
                false
            }
        };
        if now.path != file {
            std::fs::remove_file(&now.path).map_err(PrepareError::file("remove", &now.path))?;
        }
        let disk = look(&next, trusted.then_some("raw"), false)?;
        check_size(&next, disk, bounds.max_bytes)?;
        now = Prepared { path: next, disk };
    }
    Err(PrepareError::TooDeep { path: file.to_owned() })
}

/// What a file is. A raw disk has no header of its own: it must be declared as one, or begin as disks do.
fn look(path: &Path, declared: Option<&str>, outer: bool) -> Result<Disk, PrepareError> {
    let failed = PrepareError::file("read", path);
    let mut file = open(path)?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(&failed)?;
    let disk =
        probe(&head).map_err(|source| PrepareError::Disk { path: path.to_owned(), source })?;
    let declared = declared.unwrap_or_default();
    let is = |word: &str| declared.eq_ignore_ascii_case(word);
    if outer && is("ova") && !disk.format.is_packed() {
        return Err(PrepareError::NotAnArchive { path: path.to_owned() });
    }
    let is_raw = disk.format == Format::Raw;
    if is_raw && (head.is_empty() || !(is("raw") || begins_as_a_disk(&head))) {
        return Err(PrepareError::Unknown {
            path: path.to_owned(),
            declared: declared.chars().take(40).flat_map(char::escape_default).collect(),
        });
    }
    if is("raw") && !is_raw {
        tracing::warn!(path = %path.display(), found = ?disk.format, "declared as raw, and is not");
    }
    Ok(disk)
}

/// A boot sector, a partition table, or a file system known by its magic number.
fn begins_as_a_disk(head: &[u8]) -> bool {
    head.get(510..512) == Some(&[0x55, 0xaa])
        || head.get(512..520) == Some(b"EFI PART")
        || head.get(1080..1082) == Some(&[0x53, 0xef])
        || head.get(32769..32774) == Some(b"CD001")
        || head.starts_with(b"XFSB")
}

/// What a node sees must be within the bound; of a raw disk that is the file.
fn check_size(path: &Path, disk: Disk, limit: u64) -> Result<(), PrepareError> {
    let length = std::fs::metadata(path).map_err(PrepareError::file("look at", path))?.len();
    if disk.virtual_size.unwrap_or(length) > limit {
        return Err(PrepareError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(())
}

/// Opens a regular file, and no link in its place.
fn open(path: &Path) -> Result<File, PrepareError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = PrepareError::file("open", path);
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)
        .map_err(&failed)?;
    if !file.metadata().map_err(&failed)?.is_file() {
        return Err(failed(io::Error::other("it is no regular file")));
    }
    file.seek(SeekFrom::Start(0)).map_err(&failed)?;
    Ok(file)
}

/// Makes a folder anew, for its owner only.
fn make_folder(folder: &Path) -> Result<(), PrepareError> {
    remove_folder(folder)?;
    let make = std::fs::DirBuilder::new().mode(0o700).create(folder);
    make.map_err(PrepareError::file("make", folder))
}

/// Removes what preparing left; nothing there is no error.
///
/// # Errors
/// When something cannot be removed.
pub fn remove_folder(folder: &Path) -> Result<(), PrepareError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PrepareError::file("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Lets the server's user read a disk that was prepared by another.
///
/// # Errors
/// When the user of the settings is not known, or this program may not give files away.
pub(crate) fn share(
    path: &Path,
    folder: &Path,
    settings: &Settings,
) -> Result<PathBuf, PrepareError> {
    let Some(name) = &settings.share_with else { return Ok(path.to_owned()) };
    let passwd = Path::new("/etc/passwd");
    let text = crate::files::text(passwd, 16 << 20).map_err(PrepareError::file("read", passwd))?;
    let unknown = || io::Error::other(format!("no user `{name}`; see share-with"));
    let user = vnode_action::account::account(&text, name)
        .ok_or_else(|| PrepareError::file("read", passwd)(unknown()))?;
    let above = folder.parent().into_iter();
    for each in above.chain([folder, path]) {
        std::os::unix::fs::lchown(each, Some(user.uid), None)
            .map_err(PrepareError::file("give away", each))?;
    }
    Ok(path.to_owned())
}
