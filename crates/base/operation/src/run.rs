//! One operation being run: which step may begin, what a failure undoes, in which order.
//!
//! ```text
//!           needs met            ok
//! Waiting ───────────▶ Running ─────▶ Done ──┐ doomed: a failure, a cancellation
//!    │ doomed             │ error            │
//!    ▼                    ▼                  ▼         ok
//! Skipped               Failed ─────────▶ Undoing ─────────▶ Undone
//!                                            └── error ────▶ UndoFailed
//! ```
//!
//! One task owns all of it; steps run in tasks of their own and report back. Each step is doomed at most
//! once and each edge looked at a fixed number of times, so a run costs time linear in the plan.

use std::{collections::VecDeque, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    board::Board,
    engine::Shared,
    error::{FailureKind, StepError},
    graph::Graph,
    outcome::{Outcome, StepFailure},
    plan::{OnFailure, Plan, Recovery},
    runner::Runner,
    status::{OperationState, StepState},
    step::{self, Ended, Job},
};

/// Why steps are no longer begun.
#[derive(Debug)]
enum Course {
    Forward,
    /// All begun is being undone because of this failure.
    RollBack(StepFailure),
    /// As `RollBack`, because a person wanted it.
    Cancel,
    /// Nothing is undone, nothing more is begun.
    Halt,
}

/// Whether a step must be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    No,
    /// Once it is at rest and all built on it is undone.
    Wanted,
    Started,
    Ended,
}

/// What the scheduler knows of one step.
#[derive(Debug)]
struct Node {
    /// Prerequisites that have not settled.
    waiting: usize,
    /// Dependents have been told that it settled.
    settled: bool,
    doomed: bool,
    undo: Undo,
    /// Dependents that must be undone first.
    undo_waiting: usize,
    running: Option<CancellationToken>,
}

pub(crate) struct Run {
    shared: Arc<Shared>,
    board: Arc<Board>,
    plan: Arc<Plan>,
    runner: Arc<dyn Runner>,
    graph: Graph,
    nodes: Vec<Node>,
    groups_doomed: Vec<bool>,
    ready: VecDeque<usize>,
    undo_ready: VecDeque<usize>,
    jobs: JoinSet<Ended>,
    /// Jobs that want a worker.
    working: usize,
    course: Course,
}

impl Run {
    pub(crate) fn new(
        shared: Arc<Shared>,
        board: Arc<Board>,
        runner: Arc<dyn Runner>,
        graph: Graph,
    ) -> Self {
        let plan = Arc::clone(&board.plan);
        let nodes: Vec<Node> = graph
            .prerequisites
            .iter()
            .map(|before| Node {
                waiting: before.len(),
                settled: false,
                doomed: false,
                undo: Undo::No,
                undo_waiting: 0,
                running: None,
            })
            .collect();
        let ready = (0..nodes.len()).filter(|&step| nodes[step].waiting == 0).collect();
        let groups_doomed = vec![false; graph.members.len()];
        Self {
            shared,
            board,
            plan,
            runner,
            graph,
            nodes,
            groups_doomed,
            ready,
            undo_ready: VecDeque::new(),
            jobs: JoinSet::new(),
            working: 0,
            course: Course::Forward,
        }
    }

    /// Before anything else: an earlier daemon may have begun any of the steps, so all are undone.
    pub(crate) fn undo_everything(&mut self, cause: StepFailure) {
        for step in 0..self.nodes.len() {
            self.nodes[step].settled = true;
            self.nodes[step].doomed = true;
        }
        self.ready.clear();
        for step in 0..self.nodes.len() {
            self.want_undo(step);
        }
        self.roll_back_for(cause);
        for step in 0..self.nodes.len() {
            self.undo_if_ready(step);
        }
    }

    /// Undoes what is done after all, because the end could not be written.
    pub(crate) fn undo_after_all(&mut self, cause: StepFailure) {
        self.roll_back_for(cause);
        self.doom_all();
    }

    /// Runs until all is at rest. `None`: the engine stopped, and the next one takes the operation up.
    pub(crate) async fn rest(&mut self) -> Option<Outcome> {
        loop {
            self.start_jobs();
            if self.jobs.is_empty() {
                break;
            }
            let watch_cancel = matches!(self.course, Course::Forward);
            tokio::select! {
                biased;
                () = self.shared.stopping.cancelled() => {
                    self.jobs.shutdown().await;
                    return None;
                }
                () = self.board.cancel.cancelled(), if watch_cancel => self.cancel(),
                Some(joined) = self.jobs.join_next() => match joined {
                    Ok(ended) => self.take(ended),
                    // Only `shutdown` ends a job from outside, and the runner's panics are caught.
                    Err(error) => tracing::error!(%error, operation = %self.board.id, "a step was lost"),
                },
            }
        }
        Some(self.outcome())
    }

    fn start_jobs(&mut self) {
        let most = self.shared.throttle.now();
        while self.working < most {
            let (position, job, token) =
                match (self.undo_ready.pop_front(), matches!(self.course, Course::Forward)) {
                    (Some(step), _) => (step, Job::Invert, CancellationToken::new()),
                    (None, true) => {
                        let Some(step) = self.ready.pop_front() else { break };
                        if self.board.step_state(step) != StepState::Waiting {
                            continue;
                        }
                        let token = CancellationToken::new();
                        self.nodes[step].running = Some(token.clone());
                        (step, Job::Apply, token)
                    }
                    (None, false) => break,
                };
            if !self.plan.steps[position].waits {
                self.working += 1;
            }
            let context = step::context(&self.shared, &self.board, position, token);
            let (shared, runner) = (Arc::clone(&self.shared), Arc::clone(&self.runner));
            self.jobs.spawn(step::run(shared, runner, context, position, job));
        }
    }

    fn take(&mut self, ended: Ended) {
        let Ended { position, job, result, begun } = ended;
        if !self.plan.steps[position].waits {
            self.working -= 1;
        }
        match job {
            Job::Invert => self.inverted(position, result),
            Job::Apply => self.applied(position, result, begun),
        }
    }

    fn applied(&mut self, position: usize, result: Result<(), StepError>, begun: bool) {
        self.nodes[position].running = None;
        let doomed = self.nodes[position].doomed;
        if !begun {
            self.board.set_step(position, StepState::Skipped);
            if doomed {
                self.undone(position);
            }
            return self.settle(position, false);
        }
        let failure = match result {
            Ok(()) => None,
            Err(error) => Some(self.failure(position, error)),
        };
        if let Some(failure) = &failure {
            self.board.set_step(position, StepState::Failed);
            // That a step stopped because it was told to is no failure of its own.
            if !doomed || failure.error.kind != FailureKind::Cancelled {
                self.step_failed(failure);
            }
        } else {
            self.board.set_step(position, StepState::Done);
        }
        if doomed {
            // It had been told to stop: undone whether it did or not.
            self.undo_if_ready(position);
            return;
        }
        match (failure, &self.course) {
            (None, _) => self.settle(position, true),
            (Some(_), Course::Halt) => self.settle(position, false),
            (Some(failure), _) => match self.plan.steps[position].on_failure {
                OnFailure::RollBack => {
                    self.roll_back_for(failure);
                    self.doom_all();
                }
                OnFailure::Isolate => self.doom_group_of(position),
            },
        }
    }

    fn inverted(&mut self, position: usize, result: Result<(), StepError>) {
        match result {
            Ok(()) => self.board.set_step(position, StepState::Undone),
            Err(error) => {
                self.board.set_step(position, StepState::UndoFailed);
                let failure = self.failure(position, error);
                self.step_failed(&failure);
            }
        }
        self.undone(position);
        self.settle(position, false);
    }

    fn failure(&self, position: usize, error: StepError) -> StepFailure {
        let step = &self.plan.steps[position];
        StepFailure {
            step: Some(step.id),
            name: step.name.clone(),
            group: step.group.clone(),
            error,
        }
    }

    fn step_failed(&self, failure: &StepFailure) {
        let id = self.board.id.to_string();
        let data = serde_json::json!({
            "step": failure.name, "group": failure.group, "error": failure.error,
        });
        self.shared.events.append(
            "operation.step-failed",
            self.plan.subject.clone(),
            Some(&id),
            data,
        );
        self.board.add_error(failure.clone());
    }

    fn roll_back_for(&mut self, cause: StepFailure) {
        self.course = Course::RollBack(cause);
        self.board.set_state(OperationState::RollingBack);
    }

    fn cancel(&mut self) {
        self.board.set_state(OperationState::Cancelling);
        match self.plan.recovery {
            Recovery::RollBack => {
                self.course = Course::Cancel;
                self.doom_all();
            }
            Recovery::GoOn => {
                self.course = Course::Halt;
                self.ready.clear();
                for (position, node) in self.nodes.iter().enumerate() {
                    if let Some(token) = &node.running {
                        token.cancel();
                    } else if self.board.step_state(position) == StepState::Waiting {
                        self.board.set_step(position, StepState::Skipped);
                    }
                }
            }
        }
    }

    /// The step has ended, one way or the other: those that wait for it may begin, or never will.
    ///
    /// What has just become possible comes before what has been possible all along: a node is made, wired and booted
    /// while the next is made, so that steps that want the same lock of the kernel are not all done in one go.
    fn settle(&mut self, position: usize, done: bool) {
        let mut able = Vec::new();
        let mut settled = vec![(position, done)];
        while let Some((position, done)) = settled.pop() {
            if std::mem::replace(&mut self.nodes[position].settled, true) {
                continue;
            }
            for index in 0..self.graph.hard_dependents[position].len() {
                let dependent = self.graph.hard_dependents[position][index];
                if !done && self.board.step_state(dependent) == StepState::Waiting {
                    self.board.set_step(dependent, StepState::Skipped);
                    settled.push((dependent, false));
                }
                able.extend(self.met(dependent));
            }
            for index in 0..self.graph.order_dependents[position].len() {
                able.extend(self.met(self.graph.order_dependents[position][index]));
            }
        }
        for step in able.into_iter().rev() {
            self.ready.push_front(step);
        }
    }

    /// One of the steps that this one waits for has ended; gives it when it was the last.
    fn met(&mut self, dependent: usize) -> Option<usize> {
        let node = &mut self.nodes[dependent];
        node.waiting = node.waiting.saturating_sub(1);
        (node.waiting == 0 && !node.doomed && !node.settled).then_some(dependent)
    }

    fn doom_all(&mut self) {
        self.ready.clear();
        let all = (0..self.nodes.len()).collect();
        self.doom(all);
    }

    /// Dooms the group of a step, with all that hard-needs a step of it, and their groups.
    fn doom_group_of(&mut self, position: usize) {
        let mut found = Vec::new();
        let mut open = vec![position];
        let mut seen = std::collections::HashSet::new();
        while let Some(position) = open.pop() {
            let group = self.graph.group[position];
            if std::mem::replace(&mut self.groups_doomed[group], true) {
                continue;
            }
            for &member in &self.graph.members[group] {
                if seen.insert(member) {
                    found.push(member);
                }
                open.extend(&self.graph.hard_dependents[member]);
            }
        }
        self.doom(found);
    }

    /// None of these may stay: what has not begun never will, what runs is stopped, all begun is undone.
    fn doom(&mut self, steps: Vec<usize>) {
        let mut skipped = Vec::new();
        let mut wanted = Vec::new();
        for position in steps {
            if std::mem::replace(&mut self.nodes[position].doomed, true) {
                continue;
            }
            if let Some(token) = &self.nodes[position].running {
                token.cancel();
                wanted.push(position);
                continue;
            }
            match self.board.step_state(position) {
                StepState::Waiting => {
                    self.board.set_step(position, StepState::Skipped);
                    skipped.push(position);
                }
                StepState::Done | StepState::Failed => wanted.push(position),
                StepState::Running
                | StepState::Skipped
                | StepState::Undoing
                | StepState::Undone
                | StepState::UndoFailed => {}
            }
        }
        for position in skipped {
            self.settle(position, false);
        }
        for &position in &wanted {
            self.want_undo(position);
        }
        for position in wanted {
            self.undo_if_ready(position);
        }
    }

    /// Each edge between two steps that are to be undone is counted once: when the second of them is added.
    fn want_undo(&mut self, position: usize) {
        self.nodes[position].undo = Undo::Wanted;
        for index in 0..self.graph.prerequisites[position].len() {
            let before = self.graph.prerequisites[position][index];
            if self.nodes[before].undo == Undo::Wanted {
                self.nodes[before].undo_waiting += 1;
            }
        }
        let built_on_it = self
            .graph
            .dependents(position)
            .filter(|&dependent| matches!(self.nodes[dependent].undo, Undo::Wanted | Undo::Started))
            .count();
        self.nodes[position].undo_waiting += built_on_it;
    }

    fn undo_if_ready(&mut self, position: usize) {
        let node = &self.nodes[position];
        if node.undo == Undo::Wanted && node.undo_waiting == 0 && node.running.is_none() {
            // Out of `Wanted`, so that it is queued once.
            self.nodes[position].undo = Undo::Started;
            self.board.set_step(position, StepState::Undoing);
            self.undo_ready.push_back(position);
        }
    }

    fn undone(&mut self, position: usize) {
        self.nodes[position].undo = Undo::Ended;
        for index in 0..self.graph.prerequisites[position].len() {
            let before = self.graph.prerequisites[position][index];
            if self.nodes[before].undo == Undo::Wanted {
                self.nodes[before].undo_waiting = self.nodes[before].undo_waiting.saturating_sub(1);
                self.undo_if_ready(before);
            }
        }
    }

    fn outcome(&self) -> Outcome {
        let left = self.board.names_in(|state| state == StepState::UndoFailed);
        let errors = self.board.errors();
        match &self.course {
            Course::Forward if errors.is_empty() => Outcome::Completed,
            Course::Forward => Outcome::Partly { errors, left },
            Course::RollBack(cause) => {
                let errors = errors.into_iter().filter(|error| error != cause).collect();
                let cause = cause.clone();
                if left.is_empty() {
                    Outcome::RolledBack { cause, errors }
                } else {
                    Outcome::Failed { cause, errors, left }
                }
            }
            Course::Cancel if left.is_empty() => Outcome::Cancelled { left },
            Course::Cancel => {
                let cause = whole(StepError::cancelled());
                Outcome::Failed { cause, errors, left }
            }
            Course::Halt => {
                let left = self.board.names_in(|state| state != StepState::Done);
                if left.is_empty() { Outcome::Completed } else { Outcome::Cancelled { left } }
            }
        }
    }
}

/// A failure of the operation rather than of a step.
pub(crate) fn whole(error: StepError) -> StepFailure {
    StepFailure { step: None, name: "the operation".to_owned(), group: None, error }
}
