//! Programs run in a node, and its console.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Result;
use crate::instance::BoxFuture;

/// Readable end of a stream out of the node.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// Writable end of a stream into the node; dropping it is end of file for the program.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub rows: u16,
    pub cols: u16,
}

/// A program to run in a running node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Program and arguments; the program is looked up in `PATH` of `env` inside the node.
    pub argv: Vec<String>,
    /// Variables set over those of the node's own environment, `NAME=value`.
    pub env: Vec<String>,
    /// Working folder; `None` is the node's own.
    pub cwd: Option<String>,
    /// As in [`Process::user`](crate::Process::user); `None` is the node's own.
    pub user: Option<String>,
    /// A pseudo-terminal of this size; `None`: three pipes.
    pub tty: Option<WindowSize>,
    /// All capabilities, no seccomp.
    pub privileged: bool,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExit {
    /// Exit status, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl ExecExit {
    /// Exit status as a shell gives it: the code, or 128 and the signal.
    #[must_use]
    pub fn shell_code(&self) -> i32 {
        self.code.unwrap_or_else(|| 128 + self.signal.unwrap_or(0))
    }
}

/// Signals and window size of a running program, apart from its streams.
pub trait ExecControl: Send + Sync {
    /// Sends a signal to the program's process group (SIGKILL: to its whole session).
    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<()>>;
    /// Changes the size of its terminal; an error when it has none.
    fn resize(&self, size: WindowSize) -> BoxFuture<'_, Result<()>>;
    /// Bytes of its output that were lost on the way so far; of one that was attached to, also what was not kept.
    fn lost(&self) -> u64 {
        0
    }
}

/// A program running in a node. Dropping it before its end kills the program and its session.
pub struct Exec {
    /// Its standard input; taken and dropped: end of file. With a terminal, the terminal's input.
    pub stdin: Option<Writer>,
    /// Its standard output; with a terminal, everything it prints.
    pub stdout: Option<Reader>,
    /// Its standard error; `None` with a terminal.
    pub stderr: Option<Reader>,
    pub(crate) control: Arc<dyn ExecControl>,
    pub(crate) exit: Pin<Box<dyn Future<Output = Result<ExecExit>> + Send>>,
    pub(crate) ended: Option<ExecExit>,
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec").finish_non_exhaustive()
    }
}

impl Exec {
    /// A program another driver has started. `exit` tells its end, and ends the program when it is dropped before.
    pub fn new(
        stdin: Option<Writer>,
        stdout: Option<Reader>,
        stderr: Option<Reader>,
        control: Arc<dyn ExecControl>,
        exit: impl Future<Output = Result<ExecExit>> + Send + 'static,
    ) -> Self {
        Self { stdin, stdout, stderr, control, exit: Box::pin(exit), ended: None }
    }

    /// Signals and resizing, usable while the streams are in use elsewhere.
    #[must_use]
    pub fn control(&self) -> Arc<dyn ExecControl> {
        Arc::clone(&self.control)
    }

    /// Waits for the program's end; cancel-safe, and may be asked again. Output may still be in the pipes
    /// afterwards.
    ///
    /// # Errors
    /// The monitor went away before it could tell.
    pub async fn wait(&mut self) -> Result<ExecExit> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let ended = self.exit.as_mut().await?;
        self.ended = Some(ended);
        Ok(ended)
    }
}

/// The node's console: what it printed lately, then what it prints; what is written is typed.
pub struct Console {
    pub input: Writer,
    pub output: Reader,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}
