//! Shaping of what one end of a link sends.

use serde::{Deserialize, Serialize};
use vnode_protocol::impairment::Impairment;

use crate::error::not_built;
use crate::{Features, Ns, Result};

/// Which link and end an error is about.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// `r1:eth1 -- r2:eth1`
    pub link: &'a str,
    /// `r1:eth1`
    pub end: &'a str,
}

/// What the kernel holds for one end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Current {
    /// As far as the kernel's queueing discipline can be said in our terms.
    pub impairment: Impairment,
    /// Somebody else replaced our discipline by one of this kind.
    pub foreign: Option<String>,
    /// Frames the shaper dropped: lost on purpose or queue full.
    pub drops: u64,
    /// Frames passed.
    pub packets: u64,
    pub bytes: u64,
}

impl Current {
    /// Whether the kernel holds what `declared` asks (T-78): everything the kernel keeps exactly must be equal, ratios to
    /// within the kernel's 32 bits.
    pub fn matches(&self, _declared: &Impairment) -> bool {
        false
    }
}

/// Fails where this kernel cannot do what `impairment` asks (T-75): call before anything is made.
pub fn check(_features: &Features, _impairment: &Impairment, _context: &Context<'_>) -> Result<()> {
    not_built("impair")
}

/// Brings the shaper of `interface` to `impairment`, in place: counters stay, queued frames are not lost, parameters that do
/// not differ are not touched. An impairment that changes nothing clears the shaper when there never was one, and otherwise
/// leaves it in place with nothing to do.
pub fn apply(
    _ns: &Ns,
    _interface: &str,
    _impairment: &Impairment,
    _context: &Context<'_>,
) -> Result<()> {
    not_built("impair")
}

/// What the kernel holds.
pub fn read(_ns: &Ns, _interface: &str) -> Result<Current> {
    not_built("impair")
}

/// Removes the shaper; frames in its queue are lost.
pub fn clear(_ns: &Ns, _interface: &str) -> Result<()> {
    not_built("impair")
}
