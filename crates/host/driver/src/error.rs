//! What a driver reports when it cannot do what it was asked.

use std::io;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a driver could not do what was asked; each names the node or the path, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operation needs a running node.
    #[error("node `{node}` is not running: boot it first")]
    NotRunning { node: String },
    /// The node's processes are to be among those of another one, which has none.
    #[error(
        "node `{node}` lives among the processes of `{owner}`, which does not run: boot that first"
    )]
    Owner { node: String, owner: String },
    /// The operation needs a stopped node.
    #[error("node `{node}` is running: halt it first")]
    Running { node: String },
    /// The root file system is mounted on the host, so it cannot be booted from.
    #[error("root of node `{node}` is mounted at {}: unmount it first", path.display())]
    Mounted { node: String, path: PathBuf },
    /// The definition asks for something this driver, kernel or set-up cannot give.
    #[error("node `{node}`: {what}")]
    Unsupported { node: String, what: String },
    /// The definition holds a value that cannot be right.
    #[error("node `{node}`: {what}")]
    Invalid { node: String, what: String },
    /// The node's first process could not be started; `step` names step, path and cause.
    #[error("cannot boot node `{node}`: {step}")]
    Boot { node: String, step: String },
    /// A program could not be started in the node; `step` names step, path and cause.
    #[error("cannot exec in node `{node}`: {step}")]
    Exec { node: String, step: String },
    /// The node's monitor is gone or refused; the node is lost, destroy or recover it.
    #[error("monitor of node `{node}`: {what}")]
    Monitor { node: String, what: String },
    /// The spawner of monitors could not be started or is gone; a new driver starts another.
    #[error("monitor program {}: {what}", program.display())]
    Spawner { program: PathBuf, what: String },
    /// Something was not over in time.
    #[error("node `{node}`: {what} was not over after {after_ms} ms")]
    Timeout { node: String, what: String, after_ms: u64 },
    /// Destroying did what it could; what is named here is left, and the call may be repeated.
    #[error("node `{node}` is not wholly destroyed, left: {}", left.join("; "))]
    Left { node: String, left: Vec<String> },
    /// The path given to a copy does not exist in the node or is not what is needed.
    #[error("node `{node}`: `{path}`: {what}")]
    Path { node: String, path: String, what: String },
    /// The agent in the node could not do it.
    #[error("agent of node `{node}`")]
    Guest {
        node: String,
        #[source]
        source: Box<vnode_guest::Error>,
    },
    /// The kernel refused.
    #[error("cannot {doing}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { doing: doing.into(), source: source.into() }
    }
}
