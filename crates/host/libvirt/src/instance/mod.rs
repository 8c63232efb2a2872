//! One domain as a node.

mod ends;
mod hardware;
mod life;
mod start;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use vnode_driver::{
    BoxFuture, Button, Console, Ended, Error, Exec, ExecSpec, Exit, Hardware, Instance, Limits,
    LogPaths, NodeSpec, Phase, Reader, Result, Stats, Status, WindowSize, guest,
};
use vnode_guest::Guest;

use crate::console::{self, Shared};
use crate::domain::{Domain, State};
use crate::driver::told;
use crate::hub::{Hub, refused};
use crate::kept::Kept;
use crate::typed::{Event, VirError};
use crate::{agent, raw};
use ends::{exit, now, reset_lately};

/// How long the counters of a domain are waited for; a libvirt that is slow shows none.
const STATS: Duration = Duration::from_millis(500);

/// A domain; see [`Instance`].
#[derive(Debug)]
pub(crate) struct Node {
    node: String,
    dir: PathBuf,
    instance: String,
    host: fn() -> vnode_network::Result<vnode_network::Ns>,
    shell: Arc<dyn Instance>,
    hub: Arc<Hub>,
    spec: Mutex<Arc<NodeSpec>>,
    kept: Mutex<Kept>,
    /// The node is being destroyed: nothing more is written into its folder. Changed and read under the lock of `kept`.
    retired: AtomicBool,
    status: watch::Sender<Status>,
    console: Mutex<Printing>,
    agent: tokio::sync::Mutex<Option<Guest>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The console while somebody uses it.
#[derive(Debug, Default)]
struct Printing {
    /// Held as long as the node runs, when the domain is vnode's own.
    own: Option<Arc<Shared>>,
    current: Weak<Shared>,
}

impl Drop for Node {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl Node {
    pub(crate) fn new(
        spec: &NodeSpec,
        dir: PathBuf,
        (instance, host): (String, fn() -> vnode_network::Result<vnode_network::Ns>),
        shell: Arc<dyn Instance>,
        hub: Arc<Hub>,
        kept: Kept,
    ) -> Arc<Self> {
        let (status, _) = watch::channel(Status {
            // What was true when it was written down, until libvirt has said more.
            phase: if kept.joined { Phase::Running } else { Phase::Stopped },
            pid: None,
            started_unix_ms: kept.started_unix_ms,
            boots: kept.boots,
            last_exit: kept.last_exit,
        });
        let mut events = hub.events();
        let node = Arc::new(Self {
            node: spec.node.clone(),
            dir,
            instance,
            host,
            shell,
            hub,
            spec: Mutex::new(Arc::new(spec.clone())),
            kept: Mutex::new(kept),
            retired: AtomicBool::new(false),
            status,
            console: Mutex::default(),
            agent: tokio::sync::Mutex::new(None),
            tasks: Mutex::default(),
        });
        let weak = Arc::downgrade(&node);
        let follow = tokio::spawn(async move {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                let event = match events.recv().await {
                    Ok(event) => event,
                    // What was missed is asked for.
                    Err(RecvError::Lagged(_)) => Event::Opened,
                    Err(RecvError::Closed) => return,
                };
                let Some(node) = weak.upgrade() else { return };
                node.heard(event).await;
            }
        });
        node.task(follow);
        let mut shell = node.shell.watch();
        let weak = Arc::downgrade(&node);
        let lost = tokio::spawn(async move {
            // The shell runs nothing: the only thing that can happen to it is that its monitor is killed.
            if shell.wait_for(|status| status.phase == Phase::Lost).await.is_ok()
                && let Some(node) = weak.upgrade()
            {
                node.change(|_, status| status.phase = Phase::Lost);
            }
        });
        node.task(lost);
        node
    }

    fn task(&self, task: JoinHandle<()>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn kept(&self) -> Kept {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn spec(&self) -> Arc<NodeSpec> {
        Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn uuid(&self) -> String {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).uuid.clone()
    }

    /// Changes what is kept and what is shown, together, and writes down what is kept.
    fn change(&self, change: impl FnOnce(&mut Kept, &mut Status)) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.clone();
        self.status.send_if_modified(|status| {
            let shown = *status;
            change(&mut kept, status);
            status.boots = kept.boots;
            status.started_unix_ms = kept.started_unix_ms;
            status.last_exit = kept.last_exit;
            shown != *status
        });
        if *kept != before
            && !self.retired.load(Ordering::Relaxed)
            && let Err(error) = kept.write(&self.dir)
        {
            tracing::error!(node = %self.node, %error, "write down what became of a domain");
        }
    }

    /// Writes down what is about to be; nothing is done without.
    fn keep(&self, change: impl FnOnce(&mut Kept)) -> Result<()> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut kept);
        if self.retired.load(Ordering::Relaxed) { Ok(()) } else { kept.write(&self.dir) }
    }

    /// From now on what is told of the domain is not written down: the folder goes.
    pub(crate) fn retire(&self) {
        let _kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.retired.store(true, Ordering::Relaxed);
    }

    /// A domain that ran for this node runs no more; `saved`: it goes on at the next boot.
    fn stopped(&self, exit: Exit, saved: bool) {
        self.change(|kept, status| {
            if kept.joined {
                kept.joined = false;
                kept.run = None;
                kept.saved = saved;
                kept.last_exit = Some(exit);
                status.phase = Phase::Stopped;
            }
        });
        let printing =
            std::mem::take(&mut *self.console.lock().unwrap_or_else(PoisonError::into_inner));
        // Without the lock: it takes leave of libvirt.
        drop(printing);
    }

    async fn heard(&self, event: Event) {
        let uuid = self.uuid();
        // An event may be told late, when the domain has long been started again: it is a reason to ask, no more.
        let ended = match event {
            Event::Rebooted(id) if id == uuid => {
                if let Err(error) = self.take_up_again().await {
                    let error = told(&error);
                    tracing::warn!(node = %self.node, error, "join a container that rebooted");
                }
                return self.change(|kept, _| {
                    if kept.joined && !reset_lately(kept) {
                        kept.boots += 1;
                        kept.started_unix_ms = Some(now());
                        kept.last_exit = Some(Exit { ended: Ended::Reboot, ..exit(None) });
                    }
                });
            }
            Event::Changed(id) if id == uuid => None,
            Event::Stopped(id, reason) if id == uuid => Some(reason),
            Event::Opened => None,
            _ => return,
        };
        if let Err(error) = self.learn_of(ended).await {
            tracing::warn!(node = %self.node, %error, "ask libvirt for a domain's state");
        }
    }

    /// Asks libvirt what the domain does, and shows it.
    pub(crate) async fn learn(&self) -> Result<()> {
        self.learn_of(None).await
    }

    /// As [`learn`](Self::learn), with libvirt's word for how the domain ended.
    async fn learn_of(&self, ended: Option<i32>) -> Result<()> {
        if !self.kept().joined {
            return Ok(());
        }
        let (uuid, connection) = (self.uuid(), self.hub.connection().await?);
        let ask = move || {
            let domain = connection.by_uuid(&uuid)?;
            let (state, run) = (domain.state_and_reason()?, domain.run());
            Ok((state, run, state.0 == State::Off && domain.is_saved()?))
        };
        let ((state, reason), run, saved) = match crate::blocking(ask).await? {
            Ok(found) => found,
            // Undefined by somebody: what was transient is over with its run.
            Err(error) if VirError::is_absent(&error) => ((State::Off, 0), None, false),
            Err(error) => return Err(refused(&self.node, "ask for the state", error)),
        };
        let other = self.kept().run.is_some_and(|own| run != Some(own));
        match state {
            // The reason is there whoever asks first; of a domain that is gone, only the event has it.
            State::Off => {
                self.stopped(exit(Some(reason).filter(|reason| *reason != 0).or(ended)), saved);
            }
            // Started again by somebody, without this node's interfaces.
            _ if other => self.stopped(exit(ended), false),
            State::Running | State::Paused => self.change(|kept, status| {
                if kept.joined {
                    let paused = state == State::Paused;
                    status.phase = if paused { Phase::Paused } else { Phase::Running };
                }
            }),
        }
        Ok(())
    }

    /// Goes on asking for a libvirt that was away when this node was found again.
    pub(crate) fn wait_for_libvirt(self: &Arc<Self>) {
        /// Between two attempts.
        const AGAIN: Duration = Duration::from_secs(5);
        let weak = Arc::downgrade(self);
        self.task(tokio::spawn(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                let Some(node) = weak.upgrade() else { return };
                if node.learn().await.is_ok() {
                    return;
                }
            }
        }));
    }

    async fn domain<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Domain) -> crate::typed::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.hub.domain((&self.node, &self.uuid()), doing, work).await
    }

    fn running(&self) -> Result<()> {
        match self.status.borrow().phase {
            Phase::Running | Phase::Paused => Ok(()),
            Phase::Stopped | Phase::Lost => Err(Error::NotRunning { node: self.node.clone() }),
        }
    }

    async fn agent(&self) -> Result<Guest> {
        self.running()?;
        let mut held = self.agent.lock().await;
        if let Some(guest) = held.as_ref().filter(|guest| guest.is_open()) {
            return Ok(guest.clone());
        }
        let uuid = self.uuid();
        if let Err(error) = agent::answers(&self.hub, &uuid).await {
            if error.is_unsupported() {
                return Err(refused(&self.node, "reach an agent in the guest", error));
            }
            let step = format!(
                "no agent answers in the guest: {}; it needs qemu-guest-agent or vnode-agent, and its definition the \
                 channel `org.qemu.guest_agent.0`",
                error.message
            );
            return Err(Error::Exec { node: self.node.clone(), step });
        }
        Ok(held.insert(agent::open(&self.hub, &self.node, &uuid)).clone())
    }

    /// The console, taken when nobody here has it.
    async fn take_console(&self) -> Result<Arc<Shared>> {
        let current = || {
            let console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
            console.current.upgrade().filter(|console| console.is_open())
        };
        if let Some(console) = current() {
            return Ok(console);
        }
        let stream = self.domain("open the console", Domain::console).await?;
        let limit = self.spec().log_limit_bytes;
        let opened = Shared::open(stream, &self.dir, limit).map_err(|source| Error::Io {
            doing: format!("read the console of node `{}`", self.node),
            source,
        })?;
        let mut console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        console.current = Arc::downgrade(&opened);
        if !self.kept().adopted {
            console.own = Some(Arc::clone(&opened));
        }
        Ok(opened)
    }

    fn unsupported<T>(&self, what: &str) -> Result<T> {
        Err(Error::Unsupported { node: self.node.clone(), what: what.to_owned() })
    }
}

impl Instance for Node {
    fn netns(&self) -> Result<OwnedFd> {
        self.shell.netns()
    }

    fn take_route(&self) -> Option<OwnedFd> {
        self.shell.take_route()
    }

    fn status(&self) -> Status {
        *self.status.borrow()
    }

    fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    fn boot<'a>(&'a self, spec: &'a NodeSpec) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.boot_now(spec))
    }

    fn signal(&self, signal: i32) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.running()?;
            match Button::of(&self.node, signal)? {
                Button::Plug => self.kill_now().await.map(drop),
                Button::Power => self.domain("shut down the domain", Domain::shutdown).await,
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
            self.running()?;
            self.domain("pause the domain", Domain::suspend).await?;
            self.learn().await
        })
    }

    fn resume(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.running()?;
            self.domain("resume the domain", Domain::resume).await?;
            self.learn().await
        })
    }

    fn exec<'a>(&'a self, spec: &'a ExecSpec) -> BoxFuture<'a, Result<Exec>> {
        Box::pin(async move {
            let agent = self.agent().await?;
            guest::exec(&self.node, &agent, spec).await
        })
    }

    fn console(&self) -> BoxFuture<'_, Result<Console>> {
        Box::pin(async move {
            self.running()?;
            Ok(self.take_console().await?.attach())
        })
    }

    fn resize_console(&self, _: WindowSize) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.unsupported("a domain's console is a serial line, which has no size")
        })
    }

    fn logs(&self) -> LogPaths {
        console::logs(&self.dir)
    }

    fn stats(&self) -> Result<Stats> {
        if self.running().is_err() {
            return Ok(Stats::default());
        }
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (hub, uuid) = (Arc::clone(&self.hub), self.uuid());
        // The caller's thread may be one of the runtime's, and libvirt may hang.
        tokio::spawn(async move {
            let Ok(connection) = hub.connection().await else { return };
            let asked = move || connection.by_uuid(&uuid).and_then(|domain| domain.info());
            if let Ok(Ok(info)) = crate::blocking(asked).await {
                // Whoever asked may have gone.
                let _ = tell.send(info);
            }
        });
        let info: raw::Info = match told.recv_timeout(STATS) {
            Ok(info) => info,
            Err(_) => return Ok(Stats::default()),
        };
        Ok(Stats {
            cpu_usec: Some(info.cpu_time / 1000),
            memory_bytes: Some(info.memory * 1024),
            pids: None,
        })
    }

    fn set_limits<'a>(&'a self, _: &'a Limits) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            self.unsupported(
                "limits of a domain are its definition's; `cpu` and `memory` count when the node is made again",
            )
        })
    }

    fn limits(&self) -> Result<Limits> {
        let spec = self.spec();
        let memory_bytes = spec.domain.as_ref().and_then(|domain| domain.memory_bytes);
        Ok(Limits { memory_bytes, ..Limits::default() })
    }

    fn pid(&self) -> Option<u32> {
        None
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

    fn guest(&self) -> BoxFuture<'_, Result<Option<Guest>>> {
        Box::pin(async { self.agent().await.map(Some) })
    }

    fn hardware(&self) -> Option<&dyn Hardware> {
        Some(self)
    }
}
