//! Where requests come from.

use std::{fmt, io, os::fd::BorrowedFd};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

mod appear;
mod fd;
mod isa;
mod plugin;
mod tls;
mod unix;
mod virtio;
mod vsock;
pub mod xenstore;

pub use fd::FdStream;
pub use isa::{Isa, Stdio};
pub use plugin::ExchangePlugin;
pub(crate) use plugin::Lines;
pub use tls::Tls;
pub use unix::Unix;
pub use virtio::Virtio;
pub use vsock::Vsock;

/// Why an exchange does not work. The channel opens it anew, with back-off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// Its device or socket cannot be opened, or broke.
    #[error("{exchange}: cannot {action}")]
    Io {
        exchange: String,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    /// There will be no more requests, which is no fault: standard input has ended.
    #[error("{exchange} has ended")]
    Ended { exchange: String },
    /// Its configuration cannot work; trying again does not help.
    #[error("{exchange}: {reason}")]
    Config { exchange: String, reason: String },
    /// The peer broke its protocol, or whatever else the exchange names.
    #[error("{exchange}: {reason}")]
    Broken {
        exchange: String,
        reason: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// Bytes in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// The descriptor behind it, when bytes may be moved to it by the kernel (`sendfile`).
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Who is at the other end, as far as the exchange knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The host, by a device that only it can reach.
    #[default]
    Host,
    /// A process of this machine.
    Process { uid: u32, gid: u32, pid: i32 },
    /// A context id on vsock.
    Vsock { cid: u32 },
    /// Over TLS: its certificate by its digest, or nothing where a token stands for it.
    Tls { subject: Option<String> },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Process { uid, pid, .. } => write!(f, "uid {uid}, pid {pid}"),
            Self::Vsock { cid } => write!(f, "vsock {cid}"),
            Self::Tls { subject: Some(subject) } => f.write_str(subject),
            Self::Tls { subject: None } => f.write_str("token"),
        }
    }
}

/// Why a peer is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its user is none of those who may connect.
    User,
    /// What it showed is no token of ours.
    Token,
}

/// One connection of a stream exchange.
pub struct Connection {
    pub stream: Box<dyn Io>,
    pub peer: Peer,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Gives connections, one after the other. The peer's going shows as the end of reading.
pub trait StreamExchange: Send + fmt::Debug {
    /// As texts name it: `unix:/run/vnode/agent.sock`.
    fn name(&self) -> String;

    /// Opens the device or the listening socket. Waits for a device that is not there yet; called again after
    /// an error.
    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>>;

    /// The next connection. Cancel-safe.
    fn accept(&mut self) -> BoxFuture<'_, Result<Connection, ExchangeError>>;

    /// Whether the next connection can only come after this one has ended (a serial line).
    fn one_at_a_time(&self) -> bool {
        false
    }
}

/// One request of a message exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    /// `None` when the exchange has the request and no body (JP-1).
    pub body: Option<Vec<u8>>,
}

/// Gives requests with an id, and takes the answer to an id.
pub trait MessageExchange: Send + fmt::Debug {
    /// As texts name it.
    fn name(&self) -> String;

    /// Connects; called again after an error.
    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>>;

    /// The next request that shall be executed. Cancel-safe: dropped and called again while others run.
    fn next(&mut self) -> BoxFuture<'_, Result<Message, ExchangeError>>;

    /// Delivers the answer. On an error the channel opens the exchange again and calls this once more.
    fn answer<'a>(
        &'a mut self,
        id: &'a str,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<(), ExchangeError>>;

    /// Largest answer it can carry, bytes (XenStore: 2000).
    fn answer_bytes(&self) -> usize;
}

/// Both kinds.
#[derive(Debug)]
pub enum Exchange {
    Stream(Box<dyn StreamExchange>),
    Message(Box<dyn MessageExchange>),
}
