//! Links between hosts: VXLAN.

use std::net::IpAddr;

use vnode_protocol::impairment::Impairment;

use crate::error::not_built;
use crate::{Host, Mac, Ns, Owner, Result};

/// Bytes a VXLAN adds over IPv4: outer Ethernet header not counted, as the MTU does not either (20 + 8 + 8 + 14).
pub const OVERHEAD_V4: u32 = 50;
/// Bytes a VXLAN adds over IPv6.
pub const OVERHEAD_V6: u32 = 70;

/// A VXLAN to one remote host. Made in the host's namespace, whose addresses carry it.
#[derive(Debug, Clone)]
pub struct VxlanSpec<'a> {
    /// The link as the user knows it.
    pub link: &'a str,
    /// Kernel name on the host.
    pub name: &'a str,
    /// 0..2^24.
    pub vni: u32,
    pub remote: IpAddr,
    /// Destination port; containerlab and the RFC use 4789, the kernel's own default is 8472.
    pub port: u16,
    /// Source address; `None` lets the kernel's routing choose.
    pub local: Option<IpAddr>,
    /// Hop limit of the outer packets; 0 is the kernel's default.
    pub ttl: u8,
    /// `None`: 1500 less the overhead (T-81).
    pub mtu: Option<u32>,
    pub mac: Option<Mac>,
    pub owner: &'a Owner,
    pub what: &'a str,
    pub target: VxlanTarget<'a>,
    /// What happens to frames sent into the tunnel.
    pub impairment: Option<&'a Impairment>,
}

/// Where the inner side of a VXLAN is.
#[derive(Debug, Clone)]
pub enum VxlanTarget<'a> {
    /// A port of a bridge on the host.
    Bridge(&'a str),
    /// An interface of a node, with the name it has there. The outer packets still leave by the host.
    Node { ns: &'a Ns, name: &'a str },
}

impl Host {
    /// Makes the VXLAN and takes it up.
    pub fn create_vxlan(&self, _spec: &VxlanSpec<'_>) -> Result<()> {
        not_built("vxlan")
    }
}
