//! What follows from a function's process coming and going: START, TERMINATE, a restart.
//!
//! One driver for each function. START and TERMINATE alternate, one at a time; what happens while a hook runs leads to
//! at most one more of each. A hook is begun at once and written down while it runs. One that a crash cut us off from is
//! gone on with; it is repeated only when it has ended by then, and how is not known.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use vnode_vnfpkg::{AfterReboot, AlreadyRunning, Descriptor, Event, OnReplace};

use crate::{
    core::Core,
    error::Result,
    model::{Instance, Instantiation, Presence, WatchState},
    watch::{Rule, View},
};

mod run;

/// Who follows one function.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) view: Arc<View>,
    pub(crate) flapping: Arc<AtomicBool>,
    pub(crate) healthy: Arc<AtomicBool>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Core {
    /// Takes up following an instance, if there is something to follow and nobody does.
    pub(crate) fn watch_again<'a>(self: &'a Arc<Self>, id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(self.follow_it(id))
    }

    async fn follow_it(self: &Arc<Self>, id: &str) {
        let _one_at_a_time = self.following.lock().await;
        let Ok(instance) = self.instance(id) else { return };
        if instance.state != Instantiation::Instantiated || self.tables().drivers.contains_key(id) {
            return;
        }
        let Ok(descriptor) = self.descriptor(&instance.package, instance.revision) else { return };
        let mut tasks = Vec::new();
        let stop = CancellationToken::new();
        let flapping = Arc::new(AtomicBool::new(false));
        let healthy = Arc::new(AtomicBool::new(true));
        let mut view = Arc::new(View::default());
        if let Some(process) = &descriptor.process {
            match Rule::new(process) {
                Ok(rule) => {
                    if let Some(found) = self.watcher.register(id, rule).await {
                        view = found;
                    }
                    let follow = Follow {
                        core: Arc::clone(self),
                        id: id.to_owned(),
                        view: Arc::clone(&view),
                        stop: stop.clone(),
                        flapping: Arc::clone(&flapping),
                        changes: VecDeque::new(),
                        restarts: VecDeque::new(),
                    };
                    tasks.push(tokio::spawn(follow.run(descriptor.clone())));
                }
                Err(error) => tracing::error!(instance = instance.name, error, "cannot be watched"),
            }
        }
        if let Some(health) = descriptor.health.clone() {
            let watch = crate::health::follow(
                Arc::clone(self),
                id.to_owned(),
                health,
                stop.clone(),
                Arc::clone(&healthy),
            );
            tasks.push(tokio::spawn(watch));
        }
        let driver = Driver { view, flapping, healthy, stop, tasks };
        self.tables().drivers.insert(id.to_owned(), driver);
    }

    /// Stops following; a hook that runs is waited for.
    pub(crate) async fn unwatch(&self, id: &str) {
        let driver = self.tables().drivers.remove(id);
        let Some(driver) = driver else { return };
        driver.stop.cancel();
        self.watcher.unregister(id).await;
        for task in driver.tasks {
            // A task that panicked has told so.
            let _ = task.await;
        }
    }

    /// Who runs before anything is begun.
    pub(crate) async fn baseline(&self, instance: &Instance) -> Result<()> {
        let descriptor = self.descriptor(&instance.package, instance.revision)?;
        let Some(process) = &descriptor.process else { return Ok(()) };
        let Ok(rule) = Rule::new(process) else { return Ok(()) };
        let found = self.watcher.baseline(rule).await;
        let adopt = found.len() >= process.min_instances as usize
            && process.already_running == AlreadyRunning::Adopt;
        let boot = self.boot.clone();
        self.change_instance(&instance.id, |instance| {
            instance.watch = WatchState {
                acted: if adopt { Presence::Present } else { Presence::Absent },
                boot,
                processes: if adopt { found } else { Vec::new() },
                attempt: 0,
            };
        });
        Ok(())
    }
}

struct Follow {
    core: Arc<Core>,
    id: String,
    view: Arc<View>,
    stop: CancellationToken,
    flapping: Arc<AtomicBool>,
    /// When it came or went, as far back as the window of flapping.
    changes: VecDeque<Instant>,
    restarts: VecDeque<Instant>,
}

impl Follow {
    async fn run(mut self, descriptor: Descriptor) {
        if let Err(error) = self.follow(&descriptor).await {
            tracing::error!(instance = self.id, %error, "is followed no more");
        }
    }

    fn instance(&self) -> Result<Instance> {
        self.core.instance(&self.id)
    }

    async fn follow(&mut self, descriptor: &Descriptor) -> Result<()> {
        self.finish_left(descriptor).await?;
        self.take_up(descriptor).await?;
        loop {
            let seen = self.view.take();
            let now = Instant::now();
            self.changes.extend((0..seen.changes).map(|_| now));
            if seen.changes > 0 && self.flaps(descriptor).await? {
                continue;
            }
            let acted = self.instance()?.watch.acted;
            let process = descriptor.process.clone().unwrap_or_default();
            let more = match acted {
                // It may have come and gone in one look, or while the last hook ran.
                Presence::Absent if seen.present || seen.appeared => {
                    if self.holds(process.appear_ms, true).await {
                        self.hook(descriptor, Event::Start, "process-start", &seen).await?;
                        if !seen.present {
                            self.hook(descriptor, Event::Terminate, "process-exit", &seen).await?;
                            self.restart(descriptor, seen.ended.map(|(_, ended)| ended)).await?;
                        }
                        true
                    } else {
                        false
                    }
                }
                Presence::Present if !seen.present => {
                    if self.holds(process.gone_ms, false).await {
                        self.hook(descriptor, Event::Terminate, "process-exit", &seen).await?;
                        self.restart(descriptor, seen.ended.map(|(_, ended)| ended)).await?;
                        true
                    } else {
                        false
                    }
                }
                Presence::Present if seen.vanished && process.on_replace == OnReplace::Cycle => {
                    self.hook(descriptor, Event::Terminate, "replaced", &seen).await?;
                    self.hook(descriptor, Event::Start, "process-start", &seen).await?;
                    true
                }
                Presence::Present | Presence::Absent => {
                    if seen.present {
                        self.remember(&seen.pids).await?;
                    }
                    false
                }
            };
            if more {
                continue;
            }
            tokio::select! {
                () = self.view.changed.notified() => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Compares with what was so when we last ran.
    async fn take_up(&mut self, descriptor: &Descriptor) -> Result<()> {
        let stored = self.instance()?.watch;
        let seen = self.view.take();
        if stored.acted == Presence::Absent {
            // The loop does the rest, and counts nothing as flapping.
            if seen.present {
                self.hook(descriptor, Event::Start, "process-start", &seen).await?;
            }
            return Ok(());
        }
        let process = descriptor.process.clone().unwrap_or_default();
        if stored.boot != self.core.boot {
            match process.after_reboot {
                AfterReboot::Run => {
                    self.hook(descriptor, Event::Terminate, "reboot", &seen).await?
                }
                AfterReboot::Reset => self.act(Presence::Absent, &[]).await?,
            }
            if seen.present {
                self.hook(descriptor, Event::Start, "process-start", &seen).await?;
            }
        } else if !seen.present {
            self.hook(descriptor, Event::Terminate, "while-down", &seen).await?;
        } else if !stored.processes.iter().any(|known| seen.pids.contains(known))
            && process.on_replace == OnReplace::Cycle
        {
            self.hook(descriptor, Event::Terminate, "replaced", &seen).await?;
            self.hook(descriptor, Event::Start, "process-start", &seen).await?;
        }
        Ok(())
    }

    /// Whether a new state lasts long enough.
    async fn holds(&mut self, milliseconds: u64, present: bool) -> bool {
        if milliseconds == 0 {
            return true;
        }
        let until = Instant::now() + Duration::from_millis(milliseconds);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return self.view.get().present == present,
                () = self.view.changed.notified() => {
                    if self.view.get().present != present {
                        // Not told again: what went by is as if it had not been.
                        let seen = self.view.take();
                        let now = Instant::now();
                        self.changes.extend((0..seen.changes).map(|_| now));
                        return false;
                    }
                }
                () = self.stop.cancelled() => return false,
            }
        }
    }

    /// If it comes and goes too often: waits until it is quiet.
    async fn flaps(&mut self, descriptor: &Descriptor) -> Result<bool> {
        let flap = descriptor.process.clone().unwrap_or_default().flap;
        let window = Duration::from_secs(flap.window_s);
        while self.changes.front().is_some_and(|at| at.elapsed() > window)
            || self.changes.len() > 4096
        {
            self.changes.pop_front();
        }
        if self.changes.len() <= flap.transitions as usize {
            return Ok(false);
        }
        let name = self.instance()?.name;
        self.flapping.store(true, Ordering::Relaxed);
        self.core.event(
            "process.flapping",
            &name,
            None,
            json!({ "changes": self.changes.len(), "hold_s": flap.hold_s }),
        );
        let hold = Duration::from_secs(flap.hold_s);
        while timeout(hold, self.view.changed.notified()).await.is_ok() {
            if self.stop.is_cancelled() {
                break;
            }
            // What went by is counted and forgotten.
            self.view.take();
        }
        self.changes.clear();
        self.flapping.store(false, Ordering::Relaxed);
        self.core.event("process.calm", &name, None, json!({ "present": self.view.get().present }));
        Ok(true)
    }

    /// Writes down which processes stand for what was acted on.
    async fn remember(&self, processes: &[crate::watch::Identity]) -> Result<()> {
        let now = self.instance()?.watch;
        if now.processes == processes && now.boot == self.core.boot {
            return Ok(());
        }
        let (processes, boot) = (processes.to_vec(), self.core.boot.clone());
        let change = self.core.record_instance(&self.id, |instance| {
            instance.watch.processes = processes;
            instance.watch.boot = boot;
        })?;
        self.core.commit_lazily(change.into_iter().collect()).await
    }

    async fn act(&self, acted: Presence, processes: &[crate::watch::Identity]) -> Result<()> {
        let watch = WatchState {
            acted,
            boot: self.core.boot.clone(),
            processes: processes.to_vec(),
            attempt: 0,
        };
        let change = self.core.record_instance(&self.id, |instance| instance.watch = watch)?;
        self.core.commit(change.into_iter().collect()).await
    }
}
