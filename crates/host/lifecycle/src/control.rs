//! Addresses of the control network: a subnet for each lab, an address for each node.
//!
//! Pure: what is taken on this machine is given, nothing is asked of the kernel.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A lab's control network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Bridge on the host.
    pub bridge: String,
    /// Name of the bridge beside that one, as the topology gives it.
    #[serde(default)]
    pub alias: Option<String>,
    pub ipv4: Option<Ipv4Net>,
    pub ipv4_gateway: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Net>,
    pub ipv6_gateway: Option<Ipv6Addr>,
    pub mtu: u32,
    /// Masquerade towards outside.
    pub external: bool,
}

/// What the topology says of one family's subnet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subnet<N> {
    /// The family is not wanted there.
    Without,
    /// Any that is free.
    #[default]
    Free,
    Fixed(N),
}

/// What the topology says of the control network.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub ipv4: Subnet<Ipv4Net>,
    pub ipv4_gateway: Option<Ipv4Addr>,
    pub ipv6: Subnet<Ipv6Net>,
    pub ipv6_gateway: Option<Ipv6Addr>,
    pub mtu: Option<u32>,
    pub external: bool,
}

/// Chooses the subnets of a lab of `nodes` nodes. `taken` are the subnets of other labs and the addresses
/// and routes of this machine; a wish that overlaps one of them is refused, a free choice avoids them.
pub fn choose(
    lab: &str,
    bridge: String,
    wanted: &Wanted,
    nodes: usize,
    taken: &[(IpNet, String)],
) -> Result<Control> {
    let overlaps = |net: IpNet| {
        taken
            .iter()
            .find(|(other, _)| other.contains(&net) || net.contains(other))
            .map(|(other, owner)| format!("`{other}` of {owner}"))
    };
    let refuse = |net: IpNet, key: &str| match overlaps(net) {
        Some(other) => {
            Err(Error::conflict(format!("control network `{net}` of lab `{lab}` overlaps {other}"))
                .hint(format!("leave out `{key}` (or write `auto`) and a free one is chosen")))
        }
        None => Ok(()),
    };
    let full = || {
        Error::conflict(format!("no free control network for the {nodes} nodes of lab `{lab}`"))
            .hint("give `mgmt: {ipv4-subnet: ...}` in the topology")
    };
    let ipv4 = match wanted.ipv4 {
        Subnet::Without => None,
        Subnet::Fixed(net) => {
            refuse(IpNet::V4(net), "ipv4-subnet")?;
            Some(net)
        }
        Subnet::Free => {
            Some(free_ipv4(nodes, |net| overlaps(IpNet::V4(net)).is_none()).ok_or_else(full)?)
        }
    };
    let ipv6 = match wanted.ipv6 {
        Subnet::Without => None,
        Subnet::Fixed(net) => {
            refuse(IpNet::V6(net), "ipv6-subnet")?;
            Some(net)
        }
        Subnet::Free => {
            let beside = ipv4.map(ipv6_of).filter(|net| overlaps(IpNet::V6(*net)).is_none());
            let any = || {
                (20..=255)
                    .map(|octet| ipv6_of(Ipv4Net::new_assert(Ipv4Addr::new(172, 20, octet, 0), 24)))
                    .find(|net| overlaps(IpNet::V6(*net)).is_none())
            };
            Some(beside.or_else(any).ok_or_else(full)?)
        }
    };
    let ipv4_gateway = match (wanted.ipv4_gateway, ipv4) {
        (Some(address), Some(net)) if !net.contains(&address) => {
            return Err(Error::usage(format!("gateway `{address}` is not in `{net}`")));
        }
        (Some(address), Some(_)) => Some(address),
        (None, Some(net)) => Some(Ipv4Addr::from(u32::from(net.network()) + 1)),
        (_, None) => None,
    };
    let ipv6_gateway = match (wanted.ipv6_gateway, ipv6) {
        (Some(address), Some(net)) if !net.contains(&address) => {
            return Err(Error::usage(format!("gateway `{address}` is not in `{net}`")));
        }
        (Some(address), Some(_)) => Some(address),
        (None, Some(net)) => Some(Ipv6Addr::from(u128::from(net.network()) + 1)),
        (_, None) => None,
    };
    Ok(Control {
        bridge,
        alias: None,
        ipv4,
        ipv4_gateway,
        ipv6,
        ipv6_gateway,
        mtu: wanted.mtu.unwrap_or(1500),
        external: wanted.external,
    })
}

/// First free subnet at or after containerlab's 172.20.20.0/24 that holds `nodes` and a gateway.
fn free_ipv4(nodes: usize, free: impl Fn(Ipv4Net) -> bool) -> Option<Ipv4Net> {
    let needed = nodes as u64 + 3;
    let prefix = (8..=24).rev().find(|prefix| 1u64 << (32 - prefix) >= needed)?;
    let step = 1u32 << (32 - prefix);
    let first = u32::from(Ipv4Addr::new(172, 20, 20, 0)).next_multiple_of(step);
    let last = u32::from(Ipv4Addr::new(172, 31, 255, 255));
    (first..=last)
        .step_by(step as usize)
        .map(|network| Ipv4Net::new_assert(Ipv4Addr::from(network), prefix))
        .find(|net| free(*net))
}

/// 172.20.21.0/24 goes with 3fff:172:20:21::/64, as containerlab's own pair does.
fn ipv6_of(net: Ipv4Net) -> Ipv6Net {
    let octets = net.network().octets();
    // The decimal digits of an octet written as a hexadecimal group.
    let group = |octet: u8| {
        let octet = u16::from(octet);
        ((octet / 100) << 8) | ((octet / 10 % 10) << 4) | (octet % 10)
    };
    let address =
        Ipv6Addr::new(0x3fff, group(octets[0]), group(octets[1]), group(octets[2]), 0, 0, 0, 0);
    Ipv6Net::new_assert(address, 64)
}

/// Hands out the addresses of one control network: the nodes' own wishes first, then the next free ones.
#[derive(Debug)]
pub struct Pool {
    ipv4: Option<Ipv4Net>,
    ipv6: Option<Ipv6Net>,
    /// Part of the subnet that addresses are given out from.
    range4: Option<Ipv4Net>,
    range6: Option<Ipv6Net>,
    used: HashSet<IpAddr>,
    next4: u32,
    next6: u128,
}

impl Pool {
    /// Addresses are given out from the ranges, or from all of the subnets.
    pub fn new(control: &Control, range4: Option<Ipv4Net>, range6: Option<Ipv6Net>) -> Self {
        let mut used = HashSet::new();
        used.extend(control.ipv4_gateway.map(IpAddr::V4));
        used.extend(control.ipv6_gateway.map(IpAddr::V6));
        used.extend(control.ipv4.map(|net| IpAddr::V4(net.broadcast())));
        Self {
            ipv4: control.ipv4,
            ipv6: control.ipv6,
            range4,
            range6,
            used,
            // The network's own address and the gateway come first in a subnet, not in a range of it.
            next4: if range4.is_some() { 0 } else { 2 },
            next6: if range6.is_some() { 0 } else { 2 },
        }
    }

    /// Marks an address as taken; refused when it is already, or lies outside.
    pub fn take(&mut self, node: &str, address: IpAddr) -> Result<()> {
        let inside = match address {
            IpAddr::V4(v4) => self.ipv4.is_some_and(|net| net.contains(&v4)),
            IpAddr::V6(v6) => self.ipv6.is_some_and(|net| net.contains(&v6)),
        };
        if !inside {
            return Err(Error::usage(format!(
                "control address `{address}` of node `{node}` is not in the control network"
            )));
        }
        if !self.used.insert(address) {
            return Err(Error::usage(format!(
                "control address `{address}` of node `{node}` is taken"
            )));
        }
        Ok(())
    }

    pub fn next_ipv4(&mut self) -> Result<Option<Ipv4Addr>> {
        let Some(subnet) = self.ipv4 else { return Ok(None) };
        let net = self.range4.unwrap_or(subnet);
        loop {
            let address = Ipv4Addr::from(u32::from(net.network()).saturating_add(self.next4));
            if !net.contains(&address) || address == subnet.broadcast() {
                return Err(Error::conflict(format!("control network `{net}` is full")));
            }
            self.next4 += 1;
            if self.used.insert(IpAddr::V4(address)) {
                return Ok(Some(address));
            }
        }
    }

    pub fn next_ipv6(&mut self) -> Result<Option<Ipv6Addr>> {
        let Some(subnet) = self.ipv6 else { return Ok(None) };
        let net = self.range6.unwrap_or(subnet);
        loop {
            let address = Ipv6Addr::from(u128::from(net.network()).saturating_add(self.next6));
            if !net.contains(&address) {
                return Err(Error::conflict(format!("control network `{net}` is full")));
            }
            self.next6 += 1;
            if self.used.insert(IpAddr::V6(address)) {
                return Ok(Some(address));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted { external: true, ..Wanted::default() }
    }

    #[test]
    fn the_first_lab_gets_containerlabs_own_subnets() {
        let control = choose("a", "br".into(), &wanted(), 4, &[]).unwrap();
        assert_eq!(control.ipv4.unwrap().to_string(), "172.20.20.0/24");
        assert_eq!(control.ipv6.unwrap().to_string(), "3fff:172:20:20::/64");
        assert_eq!(control.ipv4_gateway.unwrap().to_string(), "172.20.20.1");
    }

    #[test]
    fn the_second_lab_gets_the_next_one_and_a_wish_that_overlaps_is_refused() {
        let taken = vec![("172.20.20.0/24".parse().unwrap(), "lab `a`".to_owned())];
        let control = choose("b", "br".into(), &wanted(), 4, &taken).unwrap();
        assert_eq!(control.ipv4.unwrap().to_string(), "172.20.21.0/24");
        let wish = Wanted { ipv4: Subnet::Fixed("172.20.20.128/25".parse().unwrap()), ..wanted() };
        let error = choose("b", "br".into(), &wish, 4, &taken).unwrap_err();
        assert!(error.text.contains("lab `a`"), "{error}");
    }

    #[test]
    fn a_thousand_nodes_get_a_larger_subnet() {
        let control = choose("a", "br".into(), &wanted(), 1000, &[]).unwrap();
        assert_eq!(control.ipv4.unwrap().prefix_len(), 22);
    }

    #[test]
    fn t32_addresses_are_unique_and_wishes_come_first() {
        let control = choose("a", "br".into(), &wanted(), 4, &[]).unwrap();
        let mut pool = Pool::new(&control, None, None);
        pool.take("n", "172.20.20.2".parse().unwrap()).unwrap();
        assert!(pool.take("m", "172.20.20.2".parse().unwrap()).is_err());
        assert!(pool.take("m", "10.0.0.1".parse().unwrap()).is_err());
        assert_eq!(pool.next_ipv4().unwrap().unwrap().to_string(), "172.20.20.3");
        assert_eq!(pool.next_ipv6().unwrap().unwrap().to_string(), "3fff:172:20:20::2");
    }

    #[test]
    fn a_family_that_is_not_wanted_is_not_there() {
        let wish = Wanted { ipv4: Subnet::Without, ..wanted() };
        let control = choose("a", "br".into(), &wish, 4, &[]).unwrap();
        assert_eq!((control.ipv4, control.ipv4_gateway), (None, None));
        assert_eq!(control.ipv6.unwrap().to_string(), "3fff:172:20:20::/64");
    }

    #[test]
    fn a_range_bounds_what_is_given_out() {
        let control = choose("a", "br".into(), &wanted(), 4, &[]).unwrap();
        let range = Some("172.20.20.128/31".parse().unwrap());
        let mut pool = Pool::new(&control, range, None);
        assert_eq!(pool.next_ipv4().unwrap().unwrap().to_string(), "172.20.20.128");
        assert_eq!(pool.next_ipv4().unwrap().unwrap().to_string(), "172.20.20.129");
        assert!(pool.next_ipv4().unwrap_err().text.contains("full"));
    }
}
