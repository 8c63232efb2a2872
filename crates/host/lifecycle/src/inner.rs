//! The daemon's parts, shared by the facade, the runner and the tasks that follow nodes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vnode_driver::{Capabilities, Driver};
use vnode_event::Log;
use vnode_network::Owner;
use vnode_operation::StepError;
use vnode_operation::lock::Locks;
use vnode_store::{Change, Store};

use crate::damaged::Damaged;
use crate::error::{Error, Kind, Result};
use crate::host::Options;
use crate::record::{self, HostRecord, LabRecord, LinkRecord, NodeRecord};
use crate::registry::{Registry, lock};
use crate::wanted::Taken;

/// See the module.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    /// Tells two daemons on one host apart in marks and names.
    pub(crate) instance: String,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) events: Arc<Log>,
    pub(crate) catalogue: vnode_image::Catalogue,
    /// Signed lists and what they bring into the catalogue.
    pub(crate) lists: Arc<vnode_imagelist::Site>,
    pub(crate) driver: Arc<dyn Driver>,
    /// The driver of virtual machines, which `driver` gives them to.
    pub(crate) machines: Arc<vnode_qemu::QemuDriver>,
    pub(crate) capabilities: Capabilities,
    pub(crate) network: vnode_network::Host,
    pub(crate) registry: Registry,
    /// Services of control networks, by lab; `None` while they begin.
    pub(crate) served: Mutex<HashMap<String, Option<vnode_netserve::Served>>>,
    /// Processes of containers, for their agents.
    pub(crate) sightings: crate::functions::Sightings,
    /// Images that steps of running operations stand on, by operation and reference: held so that nothing collects them.
    pub(crate) images: Mutex<HashMap<(String, String), vnode_image::Image>>,
    /// Records that were found damaged.
    pub(crate) damaged: Damaged,
    /// Who changes it holds the lock of the host.
    pub(crate) host: Mutex<HostRecord>,
    /// All that one waits for another for, in one order: the host's root, a node, links, the allocator. That of
    /// the allocator is held from looking at the labs (what is there, what numbers and subnets are taken, whether one
    /// is being changed) until the operation that changes one has begun: two requests never plan from the same state.
    pub(crate) locks: Locks,
    /// Virtual machines that an operation may have boot at once: each uses a processor until it is up, and all that boot
    /// beside too many others come too late.
    pub(crate) starting_machines: tokio::sync::Semaphore,
    /// The facade, for tasks that begin operations by themselves.
    pub(crate) facade: std::sync::OnceLock<std::sync::Weak<crate::host::Host>>,
    /// Ends every task of ours; nodes go on.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Inner {
    pub(crate) fn owner(&self, lab: &str, operation: impl ToString) -> Owner {
        Owner {
            instance: self.instance.clone(),
            lab: lab.to_owned(),
            operation: operation.to_string(),
        }
    }

    pub(crate) fn node_dir(&self, lab: &str, node: &str) -> PathBuf {
        self.options.state_dir.join("nodes").join(lab).join(node)
    }

    /// Files that are bound into the lab's nodes.
    pub(crate) fn lab_dir(&self, lab: &str) -> PathBuf {
        self.options.state_dir.join("labs").join(lab)
    }

    /// [`Self::lab_dir`], there: whoever comes first makes it, and makes it in one place of the disk.
    pub(crate) fn make_lab_dir(&self, lab: &str) -> std::io::Result<PathBuf> {
        let folder = self.lab_dir(lab);
        vnode_driver::container::make_apart(&folder, 0o755)?;
        Ok(folder)
    }

    /// Tells the world; an event that cannot be kept is logged and the work goes on.
    pub(crate) fn tell(
        &self,
        kind: &str,
        subject: &str,
        operation: Option<&str>,
        data: serde_json::Value,
    ) {
        self.events.append(kind, subject, operation, data);
    }

    /// Writes records now, durably.
    pub(crate) async fn save(&self, changes: Vec<Change>) -> Result<()> {
        self.store
            .commit(changes)
            .await
            .map(drop)
            .map_err(|source| Error::failed("cannot write the store").because(source))
    }

    /// Writes a node's record after a change that no operation made, and says so when that fails.
    pub(crate) async fn save_node(&self, node: &crate::registry::NodeEntry) {
        let change = node.with(NodeRecord::put);
        if let Err(error) = self.save(vec![change]).await {
            tracing::error!(node = %node.subject(), "{}", error.chain());
        }
    }

    /// What labs other than `lab`, and the machine, hold of numbers and subnets.
    pub(crate) fn taken(&self, lab: &str) -> Result<Taken> {
        let mut taken = Taken::default();
        for (name, other) in self.registry.read().iter() {
            taken.vmids.extend(other.nodes.values().map(|node| node.with(|record| record.vmid)));
            if name == lab {
                continue;
            }
            other
                .nodes
                .values()
                .for_each(|node| node.with(|record| taken.ports.take(name, record)));
            let owner = format!("lab `{name}`");
            if let Some(control) = &other.record.control {
                let nets = control.ipv4.map(IpNet::V4).into_iter();
                for net in nets.chain(control.ipv6.map(IpNet::V6)) {
                    taken.subnets.push((net, owner.clone()));
                }
            }
        }
        let interfaces = vnode_network::state::interfaces(self.network.ns())
            .map_err(|source| Error::failed("cannot list the host's interfaces").because(source))?;
        for interface in interfaces {
            // Labs of this daemon have said above what they hold; another daemon's, and one whose record cannot be read,
            // are as anybody's.
            let owner = interface.alias.as_deref().and_then(vnode_network::ownership::owner_of);
            if owner.is_some_and(|owner| {
                owner.instance == self.instance
                    && (owner.lab == lab || self.registry.read().contains_key(&owner.lab))
            }) {
                continue;
            }
            for address in &interface.addresses {
                let link_local = match address {
                    IpNet::V4(net) => net.addr().is_link_local(),
                    IpNet::V6(net) => net.addr().is_unicast_link_local(),
                };
                if !link_local {
                    let owner = format!("the host's interface `{}`", interface.name);
                    taken.subnets.push((address.trunc(), owner));
                }
            }
        }
        Ok(taken)
    }

    /// Images that nodes stand on; derived from the records, so it cannot be wrong.
    pub(crate) fn images_in_use(&self) -> std::collections::HashSet<String> {
        let labs = self.registry.read();
        labs.values()
            .flat_map(|lab| lab.nodes.values())
            .filter_map(|node| node.with(|record| record.image_id.clone()))
            .collect()
    }

    /// An operation has no more use for the images that it held.
    pub(crate) fn let_images_go(&self, operation: &str) {
        lock(&self.images).retain(|(holder, _), _| holder != operation);
    }

    /// Every record of a lab as it is now, and the removal of those it no longer has.
    pub(crate) async fn lab_changes(&self, name: &str) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        let mut keys = std::collections::HashSet::new();
        if let Some(lab) = self.registry.read().get(name) {
            changes.push(lab.record.put());
            for node in lab.nodes.values() {
                changes.push(node.with(NodeRecord::put));
            }
            changes.extend(lab.links.values().map(LinkRecord::put));
        }
        keys.extend(changes.iter().map(|change| change.key().to_owned()));
        for prefix in [format!("node/{name}/"), format!("link/{name}/")] {
            let stored = self
                .store
                .list(&prefix)
                .await
                .map_err(|source| Error::failed("cannot read the store").because(source))?;
            for (key, _) in stored {
                if !keys.contains(&key) {
                    changes.push(record::delete(key));
                }
            }
        }
        // How far the events of a node's functions went is of no use without the node.
        let prefix = crate::functions::key(name, "");
        let followed = self.store.list(&prefix).await;
        for (key, _) in
            followed.map_err(|source| Error::failed("cannot read the store").because(source))?
        {
            let node = key.strip_prefix(&prefix).unwrap_or_default();
            if !keys.contains(&NodeRecord::key(name, node)) {
                changes.push(record::delete(key));
            }
        }
        let key = LabRecord::key(name);
        if !keys.contains(&key) {
            changes.push(record::delete(key));
        }
        Ok(changes)
    }

    /// Stops what follows a lab: its timeline and its nodes' watchers.
    pub(crate) fn stop_following(&self, name: &str) {
        if let Some(lab) = self.registry.write().get_mut(name) {
            if let Some(timeline) = lab.timeline.take() {
                timeline.cancel();
            }
            for node in lab.nodes.values() {
                lock(&node.tasks).cancel();
            }
        }
    }

    /// An event about a step that went on with less than was asked.
    pub(crate) fn warn(&self, subject: &str, operation: &str, text: &str) {
        tracing::warn!(subject, "{text}");
        self.tell("warning.given", subject, Some(operation), json!({ "text": text }));
    }
}

/// Runs blocking work of the network crate on a thread that may block.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> vnode_network::Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(network_error(source)),
        Err(source) => Err(Error::failed("a network task ended early").because(source)),
    }
}

/// A network error with its kind.
pub(crate) fn network_error(source: vnode_network::Error) -> Error {
    use vnode_network::Error as E;
    let kind = match &source {
        E::Unsupported { .. } | E::Impairment { .. } => Kind::Unsupported,
        E::Invalid { .. } => Kind::Usage,
        E::Foreign { .. } => Kind::Conflict,
        E::Deadline { .. } => Kind::Deadline,
        _ => Kind::Failed,
    };
    Error::new(kind, vnode_protocol::chain(&source))
}

/// A driver error with its kind.
pub(crate) fn driver_error(source: vnode_driver::Error) -> Error {
    use vnode_driver::Error as E;
    let kind = match &source {
        E::NotRunning { .. } | E::Owner { .. } | E::Running { .. } | E::Mounted { .. } => {
            Kind::State
        }
        E::Unsupported { .. } => Kind::Unsupported,
        E::Invalid { .. } => Kind::Usage,
        E::Timeout { .. } => Kind::Deadline,
        E::Path { .. } => Kind::NotFound,
        _ => Kind::Failed,
    };
    Error::new(kind, vnode_protocol::chain(&source))
}

/// An error as the end of a step.
pub(crate) fn step_error(error: &Error) -> StepError {
    let code = match error.kind {
        Kind::Usage => "usage",
        Kind::NotFound => "not-found",
        Kind::Conflict => "conflict",
        Kind::State => "state",
        Kind::Unsupported => "unsupported",
        Kind::Deadline => "deadline",
        Kind::Failed => "failed",
    };
    let mut step = StepError::new(error.chain()).code(code);
    for hint in &error.hints {
        step = step.hint(hint.clone());
    }
    step
}
