//! A copy of a tree that is the same in all a node can see: contents with their holes, owners, modes, times, hard
//! links, devices (an overlay's whiteouts are some), extended attributes (its marks are some).
//!
//! What is copied was written by a node: every name is used alone, below a folder held by descriptor, and no link is
//! followed.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

/// Folders below each other; each holds two descriptors open.
const DEPTH: usize = 256;
/// Largest value of an extended attribute, and longest list of their names (Linux' own limits).
const ATTRIBUTE: usize = 64 * 1024;

struct Copy<'a> {
    /// Files with several names, by device and number: where the first copy is, from the top.
    linked: HashMap<(u64, u64), OsString>,
    top: OwnedFd,
    bytes: u64,
    cancel: &'a CancellationToken,
}

/// Copies the folder `from` to `to`, which must not exist. Bytes of the files copied.
///
/// # Errors
/// As the kernel says; `Interrupted` when cancelled. What was copied by then stays.
pub(super) fn copy(from: &Path, to: &Path, cancel: &CancellationToken) -> io::Result<u64> {
    let source = folder(CWD, from)?;
    rustix::fs::mkdir(to, Mode::RWXU)?;
    let target = folder(CWD, to)?;
    let mut copy = Copy { linked: HashMap::new(), top: target.try_clone()?, bytes: 0, cancel };
    copy.folder(&source, &target, &OsString::new(), 0)?;
    Ok(copy.bytes)
}

fn folder(at: BorrowedFd<'_>, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

impl Copy<'_> {
    /// Everything in a folder, then what is of the folder itself: its times change with what is made in it.
    fn folder(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &OsString,
        depth: usize,
    ) -> io::Result<()> {
        if depth > DEPTH {
            return Err(io::Error::other(format!("folders lie more than {DEPTH} deep")));
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.cancel.is_cancelled() {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
            }
            let mut below = path.clone();
            if !below.is_empty() {
                below.push("/");
            }
            below.push(OsString::from_vec(name.to_bytes().to_vec()));
            self.entry(from, to, name, below, depth)?;
        }
        let stat = rustix::fs::fstat(from)?;
        rustix::fs::fchown(to, Some(uid(&stat)), Some(gid(&stat)))?;
        attributes(&from_descriptor(from), &from_descriptor(to), true)?;
        rustix::fs::fchmod(to, mode(&stat))?;
        Ok(rustix::fs::futimens(to, &times(&stat))?)
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        path: OsString,
        depth: usize,
    ) -> io::Result<()> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let (below, new) = (folder(from.as_fd(), name)?, folder(to.as_fd(), name)?);
            return self.folder(&below, &new, &path, depth + 1);
        }
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&key) {
                let flags = AtFlags::empty();
                return Ok(rustix::fs::linkat(&self.top, first.as_os_str(), to, name, flags)?);
            }
            self.linked.insert(key, path);
        }
        match kind {
            FileType::RegularFile => self.bytes += contents(from, to, name, &stat)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target.as_c_str(), to, name)?;
            }
            _ => rustix::fs::mknodat(to, name, kind, Mode::empty(), stat.st_rdev)?,
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(to, name, Some(uid(&stat)), Some(gid(&stat)), flags)?;
        attributes(&in_folder(from, name), &in_folder(to, name), false)?;
        if kind != FileType::Symlink {
            // No link can be in its place: nobody else has this folder.
            rustix::fs::chmodat(to, name, mode(&stat), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(to, name, &times(&stat), flags)?)
    }
}

/// A file's bytes; where the file system can, it shares them.
fn contents(from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size == 0 || rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(size);
    }
    rustix::fs::ftruncate(&target, size)?;
    let mut at = 0;
    while at < size {
        // Holes stay holes.
        let start = match rustix::fs::seek(&source, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = rustix::fs::seek(&source, SeekFrom::Hole(start))?.min(size);
        let (mut read, mut written) = (start, start);
        while read < end {
            let most = usize::try_from(end - read).unwrap_or(usize::MAX).min(1 << 30);
            let copied = rustix::fs::copy_file_range(
                &source,
                Some(&mut read),
                &target,
                Some(&mut written),
                most,
            )?;
            if copied == 0 {
                return Err(io::Error::other("a file became shorter while it was copied"));
            }
        }
        at = end.max(start + 1);
    }
    Ok(size)
}

fn uid(stat: &Stat) -> Uid {
    Uid::from_raw(stat.st_uid)
}

fn gid(stat: &Stat) -> Gid {
    Gid::from_raw(stat.st_gid)
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        // Below a thousand million, as the kernel gives it.
        tv_nsec: nanoseconds.cast_signed(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn from_descriptor(fd: &OwnedFd) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("digits hold no NUL")
}

fn in_folder(fd: &OwnedFd, name: &CStr) -> CString {
    let mut path = from_descriptor(fd).into_bytes();
    path.push(b'/');
    path.extend_from_slice(name.to_bytes());
    CString::new(path).expect("a name of the kernel's holds no NUL")
}

/// Copies extended attributes; `follow` the path, which is a descriptor's.
fn attributes(from: &CStr, to: &CStr, follow: bool) -> io::Result<()> {
    use rustix::fs::{getxattr, lgetxattr, listxattr, llistxattr, lsetxattr, setxattr};
    let mut names = vec![0_u8; ATTRIBUTE];
    let length = if follow { listxattr(from, &mut names) } else { llistxattr(from, &mut names) };
    let length = match length {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    if length == 0 {
        return Ok(());
    }
    let mut value = vec![0_u8; ATTRIBUTE];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = OsString::from_vec(name.to_vec());
        let name = name.as_bytes();
        let length = if follow {
            getxattr(from, name, &mut value)
        } else {
            lgetxattr(from, name, &mut value)
        };
        let value = &value[..length?];
        let flags = XattrFlags::empty();
        if follow { setxattr(to, name, value, flags) } else { lsetxattr(to, name, value, flags) }?;
    }
    Ok(())
}
