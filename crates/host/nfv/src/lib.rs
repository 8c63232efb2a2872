//! The northbound of network functions: ETSI's packages (SOL005) and lifecycle (SOL003) for orchestrators.
//!
//! ```text
//!  orchestrator ──HTTP──▶ routes ──▶ Nfv ──▶ Functions (a node's agent does the work)
//!        ▲                            ├─ store: packages, instances, occurrences, subscriptions
//!        └──── notifications ◀────────┘  folder: the packages' content
//! ```
//!
//! The subset is `vnf.md` section 6.3 to 6.5: what the unmodified OpenStack client (`python-tackerclient`) asks for,
//! in the versions 1 and 2. What a function does is done in its node, by the agent: here are only its record and the
//! state machine of SOL003, which mirrors the agent's own.
//!
//! Invariants: a record is durable before its answer is sent; a package's content is whole or not there; one
//! occurrence of an instance is not final at a time; an occurrence that a crash cut off asks the agent how it ended.
#![forbid(unsafe_code)]

mod filter;
mod functions;
mod lifecycle;
mod notify;
mod packages;
mod problem;
mod range;
mod records;
mod routes;
mod service;
mod view;

pub use functions::{Ask, Failure, Functions, Look, Refusal, Task};
pub use problem::{Problem, Script};
pub use service::{Nfv, Options};
