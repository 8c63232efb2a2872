//! What follows from a function's process coming and going: START, TERMINATE, a restart.
//!
//! One driver for each function. START and TERMINATE alternate, one at a time; what happens while a hook runs leads to
//! at most one more of each. A hook is begun at once and written down while it runs: a crash in between repeats it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use vnode_vnfpkg::{
    AfterReboot, AlreadyRunning, Descriptor, Event, Mode, OnError, OnReplace, RestartPolicy,
};

use crate::{
    core::{Core, put_instance, put_operation},
    error::Result,
    model::{
        Instance, Instantiation, Kind, Occurrence, Presence, Progress, State, Step, WatchState,
        Work,
    },
    operate::Ask,
    watch::{Rule, View, pidfd::Ended},
};

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
        })?;
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
        self.take_up(descriptor).await?;
        let mut idle = true;
        loop {
            let seen = self.view.take();
            let now = Instant::now();
            self.changes.extend((0..seen.changes).map(|_| now));
            if seen.changes > 0 && self.flaps(descriptor).await? {
                idle = false;
                continue;
            }
            let acted = self.instance()?.watch.acted;
            let process = descriptor.process.clone().unwrap_or_default();
            let more = match acted {
                Presence::Absent if seen.present || (idle && seen.appeared) => {
                    if self.holds(process.appear_ms, true).await {
                        self.hook(descriptor, Event::Start, "process-start", &seen).await?;
                        // It may have come and gone in one look.
                        idle = !seen.present;
                        if !seen.present {
                            self.hook(descriptor, Event::Terminate, "process-exit", &seen).await?;
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
                        idle = false;
                        true
                    } else {
                        false
                    }
                }
                Presence::Present if seen.vanished && process.on_replace == OnReplace::Cycle => {
                    self.hook(descriptor, Event::Terminate, "replaced", &seen).await?;
                    self.hook(descriptor, Event::Start, "process-start", &seen).await?;
                    idle = false;
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
            idle = true;
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
        let change = self.core.change_instance(&self.id, |instance| {
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
        let change = self.core.change_instance(&self.id, |instance| instance.watch = watch)?;
        self.core.commit(change.into_iter().collect()).await
    }

    /// Runs the scripts for what has happened, and writes it down.
    async fn hook(
        &mut self,
        descriptor: &Descriptor,
        event: Event,
        cause: &str,
        seen: &crate::watch::Seen,
    ) -> Result<()> {
        let (acted, kind) = match event {
            Event::Start => (Presence::Present, "process.appeared"),
            _ => (Presence::Absent, "process.vanished"),
        };
        let processes = if acted == Presence::Present { seen.pids.clone() } else { Vec::new() };
        let instance = self.instance()?;
        let pids: Vec<i32> = seen.pids.iter().map(|identity| identity.pid).collect();
        let ended = if acted == Presence::Absent { seen.ended } else { None };
        self.core.event(kind, &instance.name, None, json!({
            "pids": pids, "cause": cause, "exitCode": ended.and_then(|(_, e)| e.code), "signal": ended.and_then(|(_, e)| e.signal),
        }));
        // In mode managed the scripts are commands, and what is seen runs none.
        let scripts =
            if descriptor.mode == Mode::Managed { &[] } else { descriptor.scripts(event) };
        if scripts.is_empty() {
            return self.act(acted, &processes).await;
        }
        let mut op = Occurrence {
            id: uuid::Uuid::now_v7().to_string(),
            instance: instance.id.clone(),
            instance_name: instance.name.clone(),
            operation: Kind::Operate,
            state: State::Processing,
            entered: Timestamp::now(),
            started: Timestamp::now(),
            automatic: true,
            cause: cause.to_owned(),
            params: json!({ "changeStateTo": if event == Event::Start { "STARTED" } else { "STOPPED" } }),
            steps: Vec::new(),
            back: Vec::new(),
            error: None,
            warnings: Vec::new(),
            cancel: None,
            outputs: std::collections::BTreeMap::new(),
            variables: std::collections::BTreeMap::new(),
            run: None,
        };
        let mut set = |name: &str, value: String| op.variables.insert(name.to_owned(), value);
        if let Some((pid, ended)) = ended {
            set("VNF_PID", pid.to_string());
            ended.code.map(|code| set("VNF_EXIT_CODE", code.to_string()));
            ended.signal.map(|signal| set("VNF_EXIT_SIGNAL", signal.to_string()));
        } else if let (Some(first), Event::Start) = (pids.first(), event) {
            set("VNF_PID", first.to_string());
            set("VNF_PIDS", pids.iter().map(i32::to_string).collect::<Vec<_>>().join(" "));
        }
        let revision = instance.revision;
        op.steps = scripts
            .iter()
            .enumerate()
            .map(|(index, script)| {
                let work = Work::Script { event, index, revision, only_if_started: false };
                Step::new(work, format!("{} {}", event.text(), script.path))
            })
            .collect();
        self.core.tables().operations.insert(op.id.clone(), op.clone());
        self.core.tell(&op, State::Processing);
        let attempt = instance.watch.attempt + 1;
        let instance_change =
            self.core.change_instance(&self.id, |instance| instance.watch.attempt = attempt)?;
        let begun = put_operation(&op)?;
        // At once, and on record meanwhile: what is polled first starts first.
        let (ran, written) = tokio::join!(
            self.scripts(descriptor, &instance, &op, event, attempt),
            self.core.commit_lazily(instance_change.into_iter().chain([begun]).collect()),
        );
        if let Err(error) = written {
            tracing::error!(%error, "a hook is not on record while it runs");
        }
        let ok = ran?;
        crate::onboard::point("vnf.hook.ran")?;
        self.core.change_operation(&op.id, |op| {
            op.state = if ok { State::Completed } else { State::Failed };
            op.entered = Timestamp::now();
        })?;
        let watch = WatchState { acted, boot: self.core.boot.clone(), processes, attempt: 0 };
        self.core.change_instance(&self.id, |instance| instance.watch = watch)?;
        let done = self.core.operation(&op.id).await?;
        let changes = vec![put_operation(&done)?, put_instance(&self.instance()?)?];
        self.core.commit(changes).await?;
        crate::onboard::point("vnf.hook.stored")?;
        self.core.tables().operations.remove(&op.id);
        self.core.tell(&done, done.state);
        self.core.prune(&self.id, None).await
    }

    /// Runs the scripts of a hook in their order; whether all went well.
    async fn scripts(
        &self,
        descriptor: &Descriptor,
        instance: &Instance,
        op: &Occurrence,
        event: Event,
        first: u32,
    ) -> Result<bool> {
        for (index, script) in descriptor.scripts(event).iter().enumerate() {
            let mut tries = 0;
            loop {
                let token = CancellationToken::new();
                let attempt = first + tries;
                let ran = self
                    .core
                    .run_script(op, instance, instance.revision, event, index, attempt, &token)
                    .await;
                tries += 1;
                let (outcome, broken) = match ran {
                    Ok(outcome) => (outcome, None),
                    // A script that cannot be started must not stop what comes after it.
                    Err(failure) => (crate::script::Outcome::default(), Some(failure.detail)),
                };
                let fine = broken.is_none() && outcome.ok();
                self.core.change_operation(&op.id, |op| {
                    if let Some(step) = op.steps.get_mut(index) {
                        step.attempts = attempt;
                        (step.exit_code, step.signal) = (outcome.code, outcome.signal);
                        step.progress = if fine { Progress::Done } else { Progress::Failed };
                    }
                })?;
                if fine {
                    break;
                }
                if tries <= script.retries {
                    sleep(Duration::from_millis(script.retry_delay_ms)).await;
                    continue;
                }
                let mut trouble = self.core.trouble(&script.path, &outcome, descriptor, instance);
                if let Some(broken) = broken {
                    trouble.detail = broken;
                }
                self.core.event(
                    "hook.failed",
                    &instance.name,
                    Some(&op.id),
                    json!({ "script": script.path, "detail": trouble.detail }),
                );
                if script.on_error == OnError::Continue {
                    self.core
                        .change_operation(&op.id, |op| op.warnings.push(trouble.detail.clone()))?;
                    break;
                }
                self.core.change_operation(&op.id, |op| op.error = Some(trouble))?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Starts it again, if it is to be and has not been too often.
    async fn restart(&mut self, descriptor: &Descriptor, ended: Option<Ended>) -> Result<()> {
        let restart = &descriptor.restart;
        let instance = self.instance()?;
        let failed = ended.is_none_or(|ended| ended.code != Some(0));
        let wanted = match restart.policy {
            RestartPolicy::Never => false,
            RestartPolicy::OnFailure => failed,
            RestartPolicy::Always => true,
        };
        if !wanted || !instance.wanted || instance.operation.is_some() {
            return Ok(());
        }
        let window = Duration::from_secs(restart.window_s);
        while self.restarts.front().is_some_and(|at| at.elapsed() > window) {
            self.restarts.pop_front();
        }
        let before = self.restarts.len() as u32;
        if before >= restart.max_attempts {
            self.core.event(
                "restart.given-up",
                &instance.name,
                None,
                json!({ "attempts": before }),
            );
            return Ok(());
        }
        self.restarts.push_back(Instant::now());
        let delay =
            restart.delay_ms.saturating_mul(u64::from(restart.factor).saturating_pow(before));
        let delay = Duration::from_millis(delay.min(restart.max_delay_ms));
        self.core.event(
            "restart.waiting",
            &instance.name,
            None,
            json!({ "attempt": before + 1, "delay_ms": delay.as_millis() as u64 }),
        );
        tokio::select! {
            () = sleep(delay) => {}
            () = self.stop.cancelled() => return Ok(()),
        }
        let ask =
            Ask { start: true, automatic: true, cause: "restart".to_owned(), ..Ask::default() };
        if let Err(error) = Box::pin(self.core.begin(&self.id, Kind::Operate, ask)).await {
            self.core.event(
                "restart.failed",
                &instance.name,
                None,
                json!({ "detail": error.detail }),
            );
        }
        Ok(())
    }
}
