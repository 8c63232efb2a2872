//! CORE's scenarios in XML: devices, networks, links with their addresses and effects. Both spellings of a link's parts are
//! read, `node1` and `iface1`, and `node_one` and `interface_one` of older releases.
//!
//! CORE counts delays in microseconds, bandwidth in bit/s, loss and duplicates in percent. The effects of a link between two
//! devices hold for each way; those of one to a network, between the device and the network. With `unidirectional` they
//! are of what the first of the two sends, and a second link of the same two has the other way.

mod xml;

use std::collections::HashMap;
use std::str::FromStr;

use vnode_protocol::impairment::Impairment;

use super::draft::{Draft, End, Wire, put};
use crate::emit::Yaml;
use crate::model::Mac;
use crate::parse::short;
use crate::report::{At, Report};
use xml::{Attribute, Element};

/// Parts of a scenario that say where things are drawn.
const DRAWINGS: &[&str] = &["session_origin", "session_metadata"];
/// Networks whose members hear each other by radio.
const RADIO: &[&str] = &["WIRELESS_LAN", "WIRELESS", "EMANE", "EMANE_NET"];

/// What an id stands for.
#[derive(Debug, Clone)]
enum Thing {
    Device(String),
    /// Number of its wire.
    Network(usize),
    /// Not taken over, and told.
    Nothing,
}

struct Reader<'r, 's> {
    report: &'r mut Report<'s>,
    draft: Draft,
    things: HashMap<i64, Thing>,
    /// Where each interface is: number of the wire and of the end.
    ends: HashMap<(String, String), (usize, usize)>,
    /// The wire a network has become a part of.
    joined: HashMap<usize, usize>,
}

/// Reads a scenario.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Draft {
    let Some(root) = xml::read(text, report) else {
        return Draft::default();
    };
    let mut reader = Reader {
        report,
        draft: Draft::default(),
        things: HashMap::new(),
        ends: HashMap::new(),
        joined: HashMap::new(),
    };
    if root.name != "scenario" {
        let text = format!("the file begins with `{}`, not with `scenario`", short(&root.name));
        reader.report.error_with(
            &root.at,
            text,
            "in CORE: File, Save As, a file that ends in .xml",
        );
        return Draft::default();
    }
    let all = |name: &'static str| {
        root.children.iter().filter(move |part| part.name == name).flat_map(|part| &part.children)
    };
    for device in all("devices") {
        reader.device(device);
    }
    for network in all("networks") {
        reader.network(network);
    }
    for link in all("links") {
        reader.link(link);
    }
    for part in &root.children {
        let known = ["devices", "networks", "links"].contains(&part.name.as_str());
        if !known && !DRAWINGS.contains(&part.name.as_str()) && !part.children.is_empty() {
            reader.report.warn(&part.at, format!("`{}` is not mapped", short(&part.name)));
        }
    }
    reader.draft
}

impl Reader<'_, '_> {
    fn unmapped(&mut self, at: &At, what: impl std::fmt::Display) {
        self.report.warn(at, format!("{what} is not mapped"));
    }

    /// A number; an error, and nothing, when it is there and none.
    fn number<T: FromStr>(&mut self, attribute: Option<&Attribute>) -> Option<T> {
        let attribute = attribute?;
        let number = attribute.value.trim().parse().ok();
        if number.is_none() {
            let text = format!("`{}=\"{}\"` is no number", attribute.name, short(&attribute.value));
            self.report.error(&attribute.at, text);
        }
        number
    }

    /// Id and name of a device or network; the id is noted when it is new.
    fn name<'e>(&mut self, element: &'e Element) -> Option<(i64, &'e Attribute)> {
        let (id, name) = (element.get(&["id"]), element.get(&["name"]));
        let (Some(_), Some(name)) = (id, name) else {
            let text = format!("a `{}` has an `id` and a `name`", short(&element.name));
            self.report.error(&element.at, text);
            return None;
        };
        let id: i64 = self.number(id)?;
        if self.things.insert(id, Thing::Nothing).is_some() {
            self.report.error(&element.at, format!("the id {id} is given twice"));
            return None;
        }
        Some((id, name))
    }

    fn device(&mut self, device: &Element) {
        let Some((id, name)) = self.name(device) else { return };
        let Some(map) = self.draft.node(&name.value, &name.at, self.report) else { return };
        // CORE's devices have the interfaces of the file and no other.
        put(map, "network-mode", Yaml::text("none"));
        let image = device.get(&["image"]);
        match device.get(&["class"]).map(|class| (class, class.value.as_str())) {
            None => {}
            Some((_, "docker" | "podman")) => {
                if let Some(image) = image {
                    put(map, "image", Yaml::text(&image.value));
                }
            }
            Some((class, other)) => {
                let what = format!("the class `{}` of `{}`", short(other), name.value);
                self.unmapped(&class.at, what);
            }
        }
        for services in &device.children {
            let names: Vec<&str> = services
                .children
                .iter()
                .filter_map(|one| Some(one.get(&["name"])?.value.as_str()))
                .collect();
            if services.name != "position" && !names.is_empty() {
                let what = format!("{}: {} of `{}`", services.name, names.join(", "), name.value);
                self.unmapped(&services.at, short(&what));
            }
        }
        if let Some(server) = device.get(&["server"]) {
            self.unmapped(&server.at, format_args!("the server of `{}`", name.value));
        }
        self.things.insert(id, Thing::Device(name.value.clone()));
    }

    fn network(&mut self, network: &Element) {
        let Some((id, name)) = self.name(network) else { return };
        let kind = network.get(&["type"]).map_or("", |kind| kind.value.as_str());
        if RADIO.contains(&kind) {
            let text = format!(
                "the radio of `{}`, whose members all hear each other, is not mapped",
                short(&name.value)
            );
            self.report.warn(&network.at, text);
        } else if !matches!(kind, "SWITCH" | "HUB") {
            let what = format!("the network `{}` of type `{}`", short(&name.value), short(kind));
            self.unmapped(&network.at, what);
            return;
        }
        let number = self.draft.wires.len();
        self.draft.wires.push(Wire { name: name.value.clone(), ..Wire::default() });
        self.things.insert(id, Thing::Network(number));
    }

    /// The wire of a network, which may be a part of another by now.
    fn wire(&self, mut number: usize) -> usize {
        while let Some(other) = self.joined.get(&number) {
            number = *other;
        }
        number
    }

    fn link(&mut self, link: &Element) {
        let nodes = [["node1", "node_one"], ["node2", "node_two"]];
        let mut things = Vec::new();
        for names in nodes {
            let Some(attribute) = link.get(&names) else {
                self.report.error(&link.at, format!("the link has no `{}`", names[0]));
                return;
            };
            let Some(id) = self.number::<i64>(Some(attribute)) else { return };
            match self.things.get(&id) {
                Some(thing) => things.push(thing.clone()),
                None => {
                    self.report.error(&attribute.at, format!("nothing has the id {id}"));
                    return;
                }
            }
        }
        let (way, one_way) = self.effects(link);
        let ends = [["iface1", "interface_one"], ["iface2", "interface_two"]];
        let mut interfaces = ends.map(|names| link.child(&names));
        match (&things[0], &things[1]) {
            (Thing::Nothing, _) | (_, Thing::Nothing) => self.unmapped(&link.at, "the link to it"),
            (Thing::Network(one), Thing::Network(other)) => {
                let (one, other) = (self.wire(*one), self.wire(*other));
                if one != other {
                    self.join(one, other);
                }
                if way != Impairment::default() {
                    self.unmapped(&link.at, "what happens between two networks");
                }
            }
            (Thing::Device(one), Thing::Device(other)) => {
                let back = if one_way { Impairment::default() } else { way.clone() };
                let [first, second] = interfaces;
                let names = [(one, first), (other, second)].map(|(node, interface)| {
                    self.interface_name(interface).map(|name| (node.clone(), name))
                });
                if let [Some(near), Some(_)] = &names
                    && one_way
                    && let Some((wire, end)) = self.ends.get(near).copied()
                {
                    // The other way of a link that is there.
                    self.draft.wires[wire].ends[end].to = way;
                    return;
                }
                let near = self.end(one, first, way, Impairment::default(), link);
                let far = self.end(other, second, back, Impairment::default(), link);
                if let (Some(near), Some(far)) = (near, far) {
                    self.add(self.draft.wires.len(), vec![near, far]);
                }
            }
            (Thing::Device(node), Thing::Network(wire))
            | (Thing::Network(wire), Thing::Device(node)) => {
                let sends = matches!(things[0], Thing::Device(_));
                if !sends {
                    interfaces.swap(0, 1);
                }
                // The queue stands where the device sends.
                let from = Impairment { queue: None, ..way.clone() };
                let name = self.interface_name(interfaces[0]);
                if let Some(name) = name
                    && one_way
                    && let Some((wire, end)) = self.ends.get(&(node.clone(), name)).copied()
                {
                    let end = &mut self.draft.wires[wire].ends[end];
                    if sends {
                        end.to = way
                    } else {
                        end.from = from
                    }
                    return;
                }
                let none = Impairment::default;
                let (to, from) = match (one_way, sends) {
                    (false, _) => (way, from),
                    (true, true) => (way, none()),
                    (true, false) => (none(), from),
                };
                let wire = self.wire(*wire);
                if let Some(end) = self.end(node, interfaces[0], to, from, link) {
                    self.add(wire, vec![end]);
                }
            }
        }
    }

    /// Makes one LAN of two.
    fn join(&mut self, one: usize, other: usize) {
        let moved = std::mem::take(&mut self.draft.wires[other].ends);
        self.joined.insert(other, one);
        self.add(one, moved);
    }

    /// Adds ends to a wire, a new one where it is not there.
    fn add(&mut self, wire: usize, ends: Vec<End>) {
        if wire == self.draft.wires.len() {
            self.draft.wires.push(Wire::default());
        }
        for end in ends {
            let at = (wire, self.draft.wires[wire].ends.len());
            self.ends.insert((end.node.clone(), end.interface.clone()), at);
            self.draft.wires[wire].ends.push(end);
        }
    }

    /// Its own, or one of its number.
    fn interface_name(&self, interface: Option<&Element>) -> Option<String> {
        let interface = interface?;
        let name = interface.get(&["name"]).map(|name| name.value.clone());
        name.or_else(|| Some(format!("eth{}", interface.get(&["id"])?.value.trim())))
    }

    fn end(
        &mut self,
        node: &str,
        interface: Option<&Element>,
        to: Impairment,
        from: Impairment,
        link: &Element,
    ) -> Option<End> {
        let (Some(element), Some(name)) = (interface, self.interface_name(interface)) else {
            self.report.error(&link.at, format!("the link names no interface of `{node}`"));
            return None;
        };
        let mut end = End { node: node.to_owned(), interface: name, to, from, ..End::default() };
        if let Some(mac) = element.get(&["mac"]) {
            end.mac = Mac::parse(&mac.value).filter(|mac| !mac.is_group() && *mac != Mac([0; 6]));
            if end.mac.is_none() {
                let text =
                    format!("`{}` is no Ethernet address of an interface", short(&mac.value));
                self.report.error(&mac.at, text);
            }
        }
        end.ipv4 = self.address::<ipnet::Ipv4Net>(element, ["ip4", "ip4_mask"], 24);
        end.ipv6 = self.address::<ipnet::Ipv6Net>(element, ["ip6", "ip6_mask"], 64);
        let taken = self.draft.take(node, &end.interface, &element.at, self.report);
        taken.then_some(end)
    }

    /// An address and the length of its prefix, which CORE writes apart.
    fn address<T: FromStr + ToString>(
        &mut self,
        element: &Element,
        names: [&str; 2],
        length: u8,
    ) -> Option<String> {
        let address = element.get(&names[..1])?;
        let length = self.number(element.get(&names[1..])).unwrap_or(length);
        let net = format!("{}/{length}", address.value.trim()).parse::<T>().ok();
        if net.is_none() {
            let text = format!("`{}/{length}` is no address", short(&address.value));
            self.report.error(&address.at, text);
        }
        net.map(|net| net.to_string())
    }

    /// What a link does to frames, and whether only to those the first of the two sends.
    fn effects(&mut self, link: &Element) -> (Impairment, bool) {
        let mut way = Impairment::default();
        let Some(options) = link.child(&["options"]) else { return (way, false) };
        let zero = |value: &str| value.trim().parse::<f64>().is_ok_and(|number| number == 0.0);
        let mut one_way = false;
        for attribute in &options.attributes {
            let value = attribute.value.trim();
            let (key, written) = match attribute.name.as_str() {
                "unidirectional" => {
                    one_way = value == "1" || value.eq_ignore_ascii_case("true");
                    continue;
                }
                // What is drawn, and numbers of CORE's own.
                "gui_attributes" | "emulation_id" | "network_id" | "opaque" | "session"
                | "type" => continue,
                _ if value.is_empty() || zero(value) => continue,
                "delay" => ("delay", format!("{value}us")),
                "jitter" => ("jitter", format!("{value}us")),
                "bandwidth" => ("rate", format!("{value}bit")),
                "loss" | "per" => ("loss", format!("{value}%")),
                "dup" => ("duplicate", format!("{value}%")),
                "buffer" => ("queue", value.to_owned()),
                other => {
                    let what = format!("`{}` of a link", short(other));
                    self.unmapped(&attribute.at, what);
                    continue;
                }
            };
            if let Err(error) = way.set(key, &written) {
                self.report.error(&attribute.at, error.to_string());
            }
        }
        if let Err(error) = way.check() {
            self.report.error(&options.at, error.to_string());
        }
        (way, one_way)
    }
}
