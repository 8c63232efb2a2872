//! What the daemon answers when it refuses, and what can go wrong on the way to it.

use std::{fmt, io, path::PathBuf, time::Duration};

macro_rules! errnos {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// The names of errors the daemon sends, with the meaning they have there.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Errno {
            $($(#[$doc])* $variant,)+
            /// A name this list does not have.
            Other,
        }

        impl Errno {
            /// As it stands on the wire, without the NUL.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Other => "an unknown error",
                }
            }

            /// By its name on the wire.
            #[must_use]
            pub fn from_name(name: &[u8]) -> Self {
                $(if name == $name.as_bytes() {
                    return Self::$variant;
                })+
                Self::Other
            }
        }
    };
}

errnos! {
    /// The path, a permission list or the message is not well-formed.
    Invalid = "EINVAL",
    /// The permissions do not allow it.
    Access = "EACCES",
    /// The watch exists.
    Exists = "EEXIST",
    IsDirectory = "EISDIR",
    /// Nothing is there, or the transaction has ended.
    NoEntry = "ENOENT",
    NoMemory = "ENOMEM",
    /// A quota of the domain: nodes, bytes of a node, open transactions.
    NoSpace = "ENOSPC",
    Io = "EIO",
    NotEmpty = "ENOTEMPTY",
    /// The daemon does not know the operation.
    NotImplemented = "ENOSYS",
    ReadOnly = "EROFS",
    /// A transaction inside a transaction.
    Busy = "EBUSY",
    /// The transaction met another change: do it again.
    Again = "EAGAIN",
    AlreadyConnected = "EISCONN",
    /// The list is longer than one message.
    TooBig = "E2BIG",
    NotPermitted = "EPERM",
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something in XenStore did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is neither a device nor a socket.
    #[error(
        "no XenStore here: neither {}; set XENSTORED_PATH where it lies elsewhere",
        .tried.iter().map(|p| format!("`{}`", p.display())).collect::<Vec<_>>().join(" nor ")
    )]
    Absent { tried: Vec<PathBuf> },
    /// The device or socket cannot be opened.
    #[error("cannot open XenStore at `{}`", .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The connection broke; a new one is needed.
    #[error("the connection to XenStore broke")]
    Io(#[from] io::Error),
    /// The daemon closed the connection, as it does after a message that is too long.
    #[error("XenStore closed the connection")]
    Closed,
    /// The daemon sent what the protocol does not know; the connection is given up.
    #[error("XenStore breaks its protocol: {0}")]
    Protocol(String),
    /// The daemon did not answer; the connection is given up.
    #[error("XenStore has not answered {operation} within {limit:?}")]
    TimedOut { operation: &'static str, limit: Duration },
    /// A request on this connection was dropped before its answer came, so later answers cannot be told apart.
    #[error("an earlier request on this connection to XenStore was given up: connect again")]
    Interrupted,
    /// The daemon would drop the connection for it, so it is not sent.
    #[error("{operation} of `{path}` has {bytes} bytes; XenStore takes at most {limit}")]
    TooLong { operation: &'static str, path: String, bytes: usize, limit: usize },
    /// The daemon's answer.
    #[error("XenStore refuses {operation} of `{path}`: {errno}")]
    Refused { operation: &'static str, path: String, errno: Errno },
}

impl Error {
    /// The daemon's error, when it is one; then the connection is still good.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether the connection can be used no more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::TooLong { .. })
    }
}
