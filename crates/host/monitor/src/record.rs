//! The state record in the node's folder: what is known is still known when the monitor itself is killed.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, openat};
use vnode_monitor::wire::{STATE, State};

/// What a record is filled up to with spaces, bytes. It holds a dozen numbers, which never take half of this.
const BLOCK: usize = 1024;

/// Writes the record over the old one, by a single write within a page: a monitor that is killed has written all of it
/// or nothing. A new file renamed over the old one would be as safe, and cost three files on the disk for each boot.
/// Not synced: after a crash of the machine there is no node to know about.
pub(crate) fn write(dir: &OwnedFd, state: &State) -> io::Result<()> {
    let mut text = serde_json::to_vec(state)?;
    text.resize(text.len().max(BLOCK), b' ');
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir.as_fd(), STATE, flags, Mode::RUSR | Mode::WUSR)?;
    std::fs::File::from(file).write_all(&text)
}

/// The record of the node's earlier monitor, if there was one that can be read.
pub(crate) fn read(dir: &OwnedFd) -> Option<State> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(dir.as_fd(), STATE, flags, Mode::empty()).ok()?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::from(file), 64 * 1024), &mut text)
        .ok()?;
    serde_json::from_slice(&text).ok()
}

pub(crate) fn now_unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
