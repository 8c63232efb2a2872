//! Container nodes: namespaces, an overlay root and a monitor process for each.
//!
//! ```text
//!  ContainerDriver ──▶ spawner (one process, from a sealed copy of the program)
//!        │                └─ fork ─▶ monitor of node a ── clone3 ─▶ first process, execs
//!        └── connection ────────────▶      │ holds the network namespace, console, exit status
//! ```
//!
//! The floor of one node, a bare clone3 with an overlay, pivot_root and exec, was 2.2 ms at its least on a busy machine, and
//! this driver 4.5. Of that the program's own start and end are 1.0, the network namespace 0.6, two more processes (the
//! monitor's helpers) 0.5, the first process' mounts and devices 0.6. What waits for the disk or for all processors is done
//! before it is asked for, or when nobody waits: see `release` and the monitor's `mapped`.
//!
//! A node's folder holds `uuid`, `upper` and `work` (its disk; see `aside` for `upper.kept`), `root` (where it is mounted when asked), `sock` and
//! `state.json` (its monitor), `console.log`. With its control groups, found by name, that is all there is.

mod apart;
mod archive;
mod aside;
mod beside;
mod caps;
mod cgroup;
mod config;
mod connection;
mod destroy;
mod devices;
mod disk;
mod followed;
mod instance;
mod over;
mod program;
mod release;
mod seccomp;
mod snapshot;
mod spawner;
mod stream;
mod tree;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio_util::sync::CancellationToken;
use vnode_monitor::wire::{Net, Spawn};

pub use self::apart::make_apart;
use self::cgroup::{Group, Tree};
use self::connection::{Connection, connect_in, open_dir};
use self::devices::Rule;
use self::disk::make_disk;
use self::instance::Container;
pub use self::seccomp::of_helper as filter_of_helper;
use self::snapshot::Snapshots;
use self::spawner::Spawner;
use crate::{
    BoxFuture, Capabilities, Driver, Ended, Error, Exit, Instance, Limits, NetworkMode, NodeSpec,
    OldDisk, Reader, Recovered, Result, Snapshot,
};

/// How the container driver is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `vnode-monitor` program; see [`beside_this_program`](Options::beside_this_program).
    pub monitor_program: PathBuf,
    /// Name of this daemon's instance; part of the name of every cgroup it makes (R-15).
    pub instance: String,
}

impl Options {
    /// Options with the monitor program that lies beside the running executable.
    ///
    /// # Errors
    /// The path of the running program cannot be read.
    pub fn beside_this_program(instance: impl Into<String>) -> std::io::Result<Self> {
        let own = std::env::current_exe()?;
        Ok(Self { monitor_program: own.with_file_name("vnode-monitor"), instance: instance.into() })
    }
}

/// The container driver. Needs a tokio runtime.
#[derive(Debug)]
pub struct ContainerDriver {
    spawner: Spawner,
    tree: Tree,
    /// Loaded device confinements; few definitions differ in it.
    programs: Mutex<HashMap<Vec<Rule>, Arc<OwnedFd>>>,
    /// Nodes with a handle somewhere, by lab and node.
    live: Live,
}

/// Nodes with a handle, by lab and node.
type Live = Arc<Mutex<HashMap<(String, String), Weak<Container>>>>;

impl ContainerDriver {
    /// Starts the spawner of monitors and finds out what this machine's cgroups can do.
    ///
    /// # Errors
    /// The monitor program cannot be started, or the cgroup tree cannot be read.
    pub async fn open(options: Options) -> Result<Arc<Self>> {
        instance::blocking(move || {
            let tree = Tree::detect(&options.instance).map_err(|(doing, e)| Error::io(doing, e))?;
            Ok(Arc::new(Self {
                spawner: Spawner::start(&options.monitor_program)?,
                tree,
                programs: Mutex::default(),
                live: Live::default(),
            }))
        })
        .await?
    }

    fn key(spec: &NodeSpec) -> (String, String) {
        (spec.lab.clone(), spec.node.clone())
    }

    fn live(&self, key: &(String, String)) -> Option<Arc<Container>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).get(key)?.upgrade()
    }

    fn remember(&self, spec: &NodeSpec, container: &Arc<Container>) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.insert(Self::key(spec), Arc::downgrade(container));
    }

    fn forget(&self, spec: &NodeSpec) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&Self::key(spec));
    }

    async fn create_now(&self, spec: &NodeSpec, dir: &Path) -> Result<Arc<dyn Instance>> {
        if let Some(live) = self.live(&Self::key(spec))
            && connect_in(dir).is_ok()
        {
            return Ok(live);
        }
        let group = self.tree.group(&spec.lab, &spec.node);
        // What cannot be booted is refused before anything is made.
        config::boot(spec, &group)?;
        let mut new = make_folder(spec, dir)?;
        if !new && is_another(spec, dir) {
            // T-30: its records are gone, so nobody can want it; its disk is not the new node's to see.
            tracing::warn!(
                node = spec.node,
                "a node of another life has this name: it is destroyed"
            );
            destroy::destroy(&spec.node, dir, &group, None).await?;
            new = make_folder(spec, dir)?;
        }
        if !new && let Ok((connection, state)) = followed::again(&spec.node, dir).await {
            let frozen = group.is_frozen();
            let container =
                Container::new(spec, dir.to_owned(), group, connection, &state, &self.live, frozen);
            self.remember(spec, &container);
            return Ok(container);
        }
        if !new && group.exists() {
            // What a killed monitor left: processes perhaps, and a confinement that takes no second one.
            let stale = group.clone();
            let left = instance::blocking(move || {
                stale.kill().map_err(|(doing, e)| Error::io(doing, e))?;
                Ok::<_, Error>(stale.remove())
            });
            let left = left.await??;
            if !left.is_empty() {
                return Err(Error::Left { node: spec.node.clone(), left });
            }
        }
        match self.make(spec, dir, &group, new).await {
            Ok(container) => {
                self.remember(spec, &container);
                Ok(container)
            }
            Err(error) => {
                // What was made is taken away; a disk that was there before is not ours to remove (R-4).
                let undone = if new {
                    destroy::destroy(&spec.node, dir, &group, None).await
                } else {
                    group.remove();
                    Ok(())
                };
                if let Err(left) = undone {
                    tracing::warn!(node = spec.node, error = %left, "after a failed create");
                }
                Err(error)
            }
        }
    }

    /// `fresh`: the folder was made for it.
    async fn make(
        &self,
        spec: &NodeSpec,
        dir: &Path,
        group: &Group,
        fresh: bool,
    ) -> Result<Arc<Container>> {
        group.create(&spec.limits).map_err(|(doing, e)| Error::io(doing, e))?;
        group.mark(&spec.mark);
        let fail = |e| Error::io(format!("open {}", dir.display()), e);
        let folder = open_dir(dir).map_err(fail)?;
        let (net, join) = match &spec.network {
            NetworkMode::Own => (Net::Own, None),
            NetworkMode::Host => (Net::Host, None),
            NetworkMode::Node(other) => {
                let key = (spec.lab.clone(), other.clone());
                let sibling = self.live(&key).ok_or_else(|| Error::Invalid {
                    node: spec.node.clone(),
                    what: format!(
                        "it shares the network of node `{other}`, which is not there: create that first"
                    ),
                })?;
                (Net::Join, Some(sibling.netns()?))
            }
        };
        let (ours, theirs) =
            spawner::connection().map_err(|e| Error::io("make a monitor's socket", e))?;
        let spawn = Spawn {
            name: spec.node.clone(),
            net,
            id_map: spec.security.user_namespace.map(|m| (m.first, m.size)),
            fresh,
        };
        let connection = Connection::new(&spec.node, ours)?;
        let join = join.as_ref().map(AsFd::as_fd);
        self.spawner.spawn(&spawn, folder.as_fd(), theirs.as_fd(), join)?;
        drop(theirs);
        // The monitor makes the network namespace meanwhile. One that is never asked for more goes by itself, or is found
        // by its socket.
        make_disk(spec, dir)?;
        self.confine_devices(spec, group)?;
        let (state, route) = connection.hello().await?;
        let group = group.clone();
        let container =
            Container::new(spec, dir.to_owned(), group, connection, &state, &self.live, false);
        container.limited(spec.limits.clone());
        container.keep_route(route);
        Ok(container)
    }

    async fn recover_now(&self, spec: &NodeSpec, dir: &Path) -> Result<Recovered> {
        let group = self.tree.group(&spec.lab, &spec.node);
        match connect_in(dir) {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                let record = destroy::record(dir);
                let last_exit = record.and_then(|r| match r.init {
                    // It ran when its monitor was killed: how it ends nobody will know.
                    Some(_) => Some(Exit {
                        ended: Ended::Unknown,
                        code: None,
                        signal: None,
                        at_unix_ms: r.started_unix_ms,
                        oom_killed: false,
                    }),
                    None => r.last_exit.map(followed::ended),
                });
                return Ok(Recovered::Gone { last_exit });
            }
            Err(e) => return Err(Error::io(format!("reach the monitor in {}", dir.display()), e)),
        }
        let (connection, state) = followed::again(&spec.node, dir).await?;
        let frozen = group.is_frozen();
        let container =
            Container::new(spec, dir.to_owned(), group, connection, &state, &self.live, frozen);
        self.remember(spec, &container);
        Ok(Recovered::Live(container))
    }

    async fn destroy_now(&self, spec: &NodeSpec, dir: &Path) -> Result<()> {
        let group = self.tree.group(&spec.lab, &spec.node);
        let live = self.live(&Self::key(spec));
        destroy::destroy(&spec.node, dir, &group, live.as_deref()).await?;
        self.forget(spec);
        Ok(())
    }
}

fn mounted_root(spec: &NodeSpec, root: &Path) -> Result<OwnedFd> {
    open_dir(root).map_err(|e| Error::io(format!("open the root of `{}`", spec.node), e))
}

/// File with the UUID of the node that a folder belongs to.
const UUID: &str = "uuid";

/// Whether the folder is that of another node, which had the same name. One that says nothing is not.
fn is_another(spec: &NodeSpec, dir: &Path) -> bool {
    let found = std::fs::read_to_string(dir.join(UUID)).unwrap_or_default();
    !found.is_empty() && !spec.uuid.is_empty() && found != spec.uuid
}

/// Makes a node's folder; true when it was not there.
fn make_folder(spec: &NodeSpec, dir: &Path) -> Result<bool> {
    if let Some(lab) = dir.parent() {
        // The lab's folder, which its first node makes.
        make_apart(lab, 0o700).map_err(|e| fail(lab, e))?;
    }
    let new = make(dir, 0o700)?;
    if new && !spec.uuid.is_empty() {
        let path = dir.join(UUID);
        std::fs::write(&path, &spec.uuid).map_err(|e| fail(&path, e))?;
    }
    Ok(new)
}

fn fail(path: &Path, e: std::io::Error) -> Error {
    Error::io(format!("make folder {}", path.display()), e)
}

/// Makes a folder; true when it was not there.
fn make(path: &Path, mode: u32) -> Result<bool> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(fail(path, e)),
    }
}

/// Whether an overlay may stand on detached mounts, which is what layers with mapped ids are. The kernel allows
/// it since 6.15; trying it would need a user namespace, a mount and a file system at each start of the daemon.
fn overlays_mapped_layers() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 15)
}

impl Driver for ContainerDriver {
    fn name(&self) -> &'static str {
        "container"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            mount_root: true,
            exec: true,
            console: true,
            pause: self.tree.kind() != "none",
            limits: self.tree.limits(),
            cgroup: self.tree.kind().to_owned(),
            user_namespaces: Path::new("/proc/self/ns/user").exists() && overlays_mapped_layers(),
            devices: self.tree.confines_devices(),
            snapshot: true,
        }
    }

    fn check<'a>(&'a self, spec: &'a NodeSpec, _: &'a Path) -> BoxFuture<'a, Result<()>> {
        let group = self.tree.group(&spec.lab, &spec.node);
        Box::pin(async move { config::boot(spec, &group).map(drop) })
    }

    fn create<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Instance>>> {
        Box::pin(self.create_now(spec, dir))
    }

    fn recover<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Recovered>> {
        Box::pin(self.recover_now(spec, dir))
    }

    fn destroy<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.destroy_now(spec, dir))
    }

    fn mount<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<PathBuf>> {
        Box::pin(self.mount_now(spec, dir))
    }

    fn unmount<'a>(&'a self, _: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.unmount_now(dir))
    }

    fn snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: &'a str,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Snapshot>> {
        let (name, mark) = (name.to_owned(), mark.to_owned());
        let work = move |all: Snapshots, cancel: CancellationToken| all.take(&name, &mark, &cancel);
        Box::pin(self.on_disk(spec, dir, cancel, work))
    }

    fn restore<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<()>> {
        let name = name.to_owned();
        Box::pin(self.on_disk(spec, dir, cancel, move |all, cancel| all.restore(&name, &cancel)))
    }

    fn remove_snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: Option<&'a str>,
    ) -> BoxFuture<'a, Result<()>> {
        let all = Snapshots::new(&spec.node, dir, &spec.layers);
        let (name, mark) = (name.to_owned(), mark.map(str::to_owned));
        Box::pin(
            async move { instance::blocking(move || all.remove(&name, mark.as_deref())).await? },
        )
    }

    fn snapshots<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<Snapshot>>> {
        let all = Snapshots::new(&spec.node, dir, &spec.layers);
        Box::pin(async move { instance::blocking(move || all.list()).await? })
    }

    fn old_disk<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        what: OldDisk,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.old_disk_now(spec, dir, what))
    }

    fn has_old_disk(&self, _: &NodeSpec, dir: &Path) -> bool {
        aside::is_there(dir)
    }

    fn archive_out(&self, spec: &NodeSpec, root: &Path, path: &str) -> Result<Reader> {
        archive::out(spec.node.clone(), mounted_root(spec, root)?, path.to_owned())
    }

    fn archive_in<'a>(
        &'a self,
        spec: &'a NodeSpec,
        root: &'a Path,
        path: &'a str,
        tar: Reader,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // The node's ids are those on its disk: what maps them is made with its first process.
            let opened = mounted_root(spec, root)?;
            archive::into(spec.node.clone(), opened, path.to_owned(), tar, None).await
        })
    }

    fn group_beside<'a>(
        &'a self,
        spec: &'a NodeSpec,
        what: &'a str,
        limits: &'a Limits,
    ) -> BoxFuture<'a, Result<Vec<PathBuf>>> {
        Box::pin(self.group_beside_now(spec, what, limits))
    }

    fn end_beside<'a>(&'a self, spec: &'a NodeSpec, what: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.end_beside_now(spec, what))
    }
}
