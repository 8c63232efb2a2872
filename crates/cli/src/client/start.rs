//! Starting the daemon when a command needs one.
//!
//! Commands that start at the same instant take turns at `start.lock`: the first starts the daemon, the
//! others find it running. The new daemon tells that it is ready, or why it cannot be, through a pipe.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use tokio::io::AsyncReadExt;
use vnode_action::{Session, Spec, Stdin, Stream};
use vnode_api::{Code, Problem, socket};

use super::DAEMON_TIME;
use crate::Result;

/// Number of the descriptor through which the daemon answers.
const READY_FD: i32 = 3;
/// Longest answer.
const MAX_ANSWER: u64 = 64 * 1024;
/// Size at which the log is put aside before a daemon starts, bytes.
const MAX_LOG: u64 = 16 << 20;

/// The lock a daemon holds as long as it lives.
pub(crate) fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("daemon.lock")
}

/// Starts a daemon unless one runs, and waits until it is ready.
pub(super) async fn start(state_dir: &Path) -> Result<()> {
    let fail = |error: &io::Error| {
        let problem = Problem::from_error(Code::Failed, error)
            .in_front(format!("cannot start the daemon in `{}`", state_dir.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                problem.hint("run `vnode` as root, or give another folder with `--state-dir`")
            }
            _ => problem,
        }
    };
    if !rustix::process::geteuid().is_root() {
        return Err(Problem::new(Code::Forbidden, "cannot start the daemon: it needs root")
            .hint("run `vnode` as root, e.g. with `sudo`"));
    }
    make_folder(state_dir).map_err(|error| fail(&error))?;
    let turn = open(&state_dir.join("start.lock")).map_err(|error| fail(&error))?;
    let turn = lock(turn).await.map_err(|error| fail(&error))?;
    if socket::connect(&state_dir.join(socket::NAME)).is_ok() {
        return Ok(());
    }
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| fail(&error.into()))?;
    let program = front(std::env::current_exe().map_err(|error| fail(&error))?);
    let log = open_log(state_dir).map_err(|error| fail(&error))?;
    let spec = Spec::new([program.as_os_str()])
        .arg("daemon")
        .arg("--state-dir")
        .arg(state_dir)
        .arg("--ready-fd")
        .arg(READY_FD.to_string())
        .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(handed_on)))
        .folder("/")
        .stdin(Stdin::Null)
        .stdout(Stream::Fd(log.try_clone().map_err(|error| fail(&error))?.into()))
        .stderr(Stream::Fd(log.into()))
        .session(Session::NewSession)
        .pass(READY_FD, write);
    vnode_action::spawn_detached(spec).map_err(|error| {
        Problem::from_error(Code::Failed, &error).in_front("cannot start the daemon")
    })?;
    let answer = tokio::time::timeout(DAEMON_TIME, answer(read)).await;
    drop(turn);
    match answer {
        Ok(Ok(text)) if text == "ready\n" => Ok(()),
        Ok(Ok(text)) => Err(serde_json::from_str(&text).unwrap_or_else(|_| {
            let problem = Problem::new(Code::Failed, "the daemon ended before it was ready");
            let problem = match last_words(state_dir) {
                Some(words) => problem.cause(words),
                None => problem,
            };
            problem.hint(format!("its log is `{}`", state_dir.join("daemon.log").display()))
        })),
        Ok(Err(error)) => Err(fail(&error)),
        Err(_) => Err(Problem::new(Code::Deadline, "the daemon is not ready")
            .cause(format!("no word from it in {} s", DAEMON_TIME.as_secs()))
            .hint(format!("see `{}`", state_dir.join("daemon.log").display()))),
    }
}

/// The program as users know it, which a daemon shows as in the list of processes: this one is what that becomes.
fn front(own: PathBuf) -> PathBuf {
    let front = own.with_file_name("vnode");
    if front.exists() { front } else { own }
}

/// Variables that a daemon started by a command gets from it; nothing else of the user's leaks into it.
fn handed_on(name: &str) -> bool {
    name.starts_with("VNODE_") && name != "VNODE_TOKEN"
        || matches!(
            name,
            "PATH"
                | "HOME"
                | "RUST_LOG"
                | "RUST_BACKTRACE"
                | "TZ"
                | "LANG"
                | "http_proxy"
                | "https_proxy"
                | "no_proxy"
                | "HTTP_PROXY"
                | "HTTPS_PROXY"
                | "NO_PROXY"
        )
}

/// The state folder, for root only.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Opens a lock file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn open_log(state_dir: &Path) -> io::Result<File> {
    let path = state_dir.join("daemon.log");
    if std::fs::metadata(&path).is_ok_and(|log| log.len() > MAX_LOG) {
        std::fs::rename(&path, state_dir.join("daemon.log.1"))?;
    }
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// The last line that a daemon wrote.
fn last_words(state_dir: &Path) -> Option<String> {
    let mut log = File::open(state_dir.join("daemon.log")).ok()?;
    let length = log.metadata().ok()?.len();
    log.seek(io::SeekFrom::Start(length.saturating_sub(4096))).ok()?;
    let mut tail = Vec::new();
    log.take(4096).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    tail.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Waits for a lock; it falls with the file.
pub(crate) async fn lock(file: File) -> io::Result<File> {
    let locked = tokio::task::spawn_blocking(move || {
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map(|()| file)
    });
    match tokio::time::timeout(DAEMON_TIME, locked).await {
        Ok(Ok(locked)) => locked.map_err(io::Error::from),
        Ok(Err(error)) => Err(io::Error::other(error)),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "another command holds the lock")),
    }
}

/// Waits until the daemon has let go of its lock, which it does with its last breath.
pub(crate) async fn wait_until_gone(state_dir: &Path) -> Result<()> {
    let gone = async { lock(open(&lock_path(state_dir))?).await };
    gone.await.map(drop).map_err(|error| {
        Problem::from_error(Code::Deadline, &error).in_front("the daemon does not end")
    })
}

async fn answer(pipe: OwnedFd) -> io::Result<String> {
    let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(pipe)?;
    let mut text = String::new();
    pipe.take(MAX_ANSWER).read_to_string(&mut text).await?;
    Ok(text)
}
