//! What can be checked only when all nodes are known.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::model::{Mgmt, NetworkMode, Node, PidMode, Port, PortProtocol};
use crate::parse::node::Places;
use crate::report::{At, Report};

/// Resolves `network-mode: container:<name>` and `pid-mode: container:<name>` to nodes of the lab where it can.
pub(crate) fn shared_namespaces(
    nodes: &mut [Node],
    places: &[Places],
    full_name: &dyn Fn(&str) -> String,
    report: &mut Report<'_>,
) {
    let mut index: HashMap<String, usize> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        index.insert(full_name(&node.name), at);
    }
    for (at, node) in nodes.iter().enumerate() {
        index.insert(node.name.clone(), at);
    }
    pid_modes(nodes, places, &index, report);
    for at in 0..nodes.len() {
        let NetworkMode::Container(name) = &nodes[at].network_mode else { continue };
        let place = places[at].network_mode.clone().unwrap_or(places[at].name.clone());
        match index.get(name) {
            Some(other) if *other == at => {
                report.error(
                    &place,
                    format!("node `{}` cannot share its own network", nodes[at].name),
                );
            }
            Some(other) if !nodes[*other].kind.is_run() => {
                report.error(
                    &place,
                    format!("`{name}` is no container whose network could be shared"),
                );
            }
            Some(other) => nodes[at].network_mode = NetworkMode::Node(nodes[*other].name.clone()),
            None => report.warn_with(
                &place,
                format!("`{name}` is no node of this lab"),
                "nodes share a network within one lab only; vnode will refuse to bring this one up",
            ),
        }
    }
}

fn pid_modes(
    nodes: &mut [Node],
    places: &[Places],
    index: &HashMap<String, usize>,
    report: &mut Report<'_>,
) {
    for at in 0..nodes.len() {
        let Some(PidMode::Container(name)) = &nodes[at].pid_mode else { continue };
        let place = places[at].pid_mode.clone().unwrap_or(places[at].name.clone());
        match index.get(name) {
            Some(other) if *other == at => report
                .error(&place, format!("node `{}` cannot share its own processes", nodes[at].name)),
            Some(other) if !nodes[*other].kind.is_run() || nodes[*other].vm.is_some() => report
                .error(&place, format!("`{name}` is no container whose processes could be shared")),
            Some(other) => {
                nodes[at].pid_mode = Some(PidMode::Node(nodes[*other].name.clone()));
            }
            None => report.warn_with(
                &place,
                format!("`{name}` is no node of this lab"),
                "nodes share processes within one lab only; vnode will refuse to bring this one up",
            ),
        }
    }
}

/// Management addresses lie in their subnets, are no one else's, and nodes have the network.
pub(crate) fn addresses(nodes: &[Node], places: &[Places], mgmt: &Mgmt, report: &mut Report<'_>) {
    let mut taken: HashMap<IpAddr, (&str, At)> = HashMap::new();
    for (node, places) in nodes.iter().zip(places) {
        let given = [
            (node.mgmt_ipv4.map(IpAddr::V4), &places.mgmt_ipv4, "ipv4"),
            (node.mgmt_ipv6.map(IpAddr::V6), &places.mgmt_ipv6, "ipv6"),
        ];
        for (address, at, family) in given {
            let (Some(address), Some(at)) = (address, at) else { continue };
            if node.network_mode != NetworkMode::Management {
                report.warn(
                    at,
                    format!(
                        "node `{}` is not on the management network and has no address there",
                        node.name
                    ),
                );
                continue;
            }
            if let Some(why) = unfit(address, mgmt) {
                report.error_with(
                    at,
                    format!("the address {address} of node `{}` {why}", node.name),
                    format!("change it, or `mgmt.{family}-subnet`"),
                );
            }
            match taken.get(&address) {
                Some((other, first)) => report.error_twice(
                    at,
                    format!("nodes `{other}` and `{}` have the same address {address}", node.name),
                    format!("`{other}`'s address"),
                    &first.clone(),
                ),
                None => {
                    taken.insert(address, (&node.name, at.clone()));
                }
            }
        }
    }
}

/// Why a node cannot have the address.
fn unfit(address: IpAddr, mgmt: &Mgmt) -> Option<String> {
    match address {
        IpAddr::V4(address) => {
            let Some(net) = mgmt.ipv4_subnet else {
                return Some("has no use: the management network has no IPv4 subnet".to_owned());
            };
            if !net.contains(&address) {
                return Some(format!("lies outside the management subnet {net}"));
            }
            if address == net.network() || address == net.broadcast() {
                return Some(format!("is the subnet's own in {net}"));
            }
            let gateway = mgmt.ipv4_gateway.or_else(|| net.hosts().next());
            (gateway == Some(address)).then(|| "is the host's".to_owned())
        }
        IpAddr::V6(address) => {
            let Some(net) = mgmt.ipv6_subnet else {
                return Some("has no use: the management network has no IPv6 subnet".to_owned());
            };
            if !net.contains(&address) {
                return Some(format!("lies outside the management subnet {net}"));
            }
            if address == net.network() {
                return Some(format!("is the subnet's own in {net}"));
            }
            let first = u128::from(net.network()).checked_add(1).map(Into::into);
            let gateway = mgmt.ipv6_gateway.or(first);
            (gateway == Some(address)).then(|| "is the host's".to_owned())
        }
    }
}

/// One port of the host leads to one node.
pub(crate) fn ports(nodes: &[Node], places: &[Places], report: &mut Report<'_>) {
    type Users<'n> = Vec<(Option<IpAddr>, &'n str, At)>;
    let mut taken: HashMap<(u16, PortProtocol), Users<'_>> = HashMap::new();
    for (node, places) in nodes.iter().zip(places) {
        for (port, at) in node.ports.iter().zip(&places.ports) {
            if port.host == 0 {
                continue;
            }
            let users = taken.entry((port.host, port.protocol)).or_default();
            let clash = users.iter().find(|(other, ..)| Port::overlap(*other, port.address));
            match clash {
                Some((_, other, first)) => report.error_twice(
                    at,
                    format!(
                        "host port {} leads to node `{other}` and to node `{}`",
                        port.host, node.name
                    ),
                    format!("taken for `{other}` here"),
                    &first.clone(),
                ),
                None => {
                    users.push((port.address, &node.name, at.clone()));
                }
            }
        }
    }
}

/// Names that would be the same within the lab: nodes and aliases.
pub(crate) fn names(nodes: &[Node], places: &[Places], report: &mut Report<'_>) {
    let mut taken: HashMap<String, (&str, At)> = HashMap::new();
    for (node, places) in nodes.iter().zip(places) {
        taken.insert(node.name.to_lowercase(), (&node.name, places.name.clone()));
    }
    for (node, places) in nodes.iter().zip(places) {
        for alias in &node.aliases {
            match taken.get(&alias.to_lowercase()) {
                Some((other, _)) if *other == node.name => {}
                Some((other, first)) => report.error_twice(
                    &places.name,
                    format!(
                        "the alias `{alias}` of node `{}` is a name of node `{other}`",
                        node.name
                    ),
                    format!("node `{other}`"),
                    &first.clone(),
                ),
                None => {
                    taken.insert(alias.to_lowercase(), (&node.name, places.name.clone()));
                }
            }
        }
    }
}
