//! A domain's definition as a topology file, for `vnode import`.

use crate::xml::{self, Element};

pub use crate::xml::XmlError;

/// A definition that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The topology file it became: a lab of one node.
    pub text: String,
    /// What of the definition is not as it was, a sentence each.
    pub unmapped: Vec<String>,
}

/// Whether a text looks like a domain's definition rather than like another tool's file.
#[must_use]
pub fn is_definition(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<?xml") || text.starts_with("<domain") || text.starts_with("<!--")
}

/// Makes a lab of a domain. `file` is the definition's path as the topology is to have it, `lab` the lab's name.
///
/// # Errors
/// The text is no domain definition.
pub fn import(text: &str, file: &str, lab: &str) -> Result<Imported, XmlError> {
    let root = xml::read(text)?;
    let uri = match root.attribute("type").unwrap_or_default() {
        "xen" => "xen:///system",
        "lxc" => "lxc:///system",
        "test" => "test:///default",
        _ => "qemu:///system",
    };
    let given = root.text_of("name").unwrap_or_default();
    let node = word(given, "node");
    let mut unmapped = vec![format!(
        "the domain is defined anew, under the name `vnode-{lab}-{node}` and an identity of its own: shut `{given}` down \
         first, they have the same disks"
    )];
    let mut networks: Vec<(String, Vec<String>)> = Vec::new();
    let interfaces = root.child("devices").into_iter().flat_map(|devices| devices.all("interface"));
    for (at, interface) in interfaces.enumerate() {
        let end = format!("{node}:eth{}", at + 1);
        match wire(interface) {
            Some(name) => match networks.iter_mut().find(|(known, _)| *known == name) {
                Some((_, members)) => members.push(end),
                None => networks.push((name, vec![end])),
            },
            None => unmapped.push(format!(
                "interface {} is of type `{}`: join `{end}` to a link or a LAN yourself",
                at + 1,
                interface.attribute("type").unwrap_or("none"),
            )),
        }
        if let Some(mac) = interface.child("mac").and_then(|mac| mac.attribute("address")) {
            unmapped.push(format!(
                "interface {} had the address {mac}: it gets one of the lab's",
                at + 1
            ));
        }
    }
    let mut out = format!("# Made by `vnode import` from the domain `{}`.\n", word(given, "node"));
    for line in &unmapped {
        out.push_str(&format!("# {line}\n"));
    }
    out.push_str(&format!(
        "name: {lab}\ntopology:\n  nodes:\n    {node}:\n      kind: vm\n      backend: libvirt\n      \
         network-mode: none\n      libvirt: {{uri: {uri}, xml: {}}}\n",
        quoted(file)
    ));
    if !networks.is_empty() {
        out.push_str("  networks:\n");
        for (name, members) in &networks {
            let members: Vec<String> = members.iter().map(|end| quoted(end)).collect();
            out.push_str(&format!("    {name}: {{members: [{}]}}\n", members.join(", ")));
        }
    }
    Ok(Imported { text: out, unmapped })
}

/// The LAN an interface was in, by libvirt's network or the host's bridge.
fn wire(interface: &Element) -> Option<String> {
    let source = interface.child("source");
    let name = match interface.attribute("type")? {
        "network" => source?.attribute("network")?,
        "bridge" => source?.attribute("bridge")?,
        _ => return None,
    };
    Some(word(name, "lan"))
}

/// A name that a topology file can have.
fn word(name: &str, otherwise: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = name.chars().take(60).map(|c| if good(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() { otherwise.to_owned() } else { name.to_owned() }
}

/// A text in YAML's double quotes, which are JSON's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_becomes_a_lab_of_one_node() {
        let text = "<domain type='xen'><name>web 1</name><devices>\
            <interface type='bridge'><source bridge='br0'/><mac address='00:16:3e:00:00:01'/></interface>\
            <interface type='network'><source network='default'/></interface>\
            <interface type='bridge'><source bridge='br0'/></interface>\
            <interface type='user'/></devices></domain>";
        let made = import(text, "/a b/web.xml", "web").unwrap();
        assert!(made.text.contains("    web-1:\n      kind: vm\n"), "{}", made.text);
        assert!(made.text.contains("libvirt: {uri: xen:///system, xml: \"/a b/web.xml\"}"));
        assert!(made.text.contains("    br0: {members: [\"web-1:eth1\", \"web-1:eth3\"]}\n"));
        assert!(made.text.contains("    default: {members: [\"web-1:eth2\"]}\n"));
        assert_eq!(made.unmapped.len(), 3, "{:?}", made.unmapped);
        assert!(is_definition(text) && !is_definition("set ns [new Simulator]"));
        assert!(import("<network/>", "x", "x").is_err());
    }
}
