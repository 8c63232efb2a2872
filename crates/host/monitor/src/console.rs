//! The node's console: what it prints goes to the log and to everyone attached; what they type goes in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

use crate::log::Log;

/// Most that are attached at once.
const MAX_ATTACHED: usize = 8;
/// Scrollback given to one who attaches.
const SCROLLBACK: usize = 16 * 1024;
const PIECE: usize = 8 * 1024;

/// Standard streams of the first process, seen from outside.
#[derive(Debug)]
pub(crate) struct Console {
    /// Master of its terminal, or the readable end of its output; `None` while it does not run.
    pub(crate) stream: Option<OwnedFd>,
    pub(crate) is_tty: bool,
    log: Option<Log>,
    pub(crate) attached: Vec<OwnedFd>,
    /// Typed and not yet taken by the terminal.
    pending: Vec<u8>,
}

impl Console {
    pub(crate) fn new() -> Self {
        Self { stream: None, is_tty: false, log: None, attached: Vec::new(), pending: Vec::new() }
    }

    pub(crate) fn begin(&mut self, log: Log, stream: Option<OwnedFd>) {
        self.log = Some(log);
        self.is_tty = false;
        self.pending.clear();
        self.stream = stream;
    }

    /// The terminal made in the node.
    pub(crate) fn set_tty(&mut self, master: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&master, true)?;
        self.stream = Some(master);
        self.is_tty = true;
        Ok(())
    }

    /// Whether input waits for the terminal; then nothing more is read from those attached.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes output up to what is there; at its end the stream is dropped.
    pub(crate) fn pump(&mut self, dir: &OwnedFd, most_pieces: usize) {
        let mut piece = [0_u8; PIECE];
        for _ in 0..most_pieces {
            let Some(stream) = &self.stream else { return };
            match rustix::io::read(stream, &mut piece) {
                Ok(got) if got > 0 => {
                    if let Some(log) = &mut self.log {
                        // A full disk loses console output and must not lose the node.
                        let _ = log.append(dir, &piece[..got]);
                    }
                    self.show(&piece[..got]);
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                // End of file, or EIO: the last holder of the terminal's other end closed it.
                Ok(_) | Err(_) => {
                    self.stream = None;
                    self.pending.clear();
                }
            }
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        self.attached.retain(|to| {
            match rustix::net::send(to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                // One that does not read misses what does not fit: the node is not held up by its viewers.
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => true,
                Err(_) => false,
            }
        });
    }

    /// Takes what was typed at `index`; false when that one has gone.
    pub(crate) fn typed(&mut self, index: usize) -> bool {
        let mut piece = [0_u8; 1024];
        let got =
            match rustix::net::recv(&self.attached[index], &mut piece[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return false,
                Ok((_, got)) => got,
                Err(Errno::AGAIN | Errno::INTR) => return true,
                Err(_) => return false,
            };
        // Without a terminal the standard input is empty, and typing goes nowhere.
        if self.is_tty && self.stream.is_some() {
            self.pending.extend_from_slice(&piece[..got]);
            self.flush();
        }
        true
    }

    /// Gives pending input to the terminal.
    pub(crate) fn flush(&mut self) {
        let Some(stream) = &self.stream else { return self.pending.clear() };
        match rustix::io::write(stream, &self.pending) {
            Ok(taken) => drop(self.pending.drain(..taken)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.pending.clear(),
        }
    }

    /// Attaches one more and gives the end for it.
    pub(crate) fn attach(&mut self, dir: &OwnedFd) -> io::Result<OwnedFd> {
        if self.attached.len() >= MAX_ATTACHED {
            return Err(io::Error::other(format!("{MAX_ATTACHED} are attached already")));
        }
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        match Log::tail(dir, SCROLLBACK) {
            Ok(tail) if !tail.is_empty() => {
                rustix::net::send(&ours, &tail, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        self.attached.push(ours);
        Ok(theirs)
    }

    pub(crate) fn resize(&self, rows: u16, cols: u16) -> io::Result<()> {
        match &self.stream {
            Some(stream) if self.is_tty => set_size(stream, rows, cols),
            _ => Err(io::Error::other("the console is not a terminal")),
        }
    }
}

pub(crate) fn set_size(tty: impl AsFd, rows: u16, cols: u16) -> io::Result<()> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(tty, size)?)
}
