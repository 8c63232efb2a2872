//! The console log: bounded, rotated once.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat, renameat};
use vnode_monitor::wire::{LOG, LOG_PREVIOUS};

/// Appends to `console.log`; at the limit that becomes `console.log.1` and a new one is begun.
#[derive(Debug)]
pub(crate) struct Log {
    file: std::fs::File,
    size: u64,
    limit: u64,
}

impl Log {
    pub(crate) fn open(dir: &OwnedFd, limit: u64) -> io::Result<Self> {
        let file = open(dir)?;
        let size = file.metadata()?.len();
        // Below a page a log would be rotated at every line.
        Ok(Self { file, size, limit: limit.max(4096) })
    }

    /// Appends; a full disk loses output, not the node, so the caller may ignore the error.
    pub(crate) fn append(&mut self, dir: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + bytes.len() as u64 > self.limit {
            renameat(dir.as_fd(), LOG, dir.as_fd(), LOG_PREVIOUS)?;
            self.file = open(dir)?;
            self.size = 0;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// The last `most` bytes at most.
    pub(crate) fn tail(dir: &OwnedFd, most: usize) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = std::fs::File::from(openat(dir.as_fd(), LOG, flags, Mode::empty())?);
        let size = file.metadata()?.len();
        let from = size.saturating_sub(most as u64);
        let mut tail = vec![0; usize::try_from(size - from).unwrap_or(0)];
        let got = file.read_at(&mut tail, from)?;
        tail.truncate(got);
        Ok(tail)
    }
}

fn open(dir: &OwnedFd) -> io::Result<std::fs::File> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(dir.as_fd(), LOG, flags, Mode::RUSR | Mode::WUSR)?.into())
}
