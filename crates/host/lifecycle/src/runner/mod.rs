//! Carries out the steps of plans.

mod control;
mod define;
mod image;
mod lab;
mod lan;
mod link;
mod node;
pub(crate) mod on_host;
mod preconfig;
mod renew;
mod save;
mod snapshot;
mod stage;
mod unfinished;

pub(crate) use define::own_folder;
pub(crate) use lab::write_names;
pub(crate) use link::{addresses, namespace_of, set as set_link};
pub(crate) use node::{definition, folder, start};
pub(crate) use save::no_machine;
pub(crate) use stage::{run_in_node, unhealthy};

use std::sync::Arc;

use futures_util::future::BoxFuture;
use vnode_operation::{OperationId, Outcome, Plan, Runner, Step, StepContext, StepError};
use vnode_store::Change;

use crate::error::{Error, Result};
use crate::inner::{Inner, step_error};
use crate::state::State;
use crate::work::{Work, image_of};
pub(crate) use unfinished::Was;

/// Does the work of every kind of plan.
#[derive(Debug)]
pub(crate) struct Steps {
    inner: Arc<Inner>,
}

impl Steps {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    async fn apply(&self, context: &StepContext, work: Work) -> Result<()> {
        let inner = &self.inner;
        let operation = context.operation().to_string();
        match work {
            Work::HostPrepare => lab::prepare(inner).await,
            Work::HostRestore => lab::restore(inner).await,
            Work::ControlEnsure { lab } => lab::ensure_control(inner, &lab, &operation).await,
            Work::ControlRemove { lab } => lab::remove_control(inner, &lab).await,
            Work::ImageEnsure { image, policy, .. } => {
                image::ensure(inner, context, &image, policy).await
            }
            Work::ImageImport { reference, name } => {
                image::import(inner, context, &reference, &name).await
            }
            Work::ImageLists { request } => image::lists(inner, context, &request).await,
            Work::NodeCreate { lab, node, .. } => {
                node::create(inner, &lab, &node, &operation).await
            }
            Work::NodeDestroy { lab, node, control } => {
                let again = context.plan().kind == "lab.apply"
                    && inner.registry.lab(&lab, |lab| lab.record.lab.node(&node).is_some())?;
                let after = if again { node::After::Again } else { node::After::Forget };
                node::destroy(inner, &lab, &node, &operation, after, control.as_deref()).await
            }
            Work::NodeControl { lab, node } => {
                control::connect(inner, &lab, &node, &operation).await
            }
            Work::NodeBoot { lab, node } => node::boot(inner, context, &lab, &node).await,
            Work::NodeHalt { lab, node, grace_ms } => {
                node::halt(inner, context, &lab, &node, grace_ms).await
            }
            Work::NodeSave { lab, node } => save::save(inner, context, &lab, &node).await,
            Work::NodeConfigure { lab, node } => {
                stage::configure(inner, context, &lab, &node).await
            }
            Work::NodeHealthy { lab, node } => stage::healthy(inner, context, &lab, &node).await,
            Work::NodeExited { lab, node } => stage::exited(inner, context, &lab, &node).await,
            Work::NodeRenew { lab, node, before } => {
                renew::renew(inner, context, &lab, &node, *before).await
            }
            Work::NodeLimits { lab, node } => node::limits(inner, &lab, &node, &operation).await,
            Work::NodeSnapshot { lab, node, name } => {
                snapshot::take(inner, context, &lab, &node, &name).await
            }
            Work::NodeRestore { lab, node, name } => {
                snapshot::restore(inner, context, &lab, &node, &name).await
            }
            Work::SnapshotRemove { lab, node, name } => {
                snapshot::remove(inner, &lab, &node, &name).await
            }
            Work::LinkCreate { lab, link } => link::create(inner, &lab, &link, &operation).await,
            Work::LinkRemove { record } => link::remove(inner, *record).await,
            Work::LinkSet { lab, link } => link::set(inner, &lab, &link).await,
            Work::LanEnsure { lab, lan } => lan::ensure(inner, &lab, &lan, &operation).await,
            Work::LanWired { .. } => Ok(()),
            Work::LanJoin { lab, lan, end } => lan::join(inner, &lab, &lan, end, &operation).await,
            Work::LanLeave { lab, end, .. } => lan::leave(inner, &lab, *end).await,
            Work::LanRemove { record } => lan::remove(inner, *record).await,
            Work::Settle { ports } => lab::settle(inner, ports, &operation).await,
        }
    }

    async fn invert(&self, context: &StepContext, work: Work) -> Result<()> {
        let inner = &self.inner;
        let operation = context.operation().to_string();
        match work {
            Work::HostPrepare => lab::restore(inner).await,
            Work::ControlEnsure { lab } => lab::remove_control(inner, &lab).await,
            Work::NodeCreate { keep: true, .. } => Ok(()),
            Work::NodeCreate { lab, node, keep: false } => {
                node::destroy(inner, &lab, &node, &operation, node::After::Keep, None).await
            }
            Work::NodeControl { lab, node } => control::disconnect(inner, &lab, &node).await,
            Work::NodeBoot { lab, node } => node::unboot(inner, &lab, &node).await,
            Work::NodeSnapshot { lab, node, name } => {
                snapshot::untake(inner, context, &lab, &node, &name).await
            }
            Work::LinkCreate { lab, link } => link::undo(inner, &lab, &link).await,
            Work::LanEnsure { lab, lan } => lan::undo(inner, &lab, &lan).await,
            Work::LanJoin { lab, lan, end } => lan::undo_join(inner, &lab, &lan, end).await,
            // Nothing made, or nothing that could be given back: what is removed is removed.
            Work::HostRestore
            | Work::ControlRemove { .. }
            | Work::ImageEnsure { .. }
            | Work::ImageImport { .. }
            | Work::ImageLists { .. }
            | Work::NodeDestroy { .. }
            | Work::NodeHalt { .. }
            | Work::NodeSave { .. }
            | Work::NodeConfigure { .. }
            | Work::NodeHealthy { .. }
            | Work::NodeExited { .. }
            | Work::NodeRenew { .. }
            | Work::NodeLimits { .. }
            | Work::NodeRestore { .. }
            | Work::SnapshotRemove { .. }
            | Work::LanWired { .. }
            | Work::LinkRemove { .. }
            | Work::LinkSet { .. }
            | Work::LanLeave { .. }
            | Work::LanRemove { .. }
            | Work::Settle { .. } => Ok(()),
        }
    }

    /// The lab a plan is about, when it is about one.
    fn lab_of(plan: &Plan) -> Option<&str> {
        plan.subject.strip_prefix("lab/")?.split('/').next()
    }
}

fn work(step: &Step) -> std::result::Result<Work, StepError> {
    serde_json::from_value(step.data.clone())
        .map_err(|error| StepError::new(format!("step `{}` cannot be read: {error}", step.name)))
}

impl Runner for Steps {
    fn begin<'a>(
        &'a self,
        plan: &'a Plan,
    ) -> BoxFuture<'a, std::result::Result<Vec<Change>, StepError>> {
        Box::pin(async move {
            match Self::lab_of(plan) {
                // The records were put into the registry by whoever made the plan.
                Some(lab) if plan.kind == "lab.up" || plan.kind == "lab.apply" => {
                    self.inner.lab_changes(lab).await.map_err(|error| step_error(&error))
                }
                Some(_) | None => Ok(Vec::new()),
            }
        })
    }

    fn apply<'a>(
        &'a self,
        context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, std::result::Result<(), StepError>> {
        Box::pin(async move {
            Self::apply(self, context, work(step)?).await.map_err(|error| step_error(&error))
        })
    }

    fn invert<'a>(
        &'a self,
        context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, std::result::Result<(), StepError>> {
        Box::pin(async move {
            Self::invert(self, context, work(step)?).await.map_err(|error| step_error(&error))
        })
    }

    fn finish<'a>(
        &'a self,
        id: OperationId,
        plan: &'a Plan,
        outcome: &'a Outcome,
        done: &'a [u32],
    ) -> BoxFuture<'a, std::result::Result<Vec<Change>, StepError>> {
        Box::pin(async move {
            let Some(name) = Self::lab_of(plan) else { return Ok(Vec::new()) };
            self.conclude(name, plan, outcome);
            unfinished::put_back(&self.inner.registry, name, plan, done);
            self.keep_definitions(name, plan, &id.to_string()).map_err(|e| step_error(&e))?;
            if !matches!(outcome, Outcome::Completed | Outcome::Partly { .. })
                && self.inner.registry.read().is_empty()
            {
                // An `up` that was undone before it prepared the host restored nothing either.
                lab::release_masks(&self.inner, &id.to_string())
                    .await
                    .map_err(|error| step_error(&error))?;
            }
            self.inner.lab_changes(name).await.map_err(|error| step_error(&error))
        })
    }

    fn ended(&self, id: OperationId, plan: &Plan, outcome: &Outcome) {
        self.inner.let_images_go(&id.to_string());
        let Some(name) = Self::lab_of(plan) else { return };
        self.inner.registry.let_go(name, id);
        let came_up = matches!(outcome, Outcome::Completed | Outcome::Partly { .. });
        // Whatever became of a change: its lab's timeline goes on.
        if plan.kind == "lab.apply" || (plan.kind == "lab.up" && came_up) {
            crate::timeline::start(&self.inner, name);
        }
    }
}

impl Steps {
    /// A node whose renewal did not come to its end, or never began, keeps the definition that it has.
    fn keep_definitions(&self, lab: &str, plan: &Plan, operation: &str) -> Result<()> {
        let mut kept = false;
        for step in plan.steps.iter().filter(|step| step.kind == "node.renew") {
            let Ok(Work::NodeRenew { node, before, .. }) = work(step) else { continue };
            let mut labs = self.inner.registry.write();
            let Some(lab) = labs.get_mut(lab) else { return Ok(()) };
            let Some(entry) = lab.nodes.get(&node) else { continue };
            if !entry.with(|record| renew::has_succeeded(record, operation)) {
                renew::put_back_definition(lab, &node, &before);
                kept = true;
            }
        }
        if kept { write_names(&self.inner, lab) } else { Ok(()) }
    }

    /// Brings the registry to what the outcome says, so that it can be written.
    fn conclude(&self, name: &str, plan: &Plan, outcome: &Outcome) {
        let mut labs = self.inner.registry.write();
        let Some(lab) = labs.get_mut(name) else { return };
        // What is done to one of its nodes meanwhile ends before the lab's own change does.
        if plan.kind.starts_with("lab.") {
            lab.active = None;
        }
        for node in lab.nodes.values() {
            node.signs.moved();
        }
        for failure in outcome.failures() {
            let node = failure
                .group
                .as_deref()
                .and_then(|group| group.strip_prefix("node "))
                .and_then(|node| lab.nodes.get(node));
            if let Some(node) = node
                && !node.with(|record| record.made)
            {
                node.fail(&failure.error.text);
            }
        }
        if plan.kind == "lab.up" || plan.kind == "lab.apply" {
            let bad_images: Vec<(String, String)> = outcome
                .failures()
                .iter()
                .filter_map(|failure| {
                    let image = image_of(failure.group.as_deref()?)?;
                    Some((image.to_owned(), failure.error.text.clone()))
                })
                .collect();
            for node in lab.nodes.values() {
                let pending = node.with(|record| !record.made && record.state == State::Creating);
                if pending {
                    let image = node.with(|record| record.image.clone());
                    let reason = bad_images.iter().find(|(bad, _)| *bad == image);
                    node.fail(
                        reason.map_or("not created: something it needs failed", |(_, why)| {
                            why.as_str()
                        }),
                    );
                }
            }
        }
        let gone = match outcome {
            Outcome::RolledBack { .. } => plan.kind == "lab.up",
            Outcome::Cancelled { left } => plan.kind == "lab.up" && left.is_empty(),
            Outcome::Completed | Outcome::Partly { .. } => {
                plan.kind == "lab.down" && lab.nodes.is_empty()
            }
            _ => false,
        };
        if gone {
            labs.remove(name);
            let nodes = self.inner.options.state_dir.join("nodes").join(name);
            for folder in [self.inner.lab_dir(name), nodes] {
                if let Err(error) = remove_folder(&folder) {
                    tracing::warn!("{}", error.chain());
                }
            }
        }
    }
}

pub(crate) fn remove_folder(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => {
            Err(Error::failed(format!("cannot remove folder `{}`", path.display())).because(source))
        }
    }
}
