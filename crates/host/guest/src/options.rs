//! What is waited for, and for how long.

use std::time::Duration;

/// Times and sizes of a connection to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Time an agent gets to answer [`probe`](crate::probe) at all.
    pub probe: Duration,
    /// Time a request gets that answers with one value.
    pub answer: Duration,
    /// Time the guest gets to take what is written to it, and a file to go on in either direction.
    pub stall: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(3),
            answer: Duration::from_secs(10),
            stall: Duration::from_secs(30),
        }
    }
}
