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
    summary: watch::Sender<Arc<Summary>>,
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
        let first = summary_of(id, &plan, started, recovered, &inner);
        Arc::new(Self {
            id,
            plan,
            started,
            recovered,
            cancel: CancellationToken::new(),
            inner: Mutex::new(inner),
            summary: watch::Sender::new(Arc::new(first)),
            outcome: watch::Sender::new(None),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // The critical sections do not panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, inner: &Inner) {
        if self.summary.receiver_count() > 0 {
            self.summary.send_replace(Arc::new(self.summary_of(inner)));
        }
    }

    fn summary_of(&self, inner: &Inner) -> Summary {
        summary_of(self.id, &self.plan, self.started, self.recovered, inner)
    }

    pub(crate) fn set_state(&self, state: OperationState) {
        let mut inner = self.inner();
        inner.state = state;
        self.show(&inner);
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
        self.show(&inner);
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

    pub(crate) fn names_in(&self, wanted: impl Fn(StepState) -> bool) -> Vec<String> {
        let inner = self.inner();
        let steps = self.plan.steps.iter().zip(&inner.steps);
        steps.filter(|(_, slot)| wanted(slot.state)).map(|(step, _)| step.name.clone()).collect()
    }

    pub(crate) fn progress(&self, step: usize, done: u64, total: u64, text: &str) {
        let mut inner = self.inner();
        inner.steps[step].progress = Some(Progress { done, total, text: text.to_owned() });
        inner.latest = Some(step);
        self.show(&inner);
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
        self.summary.send_replace(Arc::new(self.summary_of(&inner)));
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = self.status_of(&self.inner());
        status.outcome = self.outcome.borrow().clone();
        status
    }

    pub(crate) fn summary(&self) -> Summary {
        self.summary_of(&self.inner())
    }

    pub(crate) fn follow(&self) -> Follow {
        let inner = self.inner();
        let receiver = self.summary.subscribe();
        self.show(&inner);
        Follow::new(receiver)
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
