//! Conversion by `qemu-img`, confined: for disks that can only be read out of order.
//!
//! The format of the source is given, never guessed; its header was read before and refers to no other file
//! ([`crate::disk`]). The program gets the two files as descriptors and nothing else: as root it is started as `nobody`,
//! who can reach neither our folders nor another image, with limits on time, memory, processor and the size of what it
//! writes.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use vnode_action::{Resource, Spec, User, run};

use crate::disk::Format;

/// Where the program is; it comes with the package `qemu-utils`.
const PROGRAM: &str = "/usr/bin/qemu-img";
const NOBODY: u32 = 65_534;
const TIME: Duration = Duration::from_secs(3600);
const MEMORY: u64 = 2 << 30;

/// Why a disk was not converted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConvertError {
    #[error("disks of the format {format:?} are not converted")]
    Format { format: Format },
    #[error("cannot {doing} {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("qemu-img cannot be run")]
    Start(#[source] vnode_action::Error),
    #[error("qemu-img ended with {status}: {said}")]
    Failed { status: String, said: String },
}

/// Whether there is a program to convert with.
pub fn is_there() -> bool {
    Path::new(PROGRAM).exists()
}

/// Makes a qcow2 of a VMDK or VDI. What was begun is removed on failure.
///
/// # Errors
/// [`ConvertError`].
pub async fn to_qcow2(
    from: &Path,
    format: Format,
    to: &Path,
    max_bytes: u64,
    cancellation: &CancellationToken,
) -> Result<(), ConvertError> {
    let name = match format {
        Format::Vmdk => "vmdk",
        Format::Vdi => "vdi",
        format => return Err(ConvertError::Format { format }),
    };
    let result = convert(from, name, to, max_bytes, cancellation).await;
    if result.is_err()
        && let Err(error) = fs::remove_file(to)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %to.display(), %error, "half a disk is left behind");
    }
    result
}

async fn convert(
    from: &Path,
    format: &str,
    to: &Path,
    max_bytes: u64,
    cancellation: &CancellationToken,
) -> Result<(), ConvertError> {
    let cannot = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| ConvertError::File { doing, path, source }
    };
    let source = File::open(from).map_err(cannot("open", from))?;
    let target = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)
        .map_err(cannot("make", to))?;
    let mut spec = Spec::new([
        PROGRAM,
        "convert",
        "-f",
        format,
        "-O",
        "qcow2",
        "/proc/self/fd/3",
        "/proc/self/fd/4",
    ])
    .folder("/")
    .capture(4096)
    .time_limit(TIME)
    .limit(Resource::As, MEMORY)
    .limit(Resource::Cpu, TIME.as_secs())
    .limit(Resource::Nofile, 64)
    .limit(Resource::Core, 0)
    .limit(Resource::Fsize, max_bytes);
    let mode = source.metadata().map_err(cannot("look at", from))?.permissions();
    let confined = rustix::process::geteuid().is_root();
    if confined {
        // `nobody` opens both again by their descriptors: no folder of ours need be open to others.
        std::os::unix::fs::fchown(&target, Some(NOBODY), Some(NOBODY))
            .map_err(cannot("give away", to))?;
        source.set_permissions(Permissions::from_mode(0o644)).map_err(cannot("open to", from))?;
        spec = spec.user(User { uid: NOBODY, gid: NOBODY, groups: Vec::new() });
    }
    let again = |file: &File, path: &Path| file.try_clone().map_err(cannot("open", path));
    let (three, four) = (again(&source, from)?, again(&target, to)?);
    spec = spec.pass(3, OwnedFd::from(three)).pass(4, OwnedFd::from(four));
    let output = run(spec, cancellation).await;
    if confined {
        source.set_permissions(mode).map_err(cannot("close again", from))?;
        std::os::unix::fs::fchown(&target, Some(0), Some(0)).map_err(cannot("take back", to))?;
    }
    let output = output.map_err(ConvertError::Start)?;
    if !output.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().last().unwrap_or_default().to_owned();
        return Err(ConvertError::Failed { status: output.status.to_string(), said });
    }
    target.set_permissions(Permissions::from_mode(0o644)).map_err(cannot("close", to))?;
    target.sync_all().map_err(cannot("write", to))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dynamic VDI of 1 MiB, of which one block is there.
    fn vdi(parent: bool) -> Vec<u8> {
        let mut disk = vec![0_u8; 1024];
        disk[..39].copy_from_slice(b"<<< Oracle VM VirtualBox Disk Image >>>");
        let mut put =
            |at: usize, value: u32| disk[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(0x40, 0xbeda_107f);
        put(0x44, 0x0001_0001);
        put(0x48, 0x190);
        put(0x4c, if parent { 4 } else { 1 });
        put(0x154, 512);
        put(0x158, 1024);
        put(0x168, 512);
        put(0x170, 1 << 20);
        put(0x178, 1 << 20);
        put(0x180, 1);
        put(0x184, 1);
        // The map of blocks: the first block is the first in the file.
        disk[512..516].copy_from_slice(&0_u32.to_le_bytes());
        disk.extend(vec![0x5a; 1 << 20]);
        disk
    }

    #[tokio::test]
    async fn w06_a_vdi_becomes_a_qcow2_by_a_confined_program() {
        if !is_there() {
            println!("skipped: there is no {PROGRAM}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("disk.vdi"), folder.path().join("disk.qcow2"));
        let disk = vdi(false);
        assert_eq!(crate::disk::probe(&disk).unwrap().format, Format::Vdi);
        fs::write(&from, &disk).unwrap();
        fs::set_permissions(&from, Permissions::from_mode(0o600)).unwrap();
        let never = CancellationToken::new();
        to_qcow2(&from, Format::Vdi, &to, 64 << 20, &never).await.unwrap();
        let made = fs::read(&to).unwrap();
        let found = crate::disk::probe(&made).unwrap();
        assert_eq!((found.format, found.virtual_size), (Format::Qcow2, Some(1 << 20)));
        assert_eq!(fs::metadata(&from).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o644);
        // More than may be written, and what is no disk of that format: nothing is left.
        let small = to_qcow2(&from, Format::Vdi, &to, 64 << 10, &never).await;
        assert!(small.is_err() && !to.exists());
        fs::write(&from, "no disk at all").unwrap();
        let wrong = to_qcow2(&from, Format::Vmdk, &to, 64 << 20, &never).await.unwrap_err();
        assert!(matches!(wrong, ConvertError::Failed { .. }), "{wrong}");
        assert!(!to.exists());
        assert!(crate::disk::probe(&vdi(true)).is_err());
    }
}
