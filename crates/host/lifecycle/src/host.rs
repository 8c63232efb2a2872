//! The facade: one value that owns this machine's labs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vnode_driver::Driver;
use vnode_driver::container::{ContainerDriver, Options as ContainerOptions};
use vnode_event::Log;
use vnode_operation::lock::{Allocator, Guard, Locks};
use vnode_operation::{Engine, OperationId, Plan};

use crate::adopt;
use crate::error::{Error, Result};
use crate::inner::{Inner, driver_error, network_error};
use crate::plan;
use crate::record::HostRecord;
use crate::registry::{Lab, NodeEntry, Registry, lock};
use crate::runner::Steps;
use crate::timeline;
use crate::wanted::Records;
use crate::work::Work;

/// How a [`Host`] is opened. Nothing is read from the environment.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of all state; made with mode 0700.
    pub state_dir: PathBuf,
    /// The `vnode-monitor` program.
    pub monitor_program: PathBuf,
    /// Where the `vnode-agent` for containers may be, in the order in which it is looked for.
    pub agent_programs: Vec<PathBuf>,
    /// Steps carried out at once; 0 is `min(2 × cores, 16)`.
    pub workers: usize,
    pub images: vnode_image::Options,
    /// Give nodes a user namespace where kernel and driver can.
    pub user_namespaces: bool,
    /// Let topologies run commands on the host (`stages: exec: target: host`).
    pub host_commands: bool,
    /// Open a damaged store with what is whole in it; what that is, is logged.
    pub repair: bool,
}

/// This machine's labs. Shared by `Arc`.
#[derive(Debug)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
    pub(crate) engine: Arc<Engine>,
}

/// Kinds of plans.
const KINDS: [&str; 14] = [
    "lab.up",
    "lab.apply",
    "lab.down",
    "lab.restore",
    "node.boot",
    "node.halt",
    "node.reboot",
    "node.save",
    "node.snapshot",
    "node.restore",
    "node.snapshot.remove",
    "image.pull",
    "image.import",
    "image.lists",
];

impl Host {
    /// Opens the state folder, adopts running nodes, finishes or undoes what an earlier daemon left.
    ///
    /// # Errors
    /// The folder is held by another daemon, the store is damaged, or the driver cannot start.
    pub async fn open(options: Options) -> Result<Arc<Self>> {
        make_private(&options.state_dir)?;
        let failed = |source: vnode_store::Error| {
            Error::failed(format!("cannot open the state in `{}`", options.state_dir.display()))
                .because(source)
        };
        let path = options.state_dir.join("store.redb");
        if options.repair
            && let Some(repaired) = vnode_store::repair(&path).map_err(failed)?
        {
            tracing::warn!(?repaired, "the store was damaged");
        }
        let store = vnode_store::open(&path).map_err(failed)?;
        let instance = instance(&*store).await?;
        let events = Log::open(Arc::clone(&store), vnode_event::Options::default())
            .await
            .map_err(|source| Error::failed("cannot open the event log").because(source))?;
        let mut images = options.images.clone();
        images.host.state_dirs.push(options.state_dir.clone());
        let folder = options.state_dir.join("images");
        let catalogue =
            tokio::task::spawn_blocking(move || vnode_image::Catalogue::open(&folder, images))
                .await
                .map_err(|source| {
                    Error::failed("opening the image catalogue ended early").because(source)
                })?
                .map_err(|source| {
                    Error::failed("cannot open the image catalogue").because(source)
                })?;
        let users: Arc<std::sync::OnceLock<std::sync::Weak<Inner>>> = Arc::default();
        let lists = crate::lists::open(&options, &store, &events, &catalogue, &users).await?;
        let driver = ContainerDriver::open(ContainerOptions {
            monitor_program: options.monitor_program.clone(),
            instance: instance.clone(),
        })
        .await
        .map_err(driver_error)?;
        let machines = Arc::new(vnode_qemu::QemuDriver::new(vnode_qemu::Options {
            container: Arc::clone(&driver) as Arc<dyn Driver>,
            folder: options.state_dir.join("machines"),
        }));
        let domains = vnode_libvirt::LibvirtDriver::new(vnode_libvirt::Options {
            container: Arc::clone(&driver) as Arc<dyn Driver>,
            folder: options.state_dir.join("domains"),
            instance: instance.clone(),
            host: vnode_network::Ns::host,
        });
        let driver = Arc::new(crate::drivers::Drivers::new(driver, Arc::clone(&machines), domains));
        let network = vnode_network::Host::new(vnode_network::Ns::host().map_err(network_error)?);
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        // A container's steps wait for the kernel more than they work: with two for each processor an eighth of the time of
        // a large `up` was idle.
        let workers = match options.workers {
            0 => (8 * processors).min(64),
            workers => workers,
        };
        let starting_machines = tokio::sync::Semaphore::new((2 * processors).min(16).min(workers));
        let inner = Arc::new(Inner {
            options,
            instance,
            store: Arc::clone(&store),
            events: Arc::clone(&events),
            catalogue,
            lists,
            capabilities: driver.capabilities(),
            driver,
            machines,
            network,
            registry: Registry::default(),
            served: std::sync::Mutex::default(),
            sightings: crate::functions::Sightings::default(),
            images: std::sync::Mutex::default(),
            damaged: crate::damaged::Damaged::default(),
            host: std::sync::Mutex::default(),
            locks: Locks::new(),
            starting_machines,
            facade: std::sync::OnceLock::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        // Set once, here.
        let _ = users.set(Arc::downgrade(&inner));
        let engine = Arc::new(Engine::new(
            store,
            events,
            vnode_operation::Options { workers, ..vnode_operation::Options::default() },
        ));
        let steps = Arc::new(Steps::new(Arc::clone(&inner)));
        for kind in KINDS {
            engine.register(kind, Arc::clone(&steps) as Arc<dyn vnode_operation::Runner>);
        }
        let host = Arc::new(Self { inner, engine });
        // Set once, here.
        let _ = host.inner.facade.set(Arc::downgrade(&host));
        host.take_up().await?;
        crate::lists::follow(&host);
        Ok(host)
    }

    /// What an earlier daemon, or an earlier run of the machine, left.
    async fn take_up(self: &Arc<Self>) -> Result<()> {
        let inner = &self.inner;
        adopt::load(inner).await?;
        let boot_id =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let restarted;
        {
            let _root = inner.locks.host_root().await;
            restarted = lock(&inner.host).boot_id != boot_id;
            if restarted {
                // The kernel's parameters went with its last run.
                let record = HostRecord { saved_sysctls: None, boot_id };
                inner.save(vec![record.put()]).await?;
                *lock(&inner.host) = record;
            }
        }
        let lost = adopt::adopt(inner).await;
        let recovered = self
            .engine
            .recover()
            .await
            .map_err(|source| Error::failed("cannot take up operations").because(source))?;
        for (key, why) in &recovered.unreadable {
            tracing::error!(key, "an operation cannot be taken up: {why}");
        }
        for id in &recovered.undone {
            let outcome = self.engine.wait(*id).await;
            tracing::info!(operation = %id, ?outcome, "undid what an earlier daemon left");
        }
        // The others may wait for what takes its time (a node's health, a download): requests are served meanwhile.
        let mut changing: HashMap<String, Vec<OperationId>> = HashMap::new();
        for id in recovered.operations.into_iter().filter(|id| !recovered.undone.contains(id)) {
            let Ok(status) = self.engine.status(id).await else { continue };
            let Some(rest) = status.summary.subject.strip_prefix("lab/") else { continue };
            let lab = rest.split('/').next().unwrap_or(rest);
            if status.summary.kind.starts_with("lab.") {
                self.set_active(lab, id);
            }
            changing.entry(lab.to_owned()).or_default().push(id);
        }
        let names: Vec<String> = inner.registry.read().keys().cloned().collect();
        for name in names {
            let lost = lost.contains(&name).then_some(restarted);
            let Some(operations) = changing.remove(&name) else {
                self.go_on(&name, lost).await?;
                continue;
            };
            let host = Arc::clone(self);
            inner.tasks.spawn(async move {
                for id in operations {
                    let outcome = host.engine.wait(id).await;
                    tracing::info!(operation = %id, ?outcome, "ended what an earlier daemon left");
                }
                if host.inner.stop.is_cancelled() {
                    return;
                }
                if let Err(error) = host.go_on(&name, lost).await {
                    tracing::error!(lab = name, "{}", error.chain());
                }
            });
        }
        Ok(())
    }

    /// What runs beside a lab runs again; with `lost`, what it had in the kernel is gone, and whether with the machine's
    /// last run.
    async fn go_on(&self, name: &str, lost: Option<bool>) -> Result<()> {
        let inner = &self.inner;
        if !inner.registry.read().contains_key(name) {
            // An operation took it away.
            return Ok(());
        }
        crate::runner::write_names(inner, name)?;
        timeline::start(inner, name);
        crate::served::start(inner, name).await;
        if let Some(restarted) = lost {
            self.restore(name, restarted).await;
        }
        Ok(())
    }

    /// Makes a lab's kernel side anew.
    async fn restore(&self, name: &str, restarted: bool) {
        let _admission = self.inner.locks.allocator().await;
        let Ok(records) = self.inner.registry.lab(name, Lab::records) else { return };
        // Only when all of it is gone: a single node whose monitor was killed waits for its `boot`. After a restart all of
        // it is, whatever an operation that was taken up has made since.
        let alive = self
            .inner
            .registry
            .lab(name, |lab| lab.nodes.values().any(|node| node.instance().is_some()))
            .unwrap_or(true);
        if alive && !restarted {
            return;
        }
        if let Err(error) = self.admit(name).await {
            tracing::warn!(lab = name, "not restored: {}", error.chain());
            return;
        }
        match self.engine.submit(plan::restore(&records)).await {
            Ok(id) => {
                self.set_active(name, id);
                tracing::info!(lab = name, operation = %id, "restoring after a restart");
            }
            Err(error) => tracing::error!(lab = name, "cannot restore: {error}"),
        }
    }

    /// Ends our tasks; nodes go on.
    pub async fn shutdown(&self) {
        // What runs is given time to end: a daemon that is upgraded should not undo somebody's `up`.
        self.engine.drain(Self::SHUTDOWN).await;
        self.inner.stop.cancel();
        self.engine.stop().await;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Err(error) = self.inner.events.close().await {
            tracing::error!("cannot write the last events: {error}");
        }
    }

    /// The daemon's store, for what else it remembers: under keys of its own.
    pub fn store(&self) -> Arc<dyn vnode_store::Store> {
        Arc::clone(&self.inner.store)
    }

    pub fn events(&self) -> &Arc<Log> {
        &self.inner.events
    }

    pub fn operations(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) async fn submit(&self, plan: Plan) -> Result<OperationId> {
        self.engine.submit(plan).await.map_err(|source| {
            if source.is_conflict() {
                Error::conflict("another request changed the same lab").because(source)
            } else {
                Error::failed("cannot begin the operation").because(source)
            }
        })
    }

    /// Refused while another operation changes the lab.
    pub(crate) async fn admit(&self, lab: &str) -> Result<()> {
        let active = self.inner.registry.read().get(lab).and_then(|lab| lab.active);
        let Some(id) = active else { return Ok(()) };
        match self.engine.status(id).await {
            Ok(status) if !status.summary.state.is_ended() => {
                Err(Error::conflict(format!("lab `{lab}` is being changed by operation {id}"))
                    .hint(format!(
                        "`vnode op cancel {id}` stops it, `vnode op show {id}` shows how far it is"
                    )))
            }
            // Ended, and perhaps already forgotten.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Cancels whatever runs on a lab (or one node of it) and waits until it is at rest (T-53).
    pub(crate) async fn quiesce(&self, lab: &str, node: Option<&str>) -> Result<()> {
        let subject = format!("lab/{lab}");
        let running = self
            .engine
            .list()
            .await
            .map_err(|source| Error::failed("cannot list the operations").because(source))?;
        for operation in running.iter().filter(|operation| !operation.state.is_ended()) {
            let ours = operation.subject == subject
                || match node {
                    Some(node) => operation.subject == format!("{subject}/node/{node}"),
                    None => operation.subject.starts_with(&format!("{subject}/")),
                };
            if ours {
                match self.engine.cancel(operation.id).await {
                    Ok(())
                    | Err(
                        vnode_operation::Error::Ended { .. }
                        | vnode_operation::Error::NotFound { .. },
                    ) => {}
                    Err(source) => {
                        return Err(Error::failed("cannot cancel").because(source));
                    }
                }
                // Its outcome is told to whoever asked for it.
                let _ = self.engine.wait(operation.id).await;
            }
        }
        Ok(())
    }

    /// Ends whatever runs on a lab (or one node of it), and admits the caller and nobody else.
    pub(crate) async fn quiet(
        &self,
        lab: &str,
        node: Option<&str>,
    ) -> Result<Guard<'static, Allocator>> {
        loop {
            self.quiesce(lab, node).await?;
            let admission = self.inner.locks.allocator().await;
            // Somebody may have begun the next one in between; that one is ended as well.
            if self.admit(lab).await.is_ok() {
                return Ok(admission);
            }
        }
    }

    /// Puts the records of a wanted lab into the registry, so that the plan's first write has them; what is
    /// to be removed stays until it is. Gives what was there before.
    pub(crate) fn enter(&self, new: &Records) -> Option<Records> {
        let mut labs = self.inner.registry.write();
        let old = labs.get(&new.lab.name).map(Lab::records);
        let lab = labs.entry(new.lab.name.clone()).or_insert_with(|| Lab::new(new.lab.clone()));
        let before = std::mem::replace(&mut lab.record, new.lab.clone());
        if before.lab.events == lab.record.lab.events {
            // It runs on meanwhile, and may be further than it was when the plan was made.
            lab.record.keep_timeline(&before);
        } else if let Some(timeline) = lab.timeline.take() {
            // Whoever ends this change goes on with the new one.
            timeline.cancel();
        }
        for (name, record) in &new.nodes {
            match lab.nodes.get(name) {
                Some(entry) => entry.update(|current| {
                    *current = crate::record::NodeRecord {
                        state: current.state,
                        since: current.since,
                        spec: current.spec.clone(),
                        image_id: current.image_id.clone(),
                        made: current.made,
                        restarts: current.restarts,
                        last_exit: current.last_exit.clone(),
                        reason: current.reason.clone(),
                        ..record.clone()
                    };
                }),
                None => {
                    lab.nodes
                        .insert(name.clone(), NodeEntry::new(record.clone(), &self.inner.locks));
                }
            }
        }
        lab.links = new.links.clone();
        old
    }

    /// Undoes [`enter`](Self::enter) when the plan could not be begun.
    pub(crate) fn leave(&self, name: &str, old: Option<Records>) {
        let mut labs = self.inner.registry.write();
        let Some(old) = old else {
            labs.remove(name);
            return;
        };
        if let Some(lab) = labs.get_mut(name) {
            lab.record = old.lab;
            lab.links = old.links;
            lab.nodes.retain(|node, _| old.nodes.contains_key(node));
            for (node, record) in old.nodes {
                if let Some(entry) = lab.nodes.get(&node) {
                    entry.update(|current| *current = record);
                }
            }
        }
    }

    pub(crate) fn set_active(&self, lab: &str, id: OperationId) {
        if let Some(lab) = self.inner.registry.write().get_mut(lab) {
            lab.active = Some(id);
        }
        if !self.engine.is_running(id) {
            // It ended before it was known here.
            self.inner.registry.let_go(lab, id);
        }
    }

    /// One step as an operation of its own.
    pub(crate) async fn submit_steps(
        &self,
        kind: &str,
        subject: String,
        steps: &[Work],
    ) -> Result<OperationId> {
        let mut plan = Plan::new(kind, subject);
        plan.recovery = vnode_operation::Recovery::GoOn;
        let mut last: Option<u32> = None;
        for work in steps {
            last = Some(plan.push(plan::step(work).isolate().needs(last)));
        }
        self.submit(plan).await
    }

    /// Time that operations have to end when the daemon stops; then the next daemon takes them up.
    pub const SHUTDOWN: Duration = Duration::from_secs(10);
}

fn make_private(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)))
        .map_err(|source| {
            Error::failed(format!("cannot make the state folder `{}`", path.display()))
                .because(source)
                .hint("run as root, or choose another folder with `--state-dir`")
        })
}

/// The name of this state folder in marks on kernel objects; made once.
async fn instance(store: &dyn vnode_store::Store) -> Result<String> {
    const KEY: &str = "instance";
    let failed = |source| Error::failed("cannot read the store").because(source);
    if let Some(entry) = store.get(KEY).await.map_err(failed)? {
        return crate::record::read(KEY, &entry.value);
    }
    let name = uuid::Uuid::now_v7().simple().to_string()[20..].to_owned();
    let value = vnode_store::record::encode(crate::record::SCHEMA, &name)
        .map_err(|source| Error::failed("cannot write the store").because(source))?;
    store.commit(vec![vnode_store::Change::create(KEY, value)]).await.map_err(failed)?;
    Ok(name)
}
