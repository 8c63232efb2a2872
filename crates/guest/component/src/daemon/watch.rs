//! Following the folder of instance files, also when another folder takes its place.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Tells that something changed in a folder, or that the folder is another one.
#[derive(Debug)]
pub(super) struct Watcher {
    events: AsyncFd<OwnedFd>,
    folder: PathBuf,
    /// Number of the watch of the folder; changes when the folder does.
    inside: Option<i32>,
}

impl Watcher {
    /// Makes the folder if it is not there.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let folder = std::path::absolute(folder)?;
        let events = register(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
        if let Some(parent) = folder.parent() {
            let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            inotify::add_watch(&events, parent, flags)?;
        }
        let mut watcher = Self { events, folder, inside: None };
        watcher.enter();
        Ok(watcher)
    }

    /// Watches the folder that has the name now. Gives whether it is another one than before.
    fn enter(&mut self) -> bool {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        // Not there: its parent tells when it is.
        let now = inotify::add_watch(&self.events, &self.folder, flags).ok();
        let another = now != self.inside;
        if another && let Some(before) = self.inside {
            // The kernel may have ended that watch with its folder.
            let _ = inotify::remove_watch(&self.events, before);
        }
        self.inside = now;
        another
    }

    /// Waits for a change.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut inside = false;
            {
                let mut ready = self.events.readable().await?;
                let mut buffer = [MaybeUninit::uninit(); 4096];
                let mut reader = inotify::Reader::new(self.events.get_ref(), &mut buffer);
                loop {
                    match reader.next() {
                        Ok(event) => {
                            inside |= Some(event.wd()) == self.inside
                                || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                        }
                        Err(rustix::io::Errno::AGAIN) => {
                            ready.clear_ready();
                            break;
                        }
                        Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            // What happened beside the folder may have been to the folder.
            if self.enter() || inside {
                return Ok(());
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio has no other way to take a descriptor")]
fn register(events: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor as long as it lives, and `AsyncFd` owns it from here.
    unsafe { AsyncFd::register_with_interest(events, tokio::io::Interest::READABLE) }
        .map_err(io::Error::from)
}
