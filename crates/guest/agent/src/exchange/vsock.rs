//! A listening vsock: virtual machines' own sockets, addressed by context id and port.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use futures_util::future::BoxFuture;
use tokio::io::{Interest, unix::AsyncFd};

use super::{Connection, ExchangeError, Peer, StreamExchange, appear, fd::FdStream};

/// The device that tells that there is a transport.
const DEVICE: &str = "/dev/vsock";

/// The exchange.
#[derive(Debug)]
pub struct Vsock {
    port: u32,
    peers: Vec<u32>,
    listener: Option<AsyncFd<OwnedFd>>,
}

impl Vsock {
    /// Listens at this port for these context ids; 2 is the host.
    pub fn new(port: u32, peers: Vec<u32>) -> Self {
        Self { port, peers, listener: None }
    }
}

fn address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: all zeroes is a valid address of this type.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    address
}

const LENGTH: libc::socklen_t = size_of::<libc::sockaddr_vm>() as libc::socklen_t;

fn listen(port: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: makes a descriptor; touches no memory of ours.
    let socket = unsafe { libc::socket(libc::AF_VSOCK, kind, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was made just now, and nobody else knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let address = address(libc::VMADDR_CID_ANY, port);
    // SAFETY: the address is a `sockaddr_vm` of that length, and lives through the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), LENGTH) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

fn accept(listener: &OwnedFd) -> io::Result<(OwnedFd, u32)> {
    let mut peer = address(0, 0);
    let mut length = LENGTH;
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the kernel writes at most `length` bytes of the peer's address, which is that long.
    let socket = unsafe {
        libc::accept4(listener.as_raw_fd(), (&raw mut peer).cast(), &raw mut length, flags)
    };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made it for us just now.
    Ok((unsafe { OwnedFd::from_raw_fd(socket) }, peer.svm_cid))
}

impl StreamExchange for Vsock {
    fn name(&self) -> String {
        format!("vsock:{}", self.port)
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>> {
        Box::pin(async {
            let exchange = self.name();
            let failed = |action| {
                let exchange = exchange.clone();
                move |source| ExchangeError::Io { exchange, action, source }
            };
            self.listener = None;
            appear::appear(DEVICE.as_ref()).await.map_err(failed("wait for vsock"))?;
            let socket = listen(self.port).map_err(failed("listen"))?;
            let listener = super::fd::watch(socket, Interest::READABLE);
            self.listener = Some(listener.map_err(failed("watch the listening socket"))?);
            Ok(())
        })
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Connection, ExchangeError>> {
        Box::pin(async {
            let failed =
                |source| ExchangeError::Io { exchange: self.name(), action: "accept", source };
            let Some(listener) = &self.listener else {
                return Err(failed(io::ErrorKind::NotConnected.into()));
            };
            loop {
                let accepted = listener.async_io(Interest::READABLE, accept).await;
                let (socket, cid) = accepted.map_err(failed)?;
                if !self.peers.contains(&cid) {
                    tracing::warn!(exchange = self.name(), cid, "context id may not connect");
                    continue;
                }
                let stream = Box::new(FdStream::new(socket).map_err(failed)?);
                return Ok(Connection { stream, peer: Peer::Vsock { cid } });
            }
        })
    }
}
