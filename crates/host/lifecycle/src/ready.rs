//! How far a node has come, for who waits for it: a stream of levels, and its failure at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::error::{Error, Result};
use crate::health::Health;
use crate::host::Host;
use crate::inner::Inner;
use crate::registry::NodeEntry;
use crate::runner;
use crate::state::State;

/// How far a node has come; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Its record is durable.
    Accepted,
    /// It has its disk and its namespace.
    Created,
    /// Its first process runs.
    Started,
    /// It answers: its health check has passed, a machine's agent or address. Without a check, a container that runs
    /// can be entered.
    Reachable,
    /// Its startup commands have run as well.
    Ready,
}

impl Level {
    /// All of them, in order.
    pub const ALL: [Self; 5] =
        [Self::Accepted, Self::Created, Self::Started, Self::Reachable, Self::Ready];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Created => "created",
            Self::Started => "started",
            Self::Reachable => "reachable",
            Self::Ready => "ready",
        }
    }
}

/// What a node's entry knows of this, beside its record and its health.
#[derive(Debug)]
pub(crate) struct Signs {
    /// Something of the node has changed that a level may hang on.
    moved: Notify,
    /// Its startup commands have run, or an earlier daemon has seen to them.
    configured: AtomicBool,
    /// Its first process has ended by itself, and nobody will start it again.
    over: AtomicBool,
}

impl Signs {
    pub(crate) fn new(configured: bool) -> Self {
        Self {
            moved: Notify::new(),
            configured: AtomicBool::new(configured),
            over: AtomicBool::new(false),
        }
    }

    pub(crate) fn moved(&self) {
        self.moved.notify_waiters();
    }

    pub(crate) fn configured(&self) {
        self.configured.store(true, Ordering::SeqCst);
        self.moved();
    }

    /// The first process has begun (`false`), or has ended and will not be started again.
    pub(crate) fn over(&self, over: bool) {
        self.over.store(over, Ordering::SeqCst);
        if over {
            self.moved();
        }
    }
}

/// The levels of one node, as they are reached.
#[derive(Debug)]
pub struct Readiness {
    inner: Arc<Inner>,
    entry: Arc<NodeEntry>,
    health: watch::Receiver<Health>,
    told: Option<Level>,
}

impl Host {
    /// The levels that a node has reached and will reach.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn readiness(&self, node: &str) -> Result<Readiness> {
        let entry = self.inner.registry.find(node)?;
        Self::refuse_unknown(&entry)?;
        Ok(Readiness::of(&self.inner, &entry))
    }
}

impl Readiness {
    pub(crate) fn of(inner: &Arc<Inner>, entry: &Arc<NodeEntry>) -> Self {
        let health = entry.health.subscribe();
        Self { inner: Arc::clone(inner), entry: Arc::clone(entry), health, told: None }
    }

    /// The next level, when it is reached; each once.
    ///
    /// # Errors
    /// The node failed, ended, or goes; what waits for it then waits in vain.
    pub async fn next(&mut self) -> Result<Level> {
        let next = match self.told {
            None => Level::Accepted,
            Some(told) => Level::ALL[(told as usize + 1).min(Level::ALL.len() - 1)],
        };
        loop {
            let moved = self.entry.signs.moved.notified();
            tokio::pin!(moved);
            // What happens from here on is not missed.
            moved.as_mut().enable();
            if self.reached().await? >= next {
                self.told = Some(next);
                return Ok(next);
            }
            tokio::select! {
                () = &mut moved => {}
                changed = self.health.changed() => changed.map_err(|_| self.gone())?,
                () = self.inner.stop.cancelled() => return Err(Error::failed("the daemon ends")),
            }
        }
    }

    fn gone(&self) -> Error {
        Error::state(format!("node `{}` is being destroyed", self.entry.with(|r| r.node.clone())))
    }

    async fn reached(&self) -> Result<Level> {
        let entry = &self.entry;
        let (lab, name, state, made) = entry
            .with(|record| (record.lab.clone(), record.node.clone(), record.state, record.made));
        let still = if made { Level::Created } else { Level::Accepted };
        match state {
            State::Absent | State::Destroying | State::Unknown => Err(self.gone()),
            State::Failed => {
                let why = entry.with(|record| record.reason.clone()).unwrap_or_default();
                Err(Error::failed(format!("node `{name}` failed: {why}")))
            }
            State::Stopped if entry.signs.over.load(Ordering::SeqCst) => {
                let how = entry.with(|record| record.last_exit.clone()).unwrap_or_default();
                Err(Error::failed(format!("node `{name}` has ended: {how}"))
                    .hint(format!("`vnode logs {name}` shows what it printed")))
            }
            State::Creating | State::Stopped | State::Mounted | State::Booting | State::Halting => {
                Ok(still)
            }
            State::Running | State::Paused => {
                let health = *entry.health.borrow();
                match health {
                    Health::Starting => Ok(Level::Started),
                    Health::Unhealthy => Err(runner::unhealthy(entry).await),
                    Health::None | Health::Healthy => {
                        let configured = entry.signs.configured.load(Ordering::SeqCst)
                            || self.has_nothing_to_run(&lab, &name);
                        Ok(if configured { Level::Ready } else { Level::Reachable })
                    }
                }
            }
        }
    }

    /// Whether a node has no startup commands, or the operation that would have run them is over.
    fn has_nothing_to_run(&self, lab: &str, node: &str) -> bool {
        let nothing = self.inner.registry.lab(lab, |lab| {
            let model = lab.record.lab.node(node);
            lab.active.is_none() || model.is_none_or(|m| m.exec.is_empty() && m.stages.is_empty())
        });
        nothing.unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_levels_are_in_their_order_and_have_one_word_each() {
        assert!(Level::ALL.is_sorted());
        for (index, level) in Level::ALL.into_iter().enumerate() {
            assert_eq!(level as usize, index);
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
    }
}
