//! LANs of any size: a bridge takes 1,023 ports, so a larger LAN is several bridges, and nobody sees it.
//!
//! Bridge 0 is the hub: every further bridge is joined to it by one pair. Members 0..1000 attach to bridge 0, the next
//! thousand to bridge 1, and so on; a LAN grows without any member being moved.

use crate::error::not_built;
use crate::{Host, Owner, Result};

/// Members attached to one bridge; the ports left over join bridges.
pub const MEMBERS_PER_BRIDGE: usize = 1000;

/// A LAN between nodes.
#[derive(Debug, Clone)]
pub struct LanSpec {
    /// The user's name of the LAN, unique in the lab.
    pub name: String,
    /// Number of members to provide for; at most 24,000.
    pub members: usize,
    pub mtu: Option<u32>,
    /// As [`crate::BridgeSpec::ageing_s`].
    pub ageing_s: Option<u32>,
    pub owner: Owner,
}

/// The bridges of a LAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// Kernel names, the hub first.
    pub bridges: Vec<String>,
}

impl Lan {
    /// How many bridges a LAN of `members` needs.
    pub fn bridge_count(members: usize) -> usize {
        members.div_ceil(MEMBERS_PER_BRIDGE).max(1)
    }

    /// The names the bridges of a LAN have, whether they exist or not: for plans written before the first effect.
    pub fn names(owner: &Owner, lan: &str, members: usize) -> Lan {
        let bridges = (0..Lan::bridge_count(members))
            .map(|at| crate::host_name(&[&owner.instance, &owner.lab, "lan", lan, &at.to_string()]))
            .collect();
        Lan { bridges }
    }

    /// The bridge that member number `member` attaches to.
    pub fn bridge_for(&self, member: usize) -> &str {
        &self.bridges[(member / MEMBERS_PER_BRIDGE).min(self.bridges.len() - 1)]
    }
}

impl Host {
    /// Makes the LAN's bridges and joins them, or brings them to `spec`; only ever adds bridges.
    pub fn ensure_lan(&self, _spec: &LanSpec) -> Result<Lan> {
        not_built("lan")
    }

    /// Removes the LAN's bridges and the pairs that join them.
    pub fn remove_lan(&self, _lan: &Lan) -> Result<()> {
        not_built("lan")
    }
}
