//! What is known of a node: its status as its monitor tells of it, through a connection that is made again when it ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use vnode_monitor::wire::{self, Answer, Ask, Event, State};

use super::cgroup::Group;
use super::connection::{Connection, Shared, connect_in};
use crate::{Ended, Error, Exit, Phase, Result, Status};

/// What the task that reads from the monitor shares with the node's handle.
#[derive(Debug)]
pub(super) struct Followed {
    connection: Mutex<Shared>,
    status: watch::Sender<Status>,
    /// Set when the node is destroyed on purpose: the end of the connection is then no loss.
    closing: AtomicBool,
}

impl Followed {
    pub(super) fn new(connection: Shared, state: &State, frozen: bool) -> Self {
        let (status, _) = watch::channel(status_of(state, frozen));
        Self { connection: Mutex::new(connection), status, closing: AtomicBool::new(false) }
    }

    pub(super) fn connection(&self) -> Shared {
        Arc::clone(&self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn status(&self) -> Status {
        *self.status.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The end of the monitor is wanted from now on.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// The node is gone.
    pub(super) fn closed(&self) {
        self.status.send_modify(|s| {
            s.phase = Phase::Lost;
            s.pid = None;
        });
    }

    /// Its processes were frozen, or go on. The monitor does not see that.
    pub(super) fn frozen(&self, frozen: bool) {
        self.status.send_modify(|s| {
            // It may have ended meanwhile; then there is nothing to pause.
            if matches!(s.phase, Phase::Running | Phase::Paused) {
                s.phase = if frozen { Phase::Paused } else { Phase::Running };
            }
        });
    }

    /// Reads events until the monitor is gone, connecting again when only the connection is.
    pub(super) async fn read(self: Arc<Self>, node: String, dir: PathBuf, group: Group) {
        let mut connection = self.connection();
        loop {
            while let Some(event) = connection.next_event().await {
                match event {
                    Event::Started(state) | Event::Hello(state) | Event::Exited(state) => {
                        self.status.send_replace(status_of(&state, false));
                    }
                    Event::ExecExited { .. } => {}
                }
            }
            if self.closing.load(Ordering::Acquire) {
                return;
            }
            match again(&node, &dir).await {
                Ok((new, state)) => {
                    connection = Arc::new(new);
                    *self.connection.lock().unwrap_or_else(PoisonError::into_inner) =
                        Arc::clone(&connection);
                    self.status.send_replace(status_of(&state, group.is_frozen()));
                }
                Err(error) => {
                    tracing::warn!(node, %error, "monitor is lost");
                    self.status.send_modify(|s| s.phase = Phase::Lost);
                    return;
                }
            }
        }
    }
}

/// Connects to a node's monitor and learns its state.
pub(super) async fn again(node: &str, dir: &Path) -> Result<(Connection, State)> {
    let fail = |what: String| Error::Monitor { node: node.to_owned(), what };
    let socket = connect_in(dir).map_err(|e| fail(format!("cannot be reached: {e}")))?;
    let connection = Connection::new(node, socket)?;
    let reply = {
        let asked = connection.ask(Ask::State, &[]);
        tokio::pin!(asked);
        loop {
            tokio::select! {
                biased;
                reply = &mut asked => break reply?,
                event = connection.next_event() => if event.is_none() {
                    return Err(fail("closed the connection".to_owned()));
                },
            }
        }
    };
    match reply.answer {
        Answer::State(state) => Ok((connection, state)),
        other => Err(fail(format!("answers with {other:?}"))),
    }
}

pub(super) fn ended(exit: wire::Exit) -> Exit {
    Exit {
        ended: match (exit.reboot, exit.code, exit.signal) {
            (Some(true), _, _) => Ended::Reboot,
            (Some(false), _, _) => Ended::Poweroff,
            (None, Some(_), _) => Ended::Exited,
            (None, None, Some(_)) => Ended::Killed,
            (None, None, None) => Ended::Unknown,
        },
        code: exit.code,
        signal: exit.signal,
        at_unix_ms: exit.at_unix_ms,
        oom_killed: exit.oom_killed,
    }
}

fn status_of(state: &State, frozen: bool) -> Status {
    Status {
        phase: match state.init {
            Some(_) if frozen => Phase::Paused,
            Some(_) => Phase::Running,
            None => Phase::Stopped,
        },
        pid: state.init.map(|i| i.pid),
        started_unix_ms: state.init.map(|_| state.started_unix_ms),
        boots: state.boots,
        last_exit: state.last_exit.map(ended),
    }
}
