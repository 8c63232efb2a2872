//! Links and LANs of a lab as records: their kinds, ends, names and Ethernet addresses.

use std::collections::{BTreeMap, HashMap, HashSet};

use ipnet::IpNet;
use vnode_network::{Mac, Owner, host_name, interface_name};
use vnode_protocol::impairment::Impairment;
use vnode_topology::{Endpoint, Far, Lab, NetworkMode, NodeKind};

use super::{CONTROL_INTERFACE, Records};
use crate::error::{Error, Result};
use crate::inner::network_error;
use crate::record::{EndRecord, LinkKind, LinkRecord, NodeRecord};

/// Hands out Ethernet addresses, the same for the same names, no two alike in a lab (T-84).
pub(super) struct Names {
    lab: String,
    used: HashSet<Mac>,
    kept: HashMap<(String, String), Mac>,
}

impl Names {
    pub(super) fn new(lab: &Lab, existing: Option<&Records>) -> Self {
        let mut kept = HashMap::new();
        if let Some(old) = existing {
            for (name, node) in &old.nodes {
                if let Some(control) = &node.control {
                    kept.insert((name.clone(), CONTROL_INTERFACE.to_owned()), control.mac);
                }
            }
            for end in old.links.values().flat_map(|link| &link.ends) {
                kept.insert((end.node.clone(), end.interface.clone()), end.mac);
            }
        }
        let mut used: HashSet<Mac> = kept.values().copied().collect();
        let links = lab.links.iter().flat_map(|link| link.endpoints()).filter_map(|end| end.mac);
        let members = lab.networks.iter().flat_map(|lan| &lan.members).filter_map(|end| end.mac);
        used.extend(links.chain(members).map(|mac| Mac(mac.0)));
        Self { lab: lab.name.clone(), used, kept }
    }

    pub(super) fn mac(
        &mut self,
        explicit: Option<vnode_topology::Mac>,
        node: &str,
        interface: &str,
    ) -> Mac {
        if let Some(mac) = explicit {
            return Mac(mac.0);
        }
        if let Some(mac) = self.kept.get(&(node.to_owned(), interface.to_owned())) {
            return *mac;
        }
        let name = format!("{}/{node}/{interface}", self.lab);
        let mut attempt = 0;
        loop {
            let mac = Mac::with_attempt(&name, attempt);
            if self.used.insert(mac) {
                return mac;
            }
            attempt += 1;
        }
    }
}

/// What the far end is once nodes of kind `bridge` and `host` are looked through.
enum Side<'a> {
    Node(&'a Endpoint),
    Bridge { bridge: &'a str, port: &'a str, impair: &'a Impairment },
    Host { interface: &'a str, impair: &'a Impairment },
}

fn side<'a>(lab: &'a Lab, endpoint: &'a Endpoint) -> Result<Side<'a>> {
    let node = lab
        .node(&endpoint.node)
        .ok_or_else(|| Error::usage(format!("link end `{}` names no node", endpoint.name())))?;
    Ok(match node.kind {
        NodeKind::Linux | NodeKind::Vm => Side::Node(endpoint),
        NodeKind::Bridge => {
            Side::Bridge { bridge: &node.name, port: &endpoint.interface, impair: &endpoint.impair }
        }
        NodeKind::Host => Side::Host { interface: &endpoint.interface, impair: &endpoint.impair },
    })
}

fn kernel_name(name: &str) -> Result<String> {
    interface_name(name).map(|name| name.kernel).map_err(network_error)
}

pub(super) fn link_record(
    lab: &Lab,
    owner: &Owner,
    link: &vnode_topology::Link,
    names: &mut Names,
) -> Result<LinkRecord> {
    let near = side(lab, &link.near)?;
    let far = match &link.far {
        Far::Node { endpoint, .. } => Some(side(lab, endpoint)?),
        _ => None,
    };
    // One end at least is in a node; it comes first.
    let (near, far) = match (near, far) {
        (Side::Node(near), far) => (near, far),
        (other, Some(Side::Node(near))) => (near, Some(other)),
        (_, _) => {
            return Err(Error::usage(format!("link `{}` has no end in a node", link.id)));
        }
    };
    let port = || host_name(&[&owner.instance, &owner.lab, "link", &link.id]);
    let mut first = end(near, names)?;
    let mut ends = Vec::new();
    let kind = match (&link.far, far) {
        (_, Some(Side::Node(other))) => {
            let second = end(other, names)?;
            ends.push(second);
            LinkKind::Veth
        }
        (_, Some(Side::Bridge { bridge, port, impair })) => {
            let port = kernel_name(port)?;
            first.inbound_declared = Some(impair.clone());
            first.port = Some(port.clone());
            LinkKind::Bridge { bridge: bridge.to_owned(), port }
        }
        (_, Some(Side::Host { interface, impair })) => {
            let interface = kernel_name(interface)?;
            first.inbound_declared = Some(impair.clone());
            first.port = Some(interface.clone());
            LinkKind::Host { interface }
        }
        (Far::Host { interface, impair }, None) => {
            let interface = kernel_name(interface)?;
            first.inbound_declared = Some(impair.clone());
            first.port = Some(interface.clone());
            LinkKind::Host { interface }
        }
        (Far::Management { interface, impair }, None) => {
            let interface = kernel_name(interface)?;
            first.inbound_declared = Some(impair.clone());
            first.port = Some(interface.clone());
            LinkKind::Control { interface }
        }
        (Far::Macvlan { interface, mode }, None) => {
            LinkKind::Macvlan { parent: interface.clone(), mode: mode.as_str().to_owned() }
        }
        (Far::Vxlan { remote, vni, dst_port, src_port, .. }, None) => {
            first.port = Some(port());
            LinkKind::Vxlan {
                remote: remote.parse().map_err(|_| {
                    Error::usage(format!(
                        "link `{}`: `remote: {remote}` is not an address",
                        link.id
                    ))
                    .hint("host names are not looked up; give the other machine's IP address")
                })?,
                vni: *vni,
                port: *dst_port,
                source_port: *src_port,
            }
        }
        (Far::Dummy, None) => LinkKind::Dummy,
        (Far::Node { .. }, None) => {
            return Err(Error::usage(format!("link `{}` has only one end", link.id)));
        }
    };
    if first.inbound_declared.is_some() {
        first.inbound = first.inbound_declared.clone();
    }
    ends.insert(0, first);
    Ok(LinkRecord {
        lab: owner.lab.clone(),
        link: link.id.clone(),
        kind,
        mtu: link.mtu,
        ends,
        down: false,
        made: false,
    })
}

fn end(endpoint: &Endpoint, names: &mut Names) -> Result<EndRecord> {
    Ok(EndRecord {
        node: endpoint.node.clone(),
        interface: endpoint.interface.clone(),
        device: kernel_name(&endpoint.interface)?,
        mac: names.mac(endpoint.mac, &endpoint.node, &endpoint.interface),
        addresses: endpoint
            .ipv4
            .map(IpNet::V4)
            .into_iter()
            .chain(endpoint.ipv6.map(IpNet::V6))
            .collect(),
        declared: endpoint.impair.clone(),
        current: endpoint.impair.clone(),
        inbound_declared: None,
        inbound: None,
        port: None,
        down: false,
        inbound_down: false,
        made: false,
        waits: false,
    })
}

pub(super) fn network_record(
    owner: &Owner,
    network: &vnode_topology::Network,
    names: &mut Names,
) -> Result<LinkRecord> {
    let mut ends = Vec::new();
    for member in &network.members {
        let endpoint = Endpoint {
            node: member.node.clone(),
            interface: member.interface.clone(),
            mac: member.mac,
            ipv4: member.ipv4,
            ipv6: member.ipv6,
            impair: member.to_lan.clone(),
            ..Endpoint::default()
        };
        let mut end = end(&endpoint, names)?;
        end.inbound_declared = Some(member.from_lan.clone());
        end.inbound = Some(member.from_lan.clone());
        let name = member.name();
        end.port = Some(host_name(&[&owner.instance, &owner.lab, "lan", &network.name, &name]));
        ends.push(end);
    }
    Ok(LinkRecord {
        lab: owner.lab.clone(),
        link: network.name.clone(),
        kind: LinkKind::Lan,
        mtu: if network.mtu == 0 { vnode_topology::DEFAULT_MTU } else { network.mtu },
        ends,
        down: false,
        made: false,
    })
}

/// The node whose network namespace `node` lives in: itself, or through `network-mode: container:` another.
/// `None` when it is the host's.
pub(crate) fn holder<'a>(lab: &'a Lab, node: &'a str) -> Option<&'a str> {
    let mut name = node;
    // The parser refuses circles; a record of another version might hold one all the same.
    for _ in 0..=lab.nodes.len() {
        match lab.node(name).map(|node| &node.network_mode) {
            Some(NetworkMode::Node(other)) => name = other,
            Some(NetworkMode::Host | NetworkMode::Container(_)) => return None,
            Some(_) | None => return Some(name),
        }
    }
    None
}

pub(super) fn check_interfaces(
    lab: &Lab,
    nodes: &BTreeMap<String, NodeRecord>,
    links: &BTreeMap<String, LinkRecord>,
) -> Result<()> {
    let mut seen: HashMap<(&str, &str), &str> = HashMap::new();
    for link in links.values() {
        for end in &link.ends {
            if !nodes.contains_key(&end.node) {
                return Err(Error::usage(format!(
                    "link `{}` names no container node `{}`",
                    link.link, end.node
                )));
            }
            let holder = holder(lab, &end.node).ok_or_else(|| {
                Error::usage(format!(
                    "link `{}`: node `{}` has no network of its own (`network-mode`)",
                    link.link, end.node
                ))
                .hint(format!("`host:{}` makes a link's end on the host", end.interface))
            })?;
            let control = nodes.get(holder).is_some_and(|node| node.control.is_some());
            if control && end.device == CONTROL_INTERFACE {
                return Err(Error::usage(format!(
                    "link `{}`: interface `{CONTROL_INTERFACE}` of node `{}` is its control interface",
                    link.link, end.node
                ))
                .hint("use another interface name, or `network-mode: none` for the node"));
            }
            if let Some(other) = seen.insert((holder, &end.device), &link.link) {
                return Err(Error::usage(format!(
                    "interface `{}:{}` stands in `{other}` and in `{}`",
                    end.node, end.interface, link.link
                )));
            }
        }
    }
    Ok(())
}

/// A link that is declared as before keeps its run-time changes (T-76).
pub(super) fn keep_state_of_links(
    links: &mut BTreeMap<String, LinkRecord>,
    existing: Option<&Records>,
) {
    let Some(existing) = existing else { return };
    for (name, link) in links {
        let Some(old) = existing.links.get(name) else { continue };
        link.down = old.down;
        link.made = old.made;
        for end in &mut link.ends {
            let same = old.ends.iter().find(|other| {
                other.node == end.node
                    && other.interface == end.interface
                    && other.declared == end.declared
                    && other.inbound_declared == end.inbound_declared
            });
            // One that has other addresses leaves the LAN and joins it anew.
            let before = old.ends.iter().find(|other| other.is_wired_as(end));
            end.made = before.is_some_and(|before| before.made);
            end.waits = before.is_some_and(|before| before.waits);
            if let Some(same) = same {
                end.current = same.current.clone();
                end.inbound = same.inbound.clone();
            }
            let named =
                |other: &&EndRecord| other.node == end.node && other.interface == end.interface;
            if let Some(old) = old.ends.iter().find(named) {
                (end.down, end.inbound_down) = (old.down, old.inbound_down);
            }
        }
    }
}
