//! One machine.

mod hardware;
mod life;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use vnode_driver::{
    BoxFuture, Button, Console, Error, Exec, ExecSpec, Exit, Hardware, Instance, Limits, LogPaths,
    NodeSpec, Phase, Reader, Result, Stats, Status, WindowSize, guest,
};
use vnode_guest::Guest;

use crate::accel::Accelerators;
use crate::qmp::{Qmp, QmpError};
use crate::shell::{self, FOLDER, io};
use crate::{command, exit, memory};

/// Between two looks for an agent that has yet to start.
const RETRY_AGENT: Duration = Duration::from_millis(200);

/// A machine; see [`Instance`].
#[derive(Debug)]
pub(crate) struct Vm {
    node: String,
    dir: PathBuf,
    layer: PathBuf,
    accelerators: Arc<Accelerators>,
    shell: Arc<dyn Instance>,
    spec: Mutex<Arc<NodeSpec>>,
    shared: Arc<Shared>,
    qmp: tokio::sync::Mutex<Option<Arc<Qmp>>>,
    agent: tokio::sync::Mutex<Option<Guest>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What the tasks share with the handle.
#[derive(Debug)]
struct Shared {
    status: watch::Sender<Status>,
    paused: AtomicBool,
    dir: PathBuf,
}

impl Shared {
    /// The shell's status as the machine's.
    fn show(&self, shell: Status) {
        if shell.phase != Phase::Running {
            self.paused.store(false, Ordering::Release);
        }
        let paused = self.paused.load(Ordering::Acquire);
        let shown = Status {
            phase: if paused { Phase::Paused } else { shell.phase },
            last_exit: shell.last_exit.map(|exit| exit::classify(&self.dir, exit)),
            ..shell
        };
        self.status.send_if_modified(|status| {
            let changed = *status != shown;
            *status = shown;
            changed
        });
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl Vm {
    pub(crate) fn new(
        spec: &NodeSpec,
        dir: PathBuf,
        layer: PathBuf,
        shell: Arc<dyn Instance>,
        accelerators: Arc<Accelerators>,
    ) -> Arc<Self> {
        let (status, _) = watch::channel(shell.status());
        let shared = Arc::new(Shared { status, paused: AtomicBool::new(false), dir: dir.clone() });
        shared.show(shell.status());
        let mut changes = shell.watch();
        let shown = Arc::clone(&shared);
        let follow = tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let status = *changes.borrow_and_update();
                shown.show(status);
            }
        });
        Arc::new(Self {
            node: spec.node.clone(),
            dir,
            layer,
            accelerators,
            shell,
            spec: Mutex::new(Arc::new(spec.clone())),
            shared,
            qmp: tokio::sync::Mutex::new(None),
            agent: tokio::sync::Mutex::new(None),
            tasks: Mutex::new(vec![follow]),
        })
    }

    fn spec(&self) -> Arc<NodeSpec> {
        Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks a machine found running what it does; one that does not answer is taken as running.
    pub(crate) async fn learn(&self) {
        if self.shell.status().phase != Phase::Running {
            return;
        }
        let asked = async { self.qmp().await?.run("query-status", json!({})).await };
        match asked.await {
            Ok(status) => {
                let paused = status["running"] == false;
                if !paused && let Err(error) = memory::remove(&self.dir) {
                    // Boots would go back to it, under disks that have changed.
                    tracing::warn!(node = %self.node, %error, "memory kept of a machine that runs");
                }
                self.set_paused(paused);
            }
            Err(error) => tracing::warn!(node = %self.node, %error, "a machine found running"),
        }
    }

    fn set_paused(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Release);
        self.shared.show(self.shell.status());
    }

    fn running(&self) -> Result<()> {
        match self.shell.status().phase {
            Phase::Running | Phase::Paused => Ok(()),
            Phase::Stopped | Phase::Lost => Err(Error::NotRunning { node: self.node.clone() }),
        }
    }

    /// A socket in the machine's folder, held open: the path that comes with it leads to this very socket, and is short
    /// enough for an address. The folder is QEMU's to write, so what is a link there is refused.
    fn socket(&self, name: &str) -> std::io::Result<(OwnedFd, PathBuf)> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = self.dir.join(FOLDER);
        let folder = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty())?;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let socket = rustix::fs::openat2(&folder, name, flags, Mode::empty(), within)?;
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        Ok((socket, path.into()))
    }

    /// The agent behind one of the two ports.
    async fn agent_at(&self, name: &str) -> Result<Guest> {
        let unreachable = || io(format!("reach the agent of `{}`", self.node));
        let (_held, path) = self.socket(name).map_err(unreachable())?;
        let stream = UnixStream::connect(path).await.map_err(unreachable())?;
        vnode_guest::probe(stream).await.map_err(|error| guest::failed(&self.node, error))
    }

    async fn qmp(&self) -> std::result::Result<Arc<Qmp>, QmpError> {
        let mut held = self.qmp.lock().await;
        if let Some(qmp) = held.as_ref().filter(|qmp| !qmp.is_closed()) {
            return Ok(Arc::clone(qmp));
        }
        let (_held, path) = self.socket(command::QMP)?;
        let qmp = Arc::new(Qmp::connect(&path).await?);
        let mut events = qmp.events();
        let (shared, shell) = (Arc::clone(&self.shared), self.shell.watch());
        let node = self.node.clone();
        let listen = tokio::spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                match events.recv().await {
                    Ok(event) => {
                        match event.name.as_str() {
                            "STOP" => shared.paused.store(true, Ordering::Release),
                            "RESUME" => shared.paused.store(false, Ordering::Release),
                            "BLOCK_IO_ERROR" | "WATCHDOG" | "GUEST_PANICKED" => {
                                tracing::warn!(node, event = event.name, data = %event.data, "machine");
                                continue;
                            }
                            // The end itself is told by the monitor; this is when the guest wanted it.
                            "SHUTDOWN" => {
                                tracing::debug!(node, at = event.at_unix_us, data = %event.data, "machine shuts down");
                                continue;
                            }
                            _ => continue,
                        }
                        let status = *shell.borrow();
                        shared.show(status);
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(listen);
        *held = Some(Arc::clone(&qmp));
        Ok(qmp)
    }

    async fn command(&self, name: &str, arguments: serde_json::Value) -> Result<serde_json::Value> {
        self.running()?;
        let ran = async { self.qmp().await?.run(name, arguments).await };
        ran.await.map_err(|error| self.told(error))
    }

    fn told(&self, error: QmpError) -> Error {
        match error {
            QmpError::Timeout { command, after } => Error::Timeout {
                node: self.node.clone(),
                what: format!("`{command}` of its QEMU"),
                after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            },
            QmpError::Refused { .. } => {
                Error::Unsupported { node: self.node.clone(), what: error.to_string() }
            }
            other => Error::Monitor { node: self.node.clone(), what: other.to_string() },
        }
    }

    /// The guest's agent, connected.
    async fn agent(&self) -> Result<Guest> {
        self.running()?;
        let mut held = self.agent.lock().await;
        if let Some(guest) = held.as_ref().filter(|guest| guest.is_open()) {
            return Ok(guest.clone());
        }
        // Only a port that the guest has opened is spoken to: what is sent before waits in it, and would confuse the agent
        // when it comes. Ours is preferred: it speaks QEMU's form too, and says more in its own.
        let lines = self.command("query-chardev", json!({})).await?;
        let open = |label: &str| {
            let lines = lines.as_array().map(Vec::as_slice).unwrap_or_default();
            lines.iter().any(|line| line["label"] == label && line["frontend-open"] == true)
        };
        let mut found = Err(Error::Exec {
            node: self.node.clone(),
            step: "no agent listens in the guest: install vnode-agent or qemu-guest-agent in its image, or wait until \
                   it has started"
                .to_owned(),
        });
        for (label, socket, _) in command::PORTS {
            if found.is_err() && open(label) {
                found = self.agent_at(socket).await;
            }
        }
        let guest = found?;
        Ok(held.insert(guest).clone())
    }
}

impl Instance for Vm {
    fn netns(&self) -> Result<OwnedFd> {
        self.shell.netns()
    }

    fn take_route(&self) -> Option<OwnedFd> {
        self.shell.take_route()
    }

    fn hardware(&self) -> Option<&dyn Hardware> {
        Some(self)
    }

    fn guest(&self) -> BoxFuture<'_, Result<Option<Guest>>> {
        Box::pin(async { self.agent().await.map(Some) })
    }

    fn status(&self) -> Status {
        *self.shared.status.borrow()
    }

    fn watch(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    fn boot<'a>(&'a self, spec: &'a NodeSpec) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.boot_now(spec))
    }

    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match Button::of(&self.node, signal)? {
                Button::Plug => self.kill_now().await.map(drop),
                Button::Power => self.command("system_powerdown", json!({})).await.map(drop),
            }
        })
    }

    fn halt(&self, grace: Duration) -> BoxFuture<'_, Result<Exit>> {
        Box::pin(self.halt_now(grace))
    }

    fn kill(&self) -> BoxFuture<'_, Result<Exit>> {
        Box::pin(self.kill_now())
    }

    fn pause(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.command("stop", json!({})).await?;
            self.set_paused(true);
            Ok(())
        })
    }

    fn resume(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.running()?;
            self.resume_now().await
        })
    }

    fn exec<'a>(&'a self, spec: &'a ExecSpec) -> BoxFuture<'a, Result<Exec>> {
        Box::pin(async move {
            let agent = self.agent().await?;
            guest::exec(&self.node, &agent, spec).await
        })
    }

    fn console(&self) -> BoxFuture<'_, Result<Console>> {
        self.shell.console()
    }

    fn resize_console(&self, size: WindowSize) -> BoxFuture<'_, Result<()>> {
        self.shell.resize_console(size)
    }

    fn logs(&self) -> LogPaths {
        self.shell.logs()
    }

    fn stats(&self) -> Result<Stats> {
        self.shell.stats()
    }

    fn set_limits<'a>(&'a self, limits: &'a Limits) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.shell.set_limits(&shell::limits(limits)).await?;
            let mut spec = self.spec.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(&mut spec).limits = limits.clone();
            Ok(())
        })
    }

    fn limits(&self) -> Result<Limits> {
        let memory_bytes = self.spec().machine.as_ref().map(|machine| machine.memory_bytes);
        Ok(Limits { memory_bytes, ..self.shell.limits()? })
    }

    fn pid(&self) -> Option<u32> {
        self.shell.pid()
    }

    fn archive_out<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Reader>> {
        Box::pin(async move {
            let agent = self.agent().await?;
            guest::archive_out(&self.node, &agent, path).await
        })
    }

    fn archive_in<'a>(&'a self, path: &'a str, tar: Reader) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let agent = self.agent().await?;
            guest::archive_in(&self.node, &agent, path, tar).await
        })
    }
}
