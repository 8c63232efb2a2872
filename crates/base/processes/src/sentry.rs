//! A thread of its own that takes in what the kernel tells, and looks at each process at once.
//!
//! What the kernel tells has no name in it: whoever looks must look before the process has ended. A runtime that scans a
//! thousand processes, writes a store or starts a program meanwhile looks too late at one that lives some milliseconds. This
//! thread does nothing else, and goes before others where it may.

use std::{io, os::fd::OwnedFd, thread, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe_with},
};
use tokio::sync::mpsc;

use crate::connector::{self, Connector, Told};

/// Lots of what was seen that may wait to be taken.
const WAITING: usize = 64;
/// What is seen while they wait, at most; of more than that only the loss is told.
const MOST: usize = 8192;
/// Between tries to hand over what was seen, while nobody takes it.
const AGAIN: Duration = Duration::from_millis(5);
/// The highest priority of a thread that is not of real time.
const FIRST: i32 = -20;
const STACK: usize = 256 << 10;

/// What the thread has seen. It ends with the value.
#[derive(Debug)]
pub struct Sentry<T> {
    seen: mpsc::Receiver<Vec<T>>,
    /// Its end is what the thread is told by.
    _stop: OwnedFd,
}

impl<T: Send + 'static> Sentry<T> {
    /// Starts the thread. `look` looks at what is told of, and must not wait for anything; what it gives is handed over.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(
        connector: Connector,
        look: impl FnMut(Told) -> Option<T> + Send + 'static,
    ) -> io::Result<Self> {
        let socket = connector.into_socket();
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let (to, seen) = mpsc::channel(WAITING);
        thread::Builder::new().name("processes".to_owned()).stack_size(STACK).spawn(move || {
            // Without the right to it the thread is as all others are.
            let _ = rustix::process::setpriority_process(None, FIRST);
            // Who waits sees by the end of the channel that no more will come.
            let _ = serve(&socket, &stopped, &to, look);
        })?;
        Ok(Self { seen, _stop: stop })
    }

    /// What was seen since the last call; `None`: the kernel tells no more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<T>> {
        self.seen.recv().await
    }
}

fn serve<T>(
    socket: &OwnedFd,
    stopped: &OwnedFd,
    to: &mpsc::Sender<Vec<T>>,
    mut look: impl FnMut(Told) -> Option<T>,
) -> io::Result<()> {
    let again = Timespec { tv_sec: 0, tv_nsec: AGAIN.subsec_nanos().into() };
    let mut seen = Vec::new();
    loop {
        let mut ends = [PollFd::new(socket, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        let wait = (!seen.is_empty()).then_some(&again);
        match poll(&mut ends, wait) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let [told, end] = ends.map(|end| !end.revents().is_empty());
        if end {
            return Ok(());
        }
        if told {
            connector::waiting(socket, |told| seen.extend(look(told)))?;
        }
        if seen.len() > MOST {
            seen.clear();
            seen.extend(look(Told::Lost));
        }
        if seen.is_empty() {
            continue;
        }
        match to.try_send(std::mem::take(&mut seen)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(all)) => seen = all,
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename() {
        let name = std::fs::read("/proc/self/comm").expect("we have one");
        std::fs::write("/proc/self/comm", name).expect("it is ours");
    }

    #[tokio::test]
    async fn a_process_is_looked_at_when_it_is_told_of() {
        let connector = match Connector::open().await {
            Ok(connector) => connector,
            Err(error) => return println!("skipped: no process connector here: {error}"),
        };
        let own = std::process::id().cast_signed();
        let look = move |told| match told {
            Told::Changed(pid) => (pid == own).then_some(true),
            Told::Lost => Some(false),
        };
        let mut sentry = Sentry::start(connector, look).expect("a thread");
        let mut seen = false;
        while !seen {
            rename();
            // Whoever else tells too much at once only makes us try again.
            seen = sentry.next().await.expect("it goes on").contains(&true);
        }
    }
}
