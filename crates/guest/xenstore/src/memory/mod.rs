//! A store in this process that behaves as Xen 4.17's C daemon does, for tests where there is no Xen.
//!
//! It has what the real daemon cannot show without a hypervisor: connections of unprivileged domains, with their
//! permissions and quotas. `tests/store.rs` runs one list of tests against it and against the real daemon.

mod server;
mod store;
mod tree;

pub use server::{Faults, Handled, Server};
pub use store::{Connection, Store};
pub use tree::{Limits, Permission, Rights};
