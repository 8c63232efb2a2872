//! What the kernel has, and how it differs from what was wanted.

use std::net::IpAddr;

use ipnet::IpNet;

use super::KernelError;
use super::message::{address, attributes, number16, number32};
use super::socket::Socket;
use crate::address::Mac;
use crate::model::{Interface, Route};
use crate::nic::Nic;

/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;
/// Bytes of the fixed part of link, address and route messages.
const LINK: usize = 16;
const ADDRESS: usize = 8;
const ROUTE: usize = 12;
/// Attributes that `libc` has no names for.
const IFLA_PERM_ADDRESS: u16 = 54;
const IFLA_INFO_KIND: u16 = 1;
const RTA_MULTIPATH: u16 = 9;
const RTA_VIA: u16 = 18;
const IFA_FLAGS: u16 = 8;

/// One address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    pub net: IpNet,
    /// Valid in the whole world or site, not on the link or the machine alone.
    pub global: bool,
    /// Not given by router advertisements or made up by the kernel.
    pub permanent: bool,
    /// Another machine has it.
    pub duplicate: bool,
}

/// One way out of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    pub destination: IpNet,
    pub gateway: Option<IpAddr>,
    /// The interface's number.
    pub index: u32,
}

/// Addresses and routes of the interfaces that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub nics: Vec<Nic>,
    pub addresses: Vec<Address>,
    pub routes: Vec<RouteEntry>,
}

/// One interface of any kind, with all its addresses: as it is told, not as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    /// Of Ethernet's length; a tunnel may have none, or its peer's IP address instead.
    pub hardware: Option<Mac>,
    /// IPv4 before IPv6.
    pub addresses: Vec<IpNet>,
}

/// All interfaces of this namespace in the kernel's order, the loopback too.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn all_links() -> Result<Vec<Link>, KernelError> {
    let mut socket = Socket::open().map_err(KernelError::io("open a netlink socket"))?;
    let mut found: Vec<(u32, Link)> = Vec::new();
    socket
        .dump(libc::RTM_GETLINK, &[0; LINK], |message| {
            if message.kind == libc::RTM_NEWLINK {
                found.extend(any_link(message.body));
            }
        })
        .map_err(KernelError::io("list the network interfaces"))?;
    socket
        .dump(libc::RTM_GETADDR, &[0; ADDRESS], |message| {
            if message.kind == libc::RTM_NEWADDR
                && let Some(address) = one_address(message.body)
                && let Some((_, link)) = found.iter_mut().find(|(index, _)| *index == address.index)
            {
                link.addresses.push(address.net);
            }
        })
        .map_err(KernelError::io("list addresses"))?;
    Ok(found.into_iter().map(|(_, link)| link).collect())
}

fn any_link(body: &[u8]) -> Option<(u32, Link)> {
    let (mut name, mut hardware) = (None, None);
    for (attribute, data) in attributes(body, LINK) {
        match attribute {
            libc::IFLA_IFNAME => name = text(data),
            libc::IFLA_ADDRESS => hardware = <[u8; 6]>::try_from(data).ok().map(Mac),
            _ => {}
        }
    }
    Some((number32(body, 4)?, Link { name: name?, hardware, addresses: Vec::new() }))
}

/// The Ethernet interfaces of this namespace, without the loopback.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn nics() -> Result<Vec<Nic>, KernelError> {
    let mut socket = Socket::open().map_err(KernelError::io("open a netlink socket"))?;
    links(&mut socket)
}

fn links(socket: &mut Socket) -> Result<Vec<Nic>, KernelError> {
    let mut nics = Vec::new();
    socket
        .dump(libc::RTM_GETLINK, &[0; LINK], |message| {
            if message.kind == libc::RTM_NEWLINK {
                nics.extend(link(message.body));
            }
        })
        .map_err(KernelError::io("list the network interfaces"))?;
    Ok(nics)
}

fn link(body: &[u8]) -> Option<Nic> {
    let device = number16(body, 2)?;
    let index = number32(body, 4)?;
    let flags = number32(body, 8)?;
    if device != ETHERNET || flags & libc::IFF_LOOPBACK as u32 != 0 {
        return None;
    }
    let (mut name, mut mac, mut permanent, mut kind) = (None, None, None, None);
    let (mut stacked_on, mut elsewhere) = (None, false);
    for (attribute, data) in attributes(body, LINK) {
        match attribute {
            libc::IFLA_IFNAME => name = text(data),
            libc::IFLA_ADDRESS => mac = <[u8; 6]>::try_from(data).ok().map(Mac),
            IFLA_PERM_ADDRESS => permanent = <[u8; 6]>::try_from(data).ok().map(Mac),
            libc::IFLA_LINK => stacked_on = number32(data, 0),
            libc::IFLA_LINK_NETNSID => elsewhere = true,
            libc::IFLA_LINKINFO => {
                kind = attributes(data, 0)
                    .find(|(a, _)| *a == IFLA_INFO_KIND)
                    .and_then(|(_, d)| text(d));
            }
            _ => {}
        }
    }
    // A veth whose other end is in this namespace names that end; it stands on nothing.
    let peer = kind.as_deref() == Some("veth");
    let stacked = stacked_on.is_some_and(|on| on != 0 && on != index) && !elsewhere && !peer;
    let up = flags & libc::IFF_UP as u32 != 0;
    Some(Nic { index, name: name?, mac: mac?, permanent, up, kind, stacked })
}

fn text(data: &[u8]) -> Option<String> {
    let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    String::from_utf8(data[..end].to_vec()).ok()
}

/// Reads interfaces, and the addresses and main-table routes of those for which `wanted` says so.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn read(wanted: impl Fn(&str) -> bool) -> Result<State, KernelError> {
    let mut socket = Socket::open().map_err(KernelError::io("open a netlink socket"))?;
    let mut nics = links(&mut socket)?;
    nics.retain(|nic| wanted(&nic.name));
    let mut state = State { nics, ..State::default() };
    let known: Vec<u32> = state.nics.iter().map(|nic| nic.index).collect();
    socket
        .dump(libc::RTM_GETADDR, &[0; ADDRESS], |message| {
            if message.kind == libc::RTM_NEWADDR {
                let found = one_address(message.body).filter(|a| known.contains(&a.index));
                state.addresses.extend(found);
            }
        })
        .map_err(KernelError::io("list addresses"))?;
    socket
        .dump(libc::RTM_GETROUTE, &[0; ROUTE], |message| {
            if message.kind == libc::RTM_NEWROUTE {
                for route in routes(message.body) {
                    // A router may have a million of them: only ours are kept.
                    if known.contains(&route.index) {
                        state.routes.push(route);
                    }
                }
            }
        })
        .map_err(KernelError::io("list routes"))?;
    Ok(state)
}

fn one_address(body: &[u8]) -> Option<Address> {
    let (length, scope) = (*body.get(1)?, *body.get(3)?);
    let index = number32(body, 4)?;
    let mut flags = u32::from(*body.get(2)?);
    let (mut local, mut other) = (None, None);
    for (attribute, data) in attributes(body, ADDRESS) {
        match attribute {
            libc::IFA_LOCAL => local = address(data),
            libc::IFA_ADDRESS => other = address(data),
            IFA_FLAGS => flags = number32(data, 0)?,
            _ => {}
        }
    }
    Some(Address {
        index,
        net: IpNet::new(local.or(other)?, length).ok()?,
        global: scope < libc::RT_SCOPE_LINK,
        permanent: flags & libc::IFA_F_PERMANENT != 0,
        duplicate: flags & libc::IFA_F_DADFAILED != 0,
    })
}

fn routes(body: &[u8]) -> Vec<RouteEntry> {
    let byte = |at: usize| body.get(at).copied().unwrap_or_default();
    let (family, length, table, kind) = (byte(0), byte(1), byte(4), byte(7));
    if table != libc::RT_TABLE_MAIN || kind != libc::RTN_UNICAST {
        return Vec::new();
    }
    let mut destination = match i32::from(family) {
        libc::AF_INET => IpNet::V4(ipnet::Ipv4Net::default()),
        libc::AF_INET6 => IpNet::V6(ipnet::Ipv6Net::default()),
        _ => return Vec::new(),
    };
    let (mut gateway, mut index, mut hops) = (None, None, Vec::new());
    for (attribute, data) in attributes(body, ROUTE) {
        match attribute {
            libc::RTA_DST => {
                if let Some(net) = address(data).and_then(|a| IpNet::new(a, length).ok()) {
                    destination = net;
                }
            }
            libc::RTA_GATEWAY => gateway = address(data),
            RTA_VIA => gateway = data.get(2..).and_then(address),
            libc::RTA_OIF => index = number32(data, 0),
            RTA_MULTIPATH => hops = next_hops(data),
            _ => {}
        }
    }
    if let Some(index) = index {
        hops.push((index, gateway));
    }
    hops.into_iter().map(|(index, gateway)| RouteEntry { destination, gateway, index }).collect()
}

/// The hops of a route with several: `struct rtnexthop` with attributes, one after the other.
fn next_hops(mut data: &[u8]) -> Vec<(u32, Option<IpAddr>)> {
    let mut hops = Vec::new();
    while let (Some(length), Some(index)) = (number16(data, 0), number32(data, 4)) {
        let length = usize::from(length);
        if length < 8 || length > data.len() {
            break;
        }
        let gateway = attributes(&data[..length], 8)
            .find(|(attribute, _)| *attribute == libc::RTA_GATEWAY)
            .and_then(|(_, data)| address(data));
        hops.push((index, gateway));
        data = data.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

/// What is wanted and not there, one sentence each.
pub fn differences(interfaces: &[Interface], state: &State) -> Vec<String> {
    let mut missing = Vec::new();
    for interface in interfaces {
        let name = &interface.name;
        let Some(nic) = state.nics.iter().find(|nic| nic.name == *name) else {
            missing.push(format!("interface {name} is gone"));
            continue;
        };
        if !nic.up && interface.config.addresses().next().is_some() {
            missing.push(format!("{name} is down"));
        }
        for net in interface.config.addresses() {
            match state.addresses.iter().find(|a| a.index == nic.index && a.net == net) {
                None => missing.push(format!("{name} has no address {net}")),
                Some(found) if found.duplicate => {
                    missing.push(format!("another machine has the address {net} of {name}"));
                }
                Some(_) => {}
            }
        }
        for Route { destination, gateway } in interface.config.all_routes() {
            let there = state.routes.iter().any(|route| {
                route.index == nic.index
                    && route.destination == destination
                    && route.gateway == Some(gateway)
            });
            if !there {
                missing.push(format!("{name} has no route to {destination} by {gateway}"));
            }
        }
    }
    missing
}

impl State {
    /// Lasting addresses of an interface that its description does not name. Those a DHCP server or a router gave are
    /// left out where the description asks for them.
    pub fn surplus(&self, interface: &Interface) -> Vec<IpNet> {
        let Some(nic) = self.nics.iter().find(|nic| nic.name == interface.name) else {
            return Vec::new();
        };
        let config = &interface.config;
        let wanted: Vec<IpNet> = config.addresses().collect();
        let own = self.addresses.iter().filter(|a| a.index == nic.index && a.global && a.permanent);
        own.map(|address| address.net)
            .filter(|net| !wanted.contains(net))
            .filter(|net| match net {
                IpNet::V4(_) => !config.dhcp4,
                IpNet::V6(_) => !config.dhcp6 && !config.accept_ra,
            })
            .collect()
    }
}
