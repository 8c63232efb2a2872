//! The requests of rtnetlink this crate makes.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use ipnet::IpNet;

use super::{Batch, Message};
use crate::{Mac, Ns, Route};

/// `RTM_NEWLINKPROP` of `linux/rtnetlink.h`, since Linux 5.5.
const NEW_LINK_PROPERTY: u16 = 108;
const DELETE_LINK_PROPERTY: u16 = 109;
pub(crate) const IFF_UP: u32 = libc::IFF_UP as u32;

/// `struct ifinfomsg`.
pub(crate) fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

/// Begins the making of an interface. `CREATE | EXCL`: never takes over an existing one.
pub(crate) fn create_link<'a>(batch: &'a mut Batch, name: &str, what: String) -> Message<'a> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = batch.message(libc::RTM_NEWLINK, flags, &link_header(0, 0, 0), what);
    message.text(libc::IFLA_IFNAME, name);
    message
}

/// Begins a change of an existing interface found by name.
pub(crate) fn set_link<'a>(
    batch: &'a mut Batch,
    name: &str,
    up: Option<bool>,
    what: impl Into<String>,
) -> Message<'a> {
    let flags = if up == Some(true) { IFF_UP } else { 0 };
    let change = if up.is_some() { IFF_UP } else { 0 };
    let mut message = batch.message(libc::RTM_NEWLINK, 0, &link_header(0, flags, change), what);
    message.text(libc::IFLA_IFNAME, name);
    message
}

pub(crate) fn delete_link(batch: &mut Batch, name: &str) {
    batch
        .message(libc::RTM_DELLINK, 0, &link_header(0, 0, 0), format!("remove interface `{name}`"))
        .text(libc::IFLA_IFNAME, name)
        .tolerate(&[libc::ENODEV]);
}

pub(crate) fn loopback_up(batch: &mut Batch) {
    // Loopback is the first interface of every namespace.
    let header = link_header(1, IFF_UP, IFF_UP);
    batch.message(libc::RTM_NEWLINK, 0, &header, "take the loopback interface up");
}

pub(crate) fn alternative_name(batch: &mut Batch, name: &str, alternative: &str) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_APPEND;
    let what = format!("give interface `{name}` its long name `{alternative}`");
    batch
        .message(NEW_LINK_PROPERTY, flags, &link_header(0, 0, 0), what)
        .text(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_PROP_LIST, |list| {
            list.text(libc::IFLA_ALT_IFNAME, alternative);
        })
        // A kernel that does not want the name as an alternative one (or has none) still has the interface under its short
        // name, and the topology keeps the long one.
        .tolerate(&[libc::EINVAL, libc::EOPNOTSUPP, libc::EEXIST]);
}

/// Forgets which Ethernet address an address was last seen with.
pub(crate) fn forget_neighbour(batch: &mut Batch, index: u32, address: IpAddr) {
    const NDA_DST: u16 = 1; // linux/neighbour.h
    // struct ndmsg: family, index, state, flags, type.
    let mut header = [0; 12];
    header[0] = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    batch
        .message(libc::RTM_DELNEIGH, 0, &header, format!("forget the neighbour `{address}`"))
        .bytes(NDA_DST, &octets(address))
        .tolerate(&[libc::ENOENT]);
}

/// Takes an alternative name from an interface.
pub(crate) fn remove_alternative_name(batch: &mut Batch, name: &str, alternative: &str) {
    let what = format!("take the name `{alternative}` from interface `{name}`");
    batch
        .message(DELETE_LINK_PROPERTY, 0, &link_header(0, 0, 0), what)
        .text(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_PROP_LIST, |list| {
            list.text(libc::IFLA_ALT_IFNAME, alternative);
        });
}

impl Message<'_> {
    pub(crate) fn mac(&mut self, mac: Option<Mac>) -> &mut Self {
        if let Some(mac) = mac {
            self.bytes(libc::IFLA_ADDRESS, &mac.0);
        }
        self
    }

    /// One queue in each direction, which is all that a veth uses unless it is told otherwise. Left to itself the kernel
    /// makes one for each processor, takes all but one out of use again, and waits for all processors each time.
    pub(crate) fn one_queue(&mut self) -> &mut Self {
        self.u32(libc::IFLA_NUM_TX_QUEUES, 1).u32(libc::IFLA_NUM_RX_QUEUES, 1)
    }

    pub(crate) fn mtu(&mut self, mtu: Option<u32>) -> &mut Self {
        if let Some(mtu) = mtu {
            self.u32(libc::IFLA_MTU, mtu);
        }
        self
    }

    /// The namespace the interface is for.
    pub(crate) fn namespace(&mut self, ns: &Ns) -> &mut Self {
        self.u32(libc::IFLA_NET_NS_FD, ns.as_fd().as_raw_fd() as u32)
    }

    /// No link-local IPv6 address: a bridge port or a bridge the host takes no part in must say nothing of its own.
    pub(crate) fn no_link_local(&mut self) -> &mut Self {
        const ADDR_GEN_MODE: u16 = 8; // IFLA_INET6_ADDR_GEN_MODE
        const NONE: u8 = 1; // IN6_ADDR_GEN_MODE_NONE
        self.nest(libc::IFLA_AF_SPEC, |families| {
            families.nest(libc::AF_INET6 as u16, |inet6| {
                inet6.u8(ADDR_GEN_MODE, NONE);
            });
        })
    }
}

/// Octets of an address, in network byte order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// Adds an address; one that is there already is success.
pub(crate) fn add_address(batch: &mut Batch, index: u32, net: IpNet, what: String) {
    address(batch, libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, index, net, what)
        .tolerate(&[libc::EEXIST]);
}

pub(crate) fn remove_address(batch: &mut Batch, index: u32, net: IpNet, what: String) {
    address(batch, libc::RTM_DELADDR, 0, index, net, what).tolerate(&[libc::EADDRNOTAVAIL]);
}

fn address(
    batch: &mut Batch,
    kind: u16,
    flags: i32,
    index: u32,
    net: IpNet,
    what: String,
) -> Message<'_> {
    // struct ifaddrmsg: family, prefix, flags, scope, index. The flag means nothing to IPv4.
    let mut header = [family(net.addr()), net.prefix_len(), libc::IFA_F_NODAD as u8, 0, 0, 0, 0, 0];
    if net.addr().is_loopback() {
        header[3] = libc::RT_SCOPE_HOST;
    }
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let octets = octets(net.addr());
    let mut message = batch.message(kind, flags, &header, what);
    message.bytes(libc::IFA_LOCAL, &octets).bytes(libc::IFA_ADDRESS, &octets);
    message
}

/// Adds a route, or replaces the one to the same destination with the same metric.
pub(crate) fn set_route(batch: &mut Batch, index: u32, route: &Route, what: String) {
    let to = route.to.network();
    // A next hop of the other family has an attribute of its own (RFC 8950).
    let foreign = route.via.is_some_and(|via| via.is_ipv4() != to.is_ipv4());
    let scope = match route.via {
        None if to.is_ipv4() => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
    let mut header = [0; 12];
    header[0] = family(to);
    header[1] = route.to.prefix_len();
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_STATIC;
    header[6] = scope;
    header[7] = libc::RTN_UNICAST;
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut message = batch.message(libc::RTM_NEWROUTE, flags, &header, what);
    message.u32(libc::RTA_OIF, index);
    if route.to.prefix_len() > 0 {
        message.bytes(libc::RTA_DST, &octets(to));
    }
    match route.via {
        Some(via) if foreign => {
            let mut value = u16::from(family(via)).to_ne_bytes().to_vec();
            value.extend(octets(via));
            message.bytes(libc::RTA_VIA, &value);
        }
        Some(via) => {
            message.bytes(libc::RTA_GATEWAY, &octets(via));
        }
        None => {}
    }
    if let Some(metric) = route.metric {
        message.u32(libc::RTA_PRIORITY, metric);
    }
}

/// Asks for all of something.
pub(crate) fn dump(kind: u16, header: &[u8]) -> Batch {
    let mut batch = Batch::question();
    batch.message(kind, libc::NLM_F_DUMP, header, "list");
    batch
}
