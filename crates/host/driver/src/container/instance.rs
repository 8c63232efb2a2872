//! One container node.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use vnode_monitor::overlay;
use vnode_monitor::wire::{self, Answer, Ask, State};

use super::cgroup::{self, Group};
use super::connection::{Connection, Reply, Shared, done};
use super::followed::Followed;
use super::{Live, archive, config, over, spawner};
use crate::{
    BoxFuture, Console, Ended, Error, Exec, ExecSpec, Exit, Instance, Limits, LogPaths, NodeSpec,
    Phase, PidMode, Reader, Result, Stats, Status, WindowSize,
};

/// A killed node's processes are gone within this, unless the kernel is stuck.
const KILL_PATIENCE: Duration = Duration::from_secs(20);

/// A container node; see [`Instance`].
#[derive(Debug)]
pub(super) struct Container {
    pub(super) node: String,
    dir: PathBuf,
    pub(super) group: Group,
    monitor: wire::Pid,
    spec: Mutex<Arc<NodeSpec>>,
    /// Limits that this process has set; of a node that was found nothing is known.
    limits: Mutex<Option<Limits>>,
    /// The socket of its namespace that the monitor gave, until somebody wires the node or it boots.
    route: Mutex<Option<OwnedFd>>,
    followed: Arc<Followed>,
    /// The driver's other nodes: among the processes of one of them this one may live.
    others: Live,
    reader: JoinHandle<()>,
}

impl Drop for Container {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Container {
    /// Takes over a connection whose state has been learnt.
    pub(super) fn new(
        spec: &NodeSpec,
        dir: PathBuf,
        group: Group,
        connection: Connection,
        state: &State,
        others: &Live,
        frozen: bool,
    ) -> Arc<Self> {
        let followed = Arc::new(Followed::new(Arc::new(connection), state, frozen));
        let reader =
            tokio::spawn(Arc::clone(&followed).read(spec.node.clone(), dir.clone(), group.clone()));
        Arc::new(Self {
            node: spec.node.clone(),
            dir,
            group,
            monitor: state.monitor,
            spec: Mutex::new(Arc::new(spec.clone())),
            limits: Mutex::default(),
            route: Mutex::default(),
            followed,
            others: Arc::clone(others),
            reader,
        })
    }

    /// The monitor's process.
    pub(super) fn monitor(&self) -> wire::Pid {
        self.monitor
    }

    /// Tells the reader that the end of the monitor is wanted.
    pub(super) fn close(&self) {
        self.followed.close();
    }

    /// Tells those who watch that the node is gone.
    pub(super) fn closed(&self) {
        self.followed.closed();
    }

    pub(super) fn connection(&self) -> Shared {
        self.followed.connection()
    }

    /// Asks the monitor something that has no answer but yes or no.
    pub(super) async fn ask(&self, ask: Ask, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
        done(&self.node, self.connection().ask(ask, fds).await?)
    }

    /// Waits until nothing of the last run uses the node's disk.
    pub(super) async fn settle(&self) -> Result<()> {
        self.ask(Ask::Settle, &[]).await.map(drop)
    }

    pub(super) fn spec(&self) -> Arc<NodeSpec> {
        Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn known_limits(&self) -> MutexGuard<'_, Option<Limits>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the limits that its groups have been given.
    pub(super) fn limited(&self, limits: Limits) {
        *self.known_limits() = Some(limits);
    }

    pub(super) fn keep_route(&self, route: Option<OwnedFd>) {
        *self.route.lock().unwrap_or_else(PoisonError::into_inner) = route;
    }

    pub(super) fn running(&self) -> Result<u32> {
        let status = self.followed.status();
        match (status.phase, status.pid) {
            (Phase::Running | Phase::Paused, Some(pid)) => Ok(pid),
            (Phase::Lost, _) => {
                Err(Error::Monitor { node: self.node.clone(), what: "is gone".to_owned() })
            }
            _ => Err(Error::NotRunning { node: self.node.clone() }),
        }
    }

    pub(super) fn cgroup<T>(&self, result: std::result::Result<T, cgroup::Failure>) -> Result<T> {
        result.map_err(|(doing, e)| Error::io(format!("{doing} (node `{}`)", self.node), e))
    }

    /// Waits until the node is stopped; its exit.
    async fn stopped(&self, patience: Duration) -> Result<Exit> {
        let mut watch = self.followed.watch();
        let wait = watch.wait_for(|s| matches!(s.phase, Phase::Stopped | Phase::Lost));
        match tokio::time::timeout(patience, wait).await {
            Ok(Ok(status)) => Ok(status.last_exit.unwrap_or(Exit {
                ended: Ended::Unknown,
                code: None,
                signal: None,
                at_unix_ms: 0,
                oom_killed: false,
            })),
            Ok(Err(_)) => {
                Err(Error::Monitor { node: self.node.clone(), what: "is gone".to_owned() })
            }
            Err(_) => Err(Error::Timeout {
                node: self.node.clone(),
                what: "the end of its first process".to_owned(),
                after_ms: patience.as_millis() as u64,
            }),
        }
    }

    /// The process namespace of another node of the lab, which runs.
    fn processes_of(&self, lab: &str, owner: &str) -> Result<OwnedFd> {
        let away = || Error::Owner { node: self.node.clone(), owner: owner.to_owned() };
        let key = (lab.to_owned(), owner.to_owned());
        let owner = self.others.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let owner = owner.and_then(|owner| owner.upgrade()).ok_or_else(away)?;
        let pid = owner.running().map_err(|_| away())?;
        let namespace = spawner::namespace_of(pid, "pid").map_err(|_| away())?;
        // The status is the same after the opening, so the process was that node's.
        match owner.running() {
            Ok(after) if after == pid => Ok(namespace),
            _ => Err(away()),
        }
    }

    async fn boot_now(&self, spec: &NodeSpec) -> Result<()> {
        if self.running().is_ok() {
            return Err(Error::Running { node: self.node.clone() });
        }
        let root = self.dir.join(wire::ROOT);
        if overlay::is_attached(&self.dir).map_err(|e| Error::io("look at the root", e))? {
            return Err(Error::Mounted { node: self.node.clone(), path: root });
        }
        self.keep_route(None);
        if self.known_limits().as_ref() != Some(&spec.limits) {
            self.cgroup(self.group.set(&spec.limits))?;
            self.limited(spec.limits.clone());
        }
        over::prepare(spec, &self.dir)?;
        let mut boot = config::boot(spec, &self.group)?;
        let cgroup = self.cgroup(self.group.open_v2())?;
        boot.cgroup = cgroup.is_some();
        let processes = match &spec.pids {
            PidMode::Node(owner) => Some(self.processes_of(&spec.lab, owner)?),
            PidMode::Own | PidMode::Host => None,
        };
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec.clone());
        let fds: Vec<BorrowedFd<'_>> = cgroup.iter().chain(&processes).map(AsFd::as_fd).collect();
        let reply = self.connection().ask(Ask::Boot(Box::new(boot)), &fds).await?;
        if let Answer::Failed { step } = reply.answer {
            return Err(Error::Boot { node: self.node.clone(), step });
        }
        // The monitor tells of the start before it answers, so the status says so already.
        Ok(())
    }

    async fn kill_now(&self) -> Result<Exit> {
        if self.running().is_err() {
            // One that is being set up is not told of yet. Its monitor may wait for it, so it is killed from here; one that is
            // yet to begin is killed by the monitor, in the order of what it was asked.
            let group = self.group.clone();
            let killed = blocking(move || group.kill_each()).await?;
            self.cgroup(killed)?;
            if let Err(error) = self.ask(Ask::Signal { signal: libc::SIGKILL }, &[]).await {
                tracing::debug!(node = %self.node, %error, "kill of a boot");
            }
            return self.stopped(KILL_PATIENCE).await;
        }
        if self.status().phase == Phase::Paused && !self.group.kills_frozen() {
            self.freeze(false).await?;
        }
        // All processes of the node, execs included, are in the first one's process namespace and end with it; where they
        // are among others' the monitor ends them.
        // `cgroup.kill` is for what is left when that fails: after it kernels (6.18 among them) kill whatever
        // is cloned into the group, because they compare the count of kills with that of the parent's group.
        if let Err(error) = self.ask(Ask::Signal { signal: libc::SIGKILL }, &[]).await {
            tracing::debug!(node = %self.node, %error, "kill by the monitor");
        }
        match self.stopped(KILL_PATIENCE).await {
            Err(Error::Timeout { .. }) => {
                let group = self.group.clone();
                let killed = blocking(move || group.kill()).await?;
                self.cgroup(killed)?;
                self.stopped(KILL_PATIENCE).await
            }
            other => other,
        }
    }

    async fn freeze(&self, freeze: bool) -> Result<()> {
        self.running()?;
        let group = self.group.clone();
        let frozen = blocking(move || group.freeze(freeze)).await?;
        self.cgroup(frozen)?;
        self.followed.frozen(freeze);
        Ok(())
    }

    async fn console_now(&self) -> Result<Console> {
        let reply = self.ask(Ask::Console, &[]).await?;
        let socket = reply.fds.into_iter().next().ok_or_else(|| Error::Monitor {
            node: self.node.clone(),
            what: "gave no console".to_owned(),
        })?;
        let open = || {
            let socket = std::os::unix::net::UnixStream::from(socket);
            socket.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(socket)
        };
        let socket = open().map_err(|e| Error::io("use the console", e))?;
        let (output, input) = socket.into_split();
        Ok(Console { input: Box::pin(input), output: Box::pin(output) })
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::io("run work that blocks", std::io::Error::other(e)))
}

impl Instance for Container {
    fn netns(&self) -> Result<OwnedFd> {
        let fail = |e| Error::io(format!("open the network namespace of `{}`", self.node), e);
        let namespace = spawner::namespace_of(self.monitor.pid, "net").map_err(fail)?;
        // Looked at after the opening: if the process is still the monitor, so it was then.
        match wire::start_time(self.monitor.pid) {
            Ok(start) if start == self.monitor.start => Ok(namespace),
            _ => Err(Error::Monitor { node: self.node.clone(), what: "is gone".to_owned() }),
        }
    }

    fn take_route(&self) -> Option<OwnedFd> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn status(&self) -> Status {
        self.followed.status()
    }

    fn watch(&self) -> watch::Receiver<Status> {
        self.followed.watch()
    }

    fn boot<'a>(&'a self, spec: &'a NodeSpec) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.boot_now(spec))
    }

    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.running()?;
            self.ask(Ask::Signal { signal }, &[]).await.map(drop)
        })
    }

    fn halt(&self, grace: Duration) -> BoxFuture<'_, Result<Exit>> {
        Box::pin(async move {
            if self.running().is_err() {
                return self.stopped(KILL_PATIENCE).await;
            }
            if grace.is_zero() {
                return self.kill_now().await;
            }
            if self.status().phase == Phase::Paused {
                self.freeze(false).await?;
            }
            let signal = self.spec().stop_signal;
            if let Err(error) = self.ask(Ask::Signal { signal }, &[]).await {
                // Ended this instant, or cannot be told: killing settles both.
                tracing::debug!(node = %self.node, %error, "stop signal");
                return self.kill_now().await;
            }
            match self.stopped(grace).await {
                Err(Error::Timeout { .. }) => self.kill_now().await,
                other => other,
            }
        })
    }

    fn kill(&self) -> BoxFuture<'_, Result<Exit>> {
        Box::pin(self.kill_now())
    }

    fn pause(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.freeze(true))
    }

    fn resume(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.freeze(false))
    }

    fn exec<'a>(&'a self, spec: &'a ExecSpec) -> BoxFuture<'a, Result<Exec>> {
        Box::pin(self.exec_now(spec))
    }

    fn console(&self) -> BoxFuture<'_, Result<Console>> {
        Box::pin(self.console_now())
    }

    fn resize_console(&self, size: WindowSize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let ask = Ask::Resize { exec: None, rows: size.rows, cols: size.cols };
            self.ask(ask, &[]).await.map(drop)
        })
    }

    fn logs(&self) -> LogPaths {
        LogPaths { current: self.dir.join(wire::LOG), previous: self.dir.join(wire::LOG_PREVIOUS) }
    }

    fn stats(&self) -> Result<Stats> {
        Ok(self.group.stats())
    }

    fn set_limits<'a>(&'a self, limits: &'a Limits) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (group, wanted) = (self.group.clone(), limits.clone());
            let set = blocking(move || group.set(&wanted)).await?;
            self.cgroup(set)?;
            self.limited(limits.clone());
            let mut spec = self.spec.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(&mut spec).limits = limits.clone();
            Ok(())
        })
    }

    fn limits(&self) -> Result<Limits> {
        Ok(Limits { shm_bytes: self.spec().limits.shm_bytes, ..self.group.limits() })
    }

    fn pid(&self) -> Option<u32> {
        self.status().pid
    }

    fn archive_out<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Reader>> {
        Box::pin(async move {
            let root = self.root_of_running()?;
            archive::out(self.node.clone(), root, path.to_owned())
        })
    }

    fn archive_in<'a>(&'a self, path: &'a str, tar: Reader) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let root = self.root_of_running()?;
            let ids = self.spec().security.user_namespace;
            archive::into(self.node.clone(), root, path.to_owned(), tar, ids).await
        })
    }
}

impl Container {
    /// The running node's root, as its first process sees it.
    fn root_of_running(&self) -> Result<OwnedFd> {
        use rustix::fs::{Mode, OFlags};
        let pid = self.running()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())
            .map_err(|e| Error::io(format!("open the root of `{}`", self.node), e))?;
        // The status is the same after the opening, so the process was ours.
        match self.running() {
            Ok(after) if after == pid => Ok(root),
            _ => Err(Error::NotRunning { node: self.node.clone() }),
        }
    }
}
