//! netplan: one YAML file for all interfaces.

use serde_json::Value;

use super::{
    Changed, Fragment, Input, RESTART, RenderError, Renderer, Steps, program, write_resolv_conf,
};
use crate::draft::Draft;
use crate::model::{Interface, Kind};
use crate::settings::Conflicts;
use crate::source::parse_yaml;
use crate::view::View;

const FOLDER: &str = "/etc/netplan";

/// The back-end netplan.
#[derive(Debug)]
pub struct Netplan;

impl Renderer for Netplan {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let path = format!("{FOLDER}/90-{}.yaml", input.agent);
        move_rivals(input, draft, &path)?;
        let mut fragments = Vec::new();
        let text = document(input.interfaces, true, |interface, block| {
            let (interface, text) = (interface.name.clone(), Some(block.to_owned()));
            fragments.push(Fragment { interface, path: path.clone(), text });
        });
        draft.write_private(&path, text.into_bytes());
        write_resolv_conf(input, draft)?;
        Ok(fragments)
    }

    /// netplan compares what was with what shall be by itself.
    fn steps(&self, _: &Input<'_>, _: Changed<'_>, _: &Draft<'_>) -> Steps {
        Steps { before: Vec::new(), after: vec![program(["netplan", "apply"], RESTART)] }
    }
}

/// The whole text: a section for each kind of interface that there is. `each` is shown every interface's own part.
pub(super) fn document(
    interfaces: &[Interface],
    rename: bool,
    mut each: impl FnMut(&Interface, &str),
) -> String {
    let mut text = "network:\n  version: 2\n  ethernets:\n".to_owned();
    let mut last = "ethernets";
    // In the order of the sections; the sort keeps the order within them.
    let mut sorted: Vec<&Interface> = interfaces.iter().collect();
    sorted.sort_by_key(|interface| section(&interface.config.kind).0);
    for interface in sorted {
        let (_, section) = section(&interface.config.kind);
        if section != last {
            text += &format!("  {section}:\n");
            last = section;
        }
        let block = one(interface, rename);
        each(interface, &block);
        text += &block;
    }
    text
}

fn section(kind: &Kind) -> (u8, &'static str) {
    match kind {
        Kind::Physical => (0, "ethernets"),
        Kind::Bond(_) => (1, "bonds"),
        Kind::Bridge(_) => (2, "bridges"),
        Kind::Vlan(_) => (3, "vlans"),
    }
}

/// What a VLAN, bond or bridge is made of.
fn made_of(kind: &Kind) -> String {
    let members = |of: &[String]| {
        let lines: String = of.iter().map(|m| format!("      - {}\n", key(m))).collect();
        // No members is a list too.
        if lines.is_empty() { String::new() } else { format!("      interfaces:\n{lines}") }
    };
    match kind {
        Kind::Physical => String::new(),
        Kind::Vlan(vlan) => format!("      id: {}\n      link: {}\n", vlan.tag, key(&vlan.parent)),
        Kind::Bridge(bridge) => {
            format!("{}      parameters:\n        stp: {}\n", members(&bridge.members), bridge.stp)
        }
        Kind::Bond(bond) => {
            let mut out = members(&bond.members);
            if let Some(mac) = bond.mac {
                out += &format!("      macaddress: \"{mac}\"\n");
            }
            out += &format!("      parameters:\n        mode: {}\n", bond.mode);
            if let Some(ms) = bond.look_ms {
                out += &format!("        mii-monitor-interval: {ms}\n");
            }
            if let Some(hash) = &bond.hash {
                out += &format!("        transmit-hash-policy: {hash}\n");
            }
            if bond.fast {
                out += "        lacp-rate: fast\n";
            }
            out
        }
    }
}

/// One interface.
fn one(interface: &Interface, rename: bool) -> String {
    let config = &interface.config;
    let mut out = format!("    {}:\n{}", key(&interface.name), made_of(&config.kind));
    // Without an address of the device's own nothing but the name says which one it is.
    if interface.permanent_mac {
        out += &format!("      match:\n        macaddress: \"{}\"\n", interface.mac);
        if rename {
            out += &format!("      set-name: {}\n", key(&interface.name));
        }
    }
    out += &format!("      dhcp4: {}\n      dhcp6: {}\n", config.dhcp4, config.dhcp6);
    out += &format!("      accept-ra: {}\n", config.accept_ra);
    if let Some(mtu) = config.mtu_bytes {
        out += &format!("      mtu: {mtu}\n");
    }
    if config.addresses().next().is_some() {
        out += "      addresses:\n";
        for net in config.addresses() {
            out += &format!("      - {net}\n");
        }
    }
    if !config.dns.is_empty() || !config.search.is_empty() {
        out += "      nameservers:\n";
        if !config.search.is_empty() {
            out += "        search:\n";
            for domain in &config.search {
                out += &format!("        - {}\n", key(domain));
            }
        }
        if !config.dns.is_empty() {
            out += "        addresses:\n";
            for server in &config.dns {
                out += &format!("        - {server}\n");
            }
        }
    }
    if config.all_routes().next().is_some() {
        out += "      routes:\n";
        for route in config.all_routes() {
            out += &format!("      - to: {}\n        via: {}\n", route.destination, route.gateway);
            if config.on_link(route.gateway) {
                out += "        on-link: true\n";
            }
        }
    }
    out
}

/// A name as YAML: in quotes when it could be read as something else than a text.
fn key(name: &str) -> String {
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !words.contains(&name.to_ascii_lowercase().as_str());
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}

/// netplan merges files key by key: another file's DHCP would stay on beside our addresses. Files that configure our
/// interfaces and no others are moved away; others are an error.
fn move_rivals(input: &Input<'_>, draft: &mut Draft<'_>, own: &str) -> Result<(), RenderError> {
    for name in draft.list(FOLDER)? {
        let path = format!("{FOLDER}/{name}");
        if path == own || !name.ends_with(".yaml") {
            continue;
        }
        let content = draft.read_or_empty(&path)?;
        let conflict = |what: String, why| RenderError::Conflict { path: path.clone(), what, why };
        let Ok(tree) = parse_yaml(&content) else {
            return Err(conflict("something".to_owned(), "it cannot be read"));
        };
        let rivals = rivals(&tree, input);
        let Some(first) = rivals.managed.first() else { continue };
        let first = format!("`{first}`");
        if input.conflicts == Conflicts::Refuse {
            return Err(conflict(first, "files of others may not be moved by the settings"));
        }
        if let Some(other) = rivals.others.first() {
            let what = format!("{first} and `{other}`");
            return Err(conflict(what, "the second is not ours to configure"));
        }
        draft.remove(&path);
        if name.contains("cloud-init") {
            super::silence_cloud_init(input, draft)?;
        }
    }
    Ok(())
}

struct Rivals {
    managed: Vec<String>,
    others: Vec<String>,
}

/// What a file defines: our interfaces, by key, name or address, and others.
fn rivals(tree: &Value, input: &Input<'_>) -> Rivals {
    let mut found = Rivals { managed: Vec::new(), others: Vec::new() };
    let network = tree.get("network").unwrap_or(tree);
    for (kind, definitions) in network.as_object().into_iter().flatten() {
        for (key, definition) in definitions.as_object().into_iter().flatten() {
            let at = |path: &str| definition.pointer(path).and_then(Value::as_str);
            let names = [Some(key.as_str()), at("/set-name"), at("/match/name")];
            let mac = at("/match/macaddress").map(str::to_ascii_lowercase);
            let ours = ["ethernets", "bonds", "bridges", "vlans"].contains(&kind.as_str())
                && input.interfaces.iter().any(|interface| {
                    mac.as_deref() == Some(interface.mac.to_string().as_str())
                        || (mac.is_none()
                            && names.iter().flatten().any(|n| glob(n, &interface.name)))
                        || *key == interface.name
                });
            if ours { &mut found.managed } else { &mut found.others }.push(key.clone());
        }
    }
    found
}

/// Whether a pattern with `*` and `?` fits a name. Both are short.
pub(super) fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    // Positions to come back to: after the last star, and in the name.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(c) if *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((after, at)) => {
                    star = Some((after, at + 1));
                    (p, n) = (after, at + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, fits) in [
            ("eth0", "eth0", true),
            ("eth*", "eth0", true),
            ("e*0", "eth10", true),
            ("en*", "eth0", false),
            ("eth?", "eth0", true),
            ("eth?", "eth", false),
            ("*", "", true),
        ] {
            assert_eq!(glob(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn keys_that_yaml_would_take_for_something_else_are_quoted() {
        assert_eq!(key("eth0"), "eth0");
        assert_eq!(key("on"), "\"on\"");
        assert_eq!(key("1e5"), "\"1e5\"");
    }
}
