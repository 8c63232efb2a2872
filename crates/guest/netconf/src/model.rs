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

/// The addresses, routes and servers of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
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
