//! What can go wrong when a program is run.

use std::{io, path::PathBuf, time::Duration};

use thiserror::Error;

use crate::output::Output;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a program did not run to its end. That it ended with an error of its own is no error here: see
/// [`Output::status`](crate::Output::status).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot run `{program}`: {reason}")]
    Spec { program: String, reason: String },
    #[error("there is no program `{program}` in {path}; is its package installed?")]
    NotFound { program: String, path: String },
    #[error("cannot {stage} for `{program}`")]
    Start {
        program: String,
        stage: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot {doing} `{program}`")]
    Io {
        program: String,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("`{program}` was ended: it took longer than {limit:?}")]
    TimeLimit { program: String, limit: Duration, output: Box<Output> },
    #[error("`{program}` was ended: the request was cancelled")]
    Cancelled {
        program: String,
        /// `None` when the program was not even started.
        output: Option<Box<Output>>,
    },
    #[error("cannot {doing} the cgroup {path}")]
    Cgroup {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}
