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
        let received = self
            .receive(|what, word| {
                if matches!(what, EXEC | COMM) {
                    into.push(Told::Changed(word.cast_signed()));
                }
            })
            .await;
        match received {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                into.push(Told::Lost);
                Ok(())
            }
            other => other,
        }
    }

    /// Takes in what waits, at most some thousand messages; `each` gets the kind, and the thread group or error.
    async fn receive(&self, mut each: impl FnMut(u32, u32)) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        let mut buffer = [0; 4096];
        for _ in 0..1024 {
            match rustix::net::recv(self.socket.get_ref(), &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) => {
                    if let Some((what, word)) = parse(&buffer[..length.min(4096)]) {
                        each(what, word);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
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
