//! One form for every error that leaves the daemon, and one table from its kind to an HTTP status
//! and to the exit code of the command line.

use std::error::Error as StdError;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, as far as a caller has to tell cases apart. The code is stable; the text is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Code {
    /// The request itself is wrong: a bad argument, a missing field.
    Usage,
    /// A topology file cannot be read; `details` say where.
    Topology,
    /// No token, or one that is not known.
    Unauthorized,
    /// Known, but not allowed here.
    Forbidden,
    /// Nothing of that name.
    NotFound,
    /// A bare node name that several labs have.
    Ambiguous,
    /// Exists already with another definition, or is in use.
    Conflict,
    /// The node's state does not allow it.
    State,
    /// The request's body is larger than its route takes.
    TooLarge,
    /// This kernel or this build cannot do it.
    Unsupported,
    /// Some parts were done and some were not; `causes` list those.
    PartlyDone,
    /// A deadline passed.
    Deadline,
    /// Somebody cancelled it.
    Cancelled,
    /// The daemon is not there, is stopping, or has too much to do.
    Unavailable,
    /// It was tried and failed.
    Failed,
    /// The daemon's own fault.
    Internal,
}

/// All codes, for tables and tests.
pub const CODES: [Code; 16] = [
    Code::Usage,
    Code::Topology,
    Code::Unauthorized,
    Code::Forbidden,
    Code::NotFound,
    Code::Ambiguous,
    Code::Conflict,
    Code::State,
    Code::TooLarge,
    Code::Unsupported,
    Code::PartlyDone,
    Code::Deadline,
    Code::Cancelled,
    Code::Unavailable,
    Code::Failed,
    Code::Internal,
];

impl Code {
    /// The table: HTTP status and exit code (0 done, 1 failed, 2 usage, 3 partly done, 4 deadline).
    const fn row(self) -> (u16, u8) {
        match self {
            Self::Usage => (400, 2),
            Self::Topology => (422, 2),
            Self::Unauthorized => (401, 1),
            Self::Forbidden => (403, 1),
            Self::NotFound => (404, 1),
            Self::Ambiguous => (409, 2),
            Self::Conflict => (409, 1),
            Self::State => (409, 1),
            Self::TooLarge => (413, 1),
            Self::Unsupported => (422, 1),
            // The operation ran and ended; the request that asks for its result is in order.
            Self::PartlyDone => (200, 3),
            Self::Deadline => (504, 4),
            Self::Cancelled => (409, 1),
            Self::Unavailable => (503, 1),
            Self::Failed => (500, 1),
            Self::Internal => (500, 1),
        }
    }

    /// HTTP status of an answer that is this error.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// Exit code of a `vnode` command that ends with this error.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        self.row().1
    }
}

/// An error as it stands in an answer's body, in a finished operation, and under `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Kind of error; stable.
    pub code: Code,
    /// What could not be done, with the thing's name; one line.
    pub text: String,
    /// Why, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Ways out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// Where in an input file, when it is about one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Finding>,
}

/// One finding at a place of an input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// Name of the file, as it was given.
    pub file: String,
    /// What is wrong there.
    pub text: String,
    /// A way out for this finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where; absent when it is about the file as a whole.
    #[serde(default, flatten)]
    pub at: Option<Place>,
    /// Further places that have to do with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Related>,
}

/// A place of an input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Place {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    /// Characters it takes on that line.
    pub width: u32,
    /// The line itself.
    pub source: String,
}

/// A further place of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Related {
    /// What it has to do with the finding.
    pub text: String,
    #[serde(flatten)]
    pub at: Place,
}

impl Problem {
    /// A problem without causes or hints.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), causes: vec![], hints: vec![], details: vec![] }
    }

    /// The error's own text, and the chain of its sources as causes.
    pub fn from_error(code: Code, error: &(dyn StdError + 'static)) -> Self {
        let mut problem = Self::new(code, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Transparent wrappers repeat the text of what they wrap.
            if problem.causes.last().unwrap_or(&problem.text) != &text {
                problem.causes.push(text);
            }
            cause = error.source();
        }
        problem
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Puts what was being done in front; the text so far becomes the first cause.
    #[must_use]
    pub fn in_front(mut self, text: impl Into<String>) -> Self {
        let cause = std::mem::replace(&mut self.text, text.into());
        self.causes.insert(0, cause);
        self
    }

    /// Adds a cause at the inner end of the chain.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl StdError for Problem {}

impl From<vnode_lifecycle::Error> for Problem {
    fn from(error: vnode_lifecycle::Error) -> Self {
        use vnode_lifecycle::error::Kind;
        let code = match error.kind {
            Kind::Usage => Code::Usage,
            Kind::NotFound => Code::NotFound,
            Kind::Conflict => Code::Conflict,
            Kind::State => Code::State,
            Kind::Unsupported => Code::Unsupported,
            Kind::Deadline => Code::Deadline,
            Kind::Failed => Code::Failed,
        };
        let mut problem = Self::from_error(code, &error);
        problem.hints = error.hints;
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code = ?self.code, error = %self, "request failed");
        }
        (status, Json(self)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_and_an_exit_code_of_the_documented_set() {
        for code in CODES {
            assert!((200..600).contains(&code.status()), "{code:?}");
            assert!((1..=4).contains(&code.exit_code()), "{code:?}");
        }
        assert_eq!(Code::Usage.exit_code(), 2);
        assert_eq!(Code::PartlyDone.exit_code(), 3);
        assert_eq!(Code::Deadline.exit_code(), 4);
    }

    #[test]
    fn the_chain_of_sources_becomes_causes_without_repetition() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open `x`")]
        struct Outer(#[source] Middle);
        #[derive(Debug, thiserror::Error)]
        #[error(transparent)]
        struct Middle(#[from] std::io::Error);
        let error = Outer(Middle(std::io::Error::from_raw_os_error(2)));
        let problem = Problem::from_error(Code::Failed, &error);
        assert_eq!(problem.text, "cannot open `x`");
        assert_eq!(problem.causes, ["No such file or directory (os error 2)"]);
    }

    #[test]
    fn json_form_leaves_out_what_is_empty() {
        let json = serde_json::to_value(Problem::new(Code::NotFound, "no node `a`")).unwrap();
        assert_eq!(json, serde_json::json!({"code": "not-found", "text": "no node `a`"}));
    }
}
