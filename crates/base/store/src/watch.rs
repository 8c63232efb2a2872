//! Telling those who wait for a change of a key.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
};

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

/// Counts the commits that changed keys with one prefix: who keeps what it made of them sees here whether it still
/// holds. Costs nothing while nobody looks.
#[derive(Debug, Clone)]
pub struct Changes(Arc<AtomicU64>);

impl Changes {
    /// Another number after each commit that changed such a key, and before that commit is answered. What was read
    /// after this was asked holds as long as it stays the same.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The sending side, one per engine.
#[derive(Debug)]
pub(crate) struct Watchers {
    sender: broadcast::Sender<Committed>,
    counted: Mutex<Vec<(String, Weak<AtomicU64>)>>,
}

impl Default for Watchers {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), counted: Mutex::default() }
    }
}

impl Watchers {
    pub(crate) fn watch(&self, prefix: &str) -> Watch {
        Watch { prefix: prefix.to_owned(), receiver: self.sender.subscribe() }
    }

    pub(crate) fn changes(&self, prefix: &str) -> Changes {
        let mut counted = self.counted();
        counted.retain(|(_, count)| count.strong_count() > 0);
        let known = counted.iter().filter(|(counted, _)| counted == prefix);
        if let Some(count) = known.filter_map(|(_, count)| count.upgrade()).next() {
            return Changes(count);
        }
        let count = Arc::default();
        counted.push((prefix.to_owned(), Arc::downgrade(&count)));
        Changes(count)
    }

    fn counted(&self) -> MutexGuard<'_, Vec<(String, Weak<AtomicU64>)>> {
        // Nothing that can panic runs under it.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anyone would hear: collecting keys can be spared else.
    pub(crate) fn any(&self) -> bool {
        self.sender.receiver_count() > 0 || !self.counted().is_empty()
    }

    pub(crate) fn tell(&self, revision: u64, keys: Vec<String>) {
        for (prefix, count) in self.counted().iter() {
            if let Some(count) = count.upgrade()
                && keys.iter().any(|key| key.starts_with(prefix))
            {
                count.fetch_add(1, Ordering::Release);
            }
        }
        // An error says only that nobody listens, which is no error here.
        let _ = self.sender.send(Committed { revision, keys: keys.into() });
    }
}
