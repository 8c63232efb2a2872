//! All that is known, in memory as in the store.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use vnode_event::Log;
use vnode_idle::Busy;
use vnode_operation::Engine;
use vnode_store::{Change, Store, record};
use vnode_vnfpkg::{Descriptor, Limits, Policy, Problem};

use crate::{
    error::{Failure, Result},
    groups::Groups,
    hooks::Driver,
    log::Logged,
    model::{Instance, Occurrence, Package},
    takeover::Left,
    user::{self, User},
    watch::{Watcher, proc},
};

/// How packages are taken and run here.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Everything of ours lies below it.
    pub state: PathBuf,
    pub limits: Limits,
    pub signatures: Policy,
    /// Trusted public keys; default: `keys` in the state folder.
    pub keys: Option<PathBuf>,
    /// Whether scripts may be run as root.
    pub allow_root: bool,
    pub allow_downgrade: bool,
    /// As if the kernel gave no process connector.
    pub poll: bool,
    /// Whether secret parameters may stand in the logs of scripts.
    pub log_secrets: bool,
    /// Whether a damaged store is opened with what is whole in it.
    pub repair: bool,
}

impl Settings {
    /// The defaults, with everything below `state`.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            limits: Limits::default(),
            signatures: Policy::default(),
            keys: None,
            allow_root: true,
            allow_downgrade: false,
            poll: false,
            log_secrets: false,
            repair: false,
        }
    }
}

/// Where things lie.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) state: PathBuf,
}

impl Paths {
    pub(crate) fn staging(&self) -> PathBuf {
        self.state.join("staging")
    }

    pub(crate) fn package(&self, name: &str) -> PathBuf {
        self.state.join("packages").join(name)
    }

    pub(crate) fn content(&self, name: &str, revision: u32) -> PathBuf {
        self.package(name).join(revision.to_string()).join("content")
    }

    pub(crate) fn instance(&self, id: &str) -> PathBuf {
        self.state.join("instances").join(id)
    }

    /// The working copy of a revision.
    pub(crate) fn work(&self, id: &str, revision: u32) -> PathBuf {
        self.instance(id).join(format!("work-{revision}"))
    }

    pub(crate) fn logs(&self, id: &str) -> PathBuf {
        self.instance(id).join("logs")
    }
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) packages: BTreeMap<(String, u32), Package>,
    pub(crate) instances: BTreeMap<String, Instance>,
    /// Operations that are not final.
    pub(crate) operations: BTreeMap<String, Occurrence>,
    /// What gives up a running operation at once.
    pub(crate) cancels: HashMap<String, CancellationToken>,
    pub(crate) drivers: HashMap<String, Driver>,
    /// What an earlier life left: see `takeover`.
    pub(crate) left: Left,
}

/// The manager's memory. Everything else is given it.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) paths: Paths,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<Log>,
    pub(crate) engine: OnceLock<Engine>,
    pub(crate) watcher: Watcher,
    groups: OnceLock<Groups>,
    /// Requests and scripts.
    pub(crate) busy: Arc<Busy>,
    pub(crate) boot: String,
    /// Told whenever an operation has ended.
    pub(crate) ended: Notify,
    pub(crate) logged: Logged,
    /// Held from the choice of a package's revision until it is stored, and while packages are removed.
    pub(crate) onboarding: tokio::sync::Mutex<()>,
    /// Held while the following of an instance is taken up.
    pub(crate) following: tokio::sync::Mutex<()>,
    tables: Mutex<Tables>,
}

const PACKAGE: &str = "vnf/package/";
const INSTANCE: &str = "vnf/instance/";
const OPERATION: &str = "vnf/op/";
/// Ended operations kept of each instance.
const KEPT: usize = 100;

pub(crate) fn package_key(package: &Package) -> String {
    format!("{PACKAGE}{}/{:08}", package.name, package.revision)
}

pub(crate) fn put<T: serde::Serialize>(key: String, value: &T) -> Result<Change> {
    let bytes =
        record::encode(1, value).map_err(|error| Failure::internal("write a record", &error))?;
    Ok(Change::put(key, bytes))
}

pub(crate) fn put_instance(instance: &Instance) -> Result<Change> {
    put(format!("{INSTANCE}{}", instance.id), instance)
}

fn operation_key(instance: &str, id: &str) -> String {
    format!("{OPERATION}{instance}/{id}")
}

pub(crate) fn put_operation(op: &Occurrence) -> Result<Change> {
    put(operation_key(&op.instance, &op.id), op)
}

impl Core {
    /// Reads what is stored.
    pub(crate) async fn load(
        settings: Settings,
        store: Arc<dyn Store>,
        log: Arc<Log>,
        watcher: Watcher,
    ) -> Result<Self> {
        let paths = Paths { state: settings.state.clone() };
        let core = Self {
            settings,
            paths,
            store,
            log,
            engine: OnceLock::new(),
            watcher,
            groups: OnceLock::new(),
            busy: Arc::default(),
            boot: proc::boot_id(),
            ended: Notify::new(),
            logged: Logged::default(),
            onboarding: tokio::sync::Mutex::default(),
            following: tokio::sync::Mutex::default(),
            tables: Mutex::default(),
        };
        let mut tables = Tables::default();
        for package in core.read_all::<Package>(PACKAGE).await? {
            tables.packages.insert((package.name.clone(), package.revision), package);
        }
        for instance in core.read_all::<Instance>(INSTANCE).await? {
            tables.instances.insert(instance.id.clone(), instance);
        }
        for op in core.read_all::<Occurrence>(OPERATION).await? {
            if !op.state.is_final() {
                tables.operations.insert(op.id.clone(), op);
            }
        }
        *core.tables() = tables;
        Ok(core)
    }

    async fn read_all<T: serde::de::DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>> {
        let entries = self
            .store
            .list(prefix)
            .await
            .map_err(|error| Failure::internal("read the store", &error))?;
        let mut all = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            match record::decode(&entry.value, &[]) {
                Ok(value) => all.push(value),
                // One record that is damaged does not take the others along (PW-28).
                Err(error) => {
                    tracing::error!(key, %error, "a record cannot be read");
                    self.event(
                        "store.damaged",
                        "vnf",
                        None,
                        json!({ "key": key, "error": error.to_string() }),
                    );
                }
            }
        }
        Ok(all)
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<()> {
        let done = self.store.commit(changes).await;
        done.map(drop).map_err(|error| Failure::internal("write the store", &error))
    }

    /// For what the next durable write may take along.
    pub(crate) async fn commit_lazily(&self, changes: Vec<Change>) -> Result<()> {
        let done = self.store.commit_lazily(changes).await;
        done.map(drop).map_err(|error| Failure::internal("write the store", &error))
    }

    pub(crate) fn event(&self, kind: &str, subject: &str, operation: Option<&str>, data: Value) {
        self.log.append(format!("vnf.{kind}"), format!("vnf/{subject}"), operation, data);
    }

    /// Control groups, looked for when they are first needed.
    pub(crate) fn groups(&self) -> &Groups {
        self.groups.get_or_init(Groups::detect)
    }

    /// The control groups that processes of an instance are to enter. What this machine cannot keep of the package's
    /// limits is a warning of the operation.
    pub(crate) fn keep_limits(
        &self,
        op: &str,
        instance: &Instance,
        descriptor: &Descriptor,
    ) -> Vec<PathBuf> {
        let kept = self.groups().keep(&instance.id, &descriptor.limits);
        self.change_operation(op, |op| {
            for missing in kept.missing {
                if !op.warnings.contains(&missing) {
                    op.warnings.push(missing);
                }
            }
        });
        kept.folders
    }

    /// An instance by its name or id.
    pub(crate) fn instance(&self, name: &str) -> Result<Instance> {
        let tables = self.tables();
        let found = tables
            .instances
            .get(name)
            .or_else(|| tables.instances.values().find(|i| i.name == name));
        found.cloned().ok_or_else(|| {
            Failure::not_found(format!(
                "there is no instance `{}`; `vnf ls` shows what there is",
                name.escape_debug()
            ))
        })
    }

    /// Changes an instance in memory; its next record takes that along.
    pub(crate) fn change_instance(&self, id: &str, change: impl FnOnce(&mut Instance)) {
        if let Some(instance) = self.tables().instances.get_mut(id) {
            change(instance);
        }
    }

    /// The same, and gives the change that stores it.
    pub(crate) fn record_instance(
        &self,
        id: &str,
        change: impl FnOnce(&mut Instance),
    ) -> Result<Option<Change>> {
        let mut tables = self.tables();
        let Some(instance) = tables.instances.get_mut(id) else { return Ok(None) };
        change(instance);
        put_instance(instance).map(Some)
    }

    /// As [`change_instance`](Self::change_instance), an operation that is not final.
    pub(crate) fn change_operation(&self, id: &str, change: impl FnOnce(&mut Occurrence)) {
        if let Some(op) = self.tables().operations.get_mut(id) {
            change(op);
        }
    }

    /// As [`record_instance`](Self::record_instance), an operation that is not final.
    pub(crate) fn record_operation(
        &self,
        id: &str,
        change: impl FnOnce(&mut Occurrence),
    ) -> Result<Option<Change>> {
        let mut tables = self.tables();
        let Some(op) = tables.operations.get_mut(id) else { return Ok(None) };
        change(op);
        put_operation(op).map(Some)
    }

    pub(crate) fn descriptor(&self, package: &str, revision: u32) -> Result<Descriptor> {
        let tables = self.tables();
        let found = tables.packages.get(&(package.to_owned(), revision));
        found.map(|package| package.descriptor.clone()).ok_or_else(|| {
            Failure::not_found(format!("revision {revision} of the package {package} is gone"))
        })
    }

    /// An operation by its id, in memory or stored.
    pub(crate) async fn operation(&self, id: &str) -> Result<Occurrence> {
        if let Some(op) = self.tables().operations.get(id) {
            return Ok(op.clone());
        }
        let all = self.stored_operations().await?;
        all.into_iter().find(|op| op.id == id).ok_or_else(|| {
            Failure::not_found(format!("there is no operation `{}`", id.escape_debug()))
        })
    }

    /// An operation of an instance, as it is stored.
    pub(crate) async fn stored_operation(
        &self,
        instance: &str,
        id: &str,
    ) -> Result<Option<Occurrence>> {
        let found = self.store.get(&operation_key(instance, id)).await;
        match found.map_err(|error| Failure::internal("read the store", &error))? {
            Some(entry) => record::decode(&entry.value, &[])
                .map(Some)
                .map_err(|error| Failure::internal("read an operation", &error)),
            None => Ok(None),
        }
    }

    /// All operations, the oldest first.
    pub(crate) async fn stored_operations(&self) -> Result<Vec<Occurrence>> {
        let mut all: Vec<Occurrence> = self.read_all(OPERATION).await?;
        let tables = self.tables();
        for op in &mut all {
            if let Some(now) = tables.operations.get(&op.id) {
                op.clone_from(now);
            }
        }
        drop(tables);
        all.sort_by(|left, right| (left.started, &left.id).cmp(&(right.started, &right.id)));
        Ok(all)
    }

    /// Takes away the oldest ended operations of an instance; all of them when it is removed.
    pub(crate) async fn prune(&self, instance: &str, keep: Option<usize>) -> Result<()> {
        let prefix = format!("{OPERATION}{instance}/");
        let entries = self
            .store
            .list(&prefix)
            .await
            .map_err(|error| Failure::internal("read the store", &error))?;
        let over = entries.len().saturating_sub(keep.unwrap_or(KEPT));
        let live: Vec<String> = self.tables().operations.keys().cloned().collect();
        // Ids sort by time.
        let old = entries.into_iter().take(over).map(|(key, _)| key);
        let old =
            old.filter(|key| keep.is_some() || !live.iter().any(|id| key.ends_with(id.as_str())));
        let changes: Vec<Change> = old.map(Change::delete).collect();
        if changes.is_empty() { Ok(()) } else { self.commit_lazily(changes).await }
    }

    /// Whom the scripts of a package run as; `None`: us.
    pub(crate) fn user(
        &self,
        descriptor: &Descriptor,
        script: Option<&str>,
    ) -> Result<Option<User>, Problem> {
        use vnode_vnfpkg::Code;
        let wrong = |what: String| Problem::new(Code::User, what);
        let name = script.or(descriptor.user.as_deref());
        let mut found = match name {
            Some(name) => user::find(name).map_err(&wrong)?,
            None if descriptor.group.is_none() => return Ok(None),
            None => user::own(),
        };
        if let Some(group) = &descriptor.group {
            found.gid = user::group(group).map_err(&wrong)?;
        }
        if found.uid == 0 && name.is_some() && !self.settings.allow_root {
            return Err(wrong("scripts may not be run as root here".to_owned()));
        }
        let own = rustix::process::geteuid();
        if !own.is_root() && found.uid != own.as_raw() {
            return Err(wrong(format!("only root can run scripts as `{}`", found.name)));
        }
        Ok(Some(found))
    }
}

/// Makes the folders of a state folder, private.
pub(crate) fn prepare_folders(state: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error: std::io::Error| {
        Failure::internal(&format!("prepare `{}`", state.display()), &error)
    };
    fs::create_dir_all(state).map_err(failed)?;
    // Scripts run as other users: they must come through to their working copies.
    fs::set_permissions(state, fs::Permissions::from_mode(0o711)).map_err(failed)?;
    crate::tree::remove(&state.join("staging")).map_err(failed)?;
    for (name, mode) in [("staging", 0o700), ("packages", 0o711), ("instances", 0o711)] {
        let folder = state.join(name);
        fs::create_dir_all(&folder).map_err(failed)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}
