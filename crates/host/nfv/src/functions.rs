//! What the northbound asks of the nodes. The daemon answers with the agents inside them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// Where functions live and are changed.
pub trait Functions: Send + Sync + fmt::Debug {
    /// The node that `wanted` names; the only one that can hold functions when nothing is wanted.
    fn place<'a>(&'a self, wanted: Option<&'a str>) -> BoxFuture<'a, Result<String, Refusal>>;

    /// Does it, and returns when it has ended. Dropping the future leaves it going on in the node.
    fn perform(&self, task: Task) -> BoxFuture<'_, Result<(), Failure>>;

    /// Asks the operation that is going on to end: after its present script, or at once.
    fn cancel<'a>(
        &'a self,
        node: &'a str,
        function: &'a str,
        forceful: bool,
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// How the function is now; `None` when its node does not know it.
    fn look<'a>(
        &'a self,
        node: &'a str,
        function: &'a str,
    ) -> BoxFuture<'a, Result<Option<Look>, Failure>>;
}

/// Why no node can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// One thing to be done with a function in a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub node: String,
    /// Its name in the node.
    pub function: String,
    pub ask: Ask,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Brings the package in and instantiates it.
    Instantiate {
        package: PathBuf,
        parameters: Map<String, Value>,
    },
    /// `drain`: time for a graceful end; none means at once.
    Terminate {
        drain: Option<Duration>,
        parameters: Map<String, Value>,
    },
    Start {
        parameters: Map<String, Value>,
    },
    Stop {
        grace: Option<Duration>,
        parameters: Map<String, Value>,
    },
    Heal {
        cause: Option<String>,
        parameters: Map<String, Value>,
    },
    Scale {
        out: bool,
        aspect: String,
        steps: u32,
        parameters: Map<String, Value>,
    },
    /// New values of parameters.
    Configure {
        parameters: Map<String, Value>,
    },
    /// Another revision.
    Change {
        package: PathBuf,
        parameters: Map<String, Value>,
    },
    /// What failed, from where it failed.
    Retry,
    Rollback,
    /// Gives the failed operation up.
    Fail,
    /// Waits for what is going on and tells how it ended.
    Settle,
    /// Takes the terminated function and its record out of the node.
    Forget,
}

/// How a function is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Its process is there.
    pub started: bool,
    /// The watch's word for it: `PRESENT`, `ABSENT`, ...
    pub watch: String,
    pub process: Option<String>,
    pub pids: Vec<u32>,
    pub revision: Option<String>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problem.detail)]
pub struct Failure {
    /// Nothing was changed: it may be asked again as if it had never been.
    pub unchanged: bool,
    pub problem: Problem,
}

impl Failure {
    /// An operation that failed on its way.
    pub fn failed(detail: impl Into<String>) -> Self {
        let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail);
        Self { unchanged: false, problem: problem.coded("operation-failed") }
    }

    /// The node cannot be spoken to.
    pub fn unreachable(detail: impl Into<String>) -> Self {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        Self { unchanged: false, problem: problem.coded("node-unreachable") }
    }

    /// Refused before anything was changed.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self { unchanged: true, problem: Problem::conflict(detail).coded("refused") }
    }
}
