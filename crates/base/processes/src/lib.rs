//! Processes of this machine, seen from outside them: what the kernel tells of their beginnings, and `/proc`.
//!
//! * [`Connector`]: the kernel tells of each exec and each change of a name as it happens.
//! * [`Moment`]: who was born since, without a look at all.
//! * [`Sentry`]: a thread that looks at once at each process that is told of, however busy others are.
//! * [`proc`]: what a process is called, since when it is, whether it lives, and who it is in its own namespace.
//! * [`Places`]: where control groups are, and which of them are ours.
//! * [`Word`]: what a host tells an agent of the agent's processes, where the kernel does not.

mod born;
mod connector;
mod places;
pub mod proc;
mod sentry;
mod words;

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

pub use born::Moment;
pub use connector::{Connector, Told};
pub use places::Places;
pub use sentry::Sentry;
pub use words::{LINE, Sighting, Word};

/// Has the runtime wait for a descriptor.
///
/// # Errors
/// When the runtime cannot, or there is none.
#[expect(unsafe_code, reason = "the runtime keeps the descriptor's number beside its owner")]
pub fn watched(held: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor as long as it lives, and `AsyncFd` owns it from here.
    let watched = unsafe { AsyncFd::register_with_interest(held, Interest::READABLE) };
    watched.map_err(|error| error.into_parts().1)
}
