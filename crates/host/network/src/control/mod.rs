//! The control network of a lab: a bridge with the host as gateway, address translation to the outside, port forwards to
//! nodes, isolation from other labs, and protection against spoofing.

mod sysctl;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::not_built;
use crate::{Host, Mac, Owner, Result};

pub use sysctl::{SavedSysctls, root_prepare, root_restore};

/// A lab's control network.
#[derive(Debug, Clone)]
pub struct ControlSpec {
    pub owner: Owner,
    /// The host's address in each subnet with the subnet's prefix, `172.20.20.1/24`; at most one of each family.
    pub gateways: Vec<IpNet>,
    pub mtu: Option<u32>,
    /// Nodes reach the outside through the host's address (masquerading).
    pub nat: bool,
    /// Others that have a route may open connections to nodes; else only port forwards let them in. Other labs never may.
    pub external_access: bool,
}

/// One node on the control network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPort {
    /// Kernel name of the host's end of the node's control link.
    pub port: String,
    /// The node's only permitted Ethernet address.
    pub mac: Mac,
    /// The node's only permitted addresses.
    pub addresses: Vec<IpAddr>,
}

/// A port of the host that leads to a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forward {
    pub protocol: Protocol,
    /// Address of the host; `None` is any, loopback included.
    pub host_address: Option<IpAddr>,
    pub host_port: u16,
    pub node_address: IpAddr,
    pub node_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// A rule set of somebody else that drops what a control network forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardConflict {
    /// `ip filter FORWARD`
    pub chain: String,
    /// What to do about it, in words.
    pub hint: String,
}

/// A lab's control network in the kernel.
#[derive(Debug, Clone)]
pub struct Control {
    host: Host,
    /// Kernel name of the bridge.
    pub bridge: String,
    /// Name of the lab's nftables tables (one `inet`, one `bridge`).
    pub table: String,
}

/// Kernel name of the control bridge of a lab, whether it exists or not.
pub fn bridge_name(owner: &Owner) -> String {
    let name = crate::host_name(&[&owner.instance, &owner.lab, "control"]);
    format!("vnc{}", &name[2..14])
}

/// Name of the nftables tables of a lab.
pub fn table_name(owner: &Owner) -> String {
    format!("vnode_{}", &crate::host_name(&[&owner.instance, &owner.lab, "control"])[2..])
}

impl Control {
    /// A handle of a lab's control network, made earlier or not.
    pub fn open(host: &Host, owner: &Owner) -> Control {
        Control { host: host.clone(), bridge: bridge_name(owner), table: table_name(owner) }
    }

    /// Makes the network or brings it to `spec`; nodes and forwards of an existing one stay.
    pub fn ensure(host: &Host, spec: &ControlSpec) -> Result<Control> {
        let _ = &host;
        let _ = spec;
        not_built("control")
    }

    /// Lets nodes use their ports, with their own addresses only. One transaction. A port unknown to the network is mute.
    pub fn add_nodes(&self, _ports: &[ControlPort]) -> Result<()> {
        not_built("control")
    }

    /// Takes the permissions of a port away; idempotent.
    pub fn remove_nodes(&self, _ports: &[ControlPort]) -> Result<()> {
        not_built("control")
    }

    /// Forwards ports. One transaction: all or none.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when a port of the host is forwarded to another place already.
    pub fn add_forwards(&self, _forwards: &[Forward]) -> Result<()> {
        not_built("control")
    }

    /// Ends forwards; idempotent.
    pub fn remove_forwards(&self, _forwards: &[Forward]) -> Result<()> {
        not_built("control")
    }

    /// The forwards in force.
    pub fn forwards(&self) -> Result<Vec<Forward>> {
        not_built("control")
    }

    /// Removes tables and bridge; idempotent.
    pub fn remove(&self) -> Result<()> {
        let _ = &self.host;
        not_built("control")
    }
}

/// Chains of others whose policy is to drop forwarded packets: our own accept cannot overrule them.
pub fn forward_policy_conflict(_host: &Host) -> Result<Vec<ForwardConflict>> {
    not_built("control")
}
