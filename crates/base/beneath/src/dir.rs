//! A folder held by descriptor, and operations on paths that cannot leave it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// What a [`Dir`] refuses or could not do. The path is the one the caller gave, relative to the folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path, or a link on the way, leads out of the folder.
    #[error("`{path}` leads out of its root")]
    Escapes { path: PathBuf },
    /// The path names nothing that can be made or removed: empty, `/`, or ending in `..`.
    #[error("`{path}` does not name an entry of a folder")]
    NoName { path: PathBuf },
    /// The file holds more than the caller wants to read.
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: u64 },
    /// The folder holds more than the caller wants to list.
    #[error("more than {limit} names in `{path}`")]
    TooMany { path: PathBuf, limit: usize },
    /// Another file system is mounted below a tree that was to be removed.
    #[error("`{path}` is a mount point; unmount it before the tree is removed")]
    MountPoint { path: PathBuf },
    /// The kernel's answer to the named call.
    #[error("cannot {action} `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The kernel's error number, where there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Error::Io { source, .. } => source.raw_os_error(),
            Error::Escapes { .. } => Some(Errno::XDEV.raw_os_error()),
            _ => None,
        }
    }

    /// True when the error says that nothing is there.
    pub fn is_not_found(&self) -> bool {
        self.raw_os_error() == Some(Errno::NOENT.raw_os_error())
    }

    /// True when the error says that something is there already.
    pub fn already_exists(&self) -> bool {
        self.raw_os_error() == Some(Errno::EXIST.raw_os_error())
    }
}

pub(crate) fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    match errno {
        // openat2 with RESOLVE_BENEATH answers EXDEV for an escape.
        Errno::XDEV => Error::Escapes { path: path.to_owned() },
        errno => Error::Io { action, path: path.to_owned(), source: errno.into() },
    }
}

/// How links and absolute paths met on the way are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Whatever would leave the folder is an error (`RESOLVE_BENEATH`). For paths that ought to be plain.
    Beneath,
    /// The folder is the root, as after `chroot`: absolute links start at it, `..` stops at it
    /// (`RESOLVE_IN_ROOT`). For the root file system of a node or an image.
    InRoot,
}

/// A folder, held by descriptor. Cheap to clone with [`try_clone`](Self::try_clone); all calls block.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    scope: Scope,
}

impl Dir {
    /// Opens a folder by a path that is trusted (a setting, a folder of ours); links in it are followed.
    pub fn open_ambient(path: impl AsRef<Path>, scope: Scope) -> Result<Self, Error> {
        let path = path.as_ref();
        let fd = rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| failed("open", path, errno))?;
        Ok(Self { fd, scope })
    }

    /// Takes a descriptor that is open on a folder.
    pub fn from_fd(fd: OwnedFd, scope: Scope) -> Self {
        Self { fd, scope }
    }

    /// The same folder under another descriptor.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let fd = self.fd.try_clone().map_err(|source| Error::Io {
            action: "duplicate the descriptor of",
            path: PathBuf::from("."),
            source,
        })?;
        Ok(Self { fd, scope: self.scope })
    }

    /// The same folder with another understanding of paths.
    pub fn with_scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// How paths are understood.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    fn resolve(&self) -> ResolveFlags {
        ResolveFlags::NO_MAGICLINKS
            | match self.scope {
                Scope::Beneath => ResolveFlags::BENEATH,
                Scope::InRoot => ResolveFlags::IN_ROOT,
            }
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // EAGAIN: something was renamed during the walk and the kernel could not prove that `..` stayed inside.
        for _ in 0..64 {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, self.resolve())
            {
                Err(Errno::AGAIN | Errno::INTR) => continue,
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens a file with any flags; `mode` counts when the flags may create it.
    pub fn open_with(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: u32,
    ) -> Result<File, Error> {
        let path = path.as_ref();
        // openat2 refuses a mode where nothing can be created.
        let mode = if flags.intersects(OFlags::CREATE | OFlags::TMPFILE) {
            Mode::from_raw_mode(mode)
        } else {
            Mode::empty()
        };
        self.open_at(path, flags, mode).map(File::from).map_err(|errno| failed("open", path, errno))
    }

    /// Opens an existing file for reading. Never blocks on a FIFO and never becomes the controlling terminal.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<File, Error> {
        self.open_with(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)
    }

    /// Makes a new file for writing; an entry of that name, even a dangling link, is an error.
    pub fn create(&self, path: impl AsRef<Path>, mode: u32) -> Result<File, Error> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        rustix::fs::openat(
            &parent.fd,
            &name,
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::from_raw_mode(mode),
        )
        .map(File::from)
        .map_err(|errno| failed("create", path, errno))
    }

    /// Opens a folder below this one, with the same scope counted from there.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<Dir, Error> {
        let path = path.as_ref();
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map(|fd| Dir { fd, scope: self.scope })
            .map_err(|errno| failed("open folder", path, errno))
    }

    /// Opens the folder that holds the last name of `path`, and returns that name.
    pub(crate) fn parent(&self, path: &Path) -> Result<(Dir, OsString), Error> {
        let no_name = || Error::NoName { path: path.to_owned() };
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) if !path.as_os_str().as_bytes().ends_with(b"/.") => name,
            _ => return Err(no_name()),
        };
        let parent = path.parent().ok_or_else(no_name)?;
        let fd = self
            .open_at(parent, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|errno| failed("open the folder of", path, errno))?;
        Ok((Dir { fd, scope: self.scope }, name.to_owned()))
    }

    /// Makes one folder; its parent must exist.
    pub fn mkdir(&self, path: impl AsRef<Path>, mode: u32) -> Result<(), Error> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        rustix::fs::mkdirat(&parent.fd, &name, Mode::from_raw_mode(mode))
            .map_err(|errno| failed("make folder", path, errno))
    }

    /// Makes a folder and those above it that are missing. Links to folders inside the root are walked through.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<(), Error> {
        let path = path.as_ref();
        match self.open_dir(path) {
            Ok(_) => return Ok(()),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        let mut so_far = PathBuf::new();
        for part in path.components() {
            so_far.push(part);
            if !matches!(part, Component::Normal(_)) {
                continue;
            }
            match self.mkdir(&so_far, mode) {
                Ok(()) => {}
                Err(e) if e.already_exists() => {}
                Err(e) => return Err(e),
            }
        }
        self.open_dir(path).map(drop)
    }

    /// Makes a symbolic link. Its target is stored as it is and not looked at.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        rustix::fs::symlinkat(target.as_ref(), &parent.fd, &name)
            .map_err(|errno| failed("make symbolic link", path, errno))
    }

    /// Makes a hard link; the last name of `existing` is not followed when it is a symbolic link.
    pub fn hard_link(
        &self,
        existing: impl AsRef<Path>,
        path: impl AsRef<Path>,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let (from, from_name) = self.parent(existing.as_ref())?;
        let (to, to_name) = self.parent(path)?;
        rustix::fs::linkat(&from.fd, &from_name, &to.fd, &to_name, AtFlags::empty())
            .map_err(|errno| failed("make hard link", path, errno))
    }

    /// Renames, replacing what is at `to` when the kernel can do so.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), Error> {
        let from = from.as_ref();
        let (old, old_name) = self.parent(from)?;
        let (new, new_name) = self.parent(to.as_ref())?;
        rustix::fs::renameat(&old.fd, &old_name, &new.fd, &new_name)
            .map_err(|errno| failed("rename", from, errno))
    }

    /// Removes anything but a folder; a link is removed, not followed.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        rustix::fs::unlinkat(&parent.fd, &name, AtFlags::empty())
            .map_err(|errno| failed("remove", path, errno))
    }

    /// Removes a folder that is empty.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        rustix::fs::unlinkat(&parent.fd, &name, AtFlags::REMOVEDIR)
            .map_err(|errno| failed("remove", path, errno))
    }

    /// Removes `path` with everything below it; nothing there is success.
    ///
    /// Links are removed, not followed. A mount point inside is an error, so that what is mounted is never
    /// emptied. Descriptors in use are bounded however deep the tree is.
    pub fn remove_tree(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        crate::remove::remove_tree(self, path.as_ref())
    }

    /// What is at `path`; the last name is not followed when it is a symbolic link.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Stat, Error> {
        let path = path.as_ref();
        let fd = self
            .open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|errno| failed("look at", path, errno))?;
        rustix::fs::fstat(&fd).map_err(|errno| failed("look at", path, errno))
    }

    /// The target of a symbolic link, as stored.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf, Error> {
        let path = path.as_ref();
        let (parent, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&parent.fd, &name, Vec::new())
            .map_err(|errno| failed("read link", path, errno))?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// Reads a regular file whole; one of more than `limit` bytes is an error, and so is anything else than a file.
    pub fn read_to_limit(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>, Error> {
        let path = path.as_ref();
        let io = |source| Error::Io { action: "read", path: path.to_owned(), source };
        let file = self.open(path)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(Error::Io {
                action: "read",
                path: path.to_owned(),
                source: std::io::Error::other("not a regular file"),
            });
        }
        let mut content = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(io)?;
        if content.len() as u64 > limit {
            return Err(Error::TooLarge { path: path.to_owned(), limit });
        }
        Ok(content)
    }

    /// Writes a file so that a reader, or the next start after a crash, sees the old content or the new, never a
    /// part: a temporary file beside it, synced, renamed over it, and the folder synced.
    pub fn write_atomic(
        &self,
        path: impl AsRef<Path>,
        content: &[u8],
        mode: u32,
    ) -> Result<(), Error> {
        self.write_atomic_as(path, content, mode, None)
    }

    /// The same, with another owner and group from the moment that it is there.
    pub fn write_atomic_as(
        &self,
        path: impl AsRef<Path>,
        content: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let io = |source| Error::Io { action: "write", path: path.to_owned(), source };
        let (parent, name) = self.parent(path)?;
        let mut temporary = OsString::from(".new-");
        temporary.push(&name);
        match parent.remove_file(&temporary) {
            Ok(()) => {}
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        let mut file = parent.create(&temporary, mode)?;
        file.write_all(content).map_err(io)?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).map_err(io)?;
        }
        file.sync_all().map_err(io)?;
        parent.rename(&temporary, &name)?;
        parent.sync()
    }

    /// Makes what was made, renamed or removed directly in this folder durable.
    pub fn sync(&self) -> Result<(), Error> {
        rustix::fs::fsync(&self.fd).map_err(|errno| failed("sync", Path::new("."), errno))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
