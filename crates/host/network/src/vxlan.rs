//! Links between hosts: VXLAN (RFC 7348).

use std::net::IpAddr;

use vnode_protocol::impairment::Impairment;

use crate::impair::{self, Context};
use crate::netlink::{Batch, rtnl};
use crate::{Error, Host, Mac, Ns, Owner, Result};

/// Bytes a VXLAN adds over IPv4: inner Ethernet header, VXLAN, UDP, IP (14 + 8 + 8 + 20).
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
    /// Source port, below 65535; `None` is one for each flow, which lets the network between spread them.
    pub source_port: Option<u16>,
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

/// Attributes of a VXLAN (`linux/if_link.h`).
mod attribute {
    pub(super) const ID: u16 = 1;
    pub(super) const REMOTE4: u16 = 2;
    pub(super) const LOCAL4: u16 = 4;
    pub(super) const TTL: u16 = 5;
    pub(super) const PORT_RANGE: u16 = 10;
    pub(super) const PORT: u16 = 15;
    pub(super) const REMOTE6: u16 = 16;
    pub(super) const LOCAL6: u16 = 17;
}

impl Host {
    /// Makes the VXLAN, shapes it, puts it in its place, and takes it up. Remove it with [`Host::remove_link`], or
    /// [`Ns::remove_interface`] where it is in a node.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a network identifier or addresses that cannot be; [`Error::Refused`], for instance when
    /// another VXLAN of the host has the same identifier and remote.
    pub fn create_vxlan(&self, spec: &VxlanSpec<'_>) -> Result<()> {
        let invalid = |reason: &str| {
            Err(Error::Invalid { what: format!("link `{}`", spec.link), reason: reason.into() })
        };
        if spec.vni >= 1 << 24 {
            return invalid("a VXLAN network identifier is less than 16777216");
        }
        if spec.local.is_some_and(|local| local.is_ipv4() != spec.remote.is_ipv4()) {
            return invalid("local and remote address are of two families");
        }
        let context = Context { link: spec.link, end: spec.name };
        if let Some(impairment) = spec.impairment {
            impair::check(&self.features()?, impairment, &context)?;
        }
        let shaped = spec.impairment.filter(|impairment| !impairment.is_perfect());
        self.must_be_free(spec.name, &format!("make link `{}`", spec.link))?;
        let made = self.make_vxlan(spec).and_then(|()| {
            let (ns, name) = match spec.target {
                VxlanTarget::Bridge(_) => (self.ns(), spec.name),
                VxlanTarget::Node { ns, name } => (ns, name),
            };
            if let Some(impairment) = shaped {
                ns.plain_frames(name)?;
                impair::install(ns, name, impairment, &context)?;
            }
            ns.set_up(name, true)
        });
        if made.is_err() {
            self.unmake_vxlan(spec);
        }
        made
    }

    fn make_vxlan(&self, spec: &VxlanSpec<'_>) -> Result<()> {
        let v4 = spec.remote.is_ipv4();
        let overhead = if v4 { OVERHEAD_V4 } else { OVERHEAD_V6 };
        let mut batch = Batch::new();
        let what = format!("make VXLAN {} to {} for link `{}`", spec.vni, spec.remote, spec.link);
        let mut message = rtnl::create_link(&mut batch, spec.name, what);
        message.mac(spec.mac).mtu(Some(spec.mtu.unwrap_or(1500 - overhead)));
        if let VxlanTarget::Bridge(bridge) = spec.target {
            message.u32(libc::IFLA_MASTER, self.ns().need(bridge)?);
        }
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "vxlan").nest(libc::IFLA_INFO_DATA, |data| {
                let (remote, local) = match v4 {
                    true => (attribute::REMOTE4, attribute::LOCAL4),
                    false => (attribute::REMOTE6, attribute::LOCAL6),
                };
                data.u32(attribute::ID, spec.vni)
                    .bytes(remote, &rtnl::octets(spec.remote))
                    .bytes(attribute::PORT, &spec.port.to_be_bytes());
                if let Some(address) = spec.local {
                    data.bytes(local, &rtnl::octets(address));
                }
                if let Some(port) = spec.source_port {
                    // Its end does not belong to the range (`udp_flow_src_port`): an empty one would be none.
                    let range = [port, port.saturating_add(1)].map(u16::to_be_bytes);
                    data.bytes(attribute::PORT_RANGE, range.as_flattened());
                }
                if spec.ttl > 0 {
                    data.u8(attribute::TTL, spec.ttl);
                }
            });
        });
        let silent = matches!(spec.target, VxlanTarget::Bridge(_));
        self.mark(&mut batch, spec.name, spec.owner, spec.what, silent);
        self.ns().change(&batch)?;
        match spec.target {
            VxlanTarget::Bridge(_) => Ok(()),
            // Made here and then moved: its outer side stays with the namespace it was made in.
            VxlanTarget::Node { ns, name } => self.ns().move_interface(spec.name, ns, name),
        }
    }

    fn unmake_vxlan(&self, spec: &VxlanSpec<'_>) {
        // Wherever it got to. The error that led here is what the caller hears of.
        let removed = self.remove_link(spec.name);
        let moved = match spec.target {
            // The mark went along: an interface of the node's own with that name is not touched.
            VxlanTarget::Node { ns, name } => Host::new(ns.clone()).remove_link(name),
            VxlanTarget::Bridge(_) => Ok(false),
        };
        for error in [removed.err(), moved.err()].into_iter().flatten() {
            tracing::warn!("cannot remove VXLAN `{}` again: {error}", spec.name);
        }
    }
}
