//! A program run in a node beside its first process: its streams, its control, its end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::unix::pipe;
use vnode_monitor::wire::{Answer, Ask};

use super::config;
use super::connection::{Shared, done};
use super::instance::Container;
use super::stream::Terminal;
use crate::{BoxFuture, Error, Exec, ExecControl, ExecSpec, IdMap, Reader, Result, WindowSize};

impl Container {
    /// Starts a program in the running node.
    pub(super) async fn exec_now(&self, request: &ExecSpec) -> Result<Exec> {
        self.running()?;
        let fail = |what: &str, e: std::io::Error| {
            Error::io(format!("{what} (exec in `{}`)", self.node), e)
        };
        let mut exec = config::exec(&self.spec(), request, &self.group)?;
        let cgroup = self.cgroup(self.group.open_v2())?;
        exec.cgroup = cgroup.is_some();
        let streams = match request.tty {
            Some(_) => None,
            None => {
                let ids = self.spec().security.user_namespace;
                Some(Streams::new(ids).map_err(|e| fail("make pipes", e))?)
            }
        };
        let mut fds: Vec<BorrowedFd<'_>> = cgroup.iter().map(AsFd::as_fd).collect();
        if let Some(streams) = &streams {
            fds.extend(streams.theirs.iter().map(AsFd::as_fd));
        }
        let connection = self.connection();
        let reply = connection.ask(Ask::Exec(Box::new(exec)), &fds).await?;
        let id = match reply.answer {
            Answer::Exec { exec } => exec,
            Answer::Failed { step } => return Err(Error::Exec { node: self.node.clone(), step }),
            other => {
                let what = format!("answers an exec with {other:?}");
                return Err(Error::Monitor { node: self.node.clone(), what });
            }
        };
        let control = Arc::new(Program {
            node: self.node.clone(),
            connection,
            id,
            ended: AtomicBool::new(false),
        });
        let watched = Watched(Arc::clone(&control));
        let node = self.node.clone();
        let exit = reply.exit;
        let exit = Box::pin(async move {
            let watched = watched;
            let told = match exit {
                Some(exit) => exit.await.ok(),
                None => None,
            };
            watched.0.ended.store(true, Ordering::Release);
            told.ok_or(Error::Monitor {
                node,
                what: "went away before the program ended".to_owned(),
            })
        });
        let (stdin, stdout, stderr) = match streams {
            Some(streams) => streams.ours(),
            None => {
                let master = reply.fds.into_iter().next().ok_or_else(|| Error::Monitor {
                    node: self.node.clone(),
                    what: "gave no terminal".to_owned(),
                })?;
                let terminal = Terminal::new(master).map_err(|e| fail("use the terminal", e))?;
                (
                    Some(Box::pin(terminal.clone()) as crate::Writer),
                    Some(Box::pin(terminal) as Reader),
                    None,
                )
            }
        };
        Ok(Exec { stdin, stdout, stderr, control, exit, ended: None })
    }
}

/// Three pipes: the program's ends and ours.
struct Streams {
    theirs: [OwnedFd; 3],
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

impl Streams {
    /// The program's ends are its node's root's, who gives them to the program's user: of what is the host's it may not.
    fn new(ids: Option<IdMap>) -> std::io::Result<Self> {
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let ((stdin, into), (from, stdout), (from_err, stderr)) = (pipe()?, pipe()?, pipe()?);
        for ours in [&into, &from, &from_err] {
            rustix::io::ioctl_fionbio(ours, true)?;
            if let Some(IdMap { first, .. }) = ids {
                let (uid, gid) =
                    (rustix::fs::Uid::from_raw(first), rustix::fs::Gid::from_raw(first));
                rustix::fs::fchown(ours, Some(uid), Some(gid))?;
            }
        }
        Ok(Self {
            theirs: [stdin, stdout, stderr],
            stdin: pipe::Sender::from_owned_fd(into)?,
            stdout: pipe::Receiver::from_owned_fd(from)?,
            stderr: pipe::Receiver::from_owned_fd(from_err)?,
        })
    }

    /// Closes the program's ends in this process, so that its end is ours too.
    fn ours(self) -> (Option<crate::Writer>, Option<Reader>, Option<Reader>) {
        drop(self.theirs);
        (Some(Box::pin(self.stdin)), Some(Box::pin(self.stdout)), Some(Box::pin(self.stderr)))
    }
}

/// A running program, as its handle controls it.
#[derive(Debug)]
struct Program {
    node: String,
    connection: Shared,
    id: u64,
    ended: AtomicBool,
}

impl ExecControl for Program {
    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ask = Ask::ExecSignal { exec: self.id, signal };
            done(&self.node, self.connection.ask(ask, &[]).await?).map(drop)
        })
    }

    fn resize(&self, size: WindowSize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ask = Ask::Resize { exec: Some(self.id), rows: size.rows, cols: size.cols };
            done(&self.node, self.connection.ask(ask, &[]).await?).map(drop)
        })
    }
}

/// Kills the program when nobody waits for it any more.
struct Watched(Arc<Program>);

impl Drop for Watched {
    fn drop(&mut self) {
        if self.0.ended.load(Ordering::Acquire) {
            return;
        }
        let program = Arc::clone(&self.0);
        // Outside a runtime the whole program is ending; the pipes' end tells the rest.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = program.signal(libc::SIGKILL).await {
                    tracing::debug!(node = %program.node, %error, "program of an abandoned exec");
                }
            });
        }
    }
}
