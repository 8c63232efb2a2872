//! The traits every driver implements.

use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Console, Exec, ExecSpec, Limits, NodeSpec, Reader, Result, WindowSize};

/// A future in a box, so that the traits are object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a driver can do here; what it cannot is refused with a reason, never ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The root of a stopped node can be mounted on the host.
    pub mount_root: bool,
    pub exec: bool,
    pub console: bool,
    pub pause: bool,
    /// Limits that can be set on this machine: `memory`, `cpu`, `cpuset`, `pids`.
    pub limits: Vec<String>,
    /// Where the limits are kept: `v2`, `v1`, `hybrid` or `none`.
    pub cgroup: String,
    /// User namespaces with identity-mapped mounts work here.
    pub user_namespaces: bool,
    /// Device access can be confined.
    pub devices: bool,
    /// Snapshots of disks.
    pub snapshot: bool,
}

/// What a node does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Made; no process. Its network namespace stands.
    Stopped,
    Running,
    Paused,
    /// Its monitor is gone: its network namespace stands only as long as processes of the node do.
    Lost,
}

/// How and why a node's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// By itself; see [`Exit::code`].
    Exited,
    /// By a signal; see [`Exit::signal`].
    Killed,
    /// reboot(2) inside asked for a restart.
    Reboot,
    /// reboot(2) inside asked for halt or power-off.
    Poweroff,
    /// Nobody was there to see it: the monitor itself was killed.
    Unknown,
}

/// The end of a node's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub ended: Ended,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The kernel killed a process of the node for want of memory during this run.
    pub oom_killed: bool,
}

/// A node's status, as last told by its monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub phase: Phase,
    /// Process id of the first process on the host.
    pub pid: Option<u32>,
    /// When it was started, milliseconds since 1970.
    pub started_unix_ms: Option<u64>,
    /// Number of boots since the node was created.
    pub boots: u64,
    /// End of the last run; kept while the next one runs.
    pub last_exit: Option<Exit>,
}

/// Use of resources at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time since the boot, microseconds; `None` where nothing counts it.
    pub cpu_usec: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub pids: Option<u64>,
}

/// A copy of a node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub name: String,
    /// When it was taken, milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Length of the files in it; on the disk they may share or save room.
    pub bytes: u64,
}

/// Where the console's output is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPaths {
    pub current: PathBuf,
    /// The part before the last rotation; may not exist.
    pub previous: PathBuf,
}

/// What is done with a node's disk when it gets another. Each is idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldDisk {
    /// It is put aside, and an empty one, over the layers of the definition given, takes its place. One that lies aside
    /// already stays there: then it is the one in its place that is made anew.
    SetAside,
    /// The one that lies aside is the node's again, and what was in its place is gone.
    PutBack,
    /// The one that lies aside is removed.
    Drop,
}

/// What was found of a node after the daemon was away.
#[derive(Debug)]
pub enum Recovered {
    /// Its monitor stands; [`Instance::status`] tells the rest, exits in between included.
    Live(Arc<dyn Instance>),
    /// Its monitor is gone, and with it the network namespace: destroy, or create anew (the disk stays).
    Gone { last_exit: Option<Exit> },
}

/// One kind of node.
pub trait Driver: Send + Sync + fmt::Debug {
    /// The word for it in a topology file's `backend`.
    fn name(&self) -> &'static str;

    fn capabilities(&self) -> Capabilities;

    /// Whether a definition can be carried out here, as far as that can be said without doing it; nothing is changed.
    fn check<'a>(&'a self, _spec: &'a NodeSpec, _dir: &'a Path) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Makes folder, resource group, monitor and network namespace; nothing is started.
    /// `dir` is the node's own; it may exist with an earlier disk, which is kept.
    fn create<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Arc<dyn Instance>>>;

    /// Finds a node again after a restart of the daemon.
    fn recover<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path)
    -> BoxFuture<'a, Result<Recovered>>;

    /// Removes everything `create` and `boot` made, the folder included. Idempotent; needs no instance.
    ///
    /// # Errors
    /// [`Error::Left`](crate::Error::Left) names what could not be removed.
    fn destroy<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>>;

    /// Mounts a stopped node's root on the host and gives the path. A second mount gives the same.
    fn mount<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<PathBuf>>;

    /// Inverse of `mount`; idempotent.
    fn unmount<'a>(&'a self, spec: &'a NodeSpec, dir: &'a Path) -> BoxFuture<'a, Result<()>>;

    /// Keeps a copy of a stopped node's disk under `name`; whole on the disk when it is done, and nothing when it is not.
    /// `mark` says who takes it: asked again with the same one, it has been taken already.
    ///
    /// # Errors
    /// The name is taken or cannot be one; the node runs or is mounted; cancelled.
    fn snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: &'a str,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<Snapshot>>;

    /// Makes a stopped node's disk what it was when the snapshot was taken. The old disk stays until the new one is ready
    /// the snapshot stays too.
    ///
    /// # Errors
    /// There is none of that name, or it was taken over another image; the node runs or is mounted; cancelled.
    fn restore<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<()>>;

    /// Removes a snapshot, with `mark` only the one that was taken with it; idempotent, also of a node that runs.
    fn remove_snapshot<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        name: &'a str,
        mark: Option<&'a str>,
    ) -> BoxFuture<'a, Result<()>>;

    /// A node's snapshots, oldest first.
    fn snapshots<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
    ) -> BoxFuture<'a, Result<Vec<Snapshot>>>;

    /// What is done with the disk of a stopped node while another is tried in its place. Namespace and links stay.
    ///
    /// # Errors
    /// The node runs (not of [`OldDisk::Drop`]) or is mounted; its disks are not this driver's.
    fn old_disk<'a>(
        &'a self,
        spec: &'a NodeSpec,
        dir: &'a Path,
        what: OldDisk,
    ) -> BoxFuture<'a, Result<()>>;

    /// Whether a disk of the node lies aside.
    fn has_old_disk(&self, spec: &NodeSpec, dir: &Path) -> bool;

    /// A file or folder of a node whose root is mounted at `root`, as [`Instance::archive_out`] gives it. The mount has to
    /// stay until the stream has been read.
    fn archive_out(&self, spec: &NodeSpec, root: &Path, path: &str) -> Result<Reader>;

    /// As [`Instance::archive_in`], of a node whose root is mounted at `root`.
    fn archive_in<'a>(
        &'a self,
        spec: &'a NodeSpec,
        root: &'a Path,
        path: &'a str,
        tar: Reader,
    ) -> BoxFuture<'a, Result<()>>;

    /// Makes a control group, empty and with these limits, for programs that work for a node and are none of its own; `what`
    /// tells a node's apart. Whatever an earlier one of that name holds is killed. Gives the folders such a program has to
    /// enter: none where the host, or this driver, has no control groups.
    fn group_beside<'a>(
        &'a self,
        _spec: &'a NodeSpec,
        _what: &'a str,
        _limits: &'a Limits,
    ) -> BoxFuture<'a, Result<Vec<PathBuf>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Inverse of `group_beside`: kills what is in it. Idempotent; [`Driver::destroy`] does not do it.
    fn end_beside<'a>(&'a self, _spec: &'a NodeSpec, _what: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// One node, made and not yet destroyed. Handles are cheap to clone as `Arc` and may be dropped at any time.
pub trait Instance: Send + Sync + fmt::Debug {
    /// The node's network namespace; it outlives its processes. Opened anew at each call.
    fn netns(&self) -> Result<OwnedFd>;

    /// A socket of rtnetlink in the node's network namespace, where its maker left one: to the first who asks, and spares
    /// the way into the namespace.
    fn take_route(&self) -> Option<OwnedFd> {
        None
    }

    fn status(&self) -> Status;

    /// Changes of status as they happen; holds the latest.
    fn watch(&self) -> watch::Receiver<Status>;

    /// Starts the first process; done when it has been executed. The definition may differ from the
    /// one the node was created with in everything but identity, network and user namespace.
    fn boot<'a>(&'a self, spec: &'a NodeSpec) -> BoxFuture<'a, Result<()>>;

    /// Sends a signal to the first process.
    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<()>>;

    /// Asks with the definition's stop signal, kills everything after `grace`. Resumes a paused node first.
    /// Of a stopped node: its last exit.
    fn halt(&self, grace: Duration) -> BoxFuture<'_, Result<Exit>>;

    /// Kills every process of the node at once.
    fn kill(&self) -> BoxFuture<'_, Result<Exit>>;

    fn pause(&self) -> BoxFuture<'_, Result<()>>;

    fn resume(&self) -> BoxFuture<'_, Result<()>>;

    /// Runs a program in the running node.
    fn exec<'a>(&'a self, spec: &'a ExecSpec) -> BoxFuture<'a, Result<Exec>>;

    /// Attaches to the console; several may be attached. Scrollback comes first.
    fn console(&self) -> BoxFuture<'_, Result<Console>>;

    /// Sets the size of the console's terminal, when it has one.
    fn resize_console(&self, size: WindowSize) -> BoxFuture<'_, Result<()>>;

    fn logs(&self) -> LogPaths;

    fn stats(&self) -> Result<Stats>;

    /// Changes limits of the running or stopped node; fields that are `None` become unlimited.
    fn set_limits<'a>(&'a self, limits: &'a Limits) -> BoxFuture<'a, Result<()>>;

    /// Limits as the kernel has them now.
    fn limits(&self) -> Result<Limits>;

    /// The first process, while running.
    fn pid(&self) -> Option<u32>;

    /// A file or folder of the node as a tar stream. Paths are resolved beneath the node's root.
    fn archive_out<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Reader>>;

    /// Unpacks a tar stream in folder `path` of the node; ends when all is written.
    fn archive_in<'a>(&'a self, path: &'a str, tar: Reader) -> BoxFuture<'a, Result<()>>;

    /// The agent in the running node, over a channel of the driver's own. `None`: the driver has no such channel, and
    /// reaches into the node from outside.
    ///
    /// # Errors
    /// [`Error::Guest`](crate::Error::Guest) when nothing answers.
    fn guest(&self) -> BoxFuture<'_, Result<Option<vnode_guest::Guest>>> {
        Box::pin(async { Ok(None) })
    }

    /// What a whole machine can do besides. `None`: the node is none, and shares the host's kernel.
    fn hardware(&self) -> Option<&dyn Hardware> {
        None
    }
}

/// What a node that is a whole machine can do and a container cannot: its memory is a thing of its own, and it may have a
/// screen.
pub trait Hardware: Send + Sync {
    /// Keeps the memory of a running or paused machine with its disk and ends it; the next [`Instance::boot`] goes on from
    /// there. Asked again of one that ended so, it has been done. A machine whose memory cannot be kept, or whose saving is
    /// cancelled, goes on as before.
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning); there is no room; the machine has a device whose state cannot be kept.
    fn save<'a>(&'a self, cancel: &'a CancellationToken) -> BoxFuture<'a, Result<Exit>>;

    /// Whether the next boot goes on from memory that was kept.
    fn saved(&self) -> bool;

    /// Throws kept memory away: the next boot is one from the disk. Idempotent.
    ///
    /// # Errors
    /// The file cannot be removed.
    fn forget(&self) -> BoxFuture<'_, Result<()>>;

    /// An interface of the node was made anew while the machine runs: its frames go to the same one inside again. Of an
    /// interface the machine does not have, and of one that does not run, nothing is done.
    ///
    /// # Errors
    /// The kernel refuses.
    fn relink<'a>(&'a self, interface: &'a str) -> BoxFuture<'a, Result<()>>;

    /// The screen as a PNG.
    ///
    /// # Errors
    /// The machine does not run, or has no screen.
    fn screenshot(&self) -> BoxFuture<'_, Result<Vec<u8>>>;
}
