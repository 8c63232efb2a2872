//! What was to be told to somebody and was not yet: events for handlers, changes for publishers. Both wait the same way.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vnode_store::{Change, Store, record};

use crate::record::SCHEMA;

/// Longest pause between two tries.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// How often something was offered, and when it is again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// How often it was offered.
    pub attempts: u32,
    /// Not offered again before.
    pub not_before: Timestamp,
    /// Why the last try failed.
    pub error: Option<String>,
    /// All tries are used up, or none can help; it waits for an operator.
    pub given_up: bool,
}

impl Tries {
    /// Due at once.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { attempts: 0, not_before: now, error: None, given_up: false }
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        !self.given_up && self.not_before <= now
    }

    /// Counts a try that begins.
    pub(crate) fn begin(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }

    /// The try failed: offered again after `pause`, doubled for each try before it, an hour at most.
    pub(crate) fn failed(&mut self, error: String, pause: SignedDuration, now: Timestamp) {
        let doubled = 1_i32 << self.attempts.saturating_sub(1).min(20);
        let pause = pause.checked_mul(doubled).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
        self.not_before = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        self.error = Some(error);
    }
}

/// A record that waits.
pub(crate) trait Waiting: Serialize + DeserializeOwned {
    /// Begin of its key.
    const PREFIX: &'static str;

    fn key(&self) -> String;

    fn tries(&mut self) -> &mut Tries;
}

/// All that wait, in the order of their keys.
pub(crate) async fn all<W: Waiting>(store: &dyn Store) -> Result<Vec<W>, vnode_store::Error> {
    let entries = store.list(W::PREFIX).await?;
    entries.iter().map(|(_, entry)| record::decode(&entry.value, &[])).collect()
}

/// The change that writes one.
pub(crate) fn put<W: Waiting>(waiting: &W) -> Result<Change, vnode_store::Error> {
    Ok(Change::put(waiting.key(), record::encode(SCHEMA, waiting)?))
}

/// Offers what was given up again, with all its tries; gives how much that is.
pub(crate) async fn retry_given_up<W: Waiting>(
    store: &dyn Store,
    now: Timestamp,
) -> Result<usize, vnode_store::Error> {
    let mut changes = Vec::new();
    for mut waiting in all::<W>(store).await? {
        if waiting.tries().given_up {
            *waiting.tries() = Tries { error: waiting.tries().error.take(), ..Tries::new(now) };
            changes.push(put(&waiting)?);
        }
    }
    let count = changes.len();
    if count > 0 {
        store.commit(changes).await?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        let mut tries = Tries::new(now);
        let mut waited = Vec::new();
        for _ in 0..40 {
            tries.begin();
            tries.failed("away".to_owned(), SignedDuration::from_secs(10), now);
            waited.push(tries.not_before.duration_since(now).as_secs());
        }
        assert_eq!(waited[..4], [10, 20, 40, 80]);
        assert!(waited[10..].iter().all(|pause| *pause == 3600), "{waited:?}");
        assert!(!tries.is_due(now) && tries.is_due(tries.not_before));
    }
}
