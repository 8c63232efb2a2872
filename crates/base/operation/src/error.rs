//! What can go wrong with a step, and with the engine.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::plan::OperationId;

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the engine refuses or cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    #[error("a plan of kind `{kind}` cannot be run: {reason}")]
    Plan { kind: String, reason: String },
    #[error("no operation `{id}`; it may have ended long ago")]
    NotFound { id: OperationId },
    #[error("operation `{id}` has already ended")]
    Ended { id: OperationId },
    #[error("a plan of kind `{kind}` for `{subject}` is refused: {cause}")]
    Refused { kind: String, subject: String, cause: Box<StepError> },
    #[error("cannot {doing} of operation `{id}`")]
    Store {
        doing: &'static str,
        id: OperationId,
        #[source]
        source: vnode_store::Error,
    },
    #[error("cannot read the operations")]
    Read(#[source] vnode_store::Error),
    #[error("cannot note the event of an operation")]
    Event(#[source] vnode_event::Error),
    #[error("the engine is stopping; try again with the next daemon")]
    Stopping,
}

impl Error {
    /// Whether another request changed the same records first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.is_conflict())
    }
}

/// Kinds of failure of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    #[default]
    Failed,
    /// The step's deadline passed.
    Deadline,
    /// The operation was cancelled, or another step's failure stopped this one.
    Cancelled,
    /// A bug: the runner panicked.
    Panicked,
}

/// Failure of a step, as text and data that can be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{text}")]
pub struct StepError {
    #[serde(default)]
    pub kind: FailureKind,
    /// Names the thing, then each cause.
    pub text: String,
    /// A word of the runner's own for programs: `unsupported`, `conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The way out, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl StepError {
    pub fn new(text: impl Into<String>) -> Self {
        Self { kind: FailureKind::Failed, text: text.into(), code: None, hints: Vec::new() }
    }

    /// An error with all its causes in the text.
    pub fn from_error(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(vnode_protocol::chain(error))
    }

    /// For a runner that stops because its token says so.
    pub fn cancelled() -> Self {
        Self::new("cancelled").kind(FailureKind::Cancelled)
    }

    #[must_use]
    pub fn kind(mut self, kind: FailureKind) -> Self {
        self.kind = kind;
        self
    }

    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
