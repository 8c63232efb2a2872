//! Files of a node as tar streams, without a tar program in it.
//!
//! Every path is opened beneath the node's root with `RESOLVE_IN_ROOT`: links are followed as the node would
//! follow them, never out of it, whoever changes them meanwhile.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use tokio::net::unix::pipe;
use tokio_util::io::SyncIoBridge;

use super::instance::blocking;
use crate::{Error, IdMap, Reader, Result};

/// Folders deeper than this are not read or written.
const DEPTH: usize = 256;
/// Entries of one archive.
const ENTRIES: usize = 1_000_000;

fn open_in_root(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Something was renamed meanwhile and the kernel cannot tell whether it stayed inside.
            Err(Errno::AGAIN) if tries < 32 => tries += 1,
            other => return other,
        }
    }
}

fn path_error(node: &str, path: &str, e: impl std::fmt::Display) -> Error {
    Error::Path { node: node.to_owned(), path: path.to_owned(), what: e.to_string() }
}

/// Begins a tar stream of a file or folder.
pub(super) fn out(node: String, root: OwnedFd, path: String) -> Result<Reader> {
    let fail = |e: io::Error| path_error(&node, &path, e);
    let name = Path::new(&path).components().next_back();
    let name = match name {
        Some(Component::Normal(name)) => PathBuf::from(name),
        _ => PathBuf::from("."),
    };
    // Opened before the answer, so that a path that is not there is an error and not an empty stream.
    let top = open_in_root(&root, Path::new(&path), OFlags::PATH).map_err(|e| fail(e.into()))?;
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| fail(e.into()))?;
    rustix::io::ioctl_fionbio(&read, true).map_err(|e| fail(e.into()))?;
    let reader = pipe::Receiver::from_owned_fd(read).map_err(fail)?;
    tokio::task::spawn_blocking(move || {
        let output = io::BufWriter::with_capacity(64 * 1024, std::fs::File::from(write));
        let mut archive = Writing { output, entries: 0 };
        if let Err(error) = archive.all(&top, &name) {
            // A reader that went away wanted no more. Any other error cuts the stream before its end mark,
            // which every reader of tar notices.
            if error.kind() != io::ErrorKind::BrokenPipe {
                tracing::warn!(node, path, %error, "archive is cut");
            }
        }
    });
    Ok(Box::pin(reader))
}

struct Writing<W: Write> {
    output: W,
    entries: usize,
}

impl<W: Write> Writing<W> {
    fn all(&mut self, top: &OwnedFd, name: &Path) -> io::Result<()> {
        self.entry(top, name, 0)?;
        self.output.write_all(&[0; 1024])?;
        self.output.flush()
    }

    /// `at` is open as a path, and may be anything.
    fn entry(&mut self, at: &OwnedFd, name: &Path, depth: usize) -> io::Result<()> {
        self.entries += 1;
        if depth > DEPTH || self.entries > ENTRIES {
            return Err(io::Error::other("too deep or too many files"));
        }
        let found = rustix::fs::fstat(at)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let mut header = tar::Header::new_gnu();
        header.set_mode(found.st_mode & 0o7777);
        header.set_uid(u64::from(found.st_uid));
        header.set_gid(u64::from(found.st_gid));
        header.set_mtime(u64::try_from(found.st_mtime).unwrap_or(0));
        header.set_size(0);
        let mut builder = tar::Builder::new(&mut self.output);
        match kind {
            FileType::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, name, io::empty())?;
            }
            FileType::Symlink => {
                header.set_entry_type(tar::EntryType::Symlink);
                let to = rustix::fs::readlinkat(at, "", Vec::new())?;
                let to = std::ffi::OsStr::new(to.to_str().map_err(io::Error::other)?);
                builder.append_link(&mut header, name, to)?;
            }
            FileType::RegularFile => {
                header.set_entry_type(tar::EntryType::Regular);
                let size = u64::try_from(found.st_size).unwrap_or(0);
                header.set_size(size);
                // By its descriptor: the very file that was looked at.
                let path = format!("/proc/self/fd/{}", at.as_raw_fd());
                let file = std::fs::File::open(path)?;
                // A file that shrinks meanwhile is filled up, one that grows is cut: the header has been sent.
                let body = file.take(size).chain(io::repeat(0)).take(size);
                builder.append_data(&mut header, name, body)?;
            }
            // Sockets, pipes and devices are nothing without their programs and drivers.
            _ => {}
        }
        // Its end mark is written by `all`, once.
        std::mem::forget(builder);
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = openat(at, ".", flags, Mode::empty())?;
            let mut buffer = Vec::with_capacity(16 * 1024);
            let mut names = Vec::new();
            let mut entries = RawDir::new(&folder, buffer.spare_capacity_mut());
            while let Some(entry) = entries.next() {
                let entry = entry?;
                let inner = entry.file_name().to_bytes();
                if inner != b"." && inner != b".." {
                    names.push(entry.file_name().to_owned());
                }
                if names.len() > ENTRIES {
                    return Err(io::Error::other("too many files"));
                }
            }
            for inner in names {
                use std::os::unix::ffi::OsStrExt;
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let child = match openat(&folder, &inner, flags, Mode::empty()) {
                    Ok(child) => child,
                    // Removed meanwhile.
                    Err(Errno::NOENT) => continue,
                    Err(e) => return Err(e.into()),
                };
                let name = name.join(std::ffi::OsStr::from_bytes(inner.to_bytes()));
                self.entry(&child, &name, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Unpacks a tar stream in a folder of the node.
pub(super) async fn into(
    node: String,
    root: OwnedFd,
    path: String,
    tar: Reader,
    ids: Option<IdMap>,
) -> Result<()> {
    let input = SyncIoBridge::new(tar);
    blocking(move || {
        let fail = |e: io::Error| path_error(&node, &path, e);
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let top = open_in_root(&root, Path::new(&path), flags).map_err(|e| fail(e.into()))?;
        // In the folder itself as root from here on: nothing an archive says leads above where it was put.
        let unpack = || unpack(&top, input);
        match ids {
            None => unpack(),
            Some(map) => as_root_of(map, unpack),
        }
        .map_err(fail)
    })
    .await?
}

/// Runs `work` with the file system ids of a node's root, on a thread of its own.
fn as_root_of(map: IdMap, work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
    let outcome = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // SAFETY: raw system calls change this thread only, which ends with `work`. Leaving root's ids
            // takes the file capabilities along; a folder of the node's belongs to these ids, so they suffice.
            unsafe {
                libc::syscall(libc::SYS_setfsgid, map.first);
                libc::syscall(libc::SYS_setfsuid, map.first);
            }
            work()
        });
        worker.join()
    });
    outcome.unwrap_or_else(|_| Err(io::Error::other("the unpacking thread failed")))
}

fn unpack(top: &OwnedFd, input: impl Read) -> io::Result<()> {
    let mut archive = tar::Archive::new(input);
    let mut entries = 0_usize;
    for entry in archive.entries()? {
        let mut entry = entry?;
        entries += 1;
        if entries > ENTRIES {
            return Err(io::Error::other(format!("more than {ENTRIES} entries")));
        }
        let path = entry.path()?.into_owned();
        let mut clean = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => clean.push(name),
                Component::RootDir | Component::CurDir => {}
                _ => return Err(io::Error::other(format!("entry `{}` leads out", path.display()))),
            }
        }
        if clean.components().count() > DEPTH {
            return Err(io::Error::other(format!("entry `{}` is too deep", path.display())));
        }
        one(top, &mut entry, &clean)
            .map_err(|e| io::Error::new(e.kind(), format!("`{}`: {e}", path.display())))?;
    }
    Ok(())
}

fn one(top: &OwnedFd, entry: &mut tar::Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
    let mode = Mode::from_raw_mode(entry.header().mode()? & 0o7777);
    let kind = entry.header().entry_type();
    let Some(name) = path.file_name() else {
        // The folder itself, which is there.
        return Ok(());
    };
    let parent = ensure_dir(top, path.parent().unwrap_or(Path::new("")))?;
    let remove = || match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(io::Error::from(e)),
    };
    match kind {
        tar::EntryType::Directory => {
            match rustix::fs::mkdirat(&parent, name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let made = open_in_root(top, path, flags)?;
            rustix::fs::fchmod(&made, mode)?;
        }
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            // A link of this name is replaced, not followed.
            remove()?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::from_raw_mode(0o600))?;
            let mut file = std::fs::File::from(file);
            io::copy(entry, &mut file)?;
            // Fields left empty mean root.
            let (uid, gid) = (entry.header().uid().unwrap_or(0), entry.header().gid().unwrap_or(0));
            if let (Ok(uid), Ok(gid)) = (u32::try_from(uid), u32::try_from(gid))
                && (uid, gid) != (0, 0)
            {
                use rustix::fs::{Gid, Uid};
                let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                match rustix::fs::fchown(&file, owner.0, owner.1) {
                    // Without the right to give files away they stay with the node's root.
                    Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::OVERFLOW) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            rustix::fs::fchmod(&file, mode)?;
        }
        tar::EntryType::Symlink => {
            remove()?;
            let to = entry.link_name()?.ok_or_else(|| io::Error::other("link without a target"))?;
            rustix::fs::symlinkat(to.as_ref(), &parent, name)?;
        }
        tar::EntryType::Link => {
            remove()?;
            let to = entry.link_name()?.ok_or_else(|| io::Error::other("link without a target"))?;
            let from = open_in_root(top, &to, OFlags::PATH | OFlags::NOFOLLOW)?;
            let from = format!("/proc/self/fd/{}", from.as_raw_fd());
            rustix::fs::linkat(
                rustix::fs::CWD,
                from,
                &parent,
                Path::new(name),
                AtFlags::SYMLINK_FOLLOW,
            )?;
        }
        tar::EntryType::XGlobalHeader => {}
        other => {
            return Err(io::Error::other(format!("entries of type {other:?} are not unpacked")));
        }
    }
    Ok(())
}

fn ensure_dir(top: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match open_in_root(top, here, flags) {
        Err(Errno::NOENT) => {}
        other => return Ok(other?),
    }
    let mut done = PathBuf::new();
    let mut parent = open_in_root(top, Path::new("."), flags)?;
    for part in path.components() {
        done.push(part);
        parent = match open_in_root(top, &done, flags) {
            Err(Errno::NOENT) => {
                let name = Path::new(part.as_os_str());
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                open_in_root(top, &done, flags)?
            }
            other => other?,
        };
    }
    Ok(parent)
}
