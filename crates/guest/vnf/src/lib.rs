//! VNF lifecycle management inside a guest: packages, operations, processes that are watched, and requests.
//!
//! * [`Manager`]: packages, instances and operations of one state folder, on the operation engine.
//! * [`service`]: requests on the unix socket `STATE/vnf.sock`; [`Request`]: what can be asked; [`client`]: asking.
//! * [`cli`]: the verbs of `vnode-agent vnf`.
//!
//! What a host needs to drive a node: start `vnode-agent vnf serve --detach` in it (ends with 0 when it serves, or did
//! already), then `vnode-agent vnf --json VERB`. `push` takes `-` for an archive on standard input, so nothing need be
//! copied into the node first. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no service. With `--json`, standard
//! output is the result (one JSON value; for `events` and `logs` one a line), and on failure standard error is one JSON
//! object, the [`Failure`]. Both stay stable.
//!
//! Invariants: nothing of a package runs before all of it is checked; a script is on record before it runs, is taken up
//! by the next life when ours ends, never runs beside itself, and is never repeated without being told, but for START and
//! TERMINATE, which run at least once for what they react to; no byte of a package is written outside the state folder.
#![deny(unsafe_code)]

pub mod cli;
pub mod client;
mod confine;
mod core;
mod environment;
mod error;
mod groups;
mod health;
mod hooks;
mod legacy;
mod log;
mod manager;
mod model;
mod onboard;
mod operate;
mod process;
mod runner;
mod runs;
mod script;
pub mod service;
mod takeover;
mod tree;
mod user;
mod verbs;
mod watch;

pub use cli::STATE;
pub use core::Settings;

pub use error::{Failure, Result};
#[doc(hidden)]
pub use legacy::frame::fuzz as fuzz_legacy;
pub use log::Line;
pub use manager::Manager;
pub use model::{
    Instance, Instantiation, Kind, Occurrence, Package, Presence, State, Step, Trouble, WatchState,
};
pub use onboard::Onboarded;
pub use verbs::{Request, process_status};
pub use vnode_vnfpkg::By;
pub use watch::{Identity, Mechanism};
