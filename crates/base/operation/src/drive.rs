//! One operation from its first durable write to its second.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use jiff::Timestamp;
use vnode_event::Draft;

use crate::{
    board::Board,
    engine::Shared,
    error::{Error, FailureKind, Result, StepError},
    fault,
    graph::Graph,
    journal,
    outcome::Outcome,
    plan::{OperationId, Plan, Recovery},
    run::{Run, whole},
    runner::Runner,
    status::Status,
    step::panicked,
};

/// How often the records of an end are made anew when their commit conflicts.
const FINISH_TRIES: usize = 16;
/// Time that making the records of a begin or an end may take.
const RECORDS_DEADLINE: Duration = Duration::from_secs(30);

/// Writes the plan down, then lets it run.
pub(crate) async fn begin(
    shared: Arc<Shared>,
    plan: Plan,
    runner: Arc<dyn Runner>,
    graph: Graph,
) -> Result<OperationId> {
    let id = OperationId::new();
    let started = Timestamp::now();
    let mut changes = guarded(runner.begin(&plan)).await.map_err(|cause| Error::Refused {
        kind: plan.kind.clone(),
        subject: plan.subject.clone(),
        cause: Box::new(cause),
    })?;
    let failed = |source| Error::Store { doing: "write the plan", id, source };
    changes.push(journal::begin(id, started, &plan).map_err(failed)?);
    let event = Draft::new("operation.started", &plan.subject)
        .operation(id)
        .data(serde_json::json!({ "kind": plan.kind, "steps": plan.steps.len() }));
    let mut event = shared.events.changes_for(&[event]).map_err(Error::Event)?;
    changes.extend(event.take_changes());
    shared.store.commit(changes).await.map_err(failed)?;
    event.publish();
    let board = Board::new(id, Arc::new(plan), started, false);
    let mut run = Run::new(Arc::clone(&shared), Arc::clone(&board), Arc::clone(&runner), graph);
    if let Err(error) = fault::point("plan.written") {
        run.undo_after_all(whole(StepError::from_error(&error)));
    }
    shared.running().insert(id, Arc::clone(&board));
    shared.tasks.spawn(drive(Arc::clone(&shared), board, runner, run));
    Ok(id)
}

/// Runs an operation to rest and writes its end.
pub(crate) async fn drive(
    shared: Arc<Shared>,
    board: Arc<Board>,
    runner: Arc<dyn Runner>,
    mut run: Run,
) {
    let Some(mut outcome) = run.rest().await else { return };
    let mut written = finish(&shared, &board, runner.as_ref(), &outcome).await;
    if let Err(error) = &written {
        let error = StepError::from_error(error);
        tracing::error!(operation = %board.id, %error, "the end of an operation was not written");
        // What nobody will know of must not stay; a plan that goes on is gone on with by the next daemon.
        if board.plan.recovery == Recovery::RollBack && !matches!(outcome, Outcome::Failed { .. }) {
            run.undo_after_all(whole(error));
            let Some(undone) = run.rest().await else { return };
            outcome = undone;
            written = finish(&shared, &board, runner.as_ref(), &outcome).await;
        }
    }
    let kept = written.is_ok();
    let status = match written {
        Ok(status) => status,
        Err(error) => {
            outcome = Outcome::Failed {
                cause: whole(StepError::from_error(&error)),
                errors: board.errors(),
                left: vec!["the record of its end; the next daemon recovers it".to_owned()],
            };
            board.status_ended(&outcome)
        }
    };
    // First told, then forgotten: who looks in between finds it in either place.
    board.tell_end(&status, &outcome);
    // What the store could not take is known here until this daemon ends.
    if kept {
        shared.running().remove(&board.id);
    }
    runner.ended(board.id, &board.plan, &outcome);
}

/// The second durable write: the records, the end, its event, in one commit.
async fn finish(
    shared: &Shared,
    board: &Board,
    runner: &dyn Runner,
    outcome: &Outcome,
) -> Result<Status> {
    let id = board.id;
    let plan = &board.plan;
    let refused = |cause| Error::Refused {
        kind: plan.kind.clone(),
        subject: plan.subject.clone(),
        cause: Box::new(cause),
    };
    let failed = |source| Error::Store { doing: "write the end", id, source };
    fault::point("finish.before").map_err(|error| refused(StepError::from_error(&error)))?;
    let mut tries = 0;
    let done = board.done();
    loop {
        let records = guarded(runner.finish(id, plan, outcome, &done));
        let mut changes = records.await.map_err(refused)?;
        let status = board.status_ended(outcome);
        changes.extend(journal::end(&status, outcome).map_err(failed)?);
        let too_old = forgettable(shared, id).await?;
        changes.extend(too_old.iter().flat_map(|&old| journal::forget(old)));
        let kind = format!("operation.{}", word(outcome));
        let failures = outcome.failures();
        let data = serde_json::json!({ "kind": plan.kind, "errors": failures });
        let event = Draft::new(kind, &plan.subject).operation(id).data(data);
        let mut event = shared.events.changes_for(&[event]).map_err(Error::Event)?;
        changes.extend(event.take_changes());
        match shared.store.commit(changes).await {
            Ok(_) => {
                event.publish();
                let mut ended =
                    shared.ended().await?.lock().unwrap_or_else(PoisonError::into_inner);
                ended.retain(|other| !too_old.contains(other));
                ended.push_back(id);
                drop(ended);
                // The end is written: an injected error can no longer be one.
                let _ = fault::point("finish.after");
                return Ok(status);
            }
            Err(error) if error.is_conflict() && tries < FINISH_TRIES => tries += 1,
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Ended operations that are more than are kept.
async fn forgettable(shared: &Shared, new: OperationId) -> Result<Vec<OperationId>> {
    let ended = shared.ended().await?.lock().unwrap_or_else(PoisonError::into_inner);
    let excess = (ended.len() + 1).saturating_sub(shared.options.keep.max(1));
    Ok(ended.iter().copied().filter(|&id| id != new).take(excess).collect())
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Partly { .. } => "partly-completed",
        Outcome::RolledBack { .. } => "rolled-back",
        Outcome::Cancelled { .. } => "cancelled",
        Outcome::Failed { .. } => "failed",
    }
}

/// A runner's work on its records: bounded, and a panic in it ends the operation, not its task.
async fn guarded<T>(
    work: impl Future<Output = std::result::Result<T, StepError>>,
) -> std::result::Result<T, StepError> {
    match tokio::time::timeout(RECORDS_DEADLINE, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(made)) => made,
        Ok(Err(panic)) => Err(panicked(panic.as_ref())),
        Err(_) => {
            Err(StepError::new("making its records took too long").kind(FailureKind::Deadline))
        }
    }
}
