//! What a request is answered with when it is not done.

use serde::{Deserialize, Serialize};
use vnode_vnfpkg::{Problem, Refused};

/// Why a request was refused or failed. The form of the answer is the JSON of this.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[error("{detail}")]
pub struct Failure {
    /// HTTP's number for it: 400 wrong request, 404 not there, 409 not now, 422 refused, 500 ours.
    pub status: u16,
    /// A word that stays: an E-code of a package, or `not-found`, `conflict`, `invalid`, `internal`, `script-failed`.
    pub code: String,
    pub detail: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// The operation that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

impl Failure {
    fn of(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            detail: detail.into(),
            problems: Vec::new(),
            operation: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::of(400, "invalid", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::of(404, "not-found", detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::of(409, "conflict", detail)
    }

    pub(crate) fn refused(detail: impl Into<String>) -> Self {
        Self::of(422, "refused", detail)
    }

    /// Something of ours does not work.
    pub(crate) fn internal(action: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = format!("cannot {action}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self::of(500, "internal", text)
    }

    pub(crate) fn script(operation: &str, detail: impl Into<String>, code: &str) -> Self {
        Self { operation: Some(operation.to_owned()), ..Self::of(500, code, detail) }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let code = refused.code();
        Self {
            status: code.status(),
            code: code.text().to_owned(),
            detail: refused.to_string(),
            problems: refused.problems,
            operation: None,
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Refused::from(problem).into()
    }
}

/// Result of a request.
pub type Result<T, E = Failure> = std::result::Result<T, E>;
