//! From a topology to the records of what is to be: numbers, names and addresses are all chosen here, before
//! anything is made, so that the plan can name everything it will create.

mod links;
mod ports;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use jiff::Timestamp;
use vnode_network::{Owner, host_name};
use vnode_topology::{Far, Lab, NetworkMode, Node};

use crate::control::{self, Control, Pool, Subnet, Wanted};
use crate::error::{Error, Result};
use crate::record::{ControlEnd, LabRecord, LinkRecord, NodeRecord};
use crate::restart::Policy;
use crate::state::State;
use crate::timeline;
pub(crate) use links::holder;
use links::{Names, check_interfaces, keep_state_of_links, link_record, network_record};
pub use ports::Ports;
pub(crate) use ports::check_unused;

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
    pub ports: Ports,
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
        Some(control) => Some(changed_control(lab, existing, control)?),
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
    taken.ports.fix(&lab.name, on_control.iter().copied())?;
    for node in lab.nodes.iter().filter(|node| node.kind.is_run()) {
        let old = existing.and_then(|old| old.nodes.get(&node.name));
        let control = match &mut pool {
            Some(pool) if uses_control(node) => {
                Some(control_end(&owner, node, old, pool, &mut taken.ports, &mut names)?)
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
                    renewal: None,
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
    node.kind.is_run() && node.network_mode == NetworkMode::Management
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

/// The control network of a lab that is there. Its nodes stand on its addresses; what leads outside may change.
fn changed_control(lab: &Lab, existing: Option<&Records>, control: Control) -> Result<Control> {
    let mgmt = &lab.mgmt;
    if let Some(old) = existing.map(|old| &old.lab.lab.mgmt) {
        // Said anew is fine, also where the file left the choice to us before.
        let said = [
            (
                "ipv4-subnet",
                (old.ipv4_subnet, old.ipv4_auto) == (mgmt.ipv4_subnet, mgmt.ipv4_auto)
                    || mgmt.ipv4_subnet == control.ipv4,
            ),
            (
                "ipv6-subnet",
                (old.ipv6_subnet, old.ipv6_auto) == (mgmt.ipv6_subnet, mgmt.ipv6_auto)
                    || mgmt.ipv6_subnet == control.ipv6,
            ),
            ("ipv4-gw", [old.ipv4_gateway, control.ipv4_gateway].contains(&mgmt.ipv4_gateway)),
            ("ipv6-gw", [old.ipv6_gateway, control.ipv6_gateway].contains(&mgmt.ipv6_gateway)),
            ("mtu", [old.mtu, Some(control.mtu)].contains(&mgmt.mtu)),
        ];
        if let Some((key, _)) = said.iter().find(|(_, same)| !same) {
            return Err(Error::conflict(format!(
                "`mgmt` differs in `{key}`, and the nodes of lab `{}` are on its control network",
                lab.name
            ))
            .hint(format!("`vnode down {}`, then `vnode up` with the new file", lab.name)));
        }
    }
    Ok(Control { alias: mgmt.bridge.clone(), external: mgmt.external_access, ..control })
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
    let bridge = vnode_network::control::bridge_name(owner);
    let control = control::choose(&lab.name, bridge, &wanted, nodes, subnets)?;
    Ok(Control { alias: mgmt.bridge.clone(), ..control })
}

fn control_end(
    owner: &Owner,
    node: &Node,
    old: Option<&NodeRecord>,
    pool: &mut Pool,
    ports: &mut Ports,
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
    let forwards = ports.of(&owner.lab, node, old.map(|old| &*old.forwards))?;
    Ok(ControlEnd {
        port: host_name(&[&owner.instance, &owner.lab, "control", &node.name]),
        mac: names.mac(None, &node.name, CONTROL_INTERFACE),
        ipv4,
        ipv6,
        forwards,
    })
}

fn free_vmid(taken: &mut HashSet<u32>) -> Result<u32> {
    // Upper bound: the identity maps of `resolve` end at 2^31.
    let vmid = (1..16_384)
        .find(|vmid| !taken.contains(vmid))
        .ok_or_else(|| Error::conflict("all 16,383 node numbers of this host are in use"))?;
    taken.insert(vmid);
    Ok(vmid)
}
