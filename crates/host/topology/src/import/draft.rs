//! What the importers make of a file: nodes, and wires with any number of ends. Written as a topology file.

use std::collections::HashMap;

use vnode_protocol::impairment::Impairment;

use crate::emit::Yaml;
use crate::model::Mac;
use crate::parse::{is_interface, is_name};
use crate::report::{At, Report};
use crate::{MOST_NODES, parse::short};

/// Ends of wires of one file.
const MOST_ENDS: usize = 100_000;

pub(super) type Map = Vec<(String, Yaml)>;

pub(super) fn put(map: &mut Map, key: &str, value: Yaml) {
    map.push((key.to_owned(), value));
}

/// A lab as far as it is read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Given by the file.
    pub(super) name: Option<String>,
    /// Name, and what is said of it.
    pub(super) nodes: Vec<(String, Map)>,
    pub(super) wires: Vec<Wire>,
    /// Place of each node and its number, and place of each interface.
    places: HashMap<String, (At, usize)>,
    taken: HashMap<(String, String), At>,
}

/// A link when it has two ends, a LAN else.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// Name of the LAN; made up when empty.
    pub(super) name: String,
    pub(super) ends: Vec<End>,
    pub(super) mtu: Option<u64>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct End {
    pub(super) node: String,
    pub(super) interface: String,
    pub(super) mac: Option<Mac>,
    /// With prefix length.
    pub(super) ipv4: Option<String>,
    pub(super) ipv6: Option<String>,
    /// What it sends.
    pub(super) to: Impairment,
    /// What comes to it besides what the others send.
    pub(super) from: Impairment,
}

impl Draft {
    /// Adds a node; `None`, and an error, when it cannot be one.
    pub(super) fn node(
        &mut self,
        name: &str,
        at: &At,
        report: &mut Report<'_>,
    ) -> Option<&mut Map> {
        if !is_name(name, 64) || matches!(name, "host" | "mgmt-net" | "macvlan") {
            report.error_with(
                at,
                format!("`{}` is no name for a node", short(name)),
                "a letter or digit, then also `-`, `.`, `_`, at most 64",
            );
            return None;
        }
        if self.nodes.len() >= MOST_NODES {
            report.error(at, format!("more than {MOST_NODES} nodes"));
            return None;
        }
        if let Some((first, _)) = self.places.get(name) {
            let first = first.clone();
            report.error_twice(at, format!("node `{name}` is given twice"), "first here", &first);
            return None;
        }
        self.places.insert(name.to_owned(), (at.clone(), self.nodes.len()));
        self.nodes.push((name.to_owned(), Map::new()));
        self.nodes.last_mut().map(|(_, map)| map)
    }

    pub(super) fn has(&self, node: &str) -> bool {
        self.places.contains_key(node)
    }

    /// What is said of a node that is there.
    pub(super) fn keys(&mut self, node: &str) -> Option<&mut Map> {
        let (_, number) = self.places.get(node)?;
        self.nodes.get_mut(*number).map(|(_, map)| map)
    }

    pub(super) fn uses(&self, node: &str, interface: &str) -> bool {
        self.taken.contains_key(&(node.to_owned(), interface.to_owned()))
    }

    /// Takes an interface of a node; `false`, and an error, when it cannot be had.
    pub(super) fn take(
        &mut self,
        node: &str,
        interface: &str,
        at: &At,
        report: &mut Report<'_>,
    ) -> bool {
        if !is_interface(interface) || interface == "lo" {
            report.error(at, format!("`{}` is no name for an interface", short(interface)));
            return false;
        }
        if self.taken.len() >= MOST_ENDS {
            report.error(at, format!("more than {MOST_ENDS} interfaces"));
            return false;
        }
        let key = (node.to_owned(), interface.to_owned());
        match self.taken.get(&key) {
            Some(first) => {
                let text = format!("interface `{interface}` of node `{node}` is used twice");
                report.error_twice(at, text, "first used here", &first.clone());
                false
            }
            None => {
                self.taken.insert(key, at.clone());
                true
            }
        }
    }

    /// The topology file.
    pub(super) fn write(&self, lab: &str) -> String {
        let mut topology = Map::new();
        let nodes = self.nodes.iter().map(|(name, map)| (name.clone(), Yaml::Map(map.clone())));
        put(&mut topology, "nodes", Yaml::Map(nodes.collect()));
        let (mut links, mut lans) = (Vec::new(), Map::new());
        for (number, wire) in self.wires.iter().enumerate() {
            match wire.ends.as_slice() {
                [] => {}
                [one, other] => links.push(link(one, other, wire.mtu)),
                _ => lans.push((lan_name(&wire.name, number, &lans), lan(wire))),
            }
        }
        if !links.is_empty() {
            put(&mut topology, "links", Yaml::List(links));
        }
        if !lans.is_empty() {
            put(&mut topology, "networks", Yaml::Map(lans));
        }
        let mut whole = vec![("name".to_owned(), Yaml::text(lab))];
        put(&mut whole, "topology", Yaml::Map(topology));
        Yaml::Map(whole).document()
    }
}

/// The wire's own name where a LAN can have it and none has it yet.
fn lan_name(name: &str, number: usize, lans: &Map) -> String {
    let good = is_name(name, 64) && !lans.iter().any(|(other, _)| other == name);
    if good { name.to_owned() } else { format!("lan.{}", number + 1) }
}

fn flow(map: Map) -> Yaml {
    Yaml::Flow(Box::new(Yaml::Map(map)))
}

fn impair(map: &mut Map, key: &str, way: &Impairment) {
    if *way != Impairment::default() {
        let pairs = way.pairs().into_iter().map(|(key, value)| (key.to_owned(), Yaml::text(value)));
        put(map, key, flow(pairs.collect()));
    }
}

fn end(end: &End) -> Map {
    let mut map = Map::new();
    put(&mut map, "node", Yaml::text(&end.node));
    put(&mut map, "interface", Yaml::text(&end.interface));
    if let Some(mac) = &end.mac {
        put(&mut map, "mac", Yaml::text(mac.to_string()));
    }
    for (key, address) in [("ipv4", &end.ipv4), ("ipv6", &end.ipv6)] {
        if let Some(address) = address {
            put(&mut map, key, Yaml::text(address));
        }
    }
    map
}

fn link(one: &End, other: &End, mtu: Option<u64>) -> Yaml {
    let mut map = Map::new();
    let ends = [one, other];
    // What comes to one end besides is lost, or delayed, on the way from the other.
    let ways = [one.to.compose(&other.from), other.to.compose(&one.from)];
    let both = |get: fn(&End) -> Option<&String>| match (get(one), get(other)) {
        (Some(one), Some(other)) => Some(Some([one.clone(), other.clone()])),
        (None, None) => Some(None),
        _ => None,
    };
    let (ipv4, ipv6) = (both(|end| end.ipv4.as_ref()), both(|end| end.ipv6.as_ref()));
    if let (true, None, None, Some(ipv4), Some(ipv6)) =
        (ways[0] == ways[1], one.mac, other.mac, ipv4, ipv6)
    {
        let names = ends.map(|end| format!("{}:{}", end.node, end.interface));
        put(&mut map, "endpoints", Yaml::Flow(Box::new(Yaml::texts(names))));
        for (key, addresses) in [("ipv4", ipv4), ("ipv6", ipv6)] {
            if let Some(addresses) = addresses {
                put(&mut map, key, Yaml::Flow(Box::new(Yaml::texts(addresses))));
            }
        }
        impair(&mut map, "impair", &ways[0]);
    } else {
        put(&mut map, "type", Yaml::text("veth"));
        let ends = ends.into_iter().zip(&ways).map(|(one, way)| {
            let mut map = end(one);
            impair(&mut map, "impair", way);
            flow(map)
        });
        put(&mut map, "endpoints", Yaml::List(ends.collect()));
    }
    if let Some(mtu) = mtu {
        put(&mut map, "mtu", Yaml::bare(mtu));
    }
    Yaml::Map(map)
}

/// What an interface sends is shaped where it enters the LAN, as these tools do it: nothing is halved.
fn lan(wire: &Wire) -> Yaml {
    let members = wire.ends.iter().map(|one| {
        let mut map = end(one);
        impair(&mut map, "to-lan", &one.to);
        impair(&mut map, "from-lan", &one.from);
        flow(map)
    });
    let mut map = vec![("members".to_owned(), Yaml::List(members.collect()))];
    if let Some(mtu) = wire.mtu {
        put(&mut map, "mtu", Yaml::bare(mtu));
    }
    Yaml::Map(map)
}
