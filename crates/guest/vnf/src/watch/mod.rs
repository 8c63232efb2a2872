//! Watching processes: one task for all functions.
//!
//! Appearing is told by the process connector, and looked at by a thread of its own ([`sentry`]), for a process may have
//! ended when we come to it; disappearing is told by a descriptor of each process. A scan confirms that
//! nothing is left before a function is called absent, and once more every five seconds; soon, when a process had gone
//! before we could look at it, for a child that it forked may go on under its name. Where the kernel gives no
//! connector, the scan runs four times a second, until somebody who sees the events attends ([`Watcher::attend`]) and
//! sends them ([`Watcher::hear`]).

mod candidate;
mod function;
pub(crate) mod pidfd;
pub(crate) mod rule;
mod sentry;
mod task;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};

pub(crate) use candidate::Candidate;
pub(crate) use function::{Seen, View};
use pidfd::Ended;
pub(crate) use rule::{Ours, Rule};
use sentry::Names;
use task::Task;
pub(crate) use vnode_processes::proc;
use vnode_processes::{Connector, Sentry, Word};

/// Names a process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Ticks from the start of the machine to the start of the process.
    pub start: u64,
}

/// By what means processes are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    Connector,
    /// A host listens to its kernel for us.
    Host,
    Polling,
}

enum Request {
    Register {
        id: String,
        rule: Box<Rule>,
        reply: oneshot::Sender<Arc<View>>,
    },
    Unregister {
        id: String,
    },
    LookAt {
        pids: Vec<i32>,
    },
    Hear(Word),
    Baseline {
        rule: Box<Rule>,
        reply: oneshot::Sender<Vec<Identity>>,
    },
    /// `left`: when it was seen to have ended, in ticks from the start of the machine.
    Gone {
        id: String,
        identity: Identity,
        ended: Ended,
        left: u64,
    },
}

/// Speaks to the task that watches. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    requests: mpsc::Sender<Request>,
    connector: bool,
    attending: Arc<Attending>,
    ours: Ours,
}

/// Who sees processes for us.
#[derive(Debug, Default)]
struct Attending {
    count: AtomicU32,
    changed: Notify,
}

impl Attending {
    fn anybody(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }
}

/// Somebody tells us of processes for as long as this is held.
#[derive(Debug)]
pub(crate) struct Attended(Arc<Attending>);

impl Drop for Attended {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

impl Watcher {
    /// Starts watching nothing. `poll`: as if the kernel gave no connector.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) async fn start(poll: bool) -> io::Result<Self> {
        let names = Names::default();
        let sentry = if poll {
            None
        } else {
            let noticing = names.clone();
            let opened = Connector::open().await;
            match opened.and_then(|c| Sentry::start(c, move |told| noticing.notice(told))) {
                Ok(sentry) => Some(sentry),
                Err(error) => {
                    tracing::info!(%error, "no process connector here: polling");
                    None
                }
            }
        };
        let connector = sentry.is_some();
        let attending = Arc::new(Attending::default());
        let (requests, waiting) = mpsc::channel(256);
        let ours = Ours::default();
        let task = Task::new(names, ours.clone(), requests.downgrade(), Arc::clone(&attending))?;
        tokio::spawn(task.run(sentry, waiting));
        Ok(Self { requests, connector, attending, ours })
    }

    pub(crate) fn mechanism(&self) -> Mechanism {
        match (self.connector, self.attending.anybody()) {
            (true, _) => Mechanism::Connector,
            (false, true) => Mechanism::Host,
            (false, false) => Mechanism::Polling,
        }
    }

    /// From now on somebody tells of every process that starts or changes: no polling until the value is dropped.
    pub(crate) fn attend(&self) -> Attended {
        self.attending.count.fetch_add(1, Ordering::SeqCst);
        self.attending.changed.notify_one();
        Attended(Arc::clone(&self.attending))
    }

    pub(crate) fn ours(&self) -> &Ours {
        &self.ours
    }

    /// Watches a function's processes. The first look is over on return.
    pub(crate) async fn register(&self, id: &str, rule: Rule) -> Option<Arc<View>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Register { id: id.to_owned(), rule: Box::new(rule), reply }).await;
        answer.await.ok()
    }

    pub(crate) async fn unregister(&self, id: &str) {
        self.send(Request::Unregister { id: id.to_owned() }).await;
    }

    /// Who matches a rule at this moment.
    pub(crate) async fn baseline(&self, rule: Rule) -> Vec<Identity> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Baseline { rule: Box::new(rule), reply }).await;
        answer.await.unwrap_or_default()
    }

    /// Somebody else has seen these processes start or change, and gives their numbers as we know them.
    pub(crate) async fn look_at(&self, pids: Vec<i32>) {
        self.send(Request::LookAt { pids }).await;
    }

    /// What one who attends tells.
    pub(crate) async fn hear(&self, word: Word) {
        self.send(Request::Hear(word)).await;
    }

    async fn send(&self, request: Request) {
        // The task ends only with the program.
        let _ = self.requests.send(request).await;
    }
}
