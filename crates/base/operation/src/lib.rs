//! Work that is planned, written down, done in steps, and undone when it cannot be done.
//!
//! ```text
//! submit(Plan) ─▶ one durable write ─▶ steps, in parallel along the graph ─▶ one durable write ─▶ Outcome
//!                                         │ failure, cancel                     ▲
//!                                         └──▶ inverses in reverse order ───────┘
//! crash anywhere ─▶ recover(): inverses of every step, or the steps again (Recovery)
//! ```
//!
//! * [`Plan`], [`Step`]: what is to be done, as a value that is stored.
//! * [`Runner`]: does a step and its inverse; one for each kind of plan.
//! * [`Engine`]: runs plans, follows and cancels them, recovers those a crash cut off.
//! * [`lock`]: the lock order of R-8 as types. [`fault`]: points at which tests kill or fail us.
//!
//! Invariants: no side effect before the plan is durable; exactly two durable writes for a plan of any
//! size; an inverse never runs before the inverses of all that was built on its step.
#![forbid(unsafe_code)]

mod board;
mod drive;
mod engine;
mod error;
pub mod fault;
mod graph;
mod journal;
pub mod lock;
mod outcome;
mod plan;
mod pressure;
mod run;
mod runner;
mod status;
mod step;

pub use engine::{Engine, Options, Recovered, StepStats};
pub use error::{Error, FailureKind, Result, StepError};
pub use outcome::{Outcome, StepFailure};
pub use plan::{OnFailure, OperationId, Plan, Recovery, Step};
pub use runner::{Runner, StepContext};
pub use status::{Follow, OperationState, Progress, Status, StepState, StepStatus, Summary};
pub use tokio_util::sync::CancellationToken;
