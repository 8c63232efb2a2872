//! The console log: bounded, rotated once.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat, renameat};
use vnode_monitor::wire::{LOG, LOG_PREVIOUS};

/// Appends to `console.log`; at the limit that becomes `console.log.1` and a new one is begun.
///
/// The file is made with the first output: many nodes never print anything, and a file is one more to be made and removed.
#[derive(Debug)]
pub(crate) struct Log {
    file: Option<std::fs::File>,
    size: u64,
    limit: u64,
}

impl Log {
    pub(crate) fn new(limit: u64) -> Self {
        // Below a page a log would be rotated at every line.
        Self { file: None, size: 0, limit: limit.max(4096) }
    }

    /// Appends; a full disk loses output, not the node, so the caller may ignore the error.
    pub(crate) fn append(&mut self, dir: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let file = open(dir)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        if self.size > 0 && self.size + bytes.len() as u64 > self.limit {
            renameat(dir.as_fd(), LOG, dir.as_fd(), LOG_PREVIOUS)?;
            self.file = Some(open(dir)?);
            self.size = 0;
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            self.size += bytes.len() as u64;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> (std::path::PathBuf, OwnedFd) {
        let path = std::env::temp_dir().join(format!("vnode-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let opened = std::fs::File::open(&path).unwrap().into();
        (path, opened)
    }

    #[test]
    fn the_file_is_made_with_the_first_output_and_goes_on_with_the_next_run() {
        let (path, dir) = folder("first");
        let mut log = Log::new(1 << 20);
        assert!(!path.join(LOG).exists());
        log.append(&dir, b"one\n").unwrap();
        Log::new(1 << 20).append(&dir, b"two\n").unwrap();
        assert_eq!(std::fs::read(path.join(LOG)).unwrap(), b"one\ntwo\n");
        assert_eq!(Log::tail(&dir, 4).unwrap(), b"two\n");
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_an_earlier_run_printed_counts_for_the_limit() {
        let (path, dir) = folder("limit");
        Log::new(4096).append(&dir, &[b'a'; 4000]).unwrap();
        Log::new(4096).append(&dir, &[b'b'; 200]).unwrap();
        assert_eq!(std::fs::read(path.join(LOG_PREVIOUS)).unwrap().len(), 4000);
        assert_eq!(std::fs::read(path.join(LOG)).unwrap(), [b'b'; 200]);
        std::fs::remove_dir_all(path).unwrap();
    }
}
