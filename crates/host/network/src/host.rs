//! The namespace the daemon lives in, and the bridges it makes there.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;

use crate::error::not_built;
use crate::{Features, Mac, Ns, Owner, Result};

/// The host's network namespace. Cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Host {
    ns: Ns,
}

/// A bridge in the host's namespace.
#[derive(Debug, Clone)]
pub struct BridgeSpec {
    /// Kernel name; see [`crate::host_name`].
    pub name: String,
    /// Addresses the host has on it; empty for a LAN the host takes no part in.
    pub addresses: Vec<IpNet>,
    /// `None` leaves the kernel's 1500.
    pub mtu: Option<u32>,
    /// Seconds until a learned address is forgotten; 0 makes the bridge a hub. `None` is the kernel's 300.
    pub ageing_s: Option<u32>,
    pub owner: Owner,
    /// What it is for, in the mark: `lan lan1`.
    pub what: String,
}

impl Host {
    /// Uses `ns` as the host's namespace; a test gives one it made.
    pub fn new(ns: Ns) -> Host {
        Host { ns }
    }

    /// The namespace itself.
    pub fn ns(&self) -> &Ns {
        &self.ns
    }

    /// What the kernel can do; probed once in the life of the process.
    pub fn features(&self) -> Result<Features> {
        Features::probe()
    }

    /// Makes the bridge, or brings an existing one of ours to `spec` (addresses no longer in it are removed). Returns its
    /// interface index. The bridge is up; its Ethernet address is a function of its name.
    ///
    /// # Errors
    /// [`crate::Error::Foreign`] when an interface of that name is there and not ours.
    pub fn ensure_bridge(&self, _spec: &BridgeSpec) -> Result<u32> {
        not_built("bridge")
    }

    /// Removes an interface of ours; the other end of a pair goes with it. `false` when there is none.
    ///
    /// # Errors
    /// [`crate::Error::Foreign`] when it does not bear a mark.
    pub fn remove_link(&self, _name: &str) -> Result<bool> {
        not_built("remove")
    }

    /// Removes many interfaces of ours in few sends; missing ones are passed over. Unmarked ones are left and named in the
    /// error after all others are gone.
    pub fn remove_links(&self, _names: &[&str]) -> Result<()> {
        not_built("remove")
    }

    /// Waits, by notification and not by polling, until none of the interfaces is there: a pair whose node's namespace ends
    /// goes some time after it.
    ///
    /// # Errors
    /// [`crate::Error::Deadline`].
    pub fn wait_gone(&self, _names: &[&str], _deadline: Instant) -> Result<()> {
        not_built("wait")
    }

    /// Attaches an interface of the host (ours or, for `bridge` nodes of a topology, a foreign one's port of ours) to a bridge.
    pub fn attach(&self, _port: &str, _bridge: &str) -> Result<()> {
        not_built("attach")
    }

    /// Sets the Ethernet address of `name`, for interfaces that had to be made without one.
    pub fn set_mac(&self, _name: &str, _mac: Mac) -> Result<()> {
        not_built("mac")
    }

    /// Whether any interface of the host has `address` or a network that contains it: a guard against colliding subnets.
    pub fn overlaps(&self, _net: IpNet) -> Result<Option<(String, IpNet)>> {
        not_built("overlaps")
    }

}
