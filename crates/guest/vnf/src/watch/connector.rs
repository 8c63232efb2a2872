//! The kernel's process connector: told of each exec and each change of a name as it happens.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{self, SocketAddrNetlink},
    sockopt,
};
use tokio::{io::unix::AsyncFd, time::timeout};
use vnode_protocol::connector::{self, GROUP};

use super::pidfd;

const BUFFER_BYTES: usize = 8 << 20;
/// How long the acknowledgement may take.
const PATIENCE: Duration = Duration::from_millis(250);

/// A socket that listens, acknowledged.
#[derive(Debug)]
pub(crate) struct Connector {
    socket: AsyncFd<OwnedFd>,
}

/// What the kernel told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
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
    pub(crate) async fn open() -> io::Result<Self> {
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
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
        let connector = Self { socket: pidfd::watched(socket)? };
        let asked = connector::listen(filter);
        rustix::net::send(connector.socket.get_ref(), &asked, SendFlags::empty())?;
        let acknowledged = async {
            loop {
                let mut done = None;
                connector
                    .receive(|told| {
                        if let connector::Told::Acknowledged(error) = told {
                            done = Some(error);
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
    pub(crate) async fn next(&self, into: &mut Vec<Told>) -> io::Result<()> {
        let received = self
            .receive(|told| {
                if let connector::Told::Changed(pid) = told {
                    into.push(Told::Changed(pid));
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

    /// Takes in what waits, at most some thousand messages.
    async fn receive(&self, mut each: impl FnMut(connector::Told)) -> io::Result<()> {
        let mut ready = self.socket.readable().await?;
        let mut buffer = [0; 4096];
        for _ in 0..1024 {
            match rustix::net::recv(self.socket.get_ref(), &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) => {
                    if let Some(told) = connector::parse(&buffer[..length.min(4096)]) {
                        each(told);
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
