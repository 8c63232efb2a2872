//! How an operation ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{FailureKind, StepError};

/// Failure of one step, with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// Id of the step; `None` when it was the operation itself (its last write).
    pub step: Option<u32>,
    /// The step's name for people.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub error: StepError,
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.error)
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// Every step is done.
    Completed,
    /// Some groups failed and were undone; all else is done. `left` names steps whose inverse failed.
    Partly { errors: Vec<StepFailure>, left: Vec<String> },
    /// Nothing is left of it. `errors` are failures beside the cause; none is of an inverse.
    RolledBack { cause: StepFailure, errors: Vec<StepFailure> },
    /// Cancelled. `left` names the steps not done, for plans that go on; it is empty after a roll-back.
    Cancelled { left: Vec<String> },
    /// It could not be undone whole: `left` names the steps whose inverse failed.
    Failed { cause: StepFailure, errors: Vec<StepFailure>, left: Vec<String> },
}

impl Outcome {
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed)
    }

    /// Every failure, the cause first.
    pub fn failures(&self) -> Vec<&StepFailure> {
        match self {
            Self::Completed | Self::Cancelled { .. } => Vec::new(),
            Self::Partly { errors, .. } => errors.iter().collect(),
            Self::RolledBack { cause, errors } | Self::Failed { cause, errors, .. } => {
                std::iter::once(cause).chain(errors).collect()
            }
        }
    }

    /// Whether the cause was a deadline that passed.
    pub fn is_deadline(&self) -> bool {
        self.failures().first().is_some_and(|failure| failure.error.kind == FailureKind::Deadline)
    }
}
