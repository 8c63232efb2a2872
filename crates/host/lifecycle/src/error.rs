//! What can go wrong with labs and nodes, in words a user can act on.

use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Kind of an [`Error`]; decides HTTP status and exit code in one table (`vnode-api`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense: exit 2, HTTP 400.
    Usage,
    /// No such lab, node, link, image, operation: exit 1, HTTP 404.
    NotFound,
    /// Another definition or another operation is in the way: exit 1, HTTP 409.
    Conflict,
    /// The state of the node does not allow it (exec in a stopped node): exit 1, HTTP 409.
    State,
    /// This machine cannot do it (no netem, no image source): exit 1, HTTP 422.
    Unsupported,
    /// A deadline passed: exit 4, HTTP 504.
    Deadline,
    /// Everything else: exit 1, HTTP 500.
    Failed,
}

/// An error with its kind, its text and what to do about it.
#[derive(Debug, Error)]
#[error("{text}")]
pub struct Error {
    pub kind: Kind,
    /// Names the thing and what was being done; lower case, no full stop.
    pub text: String,
    /// The way out, one sentence each; may be empty.
    pub hints: Vec<String>,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hints: Vec::new(), source: None }
    }

    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, text)
    }

    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, text)
    }

    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    pub fn state(text: impl Into<String>) -> Self {
        Self::new(Kind::State, text)
    }

    pub fn failed(text: impl Into<String>) -> Self {
        Self::new(Kind::Failed, text)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The text with every cause after it, on one line.
    pub fn chain(&self) -> String {
        vnode_protocol::chain(self)
    }
}
