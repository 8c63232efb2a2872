//! What a namespace holds: interfaces, addresses, counters.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::not_built;
use crate::{Mac, Ns, Result};

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// Other names, the user's long one among them.
    pub alternative_names: Vec<String>,
    /// `None` for interfaces without Ethernet addresses.
    pub mac: Option<Mac>,
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The other end is there and up.
    pub carrier: bool,
    /// `veth`, `bridge`, `vxlan`, ...; `None` for physical interfaces and loopback.
    pub kind: Option<String>,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// Index of the other end of a pair or of the parent, in whatever namespace that is.
    pub peer: Option<u32>,
    /// Our mark, or whatever the alias says.
    pub alias: Option<String>,
    pub addresses: Vec<IpNet>,
    pub counters: Counters,
}

/// Frames and bytes since the interface was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// All interfaces of a namespace, by index.
pub fn interfaces(_ns: &Ns) -> Result<Vec<Interface>> {
    not_built("state")
}
