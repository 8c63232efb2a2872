//! Which requests wait, run, and were run: no input or output of its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

/// How many ids of executed requests are remembered. The host has forgotten them long before.
const EXECUTED_MAX: usize = 4096;
/// How many of those are remembered with their answers.
const ANSWERS_MAX: usize = 16;

/// Tells one content of a node from another. Also what [`super::journal`] stores, so it is the same in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Content([u8; 8]);

impl Content {
    pub(super) fn of(body: &[u8]) -> Self {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(body);
        let mut start = [0; 8];
        start.copy_from_slice(&digest[..8]);
        Self(start)
    }

    pub(super) fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What is known of the nodes below `data/host`.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Waiting, in the order they shall run: by the listing that saw them first, then by id (R-X3).
    waiting: BTreeSet<(u64, String)>,
    seen: HashMap<String, u64>,
    listings: u64,
    running: BTreeMap<String, Content>,
    executed: HashMap<(u64, Content), Option<Vec<u8>>>,
    order: VecDeque<(u64, Content)>,
    hasher: RandomState,
}

impl Requests {
    /// Takes note of what is there now.
    pub(super) fn list(&mut self, ids: Vec<String>) {
        self.listings += 1;
        let now: BTreeSet<&String> = ids.iter().collect();
        self.seen.retain(|id, _| now.contains(id));
        self.waiting.retain(|(_, id)| now.contains(id));
        for id in ids {
            if self.running.contains_key(&id) || self.seen.contains_key(&id) {
                continue;
            }
            self.seen.insert(id.clone(), self.listings);
            self.waiting.insert((self.listings, id));
        }
    }

    /// Takes the next one that waits.
    pub(super) fn next(&mut self) -> Option<String> {
        self.waiting.pop_first().map(|(_, id)| id)
    }

    /// What was executed before under that id and with that content: `Some` with the answer, if it is still known.
    #[allow(clippy::option_option, reason = "executed or not, and with its answer or without")]
    pub(super) fn executed(&self, id: &str, content: Content) -> Option<Option<&[u8]>> {
        let key = (self.hasher.hash_one(id), content);
        self.executed.get(&key).map(Option::as_deref)
    }

    pub(super) fn begin(&mut self, id: &str, content: Content) {
        self.seen.remove(id);
        self.running.insert(id.to_owned(), content);
    }

    /// What runs, with its content.
    pub(super) fn running(&self) -> impl Iterator<Item = (&str, Content)> {
        self.running.iter().map(|(id, content)| (id.as_str(), *content))
    }

    /// The answer is delivered.
    pub(super) fn end(&mut self, id: &str, body: &[u8]) {
        self.forget(id);
        if let Some(content) = self.running.remove(id) {
            self.remember(id, content, body);
        }
    }

    /// The node was looked at and needs nothing more; seen again, it counts as new.
    pub(super) fn forget(&mut self, id: &str) {
        if let Some(listing) = self.seen.remove(id) {
            self.waiting.remove(&(listing, id.to_owned()));
        }
    }

    fn remember(&mut self, id: &str, content: Content, body: &[u8]) {
        let key = (self.hasher.hash_one(id), content);
        if self.executed.insert(key, Some(body.to_vec())).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > ANSWERS_MAX {
            let old = self.order[self.order.len() - 1 - ANSWERS_MAX];
            self.executed.insert(old, None);
        }
        if self.order.len() > EXECUTED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.executed.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn first_seen_first_run_then_by_id() {
        let mut requests = Requests::default();
        requests.list(ids(&["z", "m"]));
        requests.list(ids(&["a", "z", "m"]));
        let order: Vec<String> = std::iter::from_fn(|| requests.next()).collect();
        assert_eq!(order, ["m", "z", "a"]);
    }

    #[test]
    fn what_vanished_is_not_run() {
        let mut requests = Requests::default();
        requests.list(ids(&["a", "b"]));
        requests.list(ids(&["b"]));
        assert_eq!(requests.next().as_deref(), Some("b"));
        assert_eq!(requests.next(), None);
    }

    #[test]
    fn what_runs_does_not_wait_again() {
        let mut requests = Requests::default();
        requests.list(ids(&["a"]));
        let id = requests.next().unwrap();
        let content = Content::of(b"body");
        requests.begin(&id, content);
        requests.list(ids(&["a"]));
        assert_eq!(requests.next(), None);
        requests.end("a", b"answer");
        assert_eq!(requests.executed("a", content), Some(Some(&b"answer"[..])));
        assert_eq!(requests.executed("a", Content::of(b"other")), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut requests = Requests::default();
        for n in 0..EXECUTED_MAX + 100 {
            let id = n.to_string();
            requests.begin(&id, Content::of(b""));
            requests.end(&id, &[0; 100]);
        }
        assert_eq!(requests.order.len(), EXECUTED_MAX);
        assert_eq!(requests.executed.len(), EXECUTED_MAX);
        assert_eq!(requests.executed.values().flatten().count(), ANSWERS_MAX);
    }
}
