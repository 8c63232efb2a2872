//! The engine in process memory.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::{Mutex, MutexGuard},
};

use futures_util::future::BoxFuture;

use crate::{Change, Changes, Entry, Error, Expect, Result, Store, Watch, watch::Watchers};

/// Entries in a map.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    state: Mutex<State>,
    watchers: Watchers,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    revision: u64,
}

impl Engine {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs between the first and the last change of a commit.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn apply(&self, changes: Vec<Change>) -> Result<u64> {
        validate(&changes)?;
        let keys = changes.iter().map(|change| change.key().to_owned()).collect();
        let mut state = self.state();
        for change in &changes {
            let found = state.entries.get(change.key()).map(|entry| entry.revision);
            check(change, found)?;
        }
        state.revision += 1;
        let revision = state.revision;
        for change in changes {
            match change {
                Change::Put { key, value, .. } => {
                    state.entries.insert(key, Entry { value, revision });
                }
                Change::Delete { key, .. } => {
                    state.entries.remove(&key);
                }
            }
        }
        // Under the lock, so that watchers hear of commits in order.
        self.watchers.tell(revision, keys);
        Ok(revision)
    }
}

/// Refuses a commit that no engine could make.
pub(crate) fn validate(changes: &[Change]) -> Result<()> {
    let mut keys: Vec<&str> = changes.iter().map(Change::key).collect();
    keys.sort_unstable();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Invalid { reason: format!("it changes `{}` twice", pair[0]) });
    }
    for change in changes {
        let key = change.key();
        if key.is_empty() || key.len() > crate::MAX_KEY_BYTES {
            return Err(Error::Invalid {
                reason: format!("a key of {} bytes; 1 to {} are", key.len(), crate::MAX_KEY_BYTES),
            });
        }
        if let Change::Put { value, .. } = change
            && value.len() > crate::MAX_VALUE_BYTES
        {
            return Err(Error::Invalid {
                reason: format!(
                    "the value of `{key}` has {} bytes, {} are the most",
                    value.len(),
                    crate::MAX_VALUE_BYTES
                ),
            });
        }
    }
    Ok(())
}

/// Whether `change` may be made on a key whose revision is `found`.
pub(crate) fn check(change: &Change, found: Option<u64>) -> Result<()> {
    let holds = match change.expect() {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::Revision(revision) => found == Some(revision),
    };
    if holds { Ok(()) } else { Err(Error::Conflict { key: change.key().to_owned() }) }
}

impl Store for Engine {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>>> {
        Box::pin(async move { Ok(self.state().entries.get(key).cloned()) })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        from: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Entry)>>> {
        Box::pin(async move {
            let start = prefix.max(from);
            Ok(self
                .state()
                .entries
                .range::<str, _>((Included(start), Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(limit)
                .map(|(key, entry)| (key.clone(), entry.clone()))
                .collect())
        })
    }

    fn last<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Option<(String, Entry)>>> {
        Box::pin(async move {
            let state = self.state();
            let end = after_prefix(prefix);
            let mut range = match &end {
                Some(end) => {
                    state.entries.range::<str, _>((Included(prefix), Excluded(end.as_str())))
                }
                None => state.entries.range::<str, _>((Included(prefix), Unbounded)),
            };
            Ok(range.next_back().map(|(key, entry)| (key.clone(), entry.clone())))
        })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move { self.apply(changes) })
    }

    fn commit_lazily(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<u64>> {
        self.commit(changes)
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.watchers.watch(prefix)
    }

    fn changes(&self, prefix: &str) -> Changes {
        self.watchers.changes(prefix)
    }
}

/// The least string greater than every string that begins with `prefix`; `None` when there is none.
pub(crate) fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The order of UTF-8 bytes is the order of code points; surrogates are no `char`.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(other as u32 + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}
