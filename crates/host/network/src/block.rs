//! A link end taken down and up again: everything that arrives at it is dropped, while the interface, its addresses, routes
//! and shaper stay as they are. Both ends blocked is a link that is down (T-67).
//!
//! It is an nftables table of the `netdev` family in the end's namespace, with one chain for each blocked interface, hooked
//! to its ingress with policy drop: every ethertype, with or without netem.

use crate::error::not_built;
use crate::{Ns, Result};

/// Drops whatever arrives at `interface` from now on. Idempotent.
pub fn block(_ns: &Ns, _interface: &str) -> Result<()> {
    not_built("block")
}

/// Lets frames in again. Idempotent.
pub fn unblock(_ns: &Ns, _interface: &str) -> Result<()> {
    not_built("block")
}

/// Whether [`block`] is in force.
pub fn is_blocked(_ns: &Ns, _interface: &str) -> Result<bool> {
    not_built("block")
}
