//! The kernel's process connector: told of each exec and each change of a name as it happens.
//!
//! Messages are those of `linux/cn_proc.h` in a `cn_msg` of `linux/connector.h`. The kernel must acknowledge that we
//! listen: in a child namespace it ignores the request without an error, and may still send what others asked for.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{self, SocketAddrNetlink},
    sockopt,
};
use tokio::{io::unix::AsyncFd, time::timeout};

use crate::watched;

const IDX_PROC: u32 = 1;
const LISTEN: u32 = 1;
const NONE: u32 = 0;
const EXEC: u32 = 0x2;
const COMM: u32 = 0x200;
const BUFFER_BYTES: usize = 8 << 20;
/// How long the acknowledgement may take.
const PATIENCE: Duration = Duration::from_millis(250);

/// A socket that listens, acknowledged.
#[derive(Debug)]
pub struct Connector {
    socket: AsyncFd<OwnedFd>,
}

/// What the kernel told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// This process may be another program, or have another name, now.
    Changed(i32),
    /// Events were lost: look at everything.
    Lost,
}

impl Connector {
    /// Listens.
    ///
    /// # Errors
    /// When the kernel has no connector, refuses us, or does not acknowledge.
    pub async fn open() -> io::Result<Self> {
        // Kernels from 6.6 leave out what is not asked for; older ones do not know the longer request.
        match Self::listen(true).await {
            Ok(connector) => Ok(connector),
            Err(_) => Self::listen(false).await,
        }
    }

    async fn listen(filter: bool) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            flags,
            Some(netlink::CONNECTOR),
        )?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES)?;
        }
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, IDX_PROC))?;
        let connector = Self { socket: watched(socket)? };
        let mut data = LISTEN.to_ne_bytes().to_vec();
        if filter {
            data.extend((EXEC | COMM).to_ne_bytes());
        }
        rustix::net::send(connector.socket.get_ref(), &message(&data), SendFlags::empty())?;
        let acknowledged = async {
            loop {
                let mut done = None;
                connector
                    .receive(|what, word| {
                        if what == NONE {
                            done = Some(word);
                        }
                    })
                    .await?;
                match done {
                    Some(0) => return Ok(()),
                    Some(error) => return Err(io::Error::from_raw_os_error(error.cast_signed())),
                    None => {}
                }
            }
        };
        match timeout(PATIENCE, acknowledged).await {
            Ok(result) => result.map(|()| connector),
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not acknowledge"))
            }
        }
    }

    /// Waits for what the kernel tells. Cancel-safe.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn next(&self, into: &mut Vec<Told>) -> io::Result<()> {
        told(self.receive(|what, word| into.extend(Told::of(what, word))).await)
            .map(|lost| into.extend(lost))
    }

    async fn receive(&self, each: impl FnMut(u32, u32)) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        if take_in(self.socket.get_ref(), each)? {
            ready.clear_ready();
        }
        Ok(())
    }

    /// The socket, for who waits for it otherwise.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket.into_inner()
    }
}

impl Told {
    fn of(what: u32, word: u32) -> Option<Self> {
        matches!(what, EXEC | COMM).then(|| Self::Changed(word.cast_signed()))
    }
}

/// That the kernel had more to tell than room for it is something told, and no error.
fn told(received: io::Result<()>) -> io::Result<Option<Told>> {
    match received {
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Some(Told::Lost)),
        other => other.map(|()| None),
    }
}

/// Takes in what waits at a connector's socket, for who has been told that something does.
pub(crate) fn waiting(socket: &OwnedFd, mut each: impl FnMut(Told)) -> io::Result<()> {
    let received =
        take_in(socket, |what, word| Told::of(what, word).into_iter().for_each(&mut each));
    told(received.map(drop)).map(|lost| lost.into_iter().for_each(each))
}

/// Takes in at most some thousand messages; `each` gets the kind, and the thread group or error. `true`: no more wait.
fn take_in(socket: &OwnedFd, mut each: impl FnMut(u32, u32)) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    for _ in 0..1024 {
        match rustix::net::recv(socket, &mut buffer, RecvFlags::empty()) {
            Ok((length, _)) => {
                if let Some((what, word)) = parse(&buffer[..length.min(4096)]) {
                    each(what, word);
                }
            }
            Err(rustix::io::Errno::AGAIN) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// A netlink message with a connector message in it.
fn message(data: &[u8]) -> Vec<u8> {
    const DONE: u16 = 3;
    let length = 16 + 20 + data.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(DONE.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(IDX_PROC.to_ne_bytes());
    bytes.extend(1u32.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend((data.len() as u16).to_ne_bytes());
    bytes.extend([0; 2]);
    bytes.extend(data);
    bytes
}

/// The kind of event, and its thread group (or the error of an acknowledgement).
fn parse(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if word(16)? != IDX_PROC {
        return None;
    }
    // 16 netlink, 20 connector; then what, cpu, time, and what the event tells: process, thread group.
    let what = word(36)?;
    match what {
        NONE => Some((NONE, word(52)?)),
        EXEC => Some((EXEC, word(56)?)),
        // Only the leader's name is the process's.
        COMM if word(52)? == word(56)? => Some((COMM, word(56)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pw_35_more_than_there_is_room_for_is_told_once_and_what_comes_after_it() {
        let connector = match Connector::open().await {
            Ok(connector) => connector,
            Err(error) => return println!("skipped: no process connector here: {error}"),
        };
        // What the kernel makes of the least.
        sockopt::set_socket_recv_buffer_size(connector.socket.get_ref(), 1).expect("it may");
        let name = std::fs::read("/proc/thread-self/comm").expect("we have one");
        let rename = || std::fs::write("/proc/thread-self/comm", &name).expect("it is ours");
        for _ in 0..1000 {
            rename();
        }
        let mut all = Vec::new();
        while !all.contains(&Told::Lost) {
            connector.next(&mut all).await.expect("it goes on");
        }
        // The socket is of use again.
        let mut more = Vec::new();
        while more.is_empty() {
            std::fs::write("/proc/self/comm", &name).expect("it is ours");
            connector.next(&mut more).await.expect("it goes on");
        }
    }
}
