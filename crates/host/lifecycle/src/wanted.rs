//! From a topology to the records of what is to be: numbers, names and addresses are all chosen here, before
//! anything is made, so that the plan can name everything it will create.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use jiff::Timestamp;
use vnode_network::{Mac, Owner, host_name, interface_name};
use vnode_protocol::impairment::Impairment;
use vnode_topology::{Endpoint, Far, Lab, NetworkMode, Node, NodeKind};

use crate::control::{self, Control, Pool, Subnet, Wanted};
use crate::error::{Error, Result};
use crate::inner::network_error;
use crate::record::{ControlEnd, EndRecord, Forward, LabRecord, LinkKind, LinkRecord, NodeRecord};
use crate::restart::Policy;
use crate::state::State;
use crate::timeline;

/// Everything remembered of one lab.
#[derive(Debug, Clone)]
pub struct Records {
    pub lab: LabRecord,
    pub nodes: BTreeMap<String, NodeRecord>,
    pub links: BTreeMap<String, LinkRecord>,
}

/// What other labs and the machine itself hold.
#[derive(Debug, Default)]
pub struct Taken {
    pub vmids: HashSet<u32>,
    pub subnets: Vec<(IpNet, String)>,
}

/// Name of a node's interface on the control network.
pub const CONTROL_INTERFACE: &str = "eth0";

/// Chooses names, numbers and addresses for `lab`. What `existing` already has is kept.
pub fn records(
    instance: &str,
    lab: &Lab,
    file: Option<PathBuf>,
    existing: Option<&Records>,
    mut taken: Taken,
    boot: bool,
) -> Result<Records> {
    let owner =
        Owner { instance: instance.to_owned(), lab: lab.name.clone(), operation: String::new() };
    let on_control: Vec<&Node> = lab.nodes.iter().filter(|node| uses_control(node)).collect();
    let control = match existing.and_then(|old| old.lab.control.clone()) {
        Some(control) => Some(control),
        None if on_control.is_empty() && lab.links.iter().all(|link| !is_management(&link.far)) => {
            None
        }
        None => Some(choose_control(lab, &owner, on_control.len(), &taken.subnets)?),
    };
    let mut names = Names::new(lab, existing);
    let mut nodes = BTreeMap::new();
    let mut pool = control
        .as_ref()
        .map(|control| Pool::new(control, lab.mgmt.ipv4_range, lab.mgmt.ipv6_range));
    if let Some(pool) = &mut pool {
        for node in &on_control {
            let old = existing.and_then(|old| old.nodes.get(&node.name)?.control.as_ref());
            let ipv4 = node.mgmt_ipv4.or(old.and_then(|old| old.ipv4));
            let ipv6 = node.mgmt_ipv6.or(old.and_then(|old| old.ipv6));
            for address in ipv4.map(IpAddr::V4).into_iter().chain(ipv6.map(IpAddr::V6)) {
                pool.take(&node.name, address)?;
            }
        }
    }
    for node in lab.nodes.iter().filter(|node| node.kind == NodeKind::Linux) {
        let old = existing.and_then(|old| old.nodes.get(&node.name));
        let control = match &mut pool {
            Some(pool) if uses_control(node) => {
                Some(control_end(&owner, node, old, pool, &mut names)?)
            }
            Some(_) | None => None,
        };
        let record = match old {
            Some(old) => NodeRecord {
                image: node.image.clone().unwrap_or_default(),
                restart: policy(node),
                control,
                ..old.clone()
            },
            None => {
                let vmid = free_vmid(&mut taken.vmids)?;
                NodeRecord {
                    lab: lab.name.clone(),
                    node: node.name.clone(),
                    vmid,
                    uuid: uuid::Uuid::now_v7().to_string(),
                    image: node.image.clone().unwrap_or_default(),
                    image_id: None,
                    spec: None,
                    state: State::Creating,
                    since: Timestamp::now(),
                    reason: None,
                    restarts: 0,
                    last_exit: None,
                    restart: policy(node),
                    wanted: boot,
                    made: false,
                    control,
                }
            }
        };
        nodes.insert(node.name.clone(), record);
    }
    let mut links = BTreeMap::new();
    for link in &lab.links {
        let record = link_record(lab, &owner, link, &mut names)?;
        links.insert(record.link.clone(), record);
    }
    for network in &lab.networks {
        let record = network_record(&owner, network, &mut names)?;
        if links.insert(record.link.clone(), record).is_some() {
            return Err(Error::usage(format!(
                "`{}` names a LAN and a link of lab `{}`",
                network.name, lab.name
            )));
        }
    }
    check_interfaces(lab, &nodes, &links)?;
    keep_state_of_links(&mut links, existing);
    let old = existing.map(|old| &old.lab);
    Ok(Records {
        lab: LabRecord {
            name: lab.name.clone(),
            uuid: old.map_or_else(|| uuid::Uuid::now_v7().to_string(), |old| old.uuid.clone()),
            file: file.or_else(|| old.and_then(|old| old.file.clone())),
            lab: lab.clone(),
            control,
            created: old.map_or_else(Timestamp::now, |old| old.created),
            timeline_started: old.and_then(|old| old.timeline_started),
            timeline_done: old.map_or(0, |old| timeline::done_of_changed(old, &lab.events)),
            timeline_paused: old.and_then(|old| old.timeline_paused),
            timeline_stopped: old.is_some_and(|old| old.timeline_stopped),
        },
        nodes,
        links,
    })
}

/// Whether the node has an interface on the control network.
pub fn uses_control(node: &Node) -> bool {
    node.kind == NodeKind::Linux && node.network_mode == NetworkMode::Management
}

fn is_management(far: &Far) -> bool {
    matches!(far, Far::Management { .. })
}

fn policy(node: &Node) -> Policy {
    use vnode_topology::RestartPolicy as Asked;
    match node.restart_policy {
        Asked::No => Policy::No,
        Asked::OnFailure => Policy::OnFailure,
        Asked::Always => Policy::Always,
        Asked::UnlessStopped => Policy::UnlessStopped,
    }
}

fn choose_control(
    lab: &Lab,
    owner: &Owner,
    nodes: usize,
    subnets: &[(IpNet, String)],
) -> Result<Control> {
    let mgmt = &lab.mgmt;
    // A file that says nothing has containerlab's own subnets, as hundreds of files do: another lab may have
    // them already, and then any other will do, unless addresses in the file depend on them.
    let usual = vnode_topology::Mgmt::default();
    let fixed4 = lab.nodes.iter().any(|node| node.mgmt_ipv4.is_some())
        || mgmt.ipv4_gateway.is_some()
        || mgmt.ipv4_range.is_some();
    let fixed6 = lab.nodes.iter().any(|node| node.mgmt_ipv6.is_some())
        || mgmt.ipv6_gateway.is_some()
        || mgmt.ipv6_range.is_some();
    let ipv4 = match mgmt.ipv4_subnet {
        None if !mgmt.ipv4_auto => Subnet::Without,
        Some(net) if !mgmt.ipv4_auto && (fixed4 || mgmt.ipv4_subnet != usual.ipv4_subnet) => {
            Subnet::Fixed(net)
        }
        _ => Subnet::Free,
    };
    let ipv6 = match mgmt.ipv6_subnet {
        None if !mgmt.ipv6_auto => Subnet::Without,
        Some(net) if !mgmt.ipv6_auto && (fixed6 || mgmt.ipv6_subnet != usual.ipv6_subnet) => {
            Subnet::Fixed(net)
        }
        _ => Subnet::Free,
    };
    let wanted = Wanted {
        ipv4,
        ipv4_gateway: mgmt.ipv4_gateway,
        ipv6,
        ipv6_gateway: mgmt.ipv6_gateway,
        mtu: mgmt.mtu,
        external: mgmt.external_access,
    };
    control::choose(&lab.name, vnode_network::control::bridge_name(owner), &wanted, nodes, subnets)
}

fn control_end(
    owner: &Owner,
    node: &Node,
    old: Option<&NodeRecord>,
    pool: &mut Pool,
    names: &mut Names,
) -> Result<ControlEnd> {
    let old = old.and_then(|old| old.control.as_ref());
    let ipv4 = match node.mgmt_ipv4.or(old.and_then(|old| old.ipv4)) {
        Some(address) => Some(address),
        None => pool.next_ipv4()?,
    };
    let ipv6 = match node.mgmt_ipv6.or(old.and_then(|old| old.ipv6)) {
        Some(address) => Some(address),
        None => pool.next_ipv6()?,
    };
    let mut forwards = Vec::new();
    for port in &node.ports {
        let protocol = match port.protocol {
            vnode_topology::PortProtocol::Tcp => "tcp",
            vnode_topology::PortProtocol::Udp => "udp",
            vnode_topology::PortProtocol::Sctp => "sctp",
        };
        let kept = old.and_then(|old| {
            old.forwards
                .iter()
                .find(|f| f.node_port == port.node && f.protocol == protocol)
                .map(|f| f.host_port)
        });
        forwards.push(Forward {
            host_address: port.address,
            host_port: match port.host {
                0 => match kept {
                    Some(port) => port,
                    None => free_port()?,
                },
                port => port,
            },
            node_port: port.node,
            protocol: protocol.to_owned(),
        });
    }
    Ok(ControlEnd {
        port: host_name(&[&owner.instance, &owner.lab, "control", &node.name]),
        mac: names.mac(None, &node.name, CONTROL_INTERFACE),
        ipv4,
        ipv6,
        forwards,
    })
}

/// A port of the host that nobody listens on now.
fn free_port() -> Result<u16> {
    std::net::TcpListener::bind(("0.0.0.0", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| Error::failed("no free port on the host").because(source))
}

fn free_vmid(taken: &mut HashSet<u32>) -> Result<u32> {
    // Upper bound: the identity maps of `resolve` end at 2^31.
    let vmid = (1..16_384)
        .find(|vmid| !taken.contains(vmid))
        .ok_or_else(|| Error::conflict("all 16,383 node numbers of this host are in use"))?;
    taken.insert(vmid);
    Ok(vmid)
}

/// Hands out Ethernet addresses, the same for the same names, no two alike in a lab (T-84).
struct Names {
    lab: String,
    used: HashSet<Mac>,
    kept: HashMap<(String, String), Mac>,
}

impl Names {
    fn new(lab: &Lab, existing: Option<&Records>) -> Self {
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

    fn mac(&mut self, explicit: Option<vnode_topology::Mac>, node: &str, interface: &str) -> Mac {
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
        NodeKind::Linux => Side::Node(endpoint),
        NodeKind::Bridge => {
            Side::Bridge { bridge: &node.name, port: &endpoint.interface, impair: &endpoint.impair }
        }
        NodeKind::Host => Side::Host { interface: &endpoint.interface, impair: &endpoint.impair },
    })
}

fn kernel_name(name: &str) -> Result<String> {
    interface_name(name).map(|name| name.kernel).map_err(network_error)
}

fn link_record(
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
        made: false,
    })
}

fn network_record(
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
fn holder<'a>(lab: &'a Lab, node: &'a str) -> Option<&'a str> {
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

fn check_interfaces(
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
fn keep_state_of_links(links: &mut BTreeMap<String, LinkRecord>, existing: Option<&Records>) {
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
            end.made = old
                .ends
                .iter()
                .any(|other| other.made && other.node == end.node && other.device == end.device);
            if let Some(same) = same {
                end.current = same.current.clone();
                end.inbound = same.inbound.clone();
            }
        }
    }
}
