//! What goes, and what can be had only once it has gone: a cable that is plugged in elsewhere, an address or a port of the
//! host that another node gets.

use std::collections::HashMap;

use vnode_topology::Lab;

use super::judge::{Fate, Judged};
use super::{Planner, subject_of};
use crate::record::{ControlEnd, EndRecord, LinkKind};
use crate::wanted::{Records, holder};
use crate::work::Work;

/// The interface in its network, which may be another node's, and the one on the host.
fn places(lab: &Lab, end: &EndRecord) -> impl Iterator<Item = String> {
    let inside = holder(lab, &end.node).map(|node| format!("interface {node}:{}", end.device));
    inside.into_iter().chain(end.port.iter().map(|port| format!("host interface {port}")))
}

/// Addresses on the control network, and ports of the host.
fn of_control(end: &ControlEnd) -> impl Iterator<Item = String> {
    let addresses = end.ipv4.map(|address| format!("address {address}")).into_iter();
    let addresses = addresses.chain(end.ipv6.map(|address| format!("address {address}")));
    let port = |f: &crate::record::Forward| format!("port {}/{}", f.host_port, f.protocol);
    addresses.chain(end.forwards.iter().map(port))
}

impl Planner {
    pub(super) fn remove(&mut self, old: Option<&Records>, new: &Records, judged: &Judged) {
        let Some(old) = old else { return };
        let mut before_nodes: HashMap<String, Vec<u32>> = HashMap::new();
        let mut lans = Vec::new();
        for name in &judged.remove {
            let record = old.links[name].clone();
            let gone = !new.links.contains_key(name);
            if gone {
                self.change("remove", subject_of(&record), "not in the topology");
            } else {
                self.change("recreate", subject_of(&record), "its wiring differs");
            }
            if record.kind == LinkKind::Lan {
                lans.push(record);
                continue;
            }
            let ends = record.ends.clone();
            let id = self.push(&Work::LinkRemove { record: Box::new(record) }, None, &[], &[]);
            self.removed.entry(format!("link {name}")).or_default().push(id);
            for end in ends {
                self.frees(places(&old.lab.lab, &end), id);
                before_nodes.entry(end.node).or_default().push(id);
            }
        }
        // Members that leave a LAN which stays.
        for (name, link) in old.links.iter().filter(|(_, link)| link.kind == LinkKind::Lan) {
            if judged.remove.contains(name) {
                continue;
            }
            let Some(after) = new.links.get(name) else { continue };
            for end in link.ends.iter().filter(|end| end.made) {
                let stays = after.ends.iter().any(|other| other.is_wired_as(end));
                let node_gone = !new.nodes.contains_key(&end.node);
                if !stays {
                    if !node_gone {
                        self.change("remove", format!("member {} of {name}", end.name()), "");
                    }
                    let work = self.leave(name, end);
                    let id = self.push(&work, None, &[], &[]);
                    self.removed.entry(format!("link {name}")).or_default().push(id);
                    self.frees(places(&old.lab.lab, end), id);
                    before_nodes.entry(end.node.clone()).or_default().push(id);
                }
            }
        }
        let mut destroyed = Vec::new();
        for (name, record) in &old.nodes {
            let because = match judged.nodes.get(name) {
                None => {
                    self.change("remove", format!("node {name}"), "not in the topology");
                    true
                }
                Some(Fate::Recreate(because)) => {
                    self.change("recreate", format!("node {name}"), because.clone());
                    self.was.nodes.insert(name.clone(), super::before(Some(old), name));
                    true
                }
                Some(Fate::Same | Fate::Create | Fate::Renew(_) | Fate::Limits) => false,
            };
            if because {
                let after = before_nodes.remove(name).unwrap_or_default();
                let control = record.control.clone().map(Box::new);
                let (lab, node) = (self.lab.clone(), name.clone());
                let work = Work::NodeDestroy { lab, node, control };
                let id = self.push(&work, Some(format!("destroy {name}")), &[], &after);
                self.removed.entry(format!("node {name}")).or_default().push(id);
                self.frees(record.control.iter().flat_map(of_control), id);
                destroyed.push(id);
            }
        }
        for record in lans {
            let name = record.link.clone();
            let mut ports: Vec<u32> = Vec::new();
            for end in record.ends.iter().filter(|end| end.made) {
                let work = self.leave(&name, end);
                let id = self.push(&work, None, &[], &[]);
                self.frees(places(&old.lab.lab, end), id);
                ports.push(id);
            }
            ports.extend(&destroyed);
            let id = self.push(&Work::LanRemove { record: Box::new(record) }, None, &[], &ports);
            self.removed.entry(format!("link {name}")).or_default().push(id);
        }
    }

    fn leave(&self, lan: &str, end: &EndRecord) -> Work {
        let (lab, lan) = (self.lab.clone(), lan.to_owned());
        Work::LanLeave { lab, lan, end: Box::new(end.clone()) }
    }

    fn frees(&mut self, places: impl Iterator<Item = String>, step: u32) {
        places.for_each(|place| self.removed.entry(place).or_default().push(step));
    }

    fn after_places(&self, places: impl Iterator<Item = String>) -> Vec<u32> {
        if self.removed.is_empty() {
            return Vec::new();
        }
        places.filter_map(|place| self.removed.get(&place)).flatten().copied().collect()
    }

    /// Steps that free the interfaces of a link's end.
    pub(super) fn after_end(&self, lab: &Lab, end: &EndRecord) -> Vec<u32> {
        self.after_places(places(lab, end))
    }

    /// Steps that free what a node shall have of the control network and of the host's ports.
    pub(super) fn after_control(&self, end: Option<&ControlEnd>) -> Vec<u32> {
        self.after_places(end.into_iter().flat_map(of_control))
    }
}
