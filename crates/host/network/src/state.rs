//! What a namespace holds: interfaces, addresses, counters.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::netlink::{Attributes, Batch, find, parse_u32, rtnl, text};
use crate::{Error, Mac, Ns, Result};

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
///
/// # Errors
/// When the kernel cannot be asked.
pub fn interfaces(ns: &Ns) -> Result<Vec<Interface>> {
    let mut found = BTreeMap::new();
    let dump = rtnl::dump(libc::RTM_GETLINK, &rtnl::link_header(0, 0, 0));
    ns.ask(&dump, "list the interfaces", |kind, body| {
        if let (libc::RTM_NEWLINK, Some(interface)) = (kind, parse_link(body)) {
            found.insert(interface.index, interface);
        }
    })?;
    let dump = rtnl::dump(libc::RTM_GETADDR, &[0; 8]);
    ns.ask(&dump, "list the addresses", |kind, body| {
        if let (libc::RTM_NEWADDR, Some((index, address))) = (kind, parse_address(body))
            && let Some(interface) = found.get_mut(&index)
        {
            interface.addresses.push(address);
        }
    })?;
    Ok(found.into_values().collect())
}

/// One interface, without its addresses. `None` when there is none of that name.
pub(crate) fn interface(ns: &Ns, name: &str) -> Result<Option<Interface>> {
    let mut batch = Batch::question();
    batch
        .message(libc::RTM_GETLINK, 0, &rtnl::link_header(0, 0, 0), "look at an interface")
        .text(libc::IFLA_IFNAME, name);
    let mut found = None;
    let asked = ns.ask(&batch, &format!("look at interface `{name}`"), |_, body| {
        found = parse_link(body);
    });
    match asked {
        Err(Error::Refused { source, .. }) if source.errno == libc::ENODEV => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(found),
    }
}

/// Alias of an interface; the outer `None` when there is no such interface.
pub(crate) fn alias(ns: &Ns, name: &str) -> Result<Option<Option<String>>> {
    Ok(interface(ns, name)?.map(|interface| interface.alias))
}

/// Addresses of one interface.
pub(crate) fn addresses(ns: &Ns, index: u32) -> Result<Vec<IpNet>> {
    let mut found = Vec::new();
    let dump = rtnl::dump(libc::RTM_GETADDR, &[0; 8]);
    ns.ask(&dump, "list the addresses", |kind, body| match (kind, parse_address(body)) {
        (libc::RTM_NEWADDR, Some((at, address))) if at == index => found.push(address),
        _ => {}
    })?;
    Ok(found)
}

/// Gateways of the default routes, by the index of the interface they are reached through.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn gateways(ns: &Ns) -> Result<Vec<(u32, IpAddr)>> {
    let mut found = Vec::new();
    let dump = rtnl::dump(libc::RTM_GETROUTE, &[0; 12]);
    ns.ask(&dump, "list the routes", |kind, body| {
        if let (libc::RTM_NEWROUTE, Some(route)) = (kind, parse_default_route(body)) {
            found.push(route);
        }
    })?;
    Ok(found)
}

/// Reads `RTM_NEWROUTE`: interface and gateway of a default route of the main table.
fn parse_default_route(body: &[u8]) -> Option<(u32, IpAddr)> {
    let (prefix, table) = (*body.get(1)?, *body.get(4)?);
    if prefix != 0 || table != libc::RT_TABLE_MAIN {
        return None;
    }
    let attributes = Attributes::after(body, 12);
    let index = find(attributes.clone(), libc::RTA_OIF).and_then(parse_u32)?;
    let via = find(attributes, libc::RTA_GATEWAY)?;
    let via = match via.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(via).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(via).ok()?),
        _ => return None,
    };
    Some((index, via))
}

/// Reads `RTM_NEWLINK`.
fn parse_link(body: &[u8]) -> Option<Interface> {
    let flags = parse_u32(body.get(8..)?)?;
    let mut interface = Interface {
        index: parse_u32(body.get(4..)?)?,
        up: flags & libc::IFF_UP as u32 != 0,
        carrier: flags & libc::IFF_LOWER_UP as u32 != 0,
        ..Interface::default()
    };
    for (kind, value) in Attributes::after(body, 16) {
        match kind {
            libc::IFLA_IFNAME => interface.name = text(value),
            libc::IFLA_ADDRESS => interface.mac = <[u8; 6]>::try_from(value).ok().map(Mac),
            libc::IFLA_MTU => interface.mtu = parse_u32(value)?,
            libc::IFLA_MASTER => interface.master = parse_u32(value),
            libc::IFLA_LINK => interface.peer = parse_u32(value).filter(|index| *index != 0),
            libc::IFLA_IFALIAS => interface.alias = Some(text(value)),
            libc::IFLA_LINKINFO => {
                interface.kind = find(Attributes::new(value), libc::IFLA_INFO_KIND).map(text);
            }
            libc::IFLA_PROP_LIST => {
                interface.alternative_names = Attributes::new(value)
                    .filter(|(kind, _)| *kind == libc::IFLA_ALT_IFNAME)
                    .map(|(_, name)| text(name))
                    .collect();
            }
            libc::IFLA_STATS64 => interface.counters = parse_counters(value).unwrap_or_default(),
            _ => {}
        }
    }
    (!interface.name.is_empty()).then_some(interface)
}

/// Reads the first eight numbers of `struct rtnl_link_stats64`.
fn parse_counters(value: &[u8]) -> Option<Counters> {
    let number = |at: usize| value.get(at * 8..)?.first_chunk().copied().map(u64::from_ne_bytes);
    Some(Counters {
        rx_packets: number(0)?,
        tx_packets: number(1)?,
        rx_bytes: number(2)?,
        tx_bytes: number(3)?,
        rx_errors: number(4)?,
        tx_errors: number(5)?,
        rx_dropped: number(6)?,
        tx_dropped: number(7)?,
    })
}

/// Reads `RTM_NEWADDR`: interface index and address.
fn parse_address(body: &[u8]) -> Option<(u32, IpNet)> {
    let prefix = *body.get(1)?;
    let index = parse_u32(body.get(4..)?)?;
    let attributes = Attributes::after(body, 8);
    // On point-to-point interfaces IFA_ADDRESS is the peer's; IPv6 has no IFA_LOCAL elsewhere.
    let value = find(attributes.clone(), libc::IFA_LOCAL)
        .or_else(|| find(attributes, libc::IFA_ADDRESS))?;
    let address = match value.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
        _ => return None,
    };
    Some((index, IpNet::new(address, prefix).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            parse_link(&bytes);
            parse_address(&bytes);
            parse_default_route(&bytes);
        }
    }
}
