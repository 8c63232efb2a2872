//! A program that runs in a guest.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};
pub use vnode_protocol::frame::Exit;

use crate::error::Result;

/// Out of the guest.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// Into the guest; dropping it is end of file for the program.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

/// A program to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments; the program is looked up in the guest's `PATH`. Empty: the user's login shell.
    pub argv: Vec<String>,
    /// Variables added to those the agent sets.
    pub env: Vec<(String, String)>,
    /// Working folder; `None`: the user's home, or `/`.
    pub folder: Option<String>,
    /// Whom it runs as, by name or number; `None`: the agent's own user, root.
    pub user: Option<String>,
    /// On a terminal of this size; `None`: three streams.
    pub terminal: Option<Size>,
    /// Whether its input comes from us; otherwise it has none.
    pub stdin: bool,
    /// The guest ends it after this time.
    pub time_limit: Option<Duration>,
}

/// Signals and size of a running program.
pub(crate) trait Controls: Send + Sync + fmt::Debug {
    fn signal(&self, signal: i32) -> Pending<'_, Result<()>>;
    fn resize(&self, size: Size) -> Pending<'_, Result<()>>;
    /// See [`Control::lost`].
    fn lost(&self) -> u64 {
        0
    }
}

/// Signals and window size of a running program, apart from its streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control(pub(crate) Arc<dyn Controls>);

impl Control {
    /// Sends a signal to the program's process group (QEMU's form: to the process).
    ///
    /// # Errors
    /// The connection is over; the guest refused.
    pub async fn signal(&self, signal: i32) -> Result<()> {
        self.0.signal(signal).await
    }

    /// Changes the size of its terminal; one that has none takes no notice.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn resize(&self, size: Size) -> Result<()> {
        self.0.resize(size).await
    }

    /// Bytes of what the program printed that were lost before we could have them: an agent keeps the last of what a
    /// detached one prints. All since it was attached to.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost()
    }
}

/// A running program. Dropping it before its end ends the program.
///
/// Standard output and standard error share one window: who reads one must read the other, or drop it.
pub struct Exec {
    /// `None` unless asked for.
    pub stdin: Option<Writer>,
    /// With a terminal, everything it prints.
    pub stdout: Option<Reader>,
    /// `None` with a terminal.
    pub stderr: Option<Reader>,
    pub(crate) control: Control,
    pub(crate) end: Pending<'static, Result<Exit>>,
    pub(crate) ended: Option<Exit>,
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Exec {
    /// Signals and resizing, usable while the streams are in use elsewhere.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for the program's end; cancel-safe, and may be asked again. What it printed can still be read afterwards.
    ///
    /// # Errors
    /// It could not be started; the connection broke.
    pub async fn wait(&mut self) -> Result<Exit> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let ended = self.end.as_mut().await?;
        self.ended = Some(ended);
        Ok(ended)
    }
}
