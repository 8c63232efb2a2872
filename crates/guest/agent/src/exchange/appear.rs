//! Waiting for a path to appear, without polling.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;

/// Waits until something is at `path`. Watches the nearest folder above it that is there.
///
/// # Errors
/// When the kernel gives no watch.
pub(crate) async fn appear(path: &Path) -> io::Result<()> {
    while !there(path) {
        changed(path).await?;
    }
    Ok(())
}

/// Waits until something is made, removed or given other rights in the nearest folder above `path` that is
/// there. Returns at once when that folder has changed between looking and watching.
pub(crate) async fn changed(path: &Path) -> io::Result<()> {
    let before = there(path);
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let folder = nearest(path);
    let interest = WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF;
    match inotify::add_watch(&watch, &folder, interest) {
        Ok(_) => {}
        // Gone in between: look again.
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    if there(path) != before || nearest(path) != folder {
        return Ok(());
    }
    let watch = super::fd::watch(watch, Interest::READABLE)?;
    // What has happened does not matter: the caller looks again.
    watch.readable().await?.retain_ready();
    Ok(())
}

fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok() && path.exists()
}

fn nearest(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|above| above.is_dir());
    match above {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        Some(_) => PathBuf::from("."),
        None => PathBuf::from("/"),
    }
}
