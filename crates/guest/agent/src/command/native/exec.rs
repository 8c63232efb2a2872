//! exec: a program with its streams, or on a terminal.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures_util::future::BoxFuture;
use rustix::{
    pty::OpenptFlags,
    termios::{Winsize, tcsetwinsize},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{sleep, timeout},
};
use vnode_action::{CancellationToken, ExitStatus, Running, Session, Signal, Spec, Stdin, Stream};
use vnode_processes::proc;
use vnode_protocol::frame::{Exit, Frame};

use super::{Ended, StreamIo, Streaming, failed, read, user};
use crate::{
    audit,
    command::{Class, CommandError},
    context::Context,
    exchange::FdStream,
    parser::native::{Inbox, Input, Outbox},
};

/// Bytes read from a program at a time.
const CHUNK: usize = 32 << 10;
/// How long we read on after the program has ended: only what left its group can still hold the pipes.
const DRAIN: Duration = Duration::from_millis(250);
/// Between looks at a program that has no terminal, and how long it stands still before that is told.
const LOOK: Duration = Duration::from_secs(5);
const STANDS: Duration = Duration::from_secs(30);
/// What a program finds when the request names no environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program.
#[derive(Debug)]
pub(super) struct Exec;
streamed!(Exec, "exec");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The program and its arguments; empty: the user's shell, as a login shell.
    #[serde(default)]
    argv: Vec<String>,
    /// Variables beside `PATH`, `HOME`, `USER`, `LOGNAME`, `SHELL` and, on a terminal, `TERM`.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The working directory; default: the user's home where it is there, else `/`.
    folder: Option<String>,
    /// Whom it runs as, by name or number; default: us.
    user: Option<String>,
    /// On a terminal of this size.
    terminal: Option<Size>,
    /// Whether the client sends its input; default: it has none.
    #[serde(default)]
    stdin: bool,
    time_limit_seconds: Option<u64>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Size {
    rows: u16,
    columns: u16,
}

impl Size {
    fn of(self) -> Winsize {
        Winsize { ws_row: self.rows, ws_col: self.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

impl Streaming for Exec {
    fn stream<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
        io: StreamIo,
    ) -> BoxFuture<'a, Result<Ended, CommandError>> {
        Box::pin(async move {
            let request: Request = read(value)?;
            let limit = request.time_limit_seconds.map(Duration::from_secs);
            let watch = Watch::default();
            // Kills the program when it is dropped.
            let mut running = std::pin::pin!(async {
                match request.terminal {
                    Some(size) => on_terminal(context, request, size, io, &watch).await,
                    None => with_pipes(context, request, io, &watch).await,
                }
            });
            let status = match limit {
                Some(limit) => timeout(limit, &mut running).await.unwrap_or_else(|_| {
                    let still = if watch.stands_still() {
                        ", and stands still: a signal stopped it"
                    } else {
                        ""
                    };
                    let text = format!("the program ran longer than {} s{still}", limit.as_secs());
                    Err(CommandError::new(Class::TimedOut, text))
                })?,
                None => running.await?,
            };
            Ok(Ended::Exit(match status {
                ExitStatus::Code(code) => Exit { code: Some(code), signal: None },
                ExitStatus::Signal(signal) => Exit { code: None, signal: Some(signal) },
            }))
        })
    }
}

/// Looks whether a program that runs has been stopped by a signal: nothing tells its client, who waits.
#[derive(Debug, Default)]
struct Watch {
    /// 0 as long as it has not begun.
    pid: AtomicU32,
}

impl Watch {
    /// Its number names it as long as its end has not been waited for.
    fn stands_still(&self) -> bool {
        let pid = self.pid.load(Ordering::Relaxed).cast_signed();
        pid != 0 && proc::stat(pid).is_some_and(|stat| stat.state == b'T')
    }

    /// Returns when it has stood still for [`STANDS`].
    async fn stopped(&self) {
        let mut looks = 0;
        while looks < STANDS.as_secs() / LOOK.as_secs() {
            sleep(LOOK).await;
            looks = if self.stands_still() { looks + 1 } else { 0 };
        }
    }
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

fn start(spec: Spec) -> Result<Running, CommandError> {
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

async fn with_pipes(
    context: &Context,
    request: Request,
    io: StreamIo,
    watch: &Watch,
) -> Result<ExitStatus, CommandError> {
    let input = if request.stdin { Stdin::Pipe } else { Stdin::Null };
    // In a session of its own: a terminal that we were started from is not the program's to change.
    let spec = spec(context, &request)?
        .stdin(input)
        .stdout(Stream::Pipe)
        .stderr(Stream::Pipe)
        .session(Session::NewSession);
    let mut running = start(spec)?;
    watch.pid.store(running.pid(), Ordering::Relaxed);
    let (stdin, stdout, stderr) =
        (running.take_stdin(), running.take_stdout(), running.take_stderr());
    let StreamIo { inbox, outbox } = io;
    let ended = CancellationToken::new();
    let out = async {
        tokio::join!(
            give(stdout, Frame::Stdout(Vec::new()), &outbox, &ended),
            give(stderr, Frame::Stderr(Vec::new()), &outbox, &ended)
        )
    };
    let feeding = async {
        if let Some(stdin) = stdin {
            feed(stdin, &inbox, &outbox, true).await;
        }
    };
    let finished = async { finish(&mut running, feeding, out, &inbox, &ended, None).await };
    let mut finished = std::pin::pin!(finished);
    tokio::select! {
        status = &mut finished => return status,
        () = watch.stopped() => {
            audit::stopped(context, "exec", watch.pid.load(Ordering::Relaxed), STANDS);
        }
    }
    finished.await
}

async fn on_terminal(
    context: &Context,
    request: Request,
    size: Size,
    io: StreamIo,
    watch: &Watch,
) -> Result<ExitStatus, CommandError> {
    let wrong = |error: rustix::io::Errno| failed("make a terminal", error);
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).map_err(wrong)?;
    rustix::pty::unlockpt(&master).map_err(wrong)?;
    tcsetwinsize(&master, size.of()).map_err(wrong)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(wrong)?;
    let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| failed("make a terminal", error));
    let spec = spec(context, &request)?
        .stdout(Stream::Fd(copy(&slave)?))
        .stderr(Stream::Fd(copy(&slave)?))
        .stdin(Stdin::Fd(slave))
        .session(Session::Terminal);
    let resized = copy(&master)?;
    let mut running = start(spec)?;
    watch.pid.store(running.pid(), Ordering::Relaxed);
    let stream = FdStream::new(master).map_err(|error| failed("use a terminal", error))?;
    let (from, to) = tokio::io::split(stream);
    let StreamIo { inbox, outbox } = io;
    let ended = CancellationToken::new();
    let out = give(Some(from), Frame::Stdout(Vec::new()), &outbox, &ended);
    // The end of input is no end of a terminal: that is a character its program is given.
    let feeding = feed(to, &inbox, &outbox, false);
    finish(&mut running, feeding, out, &inbox, &ended, Some(&resized)).await
}

/// Moves everything until the program has ended and its output is read.
async fn finish(
    running: &mut Running,
    feeding: impl Future<Output = ()>,
    out: impl Future,
    inbox: &Inbox,
    ended: &CancellationToken,
    terminal: Option<&OwnedFd>,
) -> Result<ExitStatus, CommandError> {
    let mut feeding = std::pin::pin!(feeding);
    let mut out = std::pin::pin!(out);
    let (mut fed, mut given) = (false, false);
    let status = loop {
        tokio::select! {
            status = running.wait() => {
                break status.map_err(|error| failed("wait for the program", error))?;
            }
            () = &mut feeding, if !fed => fed = true,
            _ = &mut out, if !given => given = true,
            input = inbox.next_control() => control(running, terminal, &input)?,
        }
    };
    ended.cancel();
    if !given {
        // A client that takes its time is waited for; pipes that somebody else holds open are not.
        out.await;
    }
    Ok(status)
}

fn control(
    running: &Running,
    terminal: Option<&OwnedFd>,
    input: &Input,
) -> Result<(), CommandError> {
    match (input, terminal) {
        (Input::Signal(number), _) => {
            let signal = Signal::from_named_raw(*number)
                .ok_or_else(|| CommandError::invalid(format!("there is no signal {number}")))?;
            running.signal_group(signal).map_err(|error| failed("signal the program", error))
        }
        (Input::Resize { rows, columns }, Some(terminal)) => {
            let size = Size { rows: *rows, columns: *columns };
            tcsetwinsize(terminal, size.of()).map_err(|error| failed("resize the terminal", error))
        }
        // A size without a terminal means nothing.
        _ => Ok(()),
    }
}

/// Gives the client what the program prints, to its end; once the program has `ended`, only what is there.
async fn give(
    from: Option<impl AsyncRead + Unpin>,
    kind: Frame,
    outbox: &Outbox,
    ended: &CancellationToken,
) {
    let Some(mut from) = from else { return };
    let mut buffer = Vec::with_capacity(CHUNK);
    loop {
        buffer.clear();
        let late = async {
            ended.cancelled().await;
            sleep(DRAIN).await;
        };
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut buffer) => read,
            () = late => return,
        };
        match read {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot read what a program prints");
                return;
            }
        }
        match outbox.bytes(&kind, std::mem::take(&mut buffer)).await {
            Ok(back) => buffer = back,
            // The connection is over, which ends the request.
            Err(_) => return,
        }
    }
}

/// Feeds the program what the client sends, and lets the client send as much again. Input that the program does
/// not want is taken and dropped.
async fn feed(mut to: impl AsyncWrite + Unpin, inbox: &Inbox, outbox: &Outbox, closes: bool) {
    let mut wanted = true;
    while let Input::Bytes(bytes) = inbox.next_bytes().await {
        if wanted && to.write_all(&bytes).await.is_err() {
            wanted = false;
        }
        let length = bytes.len();
        inbox.recycle(bytes);
        if outbox.grant(inbox, length).await.is_err() {
            return;
        }
    }
    if !closes {
        // Kept open as long as the program runs.
        std::future::pending::<()>().await;
    }
}
