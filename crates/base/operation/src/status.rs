//! How far an operation is, for those who look at it from outside.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    board::Board,
    outcome::{Outcome, StepFailure},
    plan::OperationId,
};

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    Running,
    /// Inverses run, for the whole operation.
    RollingBack,
    /// Cancelled, and not yet at rest.
    Cancelling,
    Completed,
    Partly,
    RolledBack,
    Cancelled,
    Failed,
}

impl OperationState {
    pub fn is_ended(self) -> bool {
        !matches!(self, Self::Running | Self::RollingBack | Self::Cancelling)
    }
}

impl From<&Outcome> for OperationState {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Partly { .. } => Self::Partly,
            Outcome::RolledBack { .. } => Self::RolledBack,
            Outcome::Cancelled { .. } => Self::Cancelled,
            Outcome::Failed { .. } => Self::Failed,
        }
    }
}

/// Where a step is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    #[default]
    Waiting,
    Running,
    Done,
    Failed,
    /// Not begun, and never will be.
    Skipped,
    /// Its inverse waits or runs.
    Undoing,
    Undone,
    /// Its inverse failed: something is left.
    UndoFailed,
}

/// How far something is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub done: u64,
    /// 0 when not known.
    pub total: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// One step seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStatus {
    pub id: u32,
    pub kind: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub state: StepState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// An operation in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub id: OperationId,
    pub kind: String,
    pub subject: String,
    pub state: OperationState,
    pub started: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Steps at rest and all steps; the text is the name of a step that runs.
    pub progress: Progress,
    /// Whether it was begun by an earlier daemon.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
}

/// An operation with its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    #[serde(flatten)]
    pub summary: Summary,
    pub steps: Vec<StepStatus>,
    /// Failures so far, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<StepFailure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// How many steps are in each state.
    #[serde(default)]
    pub counts: BTreeMap<String, u32>,
}

/// Between two summaries that a follower gets: a person sees no more, and a lab of a hundred nodes changes a thousand times.
const PACE: Duration = Duration::from_millis(40);

/// Follows an operation: each `next` gives the newest summary, and what happens between two of them is not told. The end
/// is told at once.
#[derive(Debug)]
pub struct Follow {
    running: Option<Running>,
    /// To be given before anything else.
    first: Option<Arc<Summary>>,
    outcome: watch::Receiver<Option<Outcome>>,
}

#[derive(Debug)]
struct Running {
    board: Weak<Board>,
    changes: watch::Receiver<()>,
    last: watch::Receiver<Option<Arc<Summary>>>,
}

impl Follow {
    pub(crate) fn new(
        board: &Arc<Board>,
        changes: watch::Receiver<()>,
        last: watch::Receiver<Option<Arc<Summary>>>,
    ) -> Self {
        let running = Running { board: Arc::downgrade(board), changes, last };
        Self {
            running: Some(running),
            first: Some(Arc::new(board.summary())),
            outcome: board.outcome(),
        }
    }

    /// Of an operation that has ended.
    pub(crate) fn ended(status: Status) -> Self {
        let (_, outcome) = watch::channel(status.outcome);
        Self { running: None, first: Some(Arc::new(status.summary)), outcome }
    }

    /// How it ended, once [`next`](Self::next) has said that it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    /// The summary now at the first call, then each newer one; `None` after the one that says it ended,
    /// or when the engine stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<Summary>> {
        let summary = match self.first.take() {
            Some(first) => first,
            None => self.running.as_mut()?.next().await?,
        };
        if summary.state.is_ended() {
            self.running = None;
        }
        Some(summary)
    }
}

impl Running {
    async fn next(&mut self) -> Option<Arc<Summary>> {
        let changed = async {
            tokio::time::sleep(PACE).await;
            if self.changes.changed().await.is_err() {
                // Nobody is left to change it, which is seen beside this.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            last = self.last.wait_for(Option::is_some) => return last.ok()?.clone(),
            () = changed => {}
        }
        match self.board.upgrade() {
            Some(board) => Some(Arc::new(board.summary())),
            // It ended this instant.
            None => self.last.wait_for(Option::is_some).await.ok()?.clone(),
        }
    }
}
