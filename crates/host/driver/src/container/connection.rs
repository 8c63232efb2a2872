//! A connection to a node's monitor: questions with their answers, and events between them.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use vnode_monitor::packet;
use vnode_monitor::wire::{Answer, Ask, Event, Message, Request, SOCKET, State};

use super::stream::watch;
use crate::{Error, ExecExit, Result};

/// A monitor answers in microseconds; a boot may wait for slow storage.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer and what came with it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) answer: Answer,
    pub(super) fds: Vec<OwnedFd>,
    /// The end of the program, when the answer is that one was started.
    pub(super) exit: Option<oneshot::Receiver<ExecExit>>,
}

/// A connection; its reader is [`Connection::next_event`], which one task must be in for answers to come.
#[derive(Debug)]
pub(super) struct Connection {
    node: String,
    socket: AsyncFd<OwnedFd>,
    last_id: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Reply>>,
    exits: HashMap<u64, oneshot::Sender<ExecExit>>,
    closed: bool,
}

/// Opens a node's folder as a path.
pub(super) fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

/// Connects to the monitor of the node in this folder; `NotFound` or `ConnectionRefused`: there is none.
pub(super) fn connect_in(dir: &Path) -> io::Result<OwnedFd> {
    let folder = open_dir(dir)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // The folder's path may be longer than an address.
    let path = format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd());
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

impl Connection {
    pub(super) fn new(node: &str, socket: OwnedFd) -> Result<Self> {
        let socket = watch(socket, Interest::READABLE | Interest::WRITABLE)
            .map_err(|e| Error::io("watch a monitor's socket", e))?;
        Ok(Self {
            node: node.to_owned(),
            socket,
            last_id: AtomicU64::new(0),
            waiting: Mutex::default(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, what: impl Into<String>) -> Error {
        Error::Monitor { node: self.node.clone(), what: what.into() }
    }

    /// Asks and waits for the answer.
    pub(super) async fn ask(&self, ask: Ask, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.closed {
                return Err(self.fail("is gone"));
            }
            waiting.answers.insert(id, sender);
        }
        let request = Request { id, ask };
        let text = serde_json::to_vec(&request).map_err(|e| self.fail(e.to_string()))?;
        let sent = loop {
            match packet::send_text(self.socket.get_ref(), &text, fds) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    match self.socket.writable().await {
                        Ok(mut ready) => ready.clear_ready(),
                        Err(e) => break Err(e),
                    }
                }
                other => break other,
            }
        };
        if let Err(e) = sent {
            self.waiting().answers.remove(&id);
            return Err(self.fail(e.to_string()));
        }
        match tokio::time::timeout(PATIENCE, receiver).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(self.fail("went away before it answered")),
            Err(_) => {
                self.waiting().answers.remove(&id);
                Err(Error::Timeout {
                    node: self.node.clone(),
                    what: "the monitor's answer".to_owned(),
                    after_ms: PATIENCE.as_millis() as u64,
                })
            }
        }
    }

    /// Reads on to the next event, giving answers to those who wait; `None` is the end of the connection.
    pub(super) async fn next_event(&self) -> Option<Event> {
        loop {
            let packet = match packet::receive(self.socket.get_ref()) {
                Ok(Some(packet)) => packet,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    match self.socket.readable().await {
                        Ok(mut ready) => {
                            ready.clear_ready();
                            // Between the attempt and the clearing something may have come: edges tell once.
                            match packet::receive(self.socket.get_ref()) {
                                Ok(Some(packet)) => packet,
                                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                                Ok(None) | Err(_) => break,
                            }
                        }
                        Err(_) => break,
                    }
                }
                Ok(None) | Err(_) => break,
            };
            match packet.parse::<Message>() {
                Ok(Message::Answer { id, answer }) => self.answered(id, answer, packet.fds),
                Ok(Message::Event(Event::ExecExited { exec, code, signal })) => {
                    if let Some(sender) = self.waiting().exits.remove(&exec) {
                        // Nobody waits for it any more.
                        let _ = sender.send(ExecExit { code, signal });
                    }
                }
                Ok(Message::Event(event)) => return Some(event),
                Err(e) => {
                    tracing::warn!(node = %self.node, error = %e, "monitor is not understood");
                }
            }
        }
        let mut waiting = self.waiting();
        *waiting = Waiting { closed: true, ..Waiting::default() };
        None
    }

    fn answered(&self, id: u64, answer: Answer, fds: Vec<OwnedFd>) {
        let mut waiting = self.waiting();
        let Some(sender) = waiting.answers.remove(&id) else {
            if let Answer::Failed { step } = answer {
                tracing::warn!(node = %self.node, step, "monitor failed");
            }
            return;
        };
        let exit = match &answer {
            // Registered here, before the next message is read, so that a quick end is not missed.
            Answer::Exec { exec } => {
                let (sender, receiver) = oneshot::channel();
                waiting.exits.insert(*exec, sender);
                Some(receiver)
            }
            _ => None,
        };
        // One who no longer waits closes what came by not taking it.
        let _ = sender.send(Reply { answer, fds, exit });
    }

    /// Waits for a new monitor's first word, and the socket of rtnetlink in a network namespace that it has made.
    pub(super) async fn hello(&self) -> Result<(State, Option<OwnedFd>)> {
        let receive = async {
            loop {
                let mut ready = self
                    .socket
                    .readable()
                    .await
                    .map_err(|e| Error::io("watch a monitor's socket", e))?;
                match packet::receive(self.socket.get_ref()) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                    Ok(Some(mut packet)) => {
                        return match packet.parse::<Message>() {
                            Ok(Message::Event(Event::Hello(state))) => {
                                Ok((state, packet.fds.pop()))
                            }
                            Ok(Message::Answer { answer: Answer::Failed { step }, .. }) => {
                                Err(self.fail(format!("cannot be set up: {step}")))
                            }
                            Ok(other) => Err(self.fail(format!("greets with {other:?}"))),
                            Err(e) => Err(self.fail(format!("is not understood: {e}"))),
                        };
                    }
                    Ok(None) | Err(_) => return Err(self.fail("could not be started")),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, receive).await {
            Ok(result) => result,
            Err(_) => Err(self.fail("did not answer in time")),
        }
    }
}

/// Turns an answer into nothing or the error it is.
pub(super) fn done(node: &str, reply: Reply) -> Result<Reply> {
    match reply.answer {
        Answer::Failed { step } => Err(Error::Monitor { node: node.to_owned(), what: step }),
        _ => Ok(reply),
    }
}

/// A connection shared between those who ask and the one who reads.
pub(super) type Shared = Arc<Connection>;
