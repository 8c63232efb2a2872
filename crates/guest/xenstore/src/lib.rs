//! XenStore: the wire protocol, a client, and a store in this process to test against.
//!
//! * [`wire`]: messages as bytes. Little endian on every machine Linux runs Xen on; the daemon and its clients
//!   share one machine, so the words are in its order.
//! * [`path`]: which paths the daemon takes.
//! * [`Access`]: where a store is: the kernel's device inside a guest, the daemon's socket in dom0 and in tests.
//! * [`Client`]: one connection, one request in flight, with watches and transactions.
//! * [`memory`]: a store that behaves as the C daemon does, with its limits, for tests without Xen.
//!
//! Numbers and behaviour are those of Xen 4.17's `xenstored`; the crate links nothing of Xen.

mod access;
mod client;
mod error;
pub mod memory;
pub mod path;
pub mod wire;

pub use access::{Access, Io};
pub use client::{Backoff, Client, Event, Transaction};
pub use error::{Errno, Error};
