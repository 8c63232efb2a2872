//! A change that did not come to its end. The records were those of what was wanted from its beginning; what was left as it
//! was before is recorded as it was, so that nothing is forgotten and the next `apply` sees what still differs.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use vnode_operation::Plan;

use super::{renew, work};
use crate::record::{Before, EndRecord, LinkKind, LinkRecord};
use crate::registry::{Lab, Registry};
use crate::work::Work;

/// What a plan changes, as it was: beside its steps, in the plan's data.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Was {
    /// Nodes that are made anew, or get other limits.
    #[serde(default)]
    pub(crate) nodes: BTreeMap<String, Before>,
    /// Links whose parameters are changed in place.
    #[serde(default)]
    pub(crate) links: BTreeMap<String, LinkRecord>,
}

impl Was {
    /// As the plan's data.
    pub(crate) fn data(&self) -> serde_json::Value {
        if self.nodes.is_empty() && self.links.is_empty() {
            return serde_json::Value::Null;
        }
        serde_json::to_value(self).expect("records are plain data that JSON can hold")
    }
}

/// Puts back what the steps that are not among `done` left as it was.
pub(super) fn put_back(registry: &Registry, name: &str, plan: &Plan, done: &[u32]) {
    if done.len() == plan.steps.len() {
        return;
    }
    // One from a plan of an earlier release has none.
    let was: Was = serde_json::from_value(plan.data.clone()).unwrap_or_default();
    let done: HashSet<u32> = done.iter().copied().collect();
    let (done, left): (Vec<_>, Vec<_>) =
        plan.steps.iter().partition(|step| done.contains(&step.id));
    let made: HashSet<String> = done
        .into_iter()
        .filter_map(|step| match work(step).ok()? {
            Work::LinkCreate { link, .. } => Some(link),
            Work::LanEnsure { lan, .. } => Some(lan),
            _ => None,
        })
        .collect();
    let mut labs = registry.write();
    // It may be gone with this operation.
    let Some(lab) = labs.get_mut(name) else { return };
    for step in left {
        match work(step) {
            Ok(Work::LinkRemove { record } | Work::LanRemove { record })
                if !made.contains(&record.link) =>
            {
                link_stays(lab, *record);
            }
            Ok(Work::LanLeave { lan, end, .. }) => member_stays(lab, &lan, *end),
            Ok(Work::LinkSet { link, .. }) => {
                if let (Some(now), Some(was)) = (lab.links.get_mut(&link), was.links.get(&link)) {
                    parameters_stay(now, was);
                }
            }
            Ok(Work::NodeDestroy { node, .. } | Work::NodeLimits { node, .. }) => {
                if let Some(before) = was.nodes.get(&node) {
                    node_stays(lab, &node, before);
                }
            }
            // What was not made is recorded as not made; a renewal has its own way back.
            Ok(_) | Err(_) => {}
        }
    }
}

fn link_stays(lab: &mut Lab, mut record: LinkRecord) {
    // A pair goes with the node of either of its ends.
    let there = |end: &EndRecord| lab.nodes.contains_key(&end.node);
    match record.kind {
        LinkKind::Lan => record.ends.retain(there),
        LinkKind::Vxlan { .. } => {}
        _ if record.ends.iter().all(there) => {}
        _ => return,
    }
    lab.links.insert(record.link.clone(), record);
}

fn member_stays(lab: &mut Lab, lan: &str, end: EndRecord) {
    let there = lab.nodes.contains_key(&end.node);
    if let Some(lan) = lab.links.get_mut(lan).filter(|_| there)
        && lan.kind == LinkKind::Lan
        && !lan.ends.iter().any(|other| other.port == end.port && other.made)
    {
        // One of the same node and interface that was to take its place has not done so.
        lan.ends.retain(|other| other.port != end.port);
        lan.ends.push(end);
    }
}

fn parameters_stay(now: &mut LinkRecord, was: &LinkRecord) {
    for end in &mut now.ends {
        let Some(was) = was.ends.iter().find(|was| was.is_wired_as(end)) else { continue };
        end.declared.clone_from(&was.declared);
        end.current.clone_from(&was.current);
        end.inbound_declared.clone_from(&was.inbound_declared);
        end.inbound.clone_from(&was.inbound);
    }
}

fn node_stays(lab: &mut Lab, node: &str, before: &Before) {
    // Without a folder it was destroyed all the same.
    let Some(entry) = lab.nodes.get(node).filter(|entry| entry.with(|record| record.made)) else {
        return;
    };
    entry.update(|record| record.control.clone_from(&before.record.control));
    renew::put_back_definition(lab, node, before);
}
