//! Why a guest did not do what it was asked.

use std::time::Duration;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of refusal a guest's agent told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// The request makes no sense to it.
    Usage,
    /// A file, program or user is not there.
    NotFound,
    /// The agent's configuration or the guest's system does not allow it.
    Forbidden,
    /// It has no such command.
    Unsupported,
    /// Not now: its file systems are frozen.
    State,
    /// It took too long inside.
    Deadline,
    /// It was given up.
    Cancelled,
    /// It does too much already.
    Busy,
    /// Everything else.
    Failed,
}

/// Why a guest did not do what it was asked. Texts that come from the guest are cut and hold no control characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing that is an agent answered.
    #[error("no agent answered within {} ms", after.as_millis())]
    Silent { after: Duration },
    /// The guest closed the connection, or it broke.
    #[error("the connection to the agent is over")]
    Closed(#[source] Option<std::io::Error>),
    /// The guest sent what the protocol does not allow; the connection is given up.
    #[error("the agent broke its protocol: {what}")]
    Protocol { what: String },
    /// The agent's own answer.
    #[error("the agent refused: {text}")]
    Refused { class: Class, text: String, causes: Vec<String> },
    /// It did not answer in time.
    #[error("the agent did not answer `{what}` within {} ms", after.as_millis())]
    Deadline { what: String, after: Duration },
    /// This form of agent cannot do it.
    #[error("{what}")]
    Unsupported { what: String },
    /// More than we take from, or give to, a guest.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge { what: String, limit: u64 },
    /// As many requests run on this connection as it bears.
    #[error("too many requests run in this guest")]
    Busy,
    /// What was to be sent cannot be read, or what came cannot be passed on.
    #[error("cannot {doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }

    /// Whether the connection can still be used.
    #[must_use]
    pub fn is_connection_over(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Protocol { .. } | Self::Silent { .. })
    }
}
