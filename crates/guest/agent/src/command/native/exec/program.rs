//! What a request says of a program, and how it is begun.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, sync::Arc};

use rustix::{
    pty::OpenptFlags,
    termios::{Winsize, tcsetwinsize},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{ReadHalf, WriteHalf},
    net::unix::pipe,
};
use vnode_action::{Running, Session, Spec, Stdin, Stream};

use super::{
    failed,
    tree::{Tree, Watch},
    user,
};
use crate::{
    command::{Class, CommandError},
    context::Context,
    exchange::FdStream,
};

/// What a program finds when the request names no environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// The program and its arguments; empty: the user's shell, as a login shell.
    #[serde(default)]
    pub(super) argv: Vec<String>,
    /// Variables beside `PATH`, `HOME`, `USER`, `LOGNAME`, `SHELL` and, on a terminal, `TERM`.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The working directory; default: the user's home where it is there, else `/`.
    folder: Option<String>,
    /// Whom it runs as, by name or number; default: us.
    pub(super) user: Option<String>,
    /// On a terminal of this size.
    pub(super) terminal: Option<Size>,
    /// Whether the client sends its input; default: it has none.
    #[serde(default)]
    pub(super) stdin: bool,
    pub(super) time_limit_seconds: Option<u64>,
    /// Answered at once: it lives on without its client, and can be attached.
    #[serde(default)]
    pub(super) detach: bool,
}

#[derive(Debug, Deserialize, Serialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
pub(super) struct Size {
    pub(super) rows: u16,
    pub(super) columns: u16,
}

impl Size {
    fn of(self) -> Winsize {
        Winsize { ws_row: self.rows, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// A program's streams, from our side.
pub(super) enum Streams {
    Pipes {
        stdin: Option<pipe::Sender>,
        stdout: Option<pipe::Receiver>,
        stderr: Option<pipe::Receiver>,
    },
    Terminal {
        from: ReadHalf<FdStream>,
        to: WriteHalf<FdStream>,
        size: Terminal,
    },
}

/// A terminal, as far as its size is concerned.
#[derive(Debug)]
pub(super) struct Terminal(OwnedFd);

impl Terminal {
    pub(super) fn resize(&self, size: Size) -> Result<(), CommandError> {
        tcsetwinsize(&self.0, size.of()).map_err(|error| failed("resize the terminal", error))
    }
}

/// Begins the program that a request asks for, under a mark of its own.
pub(super) fn begin(
    context: &Context,
    request: &Request,
    mark: &str,
    watch: &Arc<Watch>,
) -> Result<(Tree, Streams), CommandError> {
    let spec = spec(context, request)?;
    let Some(size) = request.terminal else {
        let input = if request.stdin { Stdin::Pipe } else { Stdin::Null };
        // In a session of its own: a terminal that we were started from is not the program's to change.
        let spec = spec
            .stdin(input)
            .stdout(Stream::Pipe)
            .stderr(Stream::Pipe)
            .session(Session::NewSession);
        let mut tree = Tree::start(context, spec, mark, watch)?;
        let streams = match tree.running() {
            Some(running) => Streams::Pipes {
                stdin: running.take_stdin(),
                stdout: running.take_stdout(),
                stderr: running.take_stderr(),
            },
            None => Streams::Pipes { stdin: None, stdout: None, stderr: None },
        };
        return Ok((tree, streams));
    };
    let wrong = |error: rustix::io::Errno| failed("make a terminal", error);
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).map_err(wrong)?;
    rustix::pty::unlockpt(&master).map_err(wrong)?;
    tcsetwinsize(&master, size.of()).map_err(wrong)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(wrong)?;
    let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| failed("make a terminal", error));
    let spec = spec
        .stdout(Stream::Fd(copy(&slave)?))
        .stderr(Stream::Fd(copy(&slave)?))
        .stdin(Stdin::Fd(slave))
        .session(Session::Terminal);
    let size = Terminal(copy(&master)?);
    let tree = Tree::start(context, spec, mark, watch)?;
    let stream = FdStream::new(master).map_err(|error| failed("use a terminal", error))?;
    let (from, to) = tokio::io::split(stream);
    Ok((tree, Streams::Terminal { from, to, size }))
}

fn spec(context: &Context, request: &Request) -> Result<Spec, CommandError> {
    // Without account files (a minimal image) a program runs as we do, with a plain environment.
    let account = match &request.user {
        Some(name) => Some(user::look_up(context.root(), name)?),
        None => {
            let ours = rustix::process::getuid().as_raw().to_string();
            user::look_up(context.root(), &ours).ok()
        }
    };
    let name = |get: fn(&user::Account) -> &str, other: &'static str| {
        account.as_ref().map_or(other.to_owned(), |account| get(account).to_owned())
    };
    let (home, shell) = (name(|a| &a.home, "/"), name(|a| &a.shell, "/bin/sh"));
    let argv = if request.argv.is_empty() {
        vec![shell.clone(), "-l".to_owned()]
    } else {
        request.argv.clone()
    };
    let folder = match &request.folder {
        Some(folder) => folder.clone(),
        None if std::path::Path::new(&home).is_dir() => home.clone(),
        None => "/".to_owned(),
    };
    let mut spec = Spec::new(argv)
        .env("PATH", PATH)
        .env("HOME", home)
        .env("USER", name(|a| &a.name, "root"))
        .env("LOGNAME", name(|a| &a.name, "root"))
        .env("SHELL", shell)
        .folder(folder);
    if request.terminal.is_some() {
        spec = spec.env("TERM", "xterm-256color");
    }
    spec = spec.envs(&request.env);
    if request.user.is_some()
        && let Some(account) = account
    {
        spec = spec.user(account.user);
    }
    Ok(spec)
}

pub(super) fn start(spec: Spec) -> Result<Running, CommandError> {
    vnode_action::spawn(spec).map_err(|error| {
        let class = match std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .map(io::Error::kind)
        {
            Some(io::ErrorKind::NotFound) => Class::NotFound,
            Some(io::ErrorKind::PermissionDenied) => Class::Denied,
            _ => Class::Failed,
        };
        CommandError::new(class, error.to_string()).with_source(error)
    })
}
