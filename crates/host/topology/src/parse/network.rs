//! LANs: what each member gets of what is declared (`vnode-lifecycle` 3.2).

use std::collections::HashMap;
use std::net::IpAddr;

use vnode_protocol::impairment::Impairment;

use crate::keys;
use crate::model::{DEFAULT_MTU, Member, Network, Node};
use crate::parse::fields::{Fields, count, short, text};
use crate::parse::link::{mac, prefix};
use crate::parse::wiring::{Wiring, is_interface};
use crate::parse::{impair, is_name};
use crate::report::{At, Report};
use crate::yaml::{Entry, Node as Yaml, Value};

/// Reads `networks`.
pub(crate) fn read(
    entry: Option<&Entry>,
    nodes: &[Node],
    wiring: &mut Wiring<'_>,
    report: &mut Report<'_>,
) -> Vec<Network> {
    let Some(entry) = entry else { return Vec::new() };
    let Yaml::Map(entries) = &entry.value.node else {
        report.error_with(
            &entry.value.at,
            format!("`networks` is a map, not {}", entry.value.describe()),
            "write `lan0: {members: [\"a:eth1\", \"b:eth1\", \"c:eth1\"]}` below it",
        );
        return Vec::new();
    };
    entries.iter().map(|entry| network(entry, nodes, wiring, report)).collect()
}

fn network(
    entry: &Entry,
    nodes: &[Node],
    wiring: &mut Wiring<'_>,
    report: &mut Report<'_>,
) -> Network {
    if !is_name(&entry.key, 64) {
        report.error(&entry.key_at, format!("`{}` is no name for a network", short(&entry.key)));
    }
    let fields = Fields::read(&entry.value, "a network", keys::NETWORK, report);
    let impair = match fields.get("impair") {
        Some(entry) => impair::read(&Impairment::default(), &entry.value, report),
        None => Impairment::default(),
    };
    let mtu = fields
        .get("mtu")
        .and_then(|entry| count(&entry.value, "mtu", 68..=65_535, report))
        .and_then(|mtu| u32::try_from(mtu).ok())
        .unwrap_or(DEFAULT_MTU);
    let items: &[_] = match fields.get("members").map(|entry| &entry.value.node) {
        Some(Yaml::List(items)) => items,
        Some(_) | None => &[],
    };
    if items.is_empty() {
        report.error_with(
            &entry.key_at,
            format!("network `{}` has no members", short(&entry.key)),
            "write `members: [\"a:eth1\", \"b:eth1\"]`",
        );
    }
    let (to, from) = impair.halves();
    let mut members = Vec::with_capacity(items.len());
    let mut own_values = false;
    let mut addresses: HashMap<IpAddr, At> = HashMap::new();
    for item in items {
        let Some((member, changed)) = member(item, (&to, &from), nodes, wiring, report) else {
            continue;
        };
        let both =
            [member.ipv4.map(|n| IpAddr::V4(n.addr())), member.ipv6.map(|n| IpAddr::V6(n.addr()))];
        for address in both.into_iter().flatten() {
            if let Some(first) = addresses.insert(address, item.at.clone()) {
                let text =
                    format!("two members of network `{}` have the address {address}", entry.key);
                report.error_twice(&item.at, text, "the other one", &first);
            }
        }
        own_values |= changed;
        members.push(member);
    }
    // A LAN of two is a link: each member's whole way lies on what it sends.
    if let [first, second] = members.as_mut_slice() {
        for (to, from) in [(&first.to_lan, &second.from_lan), (&second.to_lan, &first.from_lan)] {
            if to.loss_model.is_some() && from.loss_model.is_some() {
                report.error_with(
                    &entry.key_at,
                    format!("two loss models lie on one way of network `{}`", short(&entry.key)),
                    "one interface holds one: give the way in or the way out a plain `loss`",
                );
            }
        }
        let ways = if own_values {
            (first.to_lan.compose(&second.from_lan), second.to_lan.compose(&first.from_lan))
        } else {
            (impair.clone(), impair.clone())
        };
        (first.to_lan, second.to_lan) = ways;
        first.from_lan = Impairment::default();
        second.from_lan = Impairment::default();
    }
    Network { name: entry.key.to_string(), members, mtu, impair, span: report.span(&entry.key_at) }
}

/// One member, and whether it has impairments of its own.
fn member(
    item: &Value,
    (to, from): (&Impairment, &Impairment),
    nodes: &[Node],
    wiring: &mut Wiring<'_>,
    report: &mut Report<'_>,
) -> Option<(Member, bool)> {
    let mut member = Member {
        to_lan: to.clone(),
        from_lan: from.clone(),
        span: report.span(&item.at),
        ..Member::default()
    };
    let mut changed = false;
    if let Yaml::Scalar { text, .. } = &item.node {
        let Some((node, interface)) = text.split_once(':') else {
            report.error_with(
                &item.at,
                format!("`{}` is no member", short(text)),
                "write `node:interface`",
            );
            return None;
        };
        member.node = node.trim().to_owned();
        member.interface = interface.trim().to_owned();
    } else {
        let fields = Fields::read(item, "a member", keys::MEMBER, report);
        let (Some(node), Some(interface)) = (fields.get("node"), fields.get("interface")) else {
            report.error_with(
                &item.at,
                "a member has a `node` and an `interface`",
                "write `{node: a, interface: eth1}`, or \"a:eth1\"",
            );
            return None;
        };
        member.node = text(&node.value, "node", report)?.to_owned();
        member.interface = text(&interface.value, "interface", report)?.to_owned();
        member.mac = fields.get("mac").and_then(|entry| {
            let mac = mac(entry, report)?;
            wiring.mac(mac, &entry.value.at, report);
            Some(mac)
        });
        member.ipv4 = fields.get("ipv4").and_then(|entry| prefix(&entry.value, "ipv4", report));
        member.ipv6 = fields.get("ipv6").and_then(|entry| prefix(&entry.value, "ipv6", report));
        if let Some(entry) = fields.get("impair") {
            changed = true;
            member.to_lan = impair::read(&member.to_lan, &entry.value, report);
            member.from_lan = impair::read(&member.from_lan, &entry.value, report);
            // The queue stands where the member sends; the other way takes its default.
            member.from_lan.queue = None;
        }
        if let Some(entry) = fields.get("to-lan") {
            changed = true;
            member.to_lan = impair::read(&member.to_lan, &entry.value, report);
        }
        if let Some(entry) = fields.get("from-lan") {
            changed = true;
            member.from_lan = impair::read(&member.from_lan, &entry.value, report);
        }
    }
    let Some(at) = wiring.node(&member.node) else {
        wiring.unknown(&member.node, &item.at, report);
        return None;
    };
    if nodes.get(at).is_some_and(|node| !node.kind.is_run()) {
        report.error_with(
            &item.at,
            format!("`{}` is no container and cannot be a member", short(&member.node)),
            "members of a LAN are interfaces of linux nodes; link a bridge of the host under `links`",
        );
        return None;
    }
    if !is_interface(&member.interface) {
        report
            .error(&item.at, format!("`{}` is no name for an interface", short(&member.interface)));
        return None;
    }
    wiring.take(&member.node, &member.interface, &item.at, report);
    Some((member, changed))
}
