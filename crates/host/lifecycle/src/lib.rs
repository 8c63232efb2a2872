//! Lifecycle: labs of nodes on one host, from topology to running nodes and back to nothing.
//!
//! The one entry is [`Host`]: it owns the store, the operation engine, the image catalogue, the drivers and
//! the network of this machine. Everything that changes the world is a plan of steps with inverses
//! ([`plan`]), carried out by [`runner`]; everything that is remembered is a [`record`]; everything that is
//! shown is a [`view`], derived without side effects (R-3).
//!
//! ```text
//!   Lab (wanted) ─┐
//!                 ├─ plan::difference ─▶ Plan ─▶ engine ─▶ runner ─▶ driver, network, image
//!   LabRecord ────┘                                         │
//!                                                           └─▶ records, events (same durable commit)
//! ```

mod adopt;
pub mod agent;
mod by_agent;
mod clean;
pub mod control;
mod damaged;
mod doctor;
mod drivers;
pub mod error;
mod files;
mod follow;
mod functions;
pub mod health;
pub mod host;
mod images;
mod inner;
mod labs;
mod links;
mod lists;
mod machine;
pub mod names;
mod nodes;
pub mod plan;
mod pump;
mod ready;
pub mod record;
mod registry;
pub mod request;
pub mod resolve;
pub mod restart;
mod runner;
mod served;
mod signal;
mod snapshots;
pub mod state;
mod timeline;
pub mod view;
pub mod wanted;
pub mod work;

pub use error::Error;
pub use host::{Host, Options};
pub use ready::{Level, Readiness};
pub use timeline::TimelineVerb;
pub use vnode_driver::{Console, Exec, ExecControl, ExecExit, Reader, Stats, WindowSize, Writer};
