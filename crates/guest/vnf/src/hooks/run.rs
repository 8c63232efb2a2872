//! Running a hook, and starting what has ended again.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vnode_vnfpkg::{Descriptor, Event, Mode, OnError, RestartPolicy};

use super::Follow;
use crate::{
    core::{put_instance, put_operation},
    environment::{self, How, Which},
    error::Result,
    model::{Instance, Kind, Occurrence, Presence, Progress, State, Step, WatchState, Work},
    operate::Ask,
    runs::{Begun, Hook, Known},
    script::Outcome,
    watch::pidfd::Ended,
};

impl Follow {
    /// Runs the scripts for what has happened, and writes it down.
    pub(super) async fn hook(
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
        let state = if event == Event::Start { "STARTED" } else { "STOPPED" };
        let id = uuid::Uuid::now_v7().to_string();
        let params = json!({ "changeStateTo": state });
        let mut op = Occurrence::automatic(id, &instance, Kind::Operate, cause, params);
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
            self.core.record_instance(&self.id, |instance| instance.watch.attempt = attempt)?;
        let begun = put_operation(&op)?;
        let hook = Hook { op, processes };
        // At once, and on record meanwhile: what is polled first starts first.
        let (ran, written) = tokio::join!(
            self.scripts(descriptor, &instance, &hook, event, attempt, None),
            self.core.commit_lazily(instance_change.into_iter().chain([begun]).collect()),
        );
        if let Err(error) = written {
            tracing::error!(%error, "a hook is not on record while it runs");
        }
        self.hook_ended(hook, event, ran?).await
    }

    /// Goes on with the hook that an earlier life was at, with the script that it was at.
    pub(super) async fn finish_left(&mut self, descriptor: &Descriptor) -> Result<()> {
        let left = self.core.tables().left.hooks.remove(&self.id);
        let Some((begun, known)) = left else { return Ok(()) };
        let Some(hook) = begun.hook.clone() else { return Ok(()) };
        let instance = self.instance()?;
        self.core.tables().operations.entry(begun.op.clone()).or_insert_with(|| hook.op.clone());
        self.core.change_operation(&begun.op, |op| {
            op.steps.iter_mut().take(begun.index).for_each(|step| step.progress = Progress::Done);
        });
        let event = begun.event;
        let first = begun.attempt.saturating_sub(begun.tries.saturating_sub(1));
        let from = Some((begun, known));
        let ok = self.scripts(descriptor, &instance, &hook, event, first, from).await?;
        self.hook_ended(hook, event, ok).await
    }

    /// Writes down how a hook ended.
    async fn hook_ended(&self, hook: Hook, event: Event, ok: bool) -> Result<()> {
        let Hook { op, processes } = hook;
        let acted = if event == Event::Start { Presence::Present } else { Presence::Absent };
        crate::onboard::point("vnf.hook.ran")?;
        self.core.change_operation(&op.id, |op| {
            op.state = if ok { State::Completed } else { State::Failed };
            op.entered = Timestamp::now();
        });
        let watch = WatchState { acted, boot: self.core.boot.clone(), processes, attempt: 0 };
        self.core.change_instance(&self.id, |instance| instance.watch = watch);
        let done = self.core.operation(&op.id).await?;
        let changes = vec![put_operation(&done)?, put_instance(&self.instance()?)?];
        self.core.commit(changes).await?;
        crate::onboard::point("vnf.hook.stored")?;
        self.core.paths.forget_runs(&self.id, &op.id);
        self.core.tables().operations.remove(&op.id);
        self.core.tell(&done, done.state);
        self.core.prune(&self.id, None).await
    }

    /// Runs the scripts of a hook in their order; whether all went well. From one that an earlier life has begun if there
    /// is one, which is repeated only if nobody knows how it ended.
    async fn scripts(
        &self,
        descriptor: &Descriptor,
        instance: &Instance,
        hook: &Hook,
        event: Event,
        first: u32,
        mut from: Option<(Begun, Known)>,
    ) -> Result<bool> {
        let op = &hook.op;
        let begin = from.as_ref().map_or(0, |(begun, _)| begun.index);
        for (index, script) in descriptor.scripts(event).iter().enumerate().skip(begin) {
            let (mut attempt, mut tries, mut left) = (first, 0, None);
            // Nobody knows what became of it, and it may not be repeated.
            let mut lost = false;
            if let Some((begun, known)) = from.take() {
                (attempt, tries) = (begun.attempt, begun.tries.saturating_sub(1));
                match known {
                    Known::Begun => {
                        environment::kill_attempt(&op.id, event, index, attempt).await?;
                        lost = script.runs_once();
                        attempt += u32::from(!lost);
                    }
                    known => left = Some(known),
                }
            }
            loop {
                tries += 1;
                let token = CancellationToken::new();
                let revision = instance.revision;
                let which = Which { op, instance, revision, event, index, attempt };
                let how = match left.take() {
                    Some(known) => How::Left(known),
                    None => How::Recorded(Box::new(Begun {
                        boot: self.core.boot.clone(),
                        op: op.id.clone(),
                        run: None,
                        step: index,
                        event,
                        index,
                        revision,
                        attempt,
                        tries,
                        script: PathBuf::new(),
                        hook: Some(hook.clone()),
                    })),
                };
                let was_left = matches!(how, How::Left(_));
                let ran = if lost {
                    Ok(Outcome::default())
                } else {
                    self.core.run_script(&which, how, &token).await
                };
                if was_left && !script.runs_once() && ran.as_ref().is_ok_and(Outcome::is_lost) {
                    environment::kill_attempt(&op.id, event, index, attempt).await?;
                    attempt += 1;
                    tries -= 1;
                    continue;
                }
                let (outcome, broken) = match ran {
                    Ok(outcome) => (outcome, None),
                    // A script that cannot be started must not stop what comes after it.
                    Err(failure) => (Outcome::default(), Some(failure.detail)),
                };
                let fine = broken.is_none() && outcome.ok();
                self.core.change_operation(&op.id, |op| {
                    if let Some(step) = op.steps.get_mut(index) {
                        step.attempts = attempt;
                        (step.exit_code, step.signal) = (outcome.code, outcome.signal);
                        step.progress = if fine { Progress::Done } else { Progress::Failed };
                    }
                });
                if fine {
                    break;
                }
                if tries <= script.retries {
                    attempt += 1;
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
                        .change_operation(&op.id, |op| op.warnings.push(trouble.detail.clone()));
                    break;
                }
                self.core.change_operation(&op.id, |op| op.error = Some(trouble));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Starts it again, if it is to be and has not been too often.
    pub(super) async fn restart(
        &mut self,
        descriptor: &Descriptor,
        ended: Option<Ended>,
    ) -> Result<()> {
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
