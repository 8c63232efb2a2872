//! What does the work.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use vnode_event::Log;
use vnode_store::Change;

use crate::{
    board::Report,
    error::StepError,
    outcome::Outcome,
    plan::{OperationId, Plan, Step},
};

/// Does the steps of one kind of plan.
///
/// Futures are dropped when a step goes on long after its deadline or its cancellation; what they began
/// must then still be undone by [`Runner::invert`].
pub trait Runner: Send + Sync {
    /// Records to change in the same commit as the plan: the subject becomes visible as "creating", and an
    /// [`Expect`](vnode_store::Expect) keeps a second operation away.
    fn begin<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        let _ = plan;
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Does the step. Should heed `context.cancellation()`.
    fn apply<'a>(
        &'a self,
        context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>>;

    /// Undoes the step. Idempotent; must work when `apply` never ran, or was stopped in the middle.
    fn invert<'a>(
        &'a self,
        context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>>;

    /// Records to change in the same durable commit as the operation's end. Asked again when the commit
    /// conflicts. Only asked for changes: side effects belong in steps. `done` has the ids of the steps that are done and
    /// were not undone: the others left things as they were before.
    fn finish<'a>(
        &'a self,
        id: OperationId,
        plan: &'a Plan,
        outcome: &'a Outcome,
        done: &'a [u32],
    ) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        let _ = (id, plan, outcome, done);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Called once the end is durable; nothing waits for it. For waking others, dropping caches.
    fn ended(&self, id: OperationId, plan: &Plan, outcome: &Outcome) {
        let _ = (id, plan, outcome);
    }
}

/// What a step may use of the engine.
#[derive(Clone)]
pub struct StepContext {
    pub(crate) operation: OperationId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) cancellation: CancellationToken,
    pub(crate) events: Arc<Log>,
    pub(crate) report: Report,
}

impl fmt::Debug for StepContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepContext").field("operation", &self.operation).finish_non_exhaustive()
    }
}

impl StepContext {
    /// The operation this step is of.
    pub fn operation(&self) -> OperationId {
        self.operation
    }

    /// The whole plan, for its `data` and other steps.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Cancelled when the step should stop: by a person, by a failure elsewhere, by its deadline. An
    /// inverse gets a token of its own, which only the inverse's deadline cancels.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// The event stream.
    pub fn events(&self) -> &Arc<Log> {
        &self.events
    }

    /// Says how far the step is: `done` of `total` (0: unknown), in whatever unit `text` speaks of.
    pub fn progress(&self, done: u64, total: u64, text: &str) {
        self.report.progress(done, total, text);
    }
}
