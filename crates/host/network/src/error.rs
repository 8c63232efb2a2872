//! Errors of this crate: which object, what the kernel said.

use std::io;

use crate::netlink::Refused;

/// Why a network operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network namespace could not be opened, made or entered.
    #[error("cannot use the network namespace of {what}")]
    Namespace {
        what: String,
        #[source]
        source: io::Error,
    },
    /// The kernel refused one request.
    #[error("cannot {action}")]
    Refused {
        /// What was asked, with the names of the objects: ``attach `vnabc` to bridge `vnxyz` ``.
        action: String,
        #[source]
        source: Refused,
    },
    /// The conversation with the kernel itself failed: socket, send, receive.
    #[error("cannot talk to the kernel about {what}")]
    Socket {
        what: String,
        #[source]
        source: io::Error,
    },
    /// An interface that should be there is not.
    #[error("no interface `{name}` in {place}")]
    NoInterface { name: String, place: String },
    /// An object of this name is there but is not ours.
    #[error("`{name}` exists and was not made by vnode; rename or remove it")]
    Foreign { name: String },
    /// The kernel lacks a feature.
    #[error("{what} needs {feature}, which this kernel lacks; {hint}")]
    Unsupported { what: String, feature: String, hint: String },
    /// One impairment parameter of one link end cannot be had.
    #[error("link `{link}`, end `{end}`: cannot set {parameter}: {reason}")]
    Impairment { link: String, end: String, parameter: String, reason: String },
    /// A value outside its range.
    #[error("{what}: {reason}")]
    Invalid { what: String, reason: String },
    /// A time limit passed.
    #[error("{what} did not happen in time")]
    Deadline { what: String },
    /// A kernel parameter could not be read or written.
    #[error("cannot access kernel parameter `{path}`")]
    Sysctl {
        path: String,
        #[source]
        source: io::Error,
    },
    /// The kernel answered with something this crate cannot read.
    #[error("the kernel's answer about {what} cannot be read")]
    Malformed { what: String },
}

/// Result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;
