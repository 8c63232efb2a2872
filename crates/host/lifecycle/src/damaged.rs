//! Records that cannot be read (T-31): whatever they may have spoken of is left alone until somebody says otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use vnode_store::Store;

use crate::error::{Error, Result};
use crate::record::{self, LabRecord, LinkRecord, NodeRecord};
use crate::registry::lock;
use crate::state::State;

/// Keys of records that were found damaged when the daemon began, by lab. Few or none: those that are there no more are left
/// out when they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Damaged(Mutex<BTreeMap<String, BTreeSet<String>>>);

impl Damaged {
    pub(crate) fn add(&self, key: &str) {
        let lab = key.split('/').nth(1).unwrap_or_default().to_owned();
        lock(&self.0).entry(lab).or_default().insert(key.to_owned());
    }

    /// What is still there and cannot be read, by lab.
    pub(crate) async fn now(&self, store: &dyn Store) -> Result<BTreeMap<String, Vec<String>>> {
        let found = lock(&self.0).clone();
        let mut still = BTreeMap::new();
        for (lab, keys) in found {
            let own = LabRecord::key(&lab);
            let bad = match reads(store, &own).await? {
                // The others are of no use without it.
                Some(false) => vec![own],
                whole => {
                    let mut bad = Vec::new();
                    for key in keys {
                        if reads(store, &key).await?.is_some_and(|reads| !reads || whole.is_none())
                        {
                            bad.push(key);
                        }
                    }
                    bad
                }
            };
            if !bad.is_empty() {
                still.insert(lab, bad);
            }
        }
        Ok(still)
    }

    /// Whether the lab as such cannot be read: `up` of another of its name would take its nodes for its own.
    pub(crate) async fn check(&self, store: &dyn Store, lab: &str) -> Result<()> {
        // Nearly always: there is nothing to ask the store for.
        let key = LabRecord::key(lab);
        if !lock(&self.0).get(lab).is_some_and(|keys| keys.contains(&key)) {
            return Ok(());
        }
        match self.now(store).await?.get(lab) {
            Some(keys) if keys.contains(&key) => {
                Err(Error::state(format!("the record of lab `{lab}` cannot be read"))
                    .hint(way_out(lab)))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What helps.
pub(crate) fn way_out(lab: &str) -> String {
    format!(
        "put a copy of the store back, or give up what it spoke of, disks included, by `vnode clean --lab {lab}`"
    )
}

/// Whether a record can be read, if it is there. A node of which nothing was known has one that says just that, once its
/// lab has been written anew.
async fn reads(store: &dyn Store, key: &str) -> Result<Option<bool>> {
    let entry = store.get(key).await;
    let entry = entry.map_err(|source| Error::failed("cannot read the store").because(source))?;
    Ok(entry.map(|entry| match key.split('/').next() {
        Some("lab") => record::read::<LabRecord>(key, &entry.value).is_ok(),
        Some("link") => record::read::<LinkRecord>(key, &entry.value).is_ok(),
        _ => record::read::<NodeRecord>(key, &entry.value)
            .is_ok_and(|record| record.state != State::Unknown),
    }))
}
