//! What is to be done, written down before it begins.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names one operation; ids sort by the time they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(Uuid);

impl OperationId {
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OperationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What [`Engine::recover`](crate::Engine::recover) does with a plan that a crash cut off, and what
/// cancelling it means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// The inverses of every step run. Cancelling runs the inverses of the steps begun.
    #[default]
    RollBack,
    /// Every step is applied again, so each must bear that. Cancelling stops where it is: nothing is
    /// inverted, what was not done is named.
    GoOn,
}

/// What the failure of a step means for the rest of its plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// All steps begun are inverted; the operation ends rolled back.
    #[default]
    RollBack,
    /// The step's group is inverted, with everything that hard-needs a step of it; the rest goes on and
    /// the operation ends partly done.
    Isolate,
}

/// A whole operation. Steps may stand in any order; ids are unique within the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Chooses the [`Runner`](crate::Runner): `lab.up`, `node.reboot`.
    pub kind: String,
    /// What it is done to: `lab/first`, `lab/first/node/r1`.
    pub subject: String,
    pub steps: Vec<Step>,
    #[serde(default)]
    pub recovery: Recovery,
    /// For the runner.
    #[serde(default)]
    pub data: serde_json::Value,
}

impl Plan {
    /// A plan without steps that is rolled back after a crash.
    pub fn new(kind: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            subject: subject.into(),
            steps: Vec::new(),
            recovery: Recovery::RollBack,
            data: serde_json::Value::Null,
        }
    }

    /// Adds a step with the next free id and gives that id.
    pub fn push(&mut self, mut step: Step) -> u32 {
        let id = self.steps.last().map_or(0, |last| last.id + 1);
        step.id = id;
        self.steps.push(step);
        id
    }
}

/// One step: something done, and its inverse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique within the plan.
    pub id: u32,
    /// Class of the step, for fault points and metrics: `node.create`.
    pub kind: String,
    /// For people: ``create node `r1` ``.
    pub name: String,
    /// Steps of one group stand and fall together under [`OnFailure::Isolate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Steps that must be done before this one begins; if one is not, this one is skipped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<u32>,
    /// Steps that must have ended, in whatever way, before this one begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<u32>,
    /// Longest time the step may take, and its inverse too; counted from its begin.
    pub deadline: Duration,
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The step waits rather than works (for a health check, for a peer): it takes no worker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// For the runner.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub data: serde_json::Value,
}

impl Step {
    /// A step with id 0, no dependencies, a deadline of 60 s, and roll-back on failure.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: 0,
            kind: kind.into(),
            name: name.into(),
            group: None,
            needs: Vec::new(),
            after: Vec::new(),
            deadline: Duration::from_secs(60),
            on_failure: OnFailure::RollBack,
            waits: false,
            data: serde_json::Value::Null,
        }
    }

    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    #[must_use]
    pub fn needs(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.needs.extend(ids);
        self
    }

    #[must_use]
    pub fn after(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.after.extend(ids);
        self
    }

    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    #[must_use]
    pub fn isolate(mut self) -> Self {
        self.on_failure = OnFailure::Isolate;
        self
    }

    #[must_use]
    pub fn waits(mut self) -> Self {
        self.waits = true;
        self
    }

    #[must_use]
    pub fn data(mut self, data: serde_json::Value) -> Self {
        self.data = data;
        self
    }
}
