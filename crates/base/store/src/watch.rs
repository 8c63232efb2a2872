//! Telling those who wait for a change of a key.

use std::sync::Arc;

use tokio::sync::broadcast;

/// Commits a watcher may lie behind before it is told that it lagged.
const BACKLOG: usize = 1024;

/// One commit as watchers see it.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) revision: u64,
    pub(crate) keys: Arc<[String]>,
}

/// What a [`Watch`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// These keys were put or deleted by the commit `revision`.
    Changed { revision: u64, keys: Vec<String> },
    /// The watcher was slower than the commits; changes were missed. List again, then go on.
    Lagged,
}

/// Follows the changes of keys with one prefix. Bounded: it never holds a writer up.
#[derive(Debug)]
pub struct Watch {
    prefix: String,
    receiver: broadcast::Receiver<Committed>,
}

impl Watch {
    /// The next notice; `None` once the store is closed. Cancel-safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            match self.receiver.recv().await {
                Ok(commit) => {
                    let keys: Vec<String> = commit
                        .keys
                        .iter()
                        .filter(|key| key.starts_with(&self.prefix))
                        .cloned()
                        .collect();
                    if !keys.is_empty() {
                        return Some(Notice::Changed { revision: commit.revision, keys });
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => return Some(Notice::Lagged),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// The sending side, one per engine.
#[derive(Debug)]
pub(crate) struct Watchers(broadcast::Sender<Committed>);

impl Default for Watchers {
    fn default() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }
}

impl Watchers {
    pub(crate) fn watch(&self, prefix: &str) -> Watch {
        Watch { prefix: prefix.to_owned(), receiver: self.0.subscribe() }
    }

    /// Whether anyone would hear: collecting keys can be spared else.
    pub(crate) fn any(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn tell(&self, revision: u64, keys: Vec<String>) {
        // An error says only that nobody listens, which is no error here.
        let _ = self.0.send(Committed { revision, keys: keys.into() });
    }
}
