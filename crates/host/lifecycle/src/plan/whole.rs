//! Plans for a lab as a whole: its end, and its beginning anew after a restart of the machine.

use std::collections::HashMap;

use vnode_operation::{Plan, Recovery};
use vnode_topology::{Lab, PidMode};

use crate::record::LinkKind;
use crate::wanted::Records;
use crate::work::Work;

use super::{difference, step};

/// Plans a lab anew after the machine restarted: disks are kept, everything in the kernel is made again, nodes
/// that ran and may start by themselves are booted (T-56).
pub fn restore(records: &Records) -> Plan {
    let mut all = records.clone();
    for link in all.links.values_mut() {
        link.made = false;
    }
    let boots: Vec<String> = records
        .nodes
        .values()
        .filter(|node| node.wanted && node.restart != crate::restart::Policy::No)
        .map(|node| node.node.clone())
        .collect();
    let mut plan = difference(None, &all, true).plan;
    plan.kind = "lab.restore".to_owned();
    // Disks of the user's are at stake: what cannot be made is reported, nothing is undone.
    plan.recovery = Recovery::GoOn;
    let unwanted: Vec<u32> = plan
        .steps
        .iter()
        .filter(|step| {
            let node = step.data.get("node").and_then(|node| node.as_str()).unwrap_or_default();
            matches!(
                step.kind.as_str(),
                "node.boot" | "node.configure" | "node.healthy" | "node.exited"
            ) && !boots.iter().any(|name| name == node)
        })
        .map(|step| step.id)
        .collect();
    plan.steps.retain(|step| !unwanted.contains(&step.id));
    for step in &mut plan.steps {
        if step.kind == "node.create" {
            step.data["keep"] = serde_json::Value::Bool(true);
        }
        step.needs.retain(|id| !unwanted.contains(id));
        step.after.retain(|id| !unwanted.contains(id));
        step.group = None;
        step.on_failure = vnode_operation::OnFailure::Isolate;
    }
    plan
}

/// For each node, those that live among its processes.
fn guests(lab: &Lab) -> HashMap<&str, Vec<&str>> {
    let mut guests: HashMap<&str, Vec<&str>> = HashMap::new();
    for node in &lab.nodes {
        if let Some(PidMode::Node(owner)) = &node.pid_mode {
            guests.entry(owner).or_default().push(&node.name);
        }
    }
    guests
}

/// How many nodes lie between a node and its own process namespace.
fn depth(lab: &Lab, node: &str) -> usize {
    let owner = |name: &str| match lab.node(name).and_then(|node| node.pid_mode.as_ref()) {
        Some(PidMode::Node(owner)) => Some(owner.as_str()),
        Some(PidMode::Host | PidMode::Container(_)) | None => None,
    };
    // Nobody is its own owner: the topology was checked for circles.
    std::iter::successors(owner(node), |name| owner(name)).take(lab.nodes.len()).count()
}

/// Plans the end of a lab. Every step goes on when another fails (T-52).
pub fn down(records: &Records, last_lab: bool, graceful: bool) -> Plan {
    let lab = &records.lab.name;
    let mut plan = Plan::new("lab.down", format!("lab/{lab}"));
    plan.recovery = Recovery::GoOn;
    let mut push = |work: Work, needs: &[u32], after: &[u32]| {
        plan.push(step(&work).isolate().needs(needs.iter().copied()).after(after.iter().copied()))
    };
    let mut first = Vec::new();
    for link in records.links.values() {
        // Pairs between nodes and ports of our bridges go with their namespace and bridge.
        if !matches!(link.kind, LinkKind::Veth | LinkKind::Lan | LinkKind::Dummy) {
            first.push(push(Work::LinkRemove { record: Box::new(link.clone()) }, &[], &[]));
        }
    }
    let mut halted = first.clone();
    let mut halts: HashMap<&str, u32> = HashMap::new();
    if graceful {
        // Who lives among the processes of another is asked first: that one's end is its own.
        let guests = guests(&records.lab.lab);
        // A domain that was there before is let go as it was found, not shut down.
        let own = records.nodes.iter().filter(|(_, record)| !record.is_adopted());
        let mut order: Vec<&str> = own.map(|(name, _)| name.as_str()).collect();
        order.sort_by_cached_key(|node| std::cmp::Reverse(depth(&records.lab.lab, node)));
        for node in order {
            let before: Vec<u32> = guests
                .get(node)
                .into_iter()
                .flatten()
                .filter_map(|guest| halts.get(guest).copied())
                .collect();
            let (lab, name) = (lab.clone(), node.to_owned());
            let work = Work::NodeHalt { lab, node: name, grace_ms: None };
            let id = push(work, &[], &before);
            halts.insert(node, id);
            halted.push(id);
        }
    }
    // What needs the kernel's lock of all networks comes before the nodes' networks end, which holds it for long. No
    // node runs then that could miss it, or none that is asked.
    let mut last = Vec::new();
    let mut ports = Vec::new();
    for link in records.links.values().filter(|link| link.kind == LinkKind::Lan) {
        last.push(push(Work::LanRemove { record: Box::new(link.clone()) }, &[], &halted));
    }
    if last_lab {
        last.push(push(Work::HostRestore, &[], &halted));
    }
    let mut nodes = Vec::new();
    for node in records.nodes.keys() {
        let mut after = first.clone();
        after.extend(halts.get(node.as_str()));
        let work = Work::NodeDestroy { lab: lab.clone(), node: node.clone(), control: None };
        nodes.push(push(work, &[], &after));
    }
    for end in records.links.values().flat_map(|link| &link.ends) {
        ports.extend(end.port.clone());
    }
    ports.extend(
        records.nodes.values().filter_map(|node| Some(node.control.as_ref()?.port.clone())),
    );
    if records.lab.control.is_some() {
        last.push(push(Work::ControlRemove { lab: lab.clone() }, &[], &nodes));
    }
    last.extend(&nodes);
    push(Work::Settle { ports }, &[], &last);
    plan
}
