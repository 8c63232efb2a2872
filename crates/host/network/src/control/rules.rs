//! The `inet` table of a lab: forwards, translation, isolation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::forward::MAPS;
use super::{BRIDGE_PREFIX, Control, ControlSpec, FORWARD_HOOK, METADATA, METADATA_PORT};
use crate::nft::{
    Chain, Family, Field, Hook, Rule, Transaction, Verdict, concat, ct_state, ct_status,
    fib_is_local, interface_value, meta, nfproto, payload,
};

/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`.
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
/// `IPS_DST_NAT`.
const TRANSLATED: u32 = 1 << 5;
const LOOPBACK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));

/// Chains by name: type, hook number (`NF_INET_*`), priority.
const CHAINS: [(&str, &str, u32, i32); 5] = [
    // Before connection tracking.
    ("martians", "filter", 0, -300),
    ("prerouting", "nat", 0, -100),
    ("output", "nat", 3, -100),
    ("forward", "filter", FORWARD_HOOK, 0),
    ("postrouting", "nat", 4, 100),
];

/// Writes the table, or brings an existing one to `spec`; the elements of its maps stay.
pub(super) fn write(
    transaction: &mut Transaction,
    control: &Control,
    spec: &ControlSpec,
    mark: &str,
) {
    let table = control.table.as_str();
    let family = Family::Inet;
    transaction.table(family, table, mark);
    for (number, map) in MAPS.into_iter().enumerate() {
        transaction.set(family, table, map, number as u32 + 1);
    }
    for (name, kind, number, priority) in CHAINS {
        let hook = Hook { kind, number, priority, drop: false, device: None };
        transaction.chain(family, table, Chain { name, hook: Some(hook) });
        transaction.flush_chain(family, table, name);
    }
    let mut add = |chain, rule: Rule| transaction.rule(family, table, chain, &rule);

    let bridge = interface_value(&control.bridge);
    let from_lab = |rule: Rule| rule.equal(&meta::input_name(), &bridge);
    let to_lab = |rule: Rule| rule.equal(&meta::output_name(), &bridge);

    // A node must not reach the host's loopback addresses, which the bridge would route for the host's own forwards.
    let martian = from_lab(ip(LOOPBACK.addr()));
    add("martians", martian.within(&payload::ip4_destination(), LOOPBACK).then(Verdict::Drop));

    if let Some(IpAddr::V4(gateway)) = spec.gateways.iter().map(IpNet::addr).find(IpAddr::is_ipv4) {
        const TCP: [u8; 1] = [libc::IPPROTO_TCP as u8];
        let asked = from_lab(ip(gateway.into()))
            .equal(&payload::ip4_destination(), &METADATA.octets())
            .equal(&meta::transport(), &TCP)
            .equal(&payload::destination_port(), &80u16.to_be_bytes());
        add("prerouting", asked.translate_to(gateway, METADATA_PORT));
    }
    for chain in ["prerouting", "output"] {
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
            let (to_any, to_one) =
                if any.is_ipv4() { (&MAPS[0], &MAPS[1]) } else { (&MAPS[2], &MAPS[3]) };
            let service = [meta::transport(), payload::destination_port()];
            let at_address = concat([destination(any)].into_iter().chain(service.clone()));
            add(chain, ip(any).translate_by(&at_address, to_one.name, any));
            let mut rule = ip(any);
            if any.is_ipv6() {
                rule = rule.differs(&destination(any), &Ipv6Addr::LOCALHOST.octets());
            }
            rule = fib_is_local(rule);
            add(chain, rule.translate_by(&concat(service), to_any.name, any));
        }
    }

    let accept = |rule: Rule| rule.then(Verdict::Accept);
    add("forward", accept(to_lab(Rule::new()).has_bits(&ct_state(), ESTABLISHED_OR_RELATED)));
    add("forward", accept(to_lab(Rule::new()).has_bits(&ct_status(), TRANSLATED)));
    add("forward", accept(from_lab(to_lab(Rule::new()))));
    let other_lab = to_lab(Rule::new()).equal(&meta::input_name(), BRIDGE_PREFIX.as_bytes());
    add("forward", other_lab.counted().then(Verdict::Drop));
    if !spec.external_access {
        add("forward", to_lab(Rule::new()).counted().then(Verdict::Drop));
    }
    add("forward", accept(from_lab(Rule::new())));

    // The host's own connections to 127.0.0.1: the node must see an address it can answer.
    let from_loopback = to_lab(ip(LOOPBACK.addr())).within(&payload::ip4_source(), LOOPBACK);
    add("postrouting", from_loopback.masquerade());
    for gateway in &spec.gateways {
        let inside = |rule: Rule| rule.within(&source(gateway.addr()), *gateway);
        // A node that uses a forward of its own lab: the answer must come back this way.
        let hairpin = to_lab(inside(ip(gateway.addr()))).has_bits(&ct_status(), TRANSLATED);
        add("postrouting", hairpin.masquerade());
        if spec.nat {
            let outward = inside(ip(gateway.addr())).differs(&meta::output_name(), &bridge);
            add("postrouting", outward.masquerade());
        }
    }
}

/// A rule for packets of the family of `address`.
fn ip(address: IpAddr) -> Rule {
    Rule::new().equal(&meta::family(), &[nfproto(address)])
}

fn source(address: IpAddr) -> Field {
    if address.is_ipv4() { payload::ip4_source() } else { payload::ip6_source() }
}

fn destination(address: IpAddr) -> Field {
    if address.is_ipv4() { payload::ip4_destination() } else { payload::ip6_destination() }
}
