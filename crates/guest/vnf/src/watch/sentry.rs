//! What is done at once when the kernel tells of a process, on a thread that does nothing else (`vnode_processes::Sentry`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vnode_processes::{Sighting, Told};

use super::{Rule, proc};

/// Rules of the functions that are watched, by their ids. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Arc<Mutex<BTreeMap<String, Arc<Rule>>>>);

/// What was seen of a process.
#[derive(Debug)]
pub(super) enum Noticed {
    /// It is called so.
    Changed { pid: i32, comm: Vec<u8> },
    /// By its name it is a function's: so it was, whatever has become of it.
    Named { seen: Sighting, below: bool },
    /// One had gone already.
    Missed,
    /// Nobody knows which: look at all.
    Lost,
}

impl Names {
    fn rules(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Rule>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, id: &str, rule: &Arc<Rule>) {
        self.rules().insert(id.to_owned(), Arc::clone(rule));
    }

    pub(super) fn remove(&self, id: &str) {
        self.rules().remove(id);
    }

    /// Looks at what the kernel has told of; nothing when nobody wants to know.
    pub(super) fn notice(&self, told: Told) -> Option<Noticed> {
        let rules = self.rules();
        if rules.is_empty() {
            return None;
        }
        let Told::Changed(pid) = told else { return Some(Noticed::Lost) };
        let Some(comm) = proc::comm(pid) else { return Some(Noticed::Missed) };
        if !rules.values().any(|rule| rule.is_named(&comm)) {
            return Some(Noticed::Changed { pid, comm });
        }
        drop(rules);
        let name = match String::from_utf8(comm) {
            Ok(name) => name,
            // A pattern may be of a name that is no text.
            Err(error) => return Some(Noticed::Changed { pid, comm: error.into_bytes() }),
        };
        let Some(stat) = proc::stat(pid) else { return Some(Noticed::Missed) };
        let below = !proc::in_our_namespace(pid);
        // All of it was of one process when that still has its number.
        if proc::stat(pid).is_none_or(|now| now.start != stat.start) {
            return Some(Noticed::Missed);
        }
        let seen = Sighting { pid, start: stat.start, comm: name };
        Some(Noticed::Named { seen, below })
    }
}
