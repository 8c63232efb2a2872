//! One guest, whichever agent answers in it.

use std::fmt;

use serde_json::Value;
use tokio::io::AsyncRead;

use crate::{
    error::{Error, Result},
    exec::{Exec, ExecSpec, Reader, Size},
    file::{FileReader, FileSpec},
    native, qga,
};

/// The language an agent speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Our own: `vnode-agent`.
    Native,
    /// QEMU's guest agent, or ours in that form.
    Qga,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "vnode-agent",
            Self::Qga => "qemu-ga",
        })
    }
}

/// How a guest ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    Poweroff,
    Reboot,
    Halt,
}

/// An agent inside a guest, over a connection that stays open as long as this value or anything made by it does.
/// Cheap to clone; requests of clones share the connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Guest {
    Native(native::Client),
    Qga(qga::Client),
}

macro_rules! each {
    ($self:ident, $client:ident => $call:expr) => {
        match $self {
            Self::Native($client) => $call,
            Self::Qga($client) => $call,
        }
    };
}

impl Guest {
    #[must_use]
    pub fn form(&self) -> Form {
        match self {
            Self::Native(_) => Form::Native,
            Self::Qga(_) => Form::Qga,
        }
    }

    /// Whether the connection can still be used.
    #[must_use]
    pub fn is_open(&self) -> bool {
        each!(self, client => client.is_open())
    }

    /// Waits until the connection is over.
    pub async fn closed(&self) {
        each!(self, client => client.closed().await);
    }

    /// A round trip.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub async fn ping(&self) -> Result<()> {
        each!(self, client => client.ping().await)
    }

    /// What the agent says of itself: `agent`, `version`, `commands`; in QEMU's form what `guest-info` answers, with
    /// `agent` set to `qemu-ga`.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub async fn info(&self) -> Result<Value> {
        each!(self, client => client.info().await)
    }

    /// Interfaces with addresses, in the form of the agent's `network` command, whichever agent answers.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub async fn network(&self) -> Result<Value> {
        each!(self, client => client.network().await)
    }

    /// Load, memory, file systems, in the form of the agent's `metrics` command; what cannot be had is under `missing`.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub async fn metrics(&self) -> Result<Value> {
        each!(self, client => client.metrics().await)
    }

    /// The guest's clock, nanoseconds since 1970.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub async fn time(&self) -> Result<u64> {
        each!(self, client => client.time().await)
    }

    /// Sets the guest's clock.
    ///
    /// # Errors
    /// As [`Guest::call`]; a container has no clock of its own.
    pub async fn set_time(&self, ns: u64) -> Result<()> {
        each!(self, client => client.set_time(ns).await)
    }

    /// Asks the guest to end. It has been asked when this returns; the end shows elsewhere.
    ///
    /// # Errors
    /// As [`Guest::call`].
    pub async fn shutdown(&self, how: Shutdown) -> Result<()> {
        each!(self, client => client.shutdown(how).await)
    }

    /// Any command of the agent's own form that answers with one value: `info`, `network`, ... In QEMU's form the name
    /// and arguments of a `guest-*` command.
    ///
    /// # Errors
    /// The agent refused or did not answer in time; the connection is over.
    pub async fn call(&self, command: &str, value: Value) -> Result<Value> {
        each!(self, client => client.call(command, value).await)
    }

    /// Runs a program. Returns as soon as it has been asked for: whether it could be started, [`Exec::wait`] says.
    ///
    /// QEMU's form has no terminal; its program begins when its input has ended, and what it prints (at most 16 MiB of
    /// each stream) comes when it has ended.
    ///
    /// # Errors
    /// The connection is over; this form of agent cannot do what the definition wants.
    pub async fn exec(&self, spec: ExecSpec) -> Result<Exec> {
        each!(self, client => client.exec(spec).await)
    }

    /// Attaches to a program of our own agent's that was begun with `detach`: all of its output that is kept, and what
    /// comes. Dropping the value leaves the program as it is; the end of its input is the program's.
    ///
    /// # Errors
    /// QEMU's form has no such programs; the connection is over. Whether there is such a program, [`Exec::wait`] says.
    pub async fn attach(&self, id: &str, terminal: Option<Size>) -> Result<Exec> {
        match self {
            Self::Native(client) => client.attach(id, terminal).await,
            Self::Qga(_) => Err(Error::Unsupported { what: "detached programs".to_owned() }),
        }
    }

    /// Reads a file, as fast as the reader takes it.
    ///
    /// # Errors
    /// It is not there, or is no file; as [`Guest::call`].
    pub async fn read_file(&self, path: &str) -> Result<FileReader> {
        each!(self, client => client.read_file(path).await)
    }

    /// Writes a file; gives the number of bytes. With our own agent it is there whole or not at all.
    ///
    /// # Errors
    /// The guest refused; `from` cannot be read; as [`Guest::call`].
    pub async fn write_file(
        &self,
        file: FileSpec,
        from: impl AsyncRead + Send + Unpin,
    ) -> Result<u64> {
        each!(self, client => client.write_file(file, from).await)
    }

    /// A file or folder as a tar stream, under its own name. A folder needs the guest's `tar`; so does a file in QEMU's
    /// form. An archive that breaks off ends with an error.
    ///
    /// # Errors
    /// It is not there; the guest has no `tar`; as [`Guest::call`].
    pub async fn archive_out(&self, path: &str) -> Result<Reader> {
        crate::archive::out(self, path).await
    }

    /// Unpacks a tar stream in a folder of the guest, with the guest's `tar`.
    ///
    /// # Errors
    /// The folder is not there; the guest has no `tar`; as [`Guest::call`].
    pub async fn archive_in(&self, path: &str, tar: impl AsyncRead + Send + Unpin) -> Result<()> {
        crate::archive::into(self, path, tar).await
    }
}
