//! What the store holds of operations.
//!
//! | key | value |
//! |---|---|
//! | `operation/plan/ID` | the plan of an operation that has not ended |
//! | `operation/ended/ID` | summary, failures and outcome of one that has |
//! | `operation/steps/ID` | its steps |

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vnode_store::{Change, record};

use crate::{
    outcome::{Outcome, StepFailure},
    plan::{OperationId, Plan},
    status::{Status, StepState, StepStatus, Summary},
};

pub(crate) const PLANS: &str = "operation/plan/";
pub(crate) const ENDED: &str = "operation/ended/";
pub(crate) const STEPS: &str = "operation/steps/";
/// Steps kept of an operation that ended; of a larger one only those that were not done.
const KEPT_STEPS: usize = 256;
/// Version of the records below.
const SCHEMA: u32 = 1;

#[derive(Debug, Deserialize)]
pub(crate) struct StoredPlan {
    pub(crate) id: OperationId,
    pub(crate) started: Timestamp,
    pub(crate) plan: Plan,
}

#[derive(Serialize)]
struct PlanRef<'a> {
    id: OperationId,
    started: Timestamp,
    plan: &'a Plan,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredEnd {
    pub(crate) summary: Summary,
    pub(crate) errors: Vec<StepFailure>,
    pub(crate) outcome: Outcome,
    pub(crate) counts: std::collections::BTreeMap<String, u32>,
}

pub(crate) fn key(prefix: &str, id: OperationId) -> String {
    format!("{prefix}{id}")
}

/// The change that makes a plan known.
pub(crate) fn begin(
    id: OperationId,
    started: Timestamp,
    plan: &Plan,
) -> vnode_store::Result<Change> {
    let value = record::encode(SCHEMA, &PlanRef { id, started, plan })?;
    Ok(Change::create(key(PLANS, id), value))
}

/// The changes that end an operation.
pub(crate) fn end(status: &Status, outcome: &Outcome) -> vnode_store::Result<Vec<Change>> {
    let id = status.summary.id;
    let end = StoredEnd {
        summary: status.summary.clone(),
        errors: status.errors.clone(),
        outcome: outcome.clone(),
        counts: status.counts.clone(),
    };
    let all = status.steps.len() <= KEPT_STEPS;
    let steps: Vec<&StepStatus> = status
        .steps
        .iter()
        .filter(|step| all || step.state != StepState::Done)
        .take(KEPT_STEPS)
        .collect();
    Ok(vec![
        Change::delete(key(PLANS, id)),
        Change::put(key(ENDED, id), record::encode(SCHEMA, &end)?),
        Change::put(key(STEPS, id), record::encode(SCHEMA, &steps)?),
    ])
}

/// The changes that forget an operation.
pub(crate) fn forget(id: OperationId) -> [Change; 2] {
    [Change::delete(key(ENDED, id)), Change::delete(key(STEPS, id))]
}

pub(crate) fn read_plan(value: &[u8]) -> vnode_store::Result<StoredPlan> {
    record::decode(value, &[])
}

pub(crate) fn read_end(value: &[u8]) -> vnode_store::Result<StoredEnd> {
    record::decode(value, &[])
}

pub(crate) fn read_steps(value: &[u8]) -> vnode_store::Result<Vec<StepStatus>> {
    record::decode(value, &[])
}
