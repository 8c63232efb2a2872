//! One machine.

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
use tokio::time::{Instant, timeout, timeout_at};
use vnode_driver::{
    BoxFuture, Console, Error, Exec, ExecSpec, Exit, Instance, Limits, LogPaths, NodeSpec, Phase,
    Reader, Ready, Result, Stats, Status, WindowSize,
};
use vnode_guest::{Guest, Shutdown};

use crate::accel::Accelerators;
use crate::nic::{self, Nic};
use crate::qmp::{Qmp, QmpError};
use crate::shell::{self, FOLDER, io, machine};
use crate::{agent, blocking, command, disk, exit, seed};

/// QEMU's control socket is there within this of its start, however busy the host.
const START: Duration = Duration::from_secs(60);
/// Between two looks at what cannot be waited for: a socket QEMU has yet to make, an agent that has yet to start.
const RETRY: Duration = Duration::from_millis(10);
const RETRY_AGENT: Duration = Duration::from_millis(200);
/// Time the agent gets to take a request to power off before the power button is pressed.
const AGENT_SHUTDOWN: Duration = Duration::from_secs(2);
/// Bytes of the console an error shows.
const TAIL: u64 = 2048;

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
            Ok(status) => self.set_paused(status["running"] == false),
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
        vnode_guest::probe(stream).await.map_err(|error| agent::error(&self.node, "", error))
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

    async fn boot_now(&self, spec: &NodeSpec) -> Result<()> {
        if self.running().is_ok() {
            return Err(Error::Running { node: self.node.clone() });
        }
        *self.qmp.lock().await = None;
        *self.agent.lock().await = None;
        let multiqueue = machine(spec)?.queues > 1;
        let nics = nic::prepare(&*self.shell, shell::user(spec)?, multiqueue).await?;
        let (node, dir, of_seed) = (spec.clone(), self.dir.clone(), nics.clone());
        let written = blocking(move || {
            shell::make_folders(&node, &dir)?;
            disk::ensure(&node, &dir)?;
            for name in command::SOCKETS.iter().chain([&exit::TRACE]) {
                let path = dir.join(FOLDER).join(name);
                match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(io(format!("remove {}", path.display()))(e));
                    }
                    _ => {}
                }
            }
            seed::write(&node, &dir, &of_seed)
        });
        written.await??;
        let whole = shell::whole(spec, &self.dir, &self.layer, &self.accelerators, &nics)?;
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec.clone());
        self.shell.boot(&whole).await?;
        let ready = async {
            self.started().await?;
            self.ready(spec, &nics).await
        };
        if let Err(error) = ready.await {
            // What never became ready is not left running behind a failed boot.
            if let Err(error) = self.shell.kill().await {
                tracing::warn!(node = %self.node, %error, "end a machine that did not become ready");
            }
            return Err(error);
        }
        Ok(())
    }

    /// Waits until QEMU serves its control socket: then it has taken its whole command line.
    async fn started(&self) -> Result<()> {
        let end = Instant::now() + START;
        loop {
            if self.running().is_err() {
                return Err(Error::Boot {
                    node: self.node.clone(),
                    step: format!("QEMU ended at once: {}", self.tail()),
                });
            }
            match self.qmp().await {
                Ok(_) => return Ok(()),
                Err(QmpError::Io(_)) if Instant::now() < end => tokio::time::sleep(RETRY).await,
                Err(error) => {
                    let step = format!("its QEMU cannot be spoken to: {error}; {}", self.tail());
                    return Err(Error::Boot { node: self.node.clone(), step });
                }
            }
        }
    }

    /// Waits for what the definition calls booted.
    async fn ready(&self, spec: &NodeSpec, nics: &[Nic]) -> Result<()> {
        let machine = machine(spec)?;
        let limit = Duration::from_millis(machine.ready_timeout_ms);
        let end = Instant::now() + limit;
        let mut ended = self.shared.status.subscribe();
        let work = async {
            match machine.ready {
                Ready::Started => Ok(()),
                Ready::Agent => loop {
                    if let Ok(guest) = self.agent().await
                        && guest.ping().await.is_ok()
                    {
                        return Ok(());
                    }
                    tokio::time::sleep(RETRY_AGENT).await;
                },
                Ready::Reachable => {
                    let address = nics
                        .iter()
                        .filter(|nic| !nic.gateways.is_empty())
                        .find_map(|nic| nic.addresses.first())
                        .ok_or_else(|| Error::Invalid {
                            node: self.node.clone(),
                            what:
                                "it is to be reachable, and has no address on the control network"
                                    .to_owned(),
                        })?
                        .addr();
                    while !reachable(address).await {
                        tokio::time::sleep(RETRY_AGENT).await;
                    }
                    Ok(())
                }
            }
        };
        tokio::select! {
            done = timeout_at(end, work) => done.unwrap_or_else(|_| {
                let what = match machine.ready {
                    Ready::Started => "start",
                    Ready::Agent => "the answer of its agent",
                    Ready::Reachable => "an answer from its address",
                };
                Err(Error::Boot {
                    node: self.node.clone(),
                    step: format!(
                        "waiting for {what} was given up after {} s; its console: {}",
                        limit.as_secs(),
                        self.tail()
                    ),
                })
            }),
            _ = ended.wait_for(|s| matches!(s.phase, Phase::Stopped | Phase::Lost)) => {
                Err(Error::Boot {
                    node: self.node.clone(),
                    step: format!("it ended before it was ready; its console: {}", self.tail()),
                })
            }
        }
    }

    /// The end of the console's log, in one line.
    fn tail(&self) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let mut bytes = Vec::new();
        let read = std::fs::File::open(self.shell.logs().current).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
            file.take(TAIL).read_to_end(&mut bytes)
        });
        if read.is_err() || bytes.is_empty() {
            return "nothing was printed".to_owned();
        }
        let text: String = String::from_utf8_lossy(&bytes)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ")
    }

    async fn halt_now(&self, grace: Duration) -> Result<Exit> {
        if self.running().is_err() || grace.is_zero() {
            return self.shell.kill().await.map(|exit| exit::classify(&self.dir, exit));
        }
        let end = Instant::now() + grace;
        let asked = timeout_at(end, async {
            if self.status().phase == Phase::Paused {
                self.command("cont", json!({})).await?;
            }
            let agent = async {
                let guest = self.agent().await?;
                let off = guest.shutdown(Shutdown::Poweroff).await;
                off.map_err(|e| agent::error(&self.node, "", e))
            };
            match timeout(AGENT_SHUTDOWN.min(grace), agent).await {
                Ok(Ok(())) => Ok(()),
                // No agent, or one that does not: the power button.
                Ok(Err(_)) | Err(_) => self.command("system_powerdown", json!({})).await.map(drop),
            }
        });
        match asked.await {
            Ok(Ok(())) => {
                let mut status = self.shared.status.subscribe();
                let wait = status.wait_for(|s| matches!(s.phase, Phase::Stopped | Phase::Lost));
                if let Ok(Ok(status)) = timeout_at(end, wait).await
                    && let Some(exit) = status.last_exit
                {
                    return Ok(exit);
                }
            }
            Ok(Err(error)) => tracing::debug!(node = %self.node, %error, "ask a machine to end"),
            Err(_) => {}
        }
        // T-46: it was given its time.
        self.kill_now().await
    }

    async fn kill_now(&self) -> Result<Exit> {
        let exit = self.shell.kill().await?;
        self.shared.show(self.shell.status());
        Ok(exit::classify(&self.dir, exit))
    }
}

/// Whether anything answers at an address: a refusal is an answer.
async fn reachable(address: std::net::IpAddr) -> bool {
    /// `discard`: nothing listens there, and who does takes no harm.
    const PORT: u16 = 9;
    let connect = tokio::net::TcpStream::connect((address, PORT));
    match timeout(Duration::from_secs(2), connect).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Err(_) => false,
    }
}

impl Instance for Vm {
    fn netns(&self) -> Result<OwnedFd> {
        self.shell.netns()
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
        /// SIGINT, SIGTERM and SIGPWR: what asks a machine's first process to end.
        const END: [i32; 3] = [2, 15, 30];
        const KILL: i32 = 9;
        Box::pin(async move {
            match signal {
                KILL => self.kill_now().await.map(drop),
                signal if END.contains(&signal) => {
                    self.command("system_powerdown", json!({})).await.map(drop)
                }
                other => Err(Error::Unsupported {
                    node: self.node.clone(),
                    what: format!(
                        "a machine has a power button (signals 2, 15 and 30) and a plug (9), and no signal {other}"
                    ),
                }),
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
            self.command("cont", json!({})).await?;
            self.set_paused(false);
            Ok(())
        })
    }

    fn exec<'a>(&'a self, spec: &'a ExecSpec) -> BoxFuture<'a, Result<Exec>> {
        Box::pin(async move {
            let guest = self.agent().await?;
            agent::exec(&self.node, &guest, spec).await
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
            let guest = self.agent().await?;
            agent::archive_out(&self.node, &guest, path).await
        })
    }

    fn reset_disk(&self) -> BoxFuture<'_, Result<()>> {
        self.shell.reset_disk()
    }

    fn archive_in<'a>(&'a self, path: &'a str, tar: Reader) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let guest = self.agent().await?;
            guest.archive_in(path, tar).await.map_err(|e| agent::error(&self.node, path, e))
        })
    }
}
