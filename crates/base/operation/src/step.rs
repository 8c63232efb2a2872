//! One step or its inverse, in a task of its own: worker, deadline, fault points, panics.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    board::{Board, Report},
    engine::Shared,
    error::{FailureKind, StepError},
    fault,
    runner::{Runner, StepContext},
    status::StepState,
};

/// Pauses before an inverse is tried again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(200), Duration::from_secs(1)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    Apply,
    Invert,
}

/// What a task reports.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) position: usize,
    pub(crate) job: Job,
    pub(crate) result: Result<(), StepError>,
    /// False when it was stopped before anything was done.
    pub(crate) begun: bool,
}

pub(crate) fn context(
    shared: &Shared,
    board: &Arc<Board>,
    position: usize,
    cancellation: CancellationToken,
) -> StepContext {
    StepContext {
        operation: board.id,
        plan: Arc::clone(&board.plan),
        cancellation,
        events: Arc::clone(&shared.events),
        report: Report { board: Arc::clone(board), step: position },
    }
}

/// Runs a step or its inverse to its end.
pub(crate) async fn run(
    shared: Arc<Shared>,
    runner: Arc<dyn Runner>,
    context: StepContext,
    position: usize,
    job: Job,
) -> Ended {
    let plan = Arc::clone(&context.plan);
    let step = &plan.steps[position];
    let token = context.cancellation.clone();
    let not_begun = || Ended { position, job, result: Err(StepError::cancelled()), begun: false };
    // Held to the end of this function.
    let _permit = if step.waits {
        None
    } else {
        tokio::select! {
            biased;
            () = token.cancelled() => return not_begun(),
            permit = Arc::clone(&shared.workers).acquire_owned() => match permit {
                Ok(permit) => Some(permit),
                // The semaphore is never closed; if it were, the engine would be gone.
                Err(_) => return not_begun(),
            },
        }
    };
    if token.is_cancelled() {
        return not_begun();
    }
    let started = Instant::now();
    let result = match job {
        Job::Apply => {
            context.report.board.set_step(position, StepState::Running);
            attempt(&shared, &token, step.deadline, async {
                injected(&step.kind, "before")?;
                runner.apply(&context, step).await?;
                injected(&step.kind, "after")
            })
            .await
        }
        Job::Invert => {
            let mut tries = 0;
            loop {
                let result = attempt(&shared, &token, step.deadline, async {
                    injected(&step.kind, "inverse.before")?;
                    runner.invert(&context, step).await?;
                    injected(&step.kind, "inverse.after")
                })
                .await;
                let Err(error) = &result else { break result };
                if tries >= shared.options.inverse_retries || error.kind != FailureKind::Failed {
                    break result;
                }
                let pause = PAUSES[(tries as usize).min(PAUSES.len() - 1)];
                tokio::time::sleep(pause).await;
                tries += 1;
            }
        }
    };
    shared.count(&step.kind, job, started.elapsed(), result.is_err());
    Ended { position, job, result, begun: true }
}

fn injected(kind: &str, moment: &str) -> Result<(), StepError> {
    fault::point_of(kind, moment).map_err(|error| StepError::from_error(&error))
}

/// Runs `work` to its end, or to the deadline or cancellation and the grace after it.
async fn attempt(
    shared: &Shared,
    token: &CancellationToken,
    deadline: Duration,
    work: impl Future<Output = Result<(), StepError>>,
) -> Result<(), StepError> {
    let mut work = std::pin::pin!(AssertUnwindSafe(work).catch_unwind());
    // Most steps end at once: no timer for them.
    if let Some(result) = work.as_mut().now_or_never() {
        return result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
    }
    let stopped = tokio::select! {
        biased;
        result = work.as_mut() => {
            return result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        }
        () = token.cancelled() => StepError::cancelled(),
        () = tokio::time::sleep(deadline) => {
            token.cancel();
            StepError::new(format!("it took longer than its deadline of {deadline:?}"))
                .kind(FailureKind::Deadline)
        }
    };
    match tokio::time::timeout(shared.options.grace, work).await {
        Err(_) if stopped.kind == FailureKind::Cancelled => {
            Err(StepError::new("it did not stop when it was cancelled")
                .kind(FailureKind::Cancelled))
        }
        Err(_) => Err(stopped),
        // Done in spite of the cancellation: done it is. A deadline stays passed.
        Ok(Ok(Ok(()))) if stopped.kind == FailureKind::Cancelled => Ok(()),
        Ok(Ok(Ok(()))) => Err(stopped),
        Ok(Ok(Err(error))) if stopped.kind == FailureKind::Deadline => {
            Err(StepError { text: format!("{}: {}", stopped.text, error.text), ..error }
                .kind(FailureKind::Deadline))
        }
        Ok(Ok(Err(error))) => Err(error.kind(FailureKind::Cancelled)),
        Ok(Err(panic)) => Err(panicked(panic.as_ref())),
    }
}

pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> StepError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned());
    StepError::new(format!("this is a bug in vnode: {text}")).kind(FailureKind::Panicked)
}
