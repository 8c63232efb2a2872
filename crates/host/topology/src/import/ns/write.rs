//! The topology file that an NS file becomes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use vnode_protocol::impairment::Impairment;

use super::build::{Built, End, Event, Pairs, Wire};
use crate::emit::Yaml;

type Map = Vec<(String, Yaml)>;

fn put(map: &mut Map, key: &str, value: Yaml) {
    map.push((key.to_owned(), value));
}

/// Interfaces and addresses of all ends, in the order of the file.
struct Ends {
    /// Interface and address with prefix length, by wire and number of the end.
    known: BTreeMap<(usize, usize), (String, String)>,
}

impl Ends {
    fn new(built: &Built) -> Self {
        let mut next = vec![0u32; built.nodes.len()];
        let mut known = BTreeMap::new();
        for (number, wire) in built.wires.iter().enumerate() {
            let (ends, prefix) = ends_of(built, *wire);
            let addresses = addresses(&ends, prefix.unwrap_or(24), number);
            for (at, (end, address)) in ends.iter().zip(addresses).enumerate() {
                next[end.node] += 1;
                let interface = format!("eth{}", next[end.node]);
                known.insert((number, at), (interface, address));
            }
        }
        Self { known }
    }

    fn of(&self, wire: usize, end: usize) -> (String, String) {
        self.known.get(&(wire, end)).cloned().unwrap_or_default()
    }
}

fn ends_of(built: &Built, wire: Wire) -> (Vec<End>, Option<u8>) {
    match wire {
        Wire::Link(link) => (built.links[link].ends.to_vec(), built.links[link].prefix),
        Wire::Lan(lan) => {
            let lan = &built.lans[lan];
            (lan.members.iter().map(|member| member.end.clone()).collect(), lan.prefix)
        }
    }
}

/// The addresses given, and for the others the next free ones of the same network; without any the testbed's own
/// choice: 10.1.N.2 and on, of the wire number N from 1.
fn addresses(ends: &[End], prefix: u8, number: usize) -> Vec<String> {
    let mut prefix = prefix.min(30);
    // A LAN may have more members than 10.1.N.0/24 has room for.
    while prefix > 8 && (1u64 << (32 - prefix)) < ends.len() as u64 + 3 {
        prefix -= 1;
    }
    let given = ends.iter().find_map(|end| end.address);
    let mask = u32::MAX << (32 - prefix);
    let own =
        (10 << 24) + (1 << 16) + ((u32::try_from(number).unwrap_or(u32::MAX) & 0xffff) + 1) * 256;
    let network = given.map_or(own, u32::from) & mask;
    let taken: BTreeSet<u32> = ends.iter().filter_map(|end| end.address.map(u32::from)).collect();
    let mut next = network + 2;
    let mut free = move || {
        while taken.contains(&next) {
            next += 1;
        }
        next += 1;
        next - 1
    };
    ends.iter()
        .map(|end| end.address.unwrap_or_else(|| Ipv4Addr::from(free())))
        .map(|address| format!("{address}/{prefix}"))
        .collect()
}

/// Writes it.
pub(super) fn topology(built: &Built, name: &str) -> String {
    let ends = Ends::new(built);
    let mut topology = Map::new();
    let nodes = (0..built.nodes.len()).map(|node| (built.node_name(node), Yaml::Map(Vec::new())));
    put(&mut topology, "nodes", Yaml::Map(nodes.collect()));
    let (mut links, mut lans) = (Vec::new(), Map::new());
    for (number, wire) in built.wires.iter().enumerate() {
        match wire {
            Wire::Link(link) => links.push(self::link(built, &ends, number, *link)),
            Wire::Lan(lan) => {
                lans.push((built.lan_name(*lan), self::lan(built, &ends, number, *lan)))
            }
        }
    }
    if !links.is_empty() {
        put(&mut topology, "links", Yaml::List(links));
    }
    if !lans.is_empty() {
        put(&mut topology, "networks", Yaml::Map(lans));
    }
    let mut whole = vec![("name".to_owned(), Yaml::text(name))];
    put(&mut whole, "topology", Yaml::Map(topology));
    if !built.events.is_empty() {
        let events = built.events.iter().map(|one| event(built, &ends, one));
        put(&mut whole, "events", Yaml::List(events.collect()));
    }
    Yaml::Map(whole).document()
}

fn flow(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Yaml {
    let map = pairs.into_iter().map(|(key, value)| (key.to_owned(), Yaml::text(value)));
    Yaml::Flow(Box::new(Yaml::Map(map.collect())))
}

fn impair(map: &mut Map, way: &Impairment) {
    if *way != Impairment::default() {
        put(map, "impair", flow(way.pairs()));
    }
}

fn link(built: &Built, ends: &Ends, number: usize, link: usize) -> Yaml {
    let link = &built.links[link];
    let ways = link.ways.clone().map(Option::unwrap_or_default);
    let same = ways[0] == ways[1];
    let name = |at: usize| built.node_name(link.ends[at].node);
    let mut map = Map::new();
    if same {
        let both = [0, 1].map(|at| format!("{}:{}", name(at), ends.of(number, at).0));
        put(&mut map, "endpoints", Yaml::Flow(Box::new(Yaml::texts(both))));
        let addresses = [0, 1].map(|at| ends.of(number, at).1);
        put(&mut map, "ipv4", Yaml::Flow(Box::new(Yaml::texts(addresses))));
        impair(&mut map, &ways[0]);
        return Yaml::Map(map);
    }
    put(&mut map, "type", Yaml::text("veth"));
    let both = [0, 1].map(|at| {
        let (interface, address) = ends.of(number, at);
        let mut end = Map::new();
        put(&mut end, "node", Yaml::text(name(at)));
        put(&mut end, "interface", Yaml::text(interface));
        put(&mut end, "ipv4", Yaml::text(address));
        impair(&mut end, &ways[at]);
        Yaml::Map(end)
    });
    put(&mut map, "endpoints", Yaml::List(both.into()));
    Yaml::Map(map)
}

fn lan(built: &Built, ends: &Ends, number: usize, lan: usize) -> Yaml {
    let lan = &built.lans[lan];
    let members = lan.members.iter().enumerate().map(|(at, member)| {
        let (interface, address) = ends.of(number, at);
        let mut map = Map::new();
        put(&mut map, "node", Yaml::text(built.node_name(member.end.node)));
        put(&mut map, "interface", Yaml::text(interface));
        put(&mut map, "ipv4", Yaml::text(address));
        let own = |pairs: &Pairs| flow(pairs.iter().cloned());
        if member.to == member.from && !member.to.is_empty() {
            put(&mut map, "impair", own(&member.to));
        } else {
            for (key, way) in [("to-lan", &member.to), ("from-lan", &member.from)] {
                if !way.is_empty() {
                    put(&mut map, key, own(way));
                }
            }
        }
        Yaml::Map(map)
    });
    let mut map = vec![("members".to_owned(), Yaml::List(members.collect()))];
    impair(&mut map, &lan.impair);
    Yaml::Map(map)
}

fn event(built: &Built, ends: &Ends, event: &Event) -> Yaml {
    let mut map = Map::new();
    put(&mut map, "at", Yaml::text(format!("{}s", event.at)));
    let number = built.wires.iter().position(|wire| *wire == event.wire).unwrap_or_default();
    let (all, _) = ends_of(built, event.wire);
    let name =
        |at: usize, end: &End| format!("{}:{}", built.node_name(end.node), ends.of(number, at).0);
    let names: Vec<String> = all.iter().enumerate().map(|(at, end)| name(at, end)).collect();
    let only = event.node.and_then(|node| all.iter().position(|end| end.node == node));
    let part = match event.wire {
        Wire::Link(_) => {
            put(&mut map, "link", Yaml::text(names.join("--")));
            "end"
        }
        Wire::Lan(lan) => {
            put(&mut map, "network", Yaml::text(built.lan_name(lan)));
            "member"
        }
    };
    if let Some(only) = only {
        put(&mut map, part, Yaml::text(&names[only]));
    }
    put(&mut map, "do", Yaml::text(event.verb));
    if !event.set.is_empty() {
        put(&mut map, "set", flow(event.set.iter().cloned()));
    }
    Yaml::Map(map)
}
