//! What an interface shall be, in one form for all sources and all renderers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::address::Mac;

/// What the host or a seed asks for: a host name, and a description for each interface it cares about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The name to give the guest; without it the guest keeps its own.
    pub hostname: Option<String>,
    pub descriptions: Vec<Description>,
    /// What the source said and we left out, one sentence each.
    pub warnings: Vec<String>,
}

/// What one interface shall be, before it is known which one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What other descriptions of the same source call it; empty where none does.
    pub id: String,
    pub select: Select,
    pub config: Config,
}

/// How a description names its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    Mac(Mac),
    Name(String),
}

impl std::fmt::Display for Select {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Select::Mac(mac) => mac.fmt(f),
            Select::Name(name) => f.write_str(name),
        }
    }
}

/// What an interface is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A device of its own.
    #[default]
    Physical,
    Vlan(Vlan),
    Bond(Bond),
    Bridge(Bridge),
}

/// A VLAN on another interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    pub parent: String,
    /// 1 to 4094.
    pub tag: u16,
}

/// Several interfaces as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    pub members: Vec<String>,
    /// The kernel's word: `active-backup`, `802.3ad`.
    pub mode: String,
    /// How often the links are looked at, in milliseconds.
    pub look_ms: Option<u32>,
    /// The kernel's word for how packets are spread: `layer2`, `layer3+4`.
    pub hash: Option<String>,
    /// LACP messages every second instead of every 30 s.
    pub fast: bool,
    /// Its own address; without one it has that of its first member.
    pub mac: Option<Mac>,
}

/// A bridge with its ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    pub members: Vec<String>,
    /// The spanning tree protocol.
    pub stp: bool,
}

impl Kind {
    /// The interfaces it stands on, by name (in a description: by the id the source gives them).
    pub fn below(&self) -> &[String] {
        match self {
            Self::Physical => &[],
            Self::Vlan(vlan) => std::slice::from_ref(&vlan.parent),
            Self::Bond(bond) => &bond.members,
            Self::Bridge(bridge) => &bridge.members,
        }
    }

    pub(crate) fn below_mut(&mut self) -> &mut [String] {
        match self {
            Self::Physical => &mut [],
            Self::Vlan(vlan) => std::slice::from_mut(&mut vlan.parent),
            Self::Bond(bond) => &mut bond.members,
            Self::Bridge(bridge) => &mut bridge.members,
        }
    }

    /// The interfaces that have no addresses any more, because they are part of this one.
    pub fn members(&self) -> &[String] {
        if matches!(self, Self::Vlan(_)) { &[] } else { self.below() }
    }

    /// A word for texts; `None` for a device of its own.
    pub fn word(&self) -> Option<&'static str> {
        match self {
            Self::Physical => None,
            Self::Vlan(_) => Some("a VLAN"),
            Self::Bond(_) => Some("a bond"),
            Self::Bridge(_) => Some("a bridge"),
        }
    }
}

/// The addresses, routes and servers of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// What it is made of. Never set by `resetnetwork`.
    pub kind: Kind,
    /// Name of the network, for comments; one line of printable text.
    pub label: Option<String>,
    pub ip4s: Vec<Ipv4Net>,
    pub ip6s: Vec<Ipv6Net>,
    /// Default route.
    pub gateway4: Option<Ipv4Addr>,
    pub gateway6: Option<Ipv6Addr>,
    /// Further routes; a default route through the gateway above is not among them.
    pub routes: Vec<Route>,
    /// Name servers, in order of preference.
    pub dns: Vec<IpAddr>,
    /// Domains to search; names of RFC 1123 only.
    pub search: Vec<String>,
    /// Ask a DHCP server for IPv4. Never set by `resetnetwork`.
    pub dhcp4: bool,
    /// Ask a DHCP server for IPv6. Never set by `resetnetwork`.
    pub dhcp6: bool,
    /// Take addresses and routes from router advertisements. Never set by `resetnetwork`.
    pub accept_ra: bool,
    /// Largest packet in bytes; `None` leaves it.
    pub mtu_bytes: Option<u32>,
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to; no host bits are set.
    pub destination: IpNet,
    /// The next hop, of the same family.
    pub gateway: IpAddr,
}

/// A description bound to an interface of this guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    pub mac: Mac,
    /// The address was given by the device and not by software: it is safe to match by it.
    pub permanent_mac: bool,
    /// It was up when it was looked at.
    pub up: bool,
    pub config: Config,
}

impl Config {
    /// All wanted routes, the default ones first.
    pub fn all_routes(&self) -> impl Iterator<Item = Route> + '_ {
        let default4 = self.gateway4.map(|gateway| Route {
            destination: IpNet::V4(Ipv4Net::default()),
            gateway: gateway.into(),
        });
        let default6 = self.gateway6.map(|gateway| Route {
            destination: IpNet::V6(Ipv6Net::default()),
            gateway: gateway.into(),
        });
        default4.into_iter().chain(default6).chain(self.routes.iter().copied())
    }

    /// All addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.ip4s.iter().copied().map(IpNet::V4).chain(self.ip6s.iter().copied().map(IpNet::V6))
    }

    /// True when the kernel must be told that the gateway is reachable directly, because no prefix of the interface holds
    /// it. A link-local gateway is reachable by itself.
    pub fn on_link(&self, gateway: IpAddr) -> bool {
        match gateway {
            IpAddr::V4(gateway) => !self.dhcp4 && !self.ip4s.iter().any(|n| n.contains(&gateway)),
            IpAddr::V6(gateway) => {
                !gateway.is_unicast_link_local()
                    && !self.dhcp6
                    && !self.accept_ra
                    && !self.ip6s.iter().any(|n| n.contains(&gateway))
            }
        }
    }

    /// The routes of one family, in their order.
    pub fn routes4(&self) -> impl Iterator<Item = (Ipv4Net, Ipv4Addr)> + '_ {
        self.routes.iter().filter_map(|route| match (route.destination, route.gateway) {
            (IpNet::V4(destination), IpAddr::V4(gateway)) => Some((destination, gateway)),
            _ => None,
        })
    }

    /// The routes of one family, in their order.
    pub fn routes6(&self) -> impl Iterator<Item = (Ipv6Net, Ipv6Addr)> + '_ {
        self.routes.iter().filter_map(|route| match (route.destination, route.gateway) {
            (IpNet::V6(destination), IpAddr::V6(gateway)) => Some((destination, gateway)),
            _ => None,
        })
    }

    /// Drops default routes that say again what the gateways say, and repeated addresses and routes.
    pub(crate) fn tidy(&mut self) {
        let gateways = [self.gateway4.map(IpAddr::V4), self.gateway6.map(IpAddr::V6)];
        let mut kept: Vec<Route> = Vec::with_capacity(self.routes.len());
        for route in self.routes.drain(..) {
            let again =
                route.destination.prefix_len() == 0 && gateways.contains(&Some(route.gateway));
            if !again && !kept.contains(&route) {
                kept.push(route);
            }
        }
        self.routes = kept;
        unique(&mut self.ip4s);
        unique(&mut self.ip6s);
        unique(&mut self.dns);
        unique(&mut self.search);
    }
}

/// Drops what stands earlier in the list already.
pub(crate) fn unique<T: PartialEq>(list: &mut Vec<T>) {
    let mut at = 0;
    while at < list.len() {
        if list[..at].contains(&list[at]) {
            list.remove(at);
        } else {
            at += 1;
        }
    }
}
