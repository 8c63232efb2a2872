//! What an NS file has built so far.

use std::net::Ipv4Addr;

use vnode_protocol::impairment::Impairment;

use super::object::Object;

#[derive(Debug, Default)]
pub(in crate::import) struct Built {
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    pub(super) lans: Vec<Lan>,
    /// Links and LANs in the order they were made: interfaces are numbered by it.
    pub(super) wires: Vec<Wire>,
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Link(usize),
    Lan(usize),
}

#[derive(Debug)]
pub(super) struct Node {
    /// The variable it was put into first.
    pub(super) name: Option<String>,
}

/// A link; its two ends send as `ways` says, in the same order.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: Option<String>,
    pub(super) ends: [End; 2],
    /// None: no `simplex-link` has said anything of this way yet.
    pub(super) ways: [Option<Impairment>; 2],
    pub(super) prefix: Option<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) node: usize,
    pub(super) address: Option<Ipv4Addr>,
}

#[derive(Debug)]
pub(super) struct Lan {
    pub(super) name: Option<String>,
    pub(super) members: Vec<Member>,
    pub(super) impair: Impairment,
    pub(super) prefix: Option<u8>,
}

/// A member, and what is said of its own ways; a pair of key and value as a topology file has it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) end: End,
    pub(super) to: Pairs,
    pub(super) from: Pairs,
}

pub(super) type Pairs = Vec<(&'static str, String)>;

#[derive(Debug)]
pub(super) struct Event {
    /// Seconds, as written.
    pub(super) at: String,
    pub(super) wire: Wire,
    /// Only what this node sends.
    pub(super) node: Option<usize>,
    pub(super) verb: &'static str,
    pub(super) set: Pairs,
}

impl Built {
    /// An object has the name of the first variable that holds it: `set nodes(3) [$ns node]` makes `nodes-3`.
    pub(super) fn call_it(&mut self, value: &str, variable: &str) {
        let place = match Object::read(value) {
            Some(Object::Node(number)) => self.nodes.get_mut(number).map(|node| &mut node.name),
            Some(Object::Link(number)) => self.links.get_mut(number).map(|link| &mut link.name),
            Some(Object::Lan(number)) => self.lans.get_mut(number).map(|lan| &mut lan.name),
            _ => None,
        };
        if let Some(place) = place
            && place.is_none()
        {
            *place = Some(variable.replace('(', "-").replace([')', ' '], ""));
        }
    }

    pub(super) fn node_name(&self, node: usize) -> String {
        let name = self.nodes.get(node).and_then(|node| node.name.clone());
        name.unwrap_or_else(|| format!("node-{node}"))
    }

    pub(super) fn lan_name(&self, lan: usize) -> String {
        let name = self.lans.get(lan).and_then(|lan| lan.name.clone());
        name.unwrap_or_else(|| format!("lan-{lan}"))
    }

    /// The link between two nodes, and the end of the first of them.
    pub(super) fn between(&self, from: usize, to: usize) -> Option<(usize, usize)> {
        self.links.iter().enumerate().find_map(|(number, link)| {
            let [a, b] = [link.ends[0].node, link.ends[1].node];
            match (a == from && b == to, b == from && a == to) {
                (true, _) => Some((number, 0)),
                (_, true) => Some((number, 1)),
                _ => None,
            }
        })
    }
}
