//! Where a running operation shows how far it is. Written by its run, read by anyone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    outcome::{Outcome, StepFailure},
    plan::{OperationId, Plan},
    status::{Follow, OperationState, Progress, Status, StepState, StepStatus, Summary},
};

/// One operation as it is now.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) id: OperationId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) started: Timestamp,
    pub(crate) recovered: bool,
    /// Cancelled by a person.
    pub(crate) cancel: CancellationToken,
    inner: Mutex<Inner>,
    /// Told of every change; what has changed is read from here.
    changes: watch::Sender<()>,
    /// The last summary.
    last: watch::Sender<Option<Arc<Summary>>>,
    outcome: watch::Sender<Option<Outcome>>,
}

#[derive(Debug)]
struct Inner {
    state: OperationState,
    ended: Option<Timestamp>,
    steps: Vec<Slot>,
    /// Steps at rest.
    at_rest: u64,
    /// A step that began last: what the summary's text shows.
    latest: Option<usize>,
    errors: Vec<StepFailure>,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    state: StepState,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    progress: Option<Progress>,
}

impl StepState {
    fn is_at_rest(self) -> bool {
        match self {
            Self::Waiting | Self::Running | Self::Failed | Self::Undoing => false,
            Self::Done | Self::Skipped | Self::Undone | Self::UndoFailed => true,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::UndoFailed => "undo-failed",
        }
    }
}

impl Board {
    pub(crate) fn new(
        id: OperationId,
        plan: Arc<Plan>,
        started: Timestamp,
        recovered: bool,
    ) -> Arc<Self> {
        let inner = Inner {
            state: OperationState::Running,
            ended: None,
            steps: vec![Slot::default(); plan.steps.len()],
            at_rest: 0,
            latest: None,
            errors: Vec::new(),
        };
        Arc::new(Self {
            id,
            plan,
            started,
            recovered,
            cancel: CancellationToken::new(),
            inner: Mutex::new(inner),
            changes: watch::Sender::new(()),
            last: watch::Sender::new(None),
            outcome: watch::Sender::new(None),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // The critical sections do not panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        if self.changes.receiver_count() > 0 {
            self.changes.send_replace(());
        }
    }

    fn summary_of(&self, inner: &Inner) -> Summary {
        summary_of(self.id, &self.plan, self.started, self.recovered, inner)
    }

    pub(crate) fn set_state(&self, state: OperationState) {
        let mut inner = self.inner();
        inner.state = state;
        drop(inner);
        self.changed();
    }

    pub(crate) fn set_step(&self, step: usize, state: StepState) {
        let mut inner = self.inner();
        let slot = &mut inner.steps[step];
        let was = std::mem::replace(&mut slot.state, state);
        if state == StepState::Running {
            slot.started = Some(Timestamp::now());
            inner.latest = Some(step);
        } else if state.is_at_rest() || state == StepState::Failed {
            slot.ended = Some(Timestamp::now());
        }
        match (was.is_at_rest(), state.is_at_rest()) {
            (false, true) => inner.at_rest += 1,
            (true, false) => inner.at_rest -= 1,
            _ => {}
        }
        drop(inner);
        self.changed();
    }

    pub(crate) fn step_state(&self, step: usize) -> StepState {
        self.inner().steps[step].state
    }

    pub(crate) fn add_error(&self, failure: StepFailure) {
        self.inner().errors.push(failure);
    }

    pub(crate) fn errors(&self) -> Vec<StepFailure> {
        self.inner().errors.clone()
    }

    /// Ids of the steps that are done and were not undone.
    pub(crate) fn done(&self) -> Vec<u32> {
        let inner = self.inner();
        let steps = self.plan.steps.iter().zip(&inner.steps);
        steps.filter(|(_, slot)| slot.state == StepState::Done).map(|(step, _)| step.id).collect()
    }

    pub(crate) fn names_in(&self, wanted: impl Fn(StepState) -> bool) -> Vec<String> {
        let inner = self.inner();
        let steps = self.plan.steps.iter().zip(&inner.steps);
        steps.filter(|(_, slot)| wanted(slot.state)).map(|(step, _)| step.name.clone()).collect()
    }

    pub(crate) fn progress(&self, step: usize, done: u64, total: u64, text: &str) {
        let mut inner = self.inner();
        inner.steps[step].progress = Some(Progress { done, total, text: text.to_owned() });
        inner.latest = Some(step);
        drop(inner);
        self.changed();
    }

    /// The status as it will be once it has ended with `outcome`.
    pub(crate) fn status_ended(&self, outcome: &Outcome) -> Status {
        let mut status = self.status_of(&self.inner());
        status.summary.state = OperationState::from(outcome);
        status.summary.ended = Some(Timestamp::now());
        status.summary.progress.text.clear();
        status.outcome = Some(outcome.clone());
        status
    }

    /// Shows the end, and wakes all who wait for it.
    pub(crate) fn tell_end(&self, status: &Status, outcome: &Outcome) {
        let mut inner = self.inner();
        inner.state = status.summary.state;
        inner.ended = status.summary.ended;
        self.outcome.send_replace(Some(outcome.clone()));
        self.last.send_replace(Some(Arc::new(self.summary_of(&inner))));
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = self.status_of(&self.inner());
        status.outcome = self.outcome.borrow().clone();
        status
    }

    pub(crate) fn summary(&self) -> Summary {
        self.summary_of(&self.inner())
    }

    pub(crate) fn follow(self: &Arc<Self>) -> Follow {
        Follow::new(self, self.changes.subscribe(), self.last.subscribe())
    }

    pub(crate) fn outcome(&self) -> watch::Receiver<Option<Outcome>> {
        self.outcome.subscribe()
    }

    fn status_of(&self, inner: &Inner) -> Status {
        let mut counts = BTreeMap::new();
        let steps = self.plan.steps.iter().zip(&inner.steps).map(|(step, slot)| {
            *counts.entry(slot.state.word()).or_insert(0) += 1;
            StepStatus {
                id: step.id,
                kind: step.kind.clone(),
                name: step.name.clone(),
                group: step.group.clone(),
                state: slot.state,
                started: slot.started,
                ended: slot.ended,
                progress: slot.progress.clone(),
            }
        });
        Status {
            steps: steps.collect(),
            summary: self.summary_of(inner),
            errors: inner.errors.clone(),
            outcome: None,
            counts: counts.into_iter().map(|(word, count)| (word.to_owned(), count)).collect(),
        }
    }
}

fn summary_of(
    id: OperationId,
    plan: &Plan,
    started: Timestamp,
    recovered: bool,
    inner: &Inner,
) -> Summary {
    let text = match inner.latest {
        Some(step) if !inner.state.is_ended() => {
            let name = &plan.steps[step].name;
            match &inner.steps[step].progress {
                Some(progress) if !progress.text.is_empty() => format!("{name}: {}", progress.text),
                _ => name.clone(),
            }
        }
        _ => String::new(),
    };
    Summary {
        id,
        kind: plan.kind.clone(),
        subject: plan.subject.clone(),
        state: inner.state,
        started,
        ended: inner.ended,
        progress: Progress { done: inner.at_rest, total: plan.steps.len() as u64, text },
        recovered,
    }
}

/// A step's way to say how far it is.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) board: Arc<Board>,
    pub(crate) step: usize,
}

impl Report {
    pub(crate) fn progress(&self, done: u64, total: u64, text: &str) {
        self.board.progress(self.step, done, total, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Step;

    fn board(steps: usize) -> Arc<Board> {
        let mut plan = Plan::new("test", "thing/a");
        for step in 0..steps {
            plan.push(Step::new("test.step", format!("step {step}")));
        }
        Board::new(OperationId::new(), Arc::new(plan), Timestamp::now(), false)
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_gets_what_changes_at_once_in_one_summary() {
        let board = board(100);
        let mut follow = board.follow();
        assert_eq!(follow.next().await.unwrap().progress.done, 0);
        for step in 0..100 {
            board.set_step(step, StepState::Running);
            board.set_step(step, StepState::Done);
        }
        assert_eq!(follow.next().await.unwrap().progress.done, 100);
        let nothing = tokio::time::timeout(std::time::Duration::from_secs(60), follow.next()).await;
        assert!(nothing.is_err(), "nothing has changed since: {nothing:?}");
        board.set_state(OperationState::Cancelling);
        assert_eq!(follow.next().await.unwrap().state, OperationState::Cancelling);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_told_at_once_and_to_who_comes_late() {
        let board = board(1);
        let mut follow = board.follow();
        follow.next().await.unwrap();
        board.set_step(0, StepState::Done);
        let began = tokio::time::Instant::now();
        board.tell_end(&board.status_ended(&Outcome::Completed), &Outcome::Completed);
        // Gone from the engine before the follower looks.
        drop(board);
        let last = follow.next().await.unwrap();
        assert_eq!((last.state, last.progress.done), (OperationState::Completed, 1));
        assert_eq!(began.elapsed(), std::time::Duration::ZERO);
        assert!(follow.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_is_let_go_when_the_engine_stops() {
        let board = board(1);
        let mut follow = board.follow();
        follow.next().await.unwrap();
        drop(board);
        assert!(follow.next().await.is_none());
    }
}
