//! What happened, when, to what, caused by which operation: one append-only stream.
//!
//! * [`Log`]: appends, reads, prunes. Appending is cheap: events are in memory at once and stored in batches.
//! * [`Subscription`]: replays stored events, then follows; who is too slow is told so and comes back by
//!   sequence number.
//! * [`handler`]: an operator's program, run for events.
//!
//! Invariants: sequence numbers only grow, also over a crash; subscribers see them in order; nobody who
//! reads can hold up who appends. Events of the last second may be lost in a crash unless they went with a
//! commit ([`Log::changes_for`]).
#![forbid(unsafe_code)]

mod event;
pub mod handler;
mod keeper;
mod log;
mod subscription;

pub use event::{Draft, Error, Event, Result};
pub use log::{Filter, Log, Options, Reservation};
pub use subscription::{Ended, Subscription};
