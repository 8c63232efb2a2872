//! The `bridge` table of a lab: a node sends with its own addresses only, and plays neither router nor DHCP server (T-80).
//!
//! Only frames that come in by a port in the set `ports` are looked at; whatever is not permitted is dropped.

use std::net::IpAddr;

use super::ControlPort;
use crate::netlink::rtnl::octets;
use crate::nft::{
    self, Chain, Element, Family, Field, Hook, Rule, Set, Transaction, Verdict, concat,
    interface_value, meta, payload,
};
use crate::{Ns, Result};

const FAMILY: Family = Family::Bridge;
const CHAIN: &str = "guard";

/// Types as `nft` numbers them: interface name, Ethernet, IPv4 and IPv6 address.
const NAME: u32 = 41;
const ETHER: u32 = 9;
const IPV4: u32 = 7;
const IPV6: u32 = 8;

const PORTS: Set<'static> = set("ports", NAME, 16);
const MACS: Set<'static> = set("macs", NAME << 6 | ETHER, 24);
const IPS4: Set<'static> = set("ips4", NAME << 6 | IPV4, 20);
const IPS6: Set<'static> = set("ips6", NAME << 6 | IPV6, 32);
const SETS: [Set<'static>; 4] = [PORTS, MACS, IPS4, IPS6];

const fn set(name: &'static str, key_type: u32, key_length: u32) -> Set<'static> {
    Set { name, key_type, key_length, data: None }
}

/// Ethertypes, protocols, ports and message types the rules name.
const ARP: [u8; 2] = [0x08, 0x06];
const IP4: [u8; 2] = [0x08, 0x00];
const IP6: [u8; 2] = [0x86, 0xdd];
const UDP: [u8; 1] = [17];
const ICMP6: [u8; 1] = [58];
const DHCP_CLIENT: [u8; 2] = 68u16.to_be_bytes();
const DHCP_SERVER: [u8; 2] = 67u16.to_be_bytes();
const DHCP6_SERVER: [u8; 2] = 547u16.to_be_bytes();
const ROUTER_ADVERTISEMENT: [u8; 1] = [134];
const NEIGHBOUR_ADVERTISEMENT: [u8; 1] = [136];
const REDIRECT: [u8; 1] = [137];

/// Writes the table; the elements of an existing one stay.
pub(super) fn write(transaction: &mut Transaction, table: &str, mark: &str) {
    transaction.table(FAMILY, table, mark);
    for (number, set) in SETS.into_iter().enumerate() {
        transaction.set(FAMILY, table, set, number as u32 + 1);
    }
    // NF_BR_PRE_ROUTING, before anything translates.
    let hook = Hook { kind: "filter", number: 0, priority: -350, drop: false, device: None };
    transaction.chain(FAMILY, table, Chain { name: CHAIN, hook: Some(hook) });
    transaction.flush_chain(FAMILY, table, CHAIN);
    for rule in rules() {
        transaction.rule(FAMILY, table, CHAIN, &rule);
    }
}

fn rules() -> Vec<Rule> {
    let port_and = |field: Field| concat([meta::input_name(), field]);
    let ethertype = |value: &[u8]| Rule::new().equal(&meta::protocol(), value);
    let link_local = ipnet::IpNet::from(ipnet::Ipv6Net::new_assert(
        std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
    ));
    let icmp6 = |kind: &[u8]| {
        ethertype(&IP6).equal(&meta::transport(), &ICMP6).equal(&payload::icmp6_type(), kind)
    };
    let sent_from = |ethertype_value: &[u8], port: &[u8]| {
        ethertype(ethertype_value)
            .equal(&meta::transport(), &UDP)
            .equal(&payload::source_port(), port)
    };
    let drop = |rule: Rule| rule.counted().then(Verdict::Drop);
    let accept = |rule: Rule| rule.then(Verdict::Accept);
    let ip6_source = || payload::ip6_source();
    vec![
        accept(Rule::new().not_in_set(&meta::input_name(), PORTS.name)),
        drop(Rule::new().not_in_set(&port_and(payload::ether_source()), MACS.name)),
        // ARP: both of the sender's addresses are its own; an address of zero is a probe.
        drop(ethertype(&ARP).not_in_set(&port_and(payload::arp_source_mac()), MACS.name)),
        accept(ethertype(&ARP).in_set(&port_and(payload::arp_source_ip()), IPS4.name)),
        accept(ethertype(&ARP).equal(&payload::arp_source_ip(), &[0; 4])),
        drop(sent_from(&IP4, &DHCP_SERVER)),
        accept(ethertype(&IP4).in_set(&port_and(payload::ip4_source()), IPS4.name)),
        // Who asks for an address has none yet.
        accept(sent_from(&IP4, &DHCP_CLIENT).equal(&payload::ip4_source(), &[0; 4])),
        drop(sent_from(&IP6, &DHCP6_SERVER)),
        drop(icmp6(&ROUTER_ADVERTISEMENT)),
        drop(icmp6(&REDIRECT)),
        // Neighbour advertisements are IPv6's ARP answers: the address advertised is the node's own.
        drop(
            icmp6(&NEIGHBOUR_ADVERTISEMENT)
                .not_in_set(&port_and(payload::neighbour_target()), IPS6.name)
                .outside(&payload::neighbour_target(), link_local),
        ),
        accept(ethertype(&IP6).in_set(&port_and(ip6_source()), IPS6.name)),
        accept(ethertype(&IP6).within(&ip6_source(), link_local)),
        // The unspecified address: duplicate address detection, group membership.
        accept(ethertype(&IP6).equal(&ip6_source(), &[0; 16])),
        drop(Rule::new()),
    ]
}

fn key(port: &str, rest: &[u8]) -> Element {
    let mut key = interface_value(port).to_vec();
    key.extend_from_slice(rest);
    key.resize(key.len().next_multiple_of(4), 0);
    Element { key, data: None }
}

/// Elements of ports and their addresses, by set.
fn elements(ports: &[ControlPort]) -> [(Set<'static>, Vec<Element>); 4] {
    let addresses = |v4: bool| {
        ports
            .iter()
            .flat_map(|port| port.addresses.iter().map(move |address| (port, *address)))
            .filter(|(_, address): &(_, IpAddr)| address.is_ipv4() == v4)
            .map(|(port, address)| key(&port.port, &octets(address)))
            .collect()
    };
    [
        (MACS, ports.iter().map(|port| key(&port.port, &port.mac.0)).collect()),
        (IPS4, addresses(true)),
        (IPS6, addresses(false)),
        (PORTS, ports.iter().map(|port| key(&port.port, &[])).collect()),
    ]
}

/// Adds ports with their addresses.
pub(super) fn add(transaction: &mut Transaction, table: &str, ports: &[ControlPort]) {
    for (set, elements) in elements(ports) {
        transaction.add_elements(FAMILY, table, set.name, &elements);
    }
}

/// Removes what [`add`] added; all of it must be there.
pub(super) fn forget(transaction: &mut Transaction, table: &str, ports: &[ControlPort]) {
    for (set, elements) in elements(ports) {
        transaction.remove_elements(FAMILY, table, set.name, &elements);
    }
}

/// Removes whatever the sets hold about ports.
pub(super) fn remove(
    transaction: &mut Transaction,
    ns: &Ns,
    table: &str,
    ports: &[&str],
) -> Result<()> {
    let names: std::collections::HashSet<[u8; 16]> =
        ports.iter().map(|port| interface_value(port)).collect();
    for set in SETS {
        let elements: Vec<Element> = nft::elements(ns, FAMILY, table, set.name)?
            .into_iter()
            .filter(|(key, _)| key.first_chunk().is_some_and(|name| names.contains(name)))
            .map(|(key, _)| Element { key, data: None })
            .collect();
        transaction.remove_elements(FAMILY, table, set.name, &elements);
    }
    Ok(())
}
