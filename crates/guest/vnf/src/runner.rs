//! Does the steps of operations for the engine, and writes down how they ended.
//!
//! A script is on record before it is begun, and off it only with the next record. An operation that a crash cut off goes
//! on if what became of its script is known or can be waited for, and ends in FAILED_TEMP if not (`takeover`). Nothing is
//! repeated without being told, by who decides over the operation or by a script's `idempotent`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use vnode_operation::{
    OperationId, Outcome as Ended, Plan, Runner as Steps, Step as PlanStep, StepContext, StepError,
};
use vnode_store::Change;
use vnode_vnfpkg::OnError;

use crate::{
    core::{Core, put_instance, put_operation},
    environment::{How, Which, kill_attempt},
    error::{Failure, Result},
    model::{Instantiation, Kind, Presence, Progress, State, Step, Trouble, WatchState, Work},
    onboard::blocking,
    operate::scale,
    runs::{Begun, Known},
    script::Outcome,
    tree,
};

#[derive(Debug)]
pub(crate) struct Runner(pub(crate) Arc<Core>);

fn ids(plan: &Plan) -> (String, bool) {
    (plan.data["operation"].as_str().unwrap_or_default().to_owned(), plan.data["back"] == true)
}

impl Steps for Runner {
    fn begin<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        Box::pin(async move {
            let (id, back) = ids(plan);
            let tables = self.0.tables();
            let gone = || StepError::new("the operation is gone");
            let op = tables.operations.get(&id).ok_or_else(gone)?;
            let instance = tables.instances.get(&op.instance).ok_or_else(gone)?;
            let changes = [put_operation(op), put_instance(instance)];
            let changes = changes
                .into_iter()
                .collect::<Result<Vec<_>>>()
                .map_err(|error| StepError::from_error(&error))?;
            let state = if back { State::RollingBack } else { State::Processing };
            self.0.tell(op, state);
            Ok(changes)
        })
    }

    fn apply<'a>(
        &'a self,
        context: &'a StepContext,
        step: &'a PlanStep,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let (id, back) = ids(context.plan());
            let index = usize::try_from(step.data.as_u64().unwrap_or(0)).unwrap_or(0);
            self.0
                .perform(&id, back, index, context)
                .await
                .map_err(|error| StepError::from_error(&error))
        })
    }

    /// Going back is an operation's own decision: see [`Core::rollback`].
    fn invert<'a>(
        &'a self,
        _: &'a StepContext,
        _: &'a PlanStep,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async { Ok(()) })
    }

    fn finish<'a>(
        &'a self,
        _: OperationId,
        plan: &'a Plan,
        outcome: &'a Ended,
        _: &'a [u32],
    ) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        Box::pin(async move {
            let (id, back) = ids(plan);
            self.0.close(&id, back, outcome).map_err(|error| StepError::from_error(&error))
        })
    }

    fn ended(&self, _: OperationId, plan: &Plan, _: &Ended) {
        let (id, _) = ids(plan);
        let core = Arc::clone(&self.0);
        tokio::spawn(async move {
            if let Err(error) = core.after(&id).await {
                tracing::error!(%error, operation = id, "what follows an operation could not be done");
            }
        });
    }
}

impl Core {
    /// Does one piece of an operation.
    async fn perform(
        self: &Arc<Self>,
        id: &str,
        back: bool,
        index: usize,
        context: &StepContext,
    ) -> Result<()> {
        let list =
            |op: &crate::model::Occurrence| if back { op.back.clone() } else { op.steps.clone() };
        if self.tables().left.interrupted.contains(id) {
            self.change_operation(id, |op| op.error = Some(Trouble::interrupted()));
            return Err(Failure::conflict("interrupted"));
        }
        let op = self.operation(id).await?;
        if op.cancel.is_some() {
            return Err(Failure::conflict("cancelled"));
        }
        let Some(step) = list(&op).get(index).cloned() else { return Ok(()) };
        if matches!(step.progress, Progress::Done | Progress::Skipped) {
            // By an earlier life.
            return Ok(());
        }
        let instance = self.instance(&op.instance)?;
        let result = match &step.work {
            Work::Baseline => self.baseline(&instance).await.map(|()| Progress::Done),
            Work::Copy { revision } => {
                let from = self.paths.content(&instance.package, *revision);
                let to = self.paths.work(&instance.id, *revision);
                let descriptor = self.descriptor(&instance.package, *revision)?;
                let owner = self.user(&descriptor, None)?.map(|user| (user.uid, user.gid));
                let done = blocking(move || {
                    if let Some(parent) = to.parent() {
                        std::fs::create_dir_all(parent)?;
                    }
                    tree::remove(&to)?;
                    tree::copy(&from, &to, owner)
                });
                done.await?
                    .map_err(|error| Failure::internal("copy the package", &error))
                    .map(|()| Progress::Done)
            }
            Work::Parameters { revision } => {
                self.write_parameters(&instance, *revision).map(|()| Progress::Done)
            }
            Work::RemoveCopy { revision } => {
                let folder = self.paths.work(&instance.id, *revision);
                let (core, id) = (Arc::clone(self), instance.id.clone());
                let done = blocking(move || {
                    core.groups().remove(&id);
                    tree::remove(&folder)
                });
                let done = done.await?;
                done.map_err(|error| Failure::internal("remove the copy", &error))
                    .map(|()| Progress::Done)
            }
            Work::StartProcess => self.start_process(id, &instance).await.map(|()| Progress::Done),
            Work::StopProcess { grace_s } => self
                .stop_process(&instance, Duration::from_secs(*grace_s))
                .await
                .map(|()| Progress::Done),
            Work::Script { only_if_started: true, .. }
                if instance.watch.acted == Presence::Absent =>
            {
                Ok(Progress::Skipped)
            }
            Work::Script { .. } => self.script_step(id, back, index, &step, context).await,
        };
        let progress = match &result {
            Ok(progress) => *progress,
            Err(_) => Progress::Failed,
        };
        // Scripts tell of themselves.
        if !matches!(step.work, Work::Script { .. }) || progress == Progress::Skipped {
            let detail = result.as_ref().err().map(|error| &error.detail);
            self.event(
                "step",
                &instance.name,
                Some(id),
                json!({ "step": step.name, "progress": progress, "detail": detail }),
            );
        }
        self.change_operation(id, |op| {
            let steps = if back { &mut op.back } else { &mut op.steps };
            if let Some(step) = steps.get_mut(index) {
                step.progress = progress;
                step.ended = Some(Timestamp::now());
            }
            if let Err(error) = &result
                && op.error.is_none()
            {
                op.error = Some(Trouble {
                    status: error.status,
                    title: "Step failed".to_owned(),
                    detail: format!("{}: {}", step.name, error.detail),
                    code: error.code.clone(),
                    ..Trouble::default()
                });
            }
        });
        result.map(drop)
    }

    /// Runs a script of an operation, as often as its descriptor says.
    async fn script_step(
        self: &Arc<Self>,
        id: &str,
        back: bool,
        index: usize,
        step: &Step,
        context: &StepContext,
    ) -> Result<Progress> {
        let Work::Script { event, index: number, revision, .. } = &step.work else {
            return Ok(Progress::Skipped);
        };
        let mut op = self.operation(id).await?;
        let instance = self.instance(&op.instance)?;
        let descriptor = self.descriptor(&instance.package, *revision)?;
        if back && op.operation == Kind::Scale {
            let variables = scale::variables_back(&op, &instance, &descriptor);
            op.variables.extend(variables);
        }
        let Some(declared) = descriptor.scripts(*event).get(*number).cloned() else {
            return Ok(Progress::Skipped);
        };
        let cancel = context.cancellation().child_token();
        let mut left = {
            let mut tables = self.tables();
            tables.cancels.insert(id.to_owned(), cancel.clone());
            tables.left.operations.remove(id)
        };
        let mut tries = left.as_ref().map_or(0, |(begun, _)| begun.tries.saturating_sub(1));
        let mut before =
            step.attempts.saturating_sub(left.as_ref().map_or(0, |(begun, _)| begun.tries));
        if let Some((begun, _)) = left.take_if(|(_, known)| matches!(known, Known::Begun)) {
            // It may be repeated: else it would not have been left to us.
            kill_attempt(id, *event, *number, begun.attempt).await?;
            before += 1;
        }
        loop {
            tries += 1;
            let attempt = before + tries;
            let which = Which {
                op: &op,
                instance: &instance,
                revision: *revision,
                event: *event,
                index: *number,
                attempt,
            };
            let how = match left.take() {
                Some((_, known)) => How::Left(known),
                None => {
                    self.on_record(id, back, index, attempt).await?;
                    How::Recorded(Box::new(Begun {
                        boot: self.boot.clone(),
                        op: id.to_owned(),
                        run: Some(context.operation().to_string()),
                        step: index,
                        event: *event,
                        index: *number,
                        revision: *revision,
                        attempt,
                        tries,
                        script: PathBuf::new(),
                        hook: None,
                    }))
                }
            };
            let was_left = matches!(how, How::Left(_));
            let outcome = self.run_script(&which, how, &cancel).await?;
            let (code, signal) = (outcome.code, outcome.signal);
            self.change_operation(id, |op| {
                let steps = if back { &mut op.back } else { &mut op.steps };
                if let Some(step) = steps.get_mut(index) {
                    (step.exit_code, step.signal) = (code, signal);
                }
            });
            crate::onboard::point("vnf.script.ran")?;
            if outcome.ok() {
                return Ok(Progress::Done);
            }
            if was_left && outcome.is_lost() && declared.repeats() {
                kill_attempt(id, *event, *number, attempt).await?;
                (before, tries) = (before + 1, tries - 1);
                continue;
            }
            // How it ended must be known: it may be that it did all it should.
            if !outcome.cancelled && outcome.is_known() && tries <= declared.retries {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(declared.retry_delay_ms)) => continue,
                    () = cancel.cancelled() => {}
                }
            }
            let trouble = self.trouble(&declared.path, &outcome, &descriptor, &instance);
            if declared.on_error == OnError::Continue && !outcome.cancelled {
                self.change_operation(id, |op| op.warnings.push(trouble.detail.clone()));
                return Ok(Progress::Done);
            }
            let detail = trouble.detail.clone();
            self.change_operation(id, |op| op.error = Some(trouble));
            return Err(Failure::script(id, detail, "script-failed"));
        }
    }

    /// Puts a script on record as running, for good.
    async fn on_record(&self, id: &str, back: bool, index: usize, attempt: u32) -> Result<()> {
        let record = self.record_operation(id, |op| {
            let steps = if back { &mut op.back } else { &mut op.steps };
            if let Some(step) = steps.get_mut(index) {
                step.progress = Progress::Running;
                step.attempts = attempt;
                step.began = Some(Timestamp::now());
            }
        })?;
        self.commit(record.into_iter().collect()).await
    }

    pub(crate) fn trouble(
        &self,
        script: &str,
        outcome: &Outcome,
        descriptor: &vnode_vnfpkg::Descriptor,
        instance: &crate::model::Instance,
    ) -> Trouble {
        let how = match outcome {
            Outcome { cancelled: true, .. } => "was cancelled".to_owned(),
            Outcome { timed_out: true, .. } => "ran longer than it may".to_owned(),
            Outcome { signal: Some(signal), .. } => format!("was ended by signal {signal}"),
            Outcome { code: Some(code), .. } => format!("exited with {code}"),
            Outcome { code: None, .. } => {
                "ended while the agent was away, and how is not known".to_owned()
            }
        };
        let secrets = crate::environment::secrets(descriptor, &instance.parameters);
        Trouble {
            status: 500,
            title: "Script failed".to_owned(),
            detail: format!("{script} {how}"),
            code: match outcome {
                Outcome { cancelled: true, .. } => "cancelled",
                outcome if outcome.is_known() => "script-failed",
                _ => "interrupted",
            }
            .to_owned(),
            script: Some(script.to_owned()),
            exit_code: outcome.code,
            signal: outcome.signal,
            timed_out: outcome.timed_out,
            stderr_tail: crate::log::masked(&outcome.tail, &secrets),
        }
    }

    /// What the end of a run means; the changes that make it so.
    fn close(&self, id: &str, back: bool, outcome: &Ended) -> Result<Vec<Change>> {
        let mut tables = self.tables();
        let tables = &mut *tables;
        tables.cancels.remove(id);
        let Some(op) = tables.operations.get_mut(id) else { return Ok(Vec::new()) };
        let Some(instance) = tables.instances.get_mut(&op.instance) else { return Ok(Vec::new()) };
        let done = outcome.is_completed();
        let state = match (done, back) {
            (true, false) => State::Completed,
            (true, true) => State::RolledBack,
            (false, _) if op.automatic && op.operation == Kind::Heal => State::Failed,
            (false, _) => State::FailedTemp,
        };
        if op.state != state {
            op.entered = Timestamp::now();
        }
        op.state = state;
        if done {
            op.error = if back { op.error.take() } else { None };
        } else if op.error.is_none() {
            let detail = outcome
                .failures()
                .first()
                .map_or("cancelled".to_owned(), |failure| failure.to_string());
            // A plan of an agent that took nothing up.
            let interrupted =
                matches!(outcome, Ended::RolledBack { cause, .. } if cause.step.is_none());
            op.error = Some(if interrupted {
                Trouble::interrupted()
            } else {
                Trouble { detail, code: "cancelled".to_owned(), ..Trouble::interrupted() }
            });
        }
        if done && !back {
            match op.operation {
                Kind::Instantiate => {
                    instance.state = Instantiation::Instantiated;
                    instance.wanted = true;
                    instance.outputs.append(&mut op.outputs.clone());
                }
                Kind::Terminate => {
                    instance.state = Instantiation::NotInstantiated;
                    instance.watch = WatchState::default();
                    instance.scale = BTreeMap::new();
                    instance.started = None;
                    instance.wanted = false;
                }
                Kind::ChangeVnfpkg => {
                    if let Some(revision) = op.params["revision"].as_u64() {
                        instance.revision = u32::try_from(revision).unwrap_or(instance.revision);
                    }
                    instance.outputs.append(&mut op.outputs.clone());
                }
                Kind::Scale => {
                    let steps = op.params["steps"]
                        .as_u64()
                        .and_then(|n| u32::try_from(n).ok())
                        .unwrap_or(0);
                    let aspect = op.params["aspect"].as_str().unwrap_or_default().to_owned();
                    let now = instance.scale.entry(aspect).or_default();
                    *now = if op.params["scaleIn"] == true {
                        now.saturating_sub(steps)
                    } else {
                        *now + steps
                    };
                }
                Kind::ModifyInfo => instance.outputs.append(&mut op.outputs.clone()),
                _ => {}
            }
        }
        if done && back && op.operation == Kind::Instantiate {
            instance.watch = WatchState::default();
            instance.started = None;
        }
        if state.is_final() {
            instance.operation = None;
        }
        Ok(vec![put_operation(op)?, put_instance(instance)?])
    }

    /// Once the end is durable.
    async fn after(self: &Arc<Self>, id: &str) -> Result<()> {
        let op = self.tables().operations.get(id).cloned();
        let Some(op) = op else { return Ok(()) };
        self.tell(&op, op.state);
        self.paths.forget_runs(&op.instance, id);
        if op.state.is_final() {
            self.tables().operations.remove(id);
            let instance = self.instance(&op.instance)?;
            if op.operation == Kind::ChangeVnfpkg && op.state == State::Completed {
                self.drop_other_copies(&instance).await?;
            }
            self.watch_again(&op.instance).await;
            self.prune(&op.instance, None).await?;
        }
        self.ended.notify_waiters();
        Ok(())
    }

    async fn drop_other_copies(&self, instance: &crate::model::Instance) -> Result<()> {
        let folder = self.paths.instance(&instance.id);
        let keep = self.paths.work(&instance.id, instance.revision);
        let done = blocking(move || {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                let work = path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("work-"));
                if work && path != keep {
                    tree::remove(&path)?;
                }
            }
            Ok::<(), std::io::Error>(())
        });
        done.await?.map_err(|error| Failure::internal("remove old copies", &error))
    }
}
