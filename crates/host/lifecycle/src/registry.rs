//! What the daemon knows of its labs while it runs: the records, and what cannot be stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vnode_driver::Instance;
use vnode_operation::OperationId;
use vnode_operation::lock::{Guard, Locks, Node};

use crate::error::{Error, Kind, Result};
use crate::health::Health;
use crate::ready::Signs;
use crate::record::{LabRecord, LinkRecord, NodeRecord};
use crate::restart::History;
use crate::state::{self, State};
use crate::wanted::Records;

/// All labs of the host.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    labs: RwLock<BTreeMap<String, Lab>>,
}

/// One lab.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) record: LabRecord,
    pub(crate) nodes: BTreeMap<String, Arc<NodeEntry>>,
    pub(crate) links: BTreeMap<String, LinkRecord>,
    /// The operation that changes the lab as a whole now.
    pub(crate) active: Option<OperationId>,
    /// Ends the lab's timeline.
    pub(crate) timeline: Option<CancellationToken>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct NodeEntry {
    record: Mutex<NodeRecord>,
    instance: Mutex<Option<Arc<dyn Instance>>>,
    /// Held while the node is booted, halted, renewed or destroyed: one at a time (T-54).
    pub(crate) slot: Slot,
    /// The end of the first process is our own doing.
    asked: AtomicBool,
    /// The end that was recorded last: whoever notices it second finds it here.
    pub(crate) ended: Mutex<Option<vnode_driver::Exit>>,
    pub(crate) history: Mutex<History>,
    /// Ends the node's watcher and health check.
    pub(crate) tasks: Mutex<CancellationToken>,
    /// Ends the health check of this run: the next has one of its own.
    pub(crate) check: Mutex<CancellationToken>,
    pub(crate) health: watch::Sender<Health>,
    /// What its levels of readiness hang on beside its state and its health.
    pub(crate) signs: Signs,
    /// Told when a service of network functions may have begun in it.
    pub(crate) functions: tokio::sync::Notify,
}

/// Where one node's lock is taken.
#[derive(Debug)]
pub(crate) struct Slot {
    locks: Locks,
    /// `LAB/NODE`.
    id: String,
}

impl Slot {
    /// Whoever drops the future before it is done holds nothing.
    pub(crate) async fn lock(&self) -> Guard<'static, Node> {
        self.locks.node(&self.id).await
    }
}

/// A lock whose holder panicked is as good as any other: every write to what it guards is one assignment.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl NodeEntry {
    pub(crate) fn new(record: NodeRecord, locks: &Locks) -> Arc<Self> {
        let id = format!("{}/{}", record.lab, record.node);
        // What an earlier daemon made, it has configured, or the operation it was in does so again.
        let signs = Signs::new(record.made);
        Arc::new(Self {
            record: Mutex::new(record),
            instance: Mutex::new(None),
            slot: Slot { locks: locks.clone(), id },
            asked: AtomicBool::new(false),
            ended: Mutex::new(None),
            history: Mutex::new(History::default()),
            tasks: Mutex::new(CancellationToken::new()),
            check: Mutex::new(CancellationToken::new()),
            health: watch::Sender::new(Health::None),
            signs,
            functions: tokio::sync::Notify::new(),
        })
    }

    pub(crate) fn record(&self) -> NodeRecord {
        lock(&self.record).clone()
    }

    /// Reads without a copy.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&NodeRecord) -> T) -> T {
        read(&lock(&self.record))
    }

    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut NodeRecord) -> T) -> T {
        change(&mut lock(&self.record))
    }

    /// Moves the state machine; the state it was in when refused.
    pub(crate) fn step(&self, event: state::Event) -> std::result::Result<State, state::Refused> {
        let mut record = lock(&self.record);
        let next = state::next(record.state, event)?;
        if next != record.state {
            record.state = next;
            record.since = Timestamp::now();
        }
        if next != State::Failed {
            record.reason = None;
        }
        drop(record);
        self.signs.moved();
        Ok(next)
    }

    /// The state that was found, whatever was recorded.
    pub(crate) fn settle(&self, state: State) {
        let mut record = lock(&self.record);
        if record.state != state {
            record.state = state;
            record.since = Timestamp::now();
        }
        record.reason = None;
        drop(record);
        self.signs.moved();
    }

    pub(crate) fn fail(&self, reason: &str) {
        let mut record = lock(&self.record);
        record.state = State::Failed;
        record.since = Timestamp::now();
        record.reason = Some(reason.to_owned());
        drop(record);
        self.signs.moved();
    }

    pub(crate) fn instance(&self) -> Option<Arc<dyn Instance>> {
        lock(&self.instance).clone()
    }

    pub(crate) fn set_instance(&self, instance: Option<Arc<dyn Instance>>) {
        *lock(&self.instance) = instance;
    }

    /// The handle of a node that is there.
    pub(crate) fn live(&self) -> Result<Arc<dyn Instance>> {
        self.instance().ok_or_else(|| {
            let (name, state) = self.with(|record| (record.node.clone(), record.state));
            Error::state(format!("node `{name}` is {state} and has no monitor"))
                .hint("boot it, or destroy it and create it again")
        })
    }

    pub(crate) fn set_asked(&self, asked: bool) {
        self.asked.store(asked, Ordering::SeqCst);
    }

    pub(crate) fn take_asked(&self) -> bool {
        self.asked.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// `lab/first/node/r1`, as events name it.
    pub(crate) fn subject(&self) -> String {
        self.with(|record| format!("lab/{}/node/{}", record.lab, record.node))
    }
}

impl Lab {
    pub(crate) fn new(record: LabRecord) -> Self {
        Self {
            record,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            active: None,
            timeline: None,
        }
    }

    /// A copy of all records.
    pub(crate) fn records(&self) -> Records {
        Records {
            lab: self.record.clone(),
            nodes: self.nodes.iter().map(|(name, node)| (name.clone(), node.record())).collect(),
            links: self.links.clone(),
        }
    }
}

impl Registry {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Lab>> {
        self.labs.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Lab>> {
        self.labs.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation no longer changes a lab.
    pub(crate) fn let_go(&self, lab: &str, id: OperationId) {
        if let Some(lab) = self.write().get_mut(lab)
            && lab.active == Some(id)
        {
            lab.active = None;
        }
    }

    /// Runs `look` on a lab.
    pub(crate) fn lab<T>(&self, name: &str, look: impl FnOnce(&Lab) -> T) -> Result<T> {
        self.read().get(name).map(look).ok_or_else(|| no_lab(name))
    }

    pub(crate) fn lab_mut<T>(&self, name: &str, change: impl FnOnce(&mut Lab) -> T) -> Result<T> {
        self.write().get_mut(name).map(change).ok_or_else(|| no_lab(name))
    }

    pub(crate) fn node(&self, lab: &str, node: &str) -> Result<Arc<NodeEntry>> {
        self.lab(lab, |lab| lab.nodes.get(node).cloned())?.ok_or_else(|| {
            Error::not_found(format!("no node `{node}` in lab `{lab}`"))
                .hint(format!("`vnode ps {lab}` lists its nodes"))
        })
    }

    /// `NODE` where that is unique on the host, else `LAB/NODE`.
    pub(crate) fn find(&self, text: &str) -> Result<Arc<NodeEntry>> {
        if let Some((lab, node)) = text.split_once('/') {
            return self.node(lab, node);
        }
        let labs = self.read();
        let mut found = labs.values().filter_map(|lab| lab.nodes.get(text));
        let first = found.next().cloned();
        let others: Vec<String> = found.map(|node| node.with(|r| r.lab.clone())).collect();
        match (first, others.as_slice()) {
            (None, _) => Err(Error::not_found(format!("no node `{text}`"))
                .hint("`vnode ps` lists the nodes of this host")),
            (Some(node), []) => Ok(node),
            (Some(node), others) => {
                let lab = node.with(|record| record.lab.clone());
                Err(Error::usage(format!(
                    "node `{text}` is in labs `{lab}`, `{}`",
                    others.join("`, `")
                ))
                .hint(format!("write `{lab}/{text}`")))
            }
        }
    }

    /// As [`find`](Self::find), for what is done already where there is none of that name.
    pub(crate) fn find_if_any(&self, text: &str) -> Result<Option<Arc<NodeEntry>>> {
        match self.find(text) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The lab and name of a link: `LINK`, its ends in either order, one end `node:interface`, or any of
    /// these after `LAB/`.
    pub(crate) fn find_link(&self, text: &str) -> Result<(String, String)> {
        let labs = self.read();
        let (only, name) = match text.split_once('/') {
            Some((lab, rest)) if labs.contains_key(lab) => (Some(lab), rest),
            Some(_) | None => (None, text),
        };
        let mut found = Vec::new();
        for (lab_name, lab) in labs.iter() {
            if only.is_some_and(|only| only != lab_name) {
                continue;
            }
            for (link_name, link) in &lab.links {
                let reversed = name.split_once("--").is_some_and(|(a, b)| {
                    link_name.split_once("--").is_some_and(|(x, y)| a == y && b == x)
                });
                let by_end = link.ends.iter().any(|end| end.name() == name);
                if link_name == name || reversed || by_end {
                    found.push((lab_name.clone(), link_name.clone()));
                }
            }
        }
        match found.len() {
            0 => Err(Error::not_found(format!("no link `{text}`"))
                .hint("`vnode link ls` lists the links; one is `a:eth1--b:eth1`, a LAN's name, or one end `a:eth1`")),
            1 => Ok(found.remove(0)),
            _ => Err(Error::usage(format!("link `{text}` is in several labs"))
                .hint(format!("write `{}/{}`", found[0].0, found[0].1))),
        }
    }
}

fn no_lab(name: &str) -> Error {
    Error::not_found(format!("no lab `{name}`")).hint("`vnode ps` lists labs and nodes")
}
