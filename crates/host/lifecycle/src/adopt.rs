//! What a daemon does first: read the records, find the nodes that run, take up what was cut off.

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::json;
use vnode_driver::{Phase, Recovered};
use vnode_store::Store;

use crate::error::{Error, Result};
use crate::follow;
use crate::inner::Inner;
use crate::record::{self, HostRecord, LabRecord, LinkRecord, NodeRecord};
use crate::registry::{Lab, NodeEntry, lock};
use crate::resolve;
use crate::runner::{self, on_host::Purpose};
use crate::state::State;

/// Nodes looked for at once.
const AT_ONCE: usize = 16;

/// Reads every record. One that cannot be read is told and left where it is; nothing is destroyed for it
/// (T-31).
pub(crate) async fn load(inner: &Inner) -> Result<()> {
    let read = |source| Error::failed("cannot read the store").because(source);
    let store: &dyn Store = &*inner.store;
    for (key, entry) in store.list("lab/").await.map_err(read)? {
        match record::read::<LabRecord>(&key, &entry.value) {
            Ok(lab) => {
                inner.registry.write().insert(lab.name.clone(), Lab::new(lab));
            }
            Err(error) => unreadable(inner, &key, &error),
        }
    }
    for (key, entry) in store.list("link/").await.map_err(read)? {
        match record::read::<LinkRecord>(&key, &entry.value) {
            Ok(link) => {
                let lab = link.lab.clone();
                if inner
                    .registry
                    .lab_mut(&lab, |lab| lab.links.insert(link.link.clone(), link))
                    .is_err()
                {
                    unreadable(inner, &key, &Error::failed("its lab's record is missing"));
                }
            }
            Err(error) => unreadable(inner, &key, &error),
        }
    }
    for (key, entry) in store.list("node/").await.map_err(read)? {
        let name: Vec<&str> = key.splitn(3, '/').collect();
        let (lab, node) = (name[1].to_owned(), name.get(2).copied().unwrap_or_default().to_owned());
        let entry = match record::read::<NodeRecord>(&key, &entry.value) {
            Ok(record) => {
                if record.state == State::Unknown {
                    inner.damaged.add(&key);
                }
                NodeEntry::new(record, &inner.locks)
            }
            Err(error) => {
                unreadable(inner, &key, &error);
                NodeEntry::new(unknown(&lab, &node, &error), &inner.locks)
            }
        };
        if inner.registry.lab_mut(&lab, |lab| lab.nodes.insert(node, entry)).is_err() {
            unreadable(inner, &key, &Error::failed("its lab's record is missing"));
        }
    }
    if let Some(entry) = store.get(HostRecord::KEY).await.map_err(read)? {
        *lock(&inner.host) = record::read(HostRecord::KEY, &entry.value)?;
    }
    Ok(())
}

fn unreadable(inner: &Inner, key: &str, error: &Error) {
    inner.damaged.add(key);
    tracing::error!(key, "{}", error.chain());
    inner.tell("record.unreadable", key, None, json!({ "reason": error.chain() }));
}

/// A node whose record is damaged: listed, never touched but by `destroy --force`.
fn unknown(lab: &str, node: &str, error: &Error) -> NodeRecord {
    NodeRecord {
        lab: lab.to_owned(),
        node: node.to_owned(),
        vmid: 0,
        uuid: String::new(),
        image: String::new(),
        image_id: None,
        spec: None,
        state: State::Unknown,
        since: jiff::Timestamp::now(),
        reason: Some(error.chain()),
        restarts: 0,
        last_exit: None,
        restart: crate::restart::Policy::No,
        wanted: false,
        made: false,
        control: None,
        renewal: None,
    }
}

/// Finds every node again. Labs whose nodes are gone with the machine's last run are returned.
pub(crate) async fn adopt(inner: &Arc<Inner>) -> Vec<String> {
    let entries: Vec<Arc<NodeEntry>> =
        inner.registry.read().values().flat_map(|lab| lab.nodes.values().cloned()).collect();
    let lost: Vec<Option<String>> = futures_util::stream::iter(entries)
        .map(|entry| {
            let inner = Arc::clone(inner);
            async move { find(&inner, &entry).await }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut labs: Vec<String> = lost.into_iter().flatten().collect();
    labs.sort();
    labs.dedup();
    labs
}

/// Finds one node; its lab's name when its namespace is gone.
async fn find(inner: &Arc<Inner>, entry: &Arc<NodeEntry>) -> Option<String> {
    let record = entry.record();
    if record.state == State::Unknown {
        return None;
    }
    let spec = record.spec.clone().unwrap_or_else(|| resolve::skeleton(&record));
    let dir = inner.node_dir(&record.lab, &record.node);
    if !record.made && !dir.exists() {
        return None;
    }
    if record.state == State::Mounted
        && let Err(error) = runner::on_host::end(inner, &spec, Purpose::Preconfig).await
    {
        tracing::warn!(node = record.node, "what works on its root: {}", error.chain());
    }
    match inner.driver.recover(&spec, &dir).await {
        Ok(Recovered::Live(instance)) => {
            let status = instance.status();
            entry.set_instance(Some(instance));
            if !record.made {
                // An operation was cut off here; it is taken up next and decides.
                return None;
            }
            let was_running = matches!(
                record.state,
                State::Running | State::Paused | State::Booting | State::Halting
            );
            match status.phase {
                Phase::Running => entry.update(|record| record.state = State::Running),
                Phase::Paused => entry.update(|record| record.state = State::Paused),
                Phase::Stopped | Phase::Lost => {
                    if let (true, Some(exit)) = (was_running, status.last_exit) {
                        follow::exited(inner, entry, &exit, "");
                        follow::missed(inner, entry, exit);
                    } else if was_running {
                        entry.update(|record| record.state = State::Stopped);
                    }
                }
            }
            follow::watch(inner, entry);
            if status.phase == Phase::Running {
                follow::health(inner, entry);
            }
            None
        }
        Ok(Recovered::Gone { last_exit }) => {
            if !record.made {
                return None;
            }
            if let Some(exit) = last_exit {
                follow::exited(inner, entry, &exit, "");
            }
            entry.update(|record| {
                if record.state != State::Mounted {
                    record.state = State::Stopped;
                }
                record.reason = Some("its namespace went with the machine's last run".to_owned());
            });
            Some(record.lab)
        }
        Err(source) => {
            let error = crate::inner::driver_error(source);
            entry.fail(&error.chain());
            None
        }
    }
}
