//! Opens and creations that cannot leave the node's root, whatever links its image holds.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// The node's root folder.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Root {
    /// The root of this process, which has been changed to the node's.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(rustix::fs::CWD, "/", flags, Mode::empty())?))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens a path: links are followed, but never out, and never through `/proc/PID/fd` and its like.
    pub(super) fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // Something was renamed meanwhile and the kernel cannot tell whether it stayed inside.
                Err(Errno::AGAIN) if tries < 32 => tries += 1,
                other => return other,
            }
        }
    }

    /// Opens a folder, as a path, making what is missing. A link that points at what is missing has it made
    /// where it points, inside the root like everything.
    pub(super) fn ensure_dir(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut wanted = path.to_owned();
        // As many links as the kernel follows.
        'link: for _ in 0..40 {
            match self.open(&wanted, flags) {
                Err(Errno::NOENT) => {}
                other => return other,
            }
            let mut done = String::from("/");
            let mut parent = self.open("/", flags)?;
            let mut parts = wanted.split('/').filter(|p| !p.is_empty() && *p != ".");
            while let Some(part) = parts.next() {
                let inner = format!("{done}{part}");
                parent = match self.open(&inner, flags) {
                    Err(Errno::NOENT) => {
                        match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
                            Err(Errno::EXIST) => {
                                let to = rustix::fs::readlinkat(&parent, part, Vec::new())?;
                                let to = to.to_str().map_err(|_| Errno::ILSEQ)?;
                                let from = if to.starts_with('/') { "" } else { &done };
                                let rest: Vec<&str> = parts.collect();
                                wanted = format!("{from}{to}/{}", rest.join("/"));
                                continue 'link;
                            }
                            other => other?,
                        }
                        self.open(&inner, flags)?
                    }
                    other => other?,
                };
                done = inner + "/";
            }
            return Ok(parent);
        }
        Err(Errno::LOOP)
    }

    /// Opens a file that something is to be mounted on, as a path, making it where it is missing.
    pub(super) fn ensure_file(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        match self.open(path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let (parent, name) = split(path)?;
        let parent = self.ensure_dir(parent)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
        self.open(path, OFlags::PATH)
    }

    /// Reads a regular file of at most `most` bytes; `None` when there is none.
    pub(super) fn read(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        // A pipe or device of this name must not hold us up.
        let file = match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let found = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // One read for all, one that finds the end.
        let length = u64::try_from(found.st_size).unwrap_or(0).min(most);
        let mut text = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 64);
        io::Read::read_to_end(&mut io::Read::take(std::fs::File::from(file), most + 1), &mut text)?;
        if text.len() as u64 > most {
            return Err(io::Error::other(format!("longer than {most} bytes")));
        }
        Ok(Some(text))
    }
}

/// Folder and last name of a path.
pub(super) fn split(path: &str) -> rustix::io::Result<(&str, &str)> {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some((parent, name)) if !matches!(name, "" | "." | "..") => Ok((parent, name)),
        _ => Err(Errno::INVAL),
    }
}
