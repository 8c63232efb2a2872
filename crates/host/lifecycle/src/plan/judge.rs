//! What is to become of every node and link, from the records that are and those that shall be.

use std::collections::{BTreeMap, BTreeSet};

use vnode_topology::{NetworkMode, Node, NodeChange};

use crate::record::{LinkKind, LinkRecord, NodeRecord};
use crate::wanted::Records;

/// What is to happen to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Same,
    Create,
    /// Destroyed and made again; its links too.
    Recreate(String),
    /// New disk and process in the same namespace; links stay (T-102).
    Renew(String),
    Limits,
}

/// What is to happen to every node and link.
pub(super) struct Judged {
    pub(super) nodes: BTreeMap<String, Fate>,
    /// Links to be made, made again, or changed in place.
    pub(super) create: BTreeSet<String>,
    pub(super) remove: BTreeSet<String>,
    pub(super) set: BTreeSet<String>,
}

pub(super) fn judge(old: Option<&Records>, new: &Records) -> Judged {
    let mut nodes = BTreeMap::new();
    for (name, record) in &new.nodes {
        let fate = match old.and_then(|old| old.nodes.get(name).map(|node| (old, node))) {
            None => Fate::Create,
            Some((_, node)) if !node.made => Fate::Create,
            Some((old, node)) => {
                node_fate(old.lab.lab.node(name), new.lab.lab.node(name), node, record)
            }
        };
        nodes.insert(name.clone(), fate);
    }
    share_fates(new, &mut nodes);
    let mut judged =
        Judged { nodes, create: BTreeSet::new(), remove: BTreeSet::new(), set: BTreeSet::new() };
    let fresh = |judged: &Judged, node: &str| {
        !matches!(judged.nodes.get(node), Some(Fate::Same | Fate::Renew(_) | Fate::Limits))
    };
    for (name, link) in &new.links {
        let Some(before) = old.and_then(|old| old.links.get(name)) else {
            judged.create.insert(name.clone());
            continue;
        };
        let touched = link.ends.iter().any(|end| fresh(&judged, &end.node));
        // A LAN whose members come and go stays: members are joined one by one.
        let same_wiring = if link.kind == LinkKind::Lan {
            before.kind == LinkKind::Lan && before.mtu == link.mtu
        } else {
            same_wiring(before, link) && !touched
        };
        if !before.made || !same_wiring {
            if before.made {
                judged.remove.insert(name.clone());
            }
            judged.create.insert(name.clone());
        } else if before != link {
            judged.set.insert(name.clone());
        }
    }
    for (name, link) in old.iter().flat_map(|old| &old.links) {
        if !new.links.contains_key(name) && link.made {
            judged.remove.insert(name.clone());
        }
    }
    judged
}

/// A node that lives in the network of one that is made anew is made anew with it.
fn share_fates(new: &Records, nodes: &mut BTreeMap<String, Fate>) {
    loop {
        let mut changed = false;
        for node in &new.lab.lab.nodes {
            let NetworkMode::Node(owner) = &node.network_mode else { continue };
            let anew = matches!(nodes.get(owner), Some(Fate::Create | Fate::Recreate(_)));
            if let Some(fate @ (Fate::Same | Fate::Renew(_) | Fate::Limits)) =
                nodes.get_mut(&node.name)
                && anew
            {
                *fate = Fate::Recreate(format!("the network of `{owner}` is made anew"));
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

/// Whether the two differ in impairments at most.
fn same_wiring(a: &LinkRecord, b: &LinkRecord) -> bool {
    a.kind == b.kind
        && a.mtu == b.mtu
        && a.ends.len() == b.ends.len()
        && a.ends.iter().zip(&b.ends).all(|(a, b)| a.is_wired_as(b) && a.port == b.port)
}

fn node_fate(
    old: Option<&Node>,
    new: Option<&Node>,
    before: &NodeRecord,
    after: &NodeRecord,
) -> Fate {
    let (Some(old), Some(new)) = (old, new) else { return Fate::Create };
    let differs = |keys: Vec<String>| format!("differs in {}", keys.join(", "));
    match old.change_to(new) {
        NodeChange::Recreate { keys } => Fate::Recreate(differs(keys)),
        _ if before.control != after.control => {
            Fate::Recreate(differs(vec!["control address".to_owned()]))
        }
        NodeChange::Renew { keys } => Fate::Renew(differs(keys)),
        NodeChange::Limits => Fate::Limits,
        NodeChange::Nothing => Fate::Same,
    }
}
