//! ifupdown: Debian's `/etc/network/interfaces`, as interfaces(5) has it.

use std::fmt::Write as _;

use super::{
    Changed, Fragment, Input, RESTART, RenderError, Renderer, Step, Steps, attempt, label_line,
    pairs, program, write_resolv_conf,
};
use crate::draft::Draft;
use crate::model::{Interface, Kind};
use crate::settings::Form;
use crate::text;
use crate::view::View;

const FILE: &str = "/etc/network/interfaces";
const FOLDER: &str = "/etc/network/interfaces.d";
const HEAD: &str = "\
# Used by ifup(8) and ifdown(8). See the interfaces(5) manpage or
# /usr/share/doc/ifupdown/examples for more information.
# The loopback network interface
auto lo
iface lo inet loopback
";
const BEGIN: &str = "# Written by the guest agent: changes from here to the end mark are lost\n";
const END: &str = "# End of what the guest agent writes\n";

/// The back-end ifupdown.
#[derive(Debug)]
pub struct Ifupdown;

impl Renderer for Ifupdown {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let form = input.form_or(Form::Modern);
        let mut blocks: Vec<(&Interface, String)> = Vec::new();
        for interface in input.interfaces {
            blocks.push(match form {
                Form::Compatible => {
                    super::only_plain("ifupdown (compatible)", interface)?;
                    (interface, compatible(interface))
                }
                Form::Modern => (interface, modern(interface, &made_of(interface, input))),
            });
        }
        let all: String = blocks.iter().map(|(_, block)| format!("\n{block}")).collect();
        let old = draft.read_or_empty(FILE)?;
        let mut path = FILE.to_owned();
        if form == Form::Compatible {
            draft.write(FILE, format!("{HEAD}{all}").into_bytes())?;
        } else {
            for name in draft.list(FOLDER)? {
                let other = format!("{FOLDER}/{name}");
                if let Some(content) = draft.read(&other)? {
                    let rest = without(&content, input);
                    if rest != content {
                        draft.write(&other, rest)?;
                    }
                }
            }
            let rest = without(&unmarked(&old), input);
            if sources_folder(&old) {
                path = format!("{FOLDER}/{}", input.agent);
                draft.write(&path, format!("{}{all}", super::HEADER).into_bytes())?;
                if rest != old {
                    draft.write(FILE, rest)?;
                }
            } else {
                let mut new = if old.is_empty() { HEAD.as_bytes().to_vec() } else { rest };
                while new.ends_with(b"\n\n") {
                    new.pop();
                }
                new.extend_from_slice(format!("\n{BEGIN}{all}\n{END}").as_bytes());
                draft.write(FILE, new)?;
            }
        }
        write_resolv_conf(input, draft)?;
        Ok(blocks
            .into_iter()
            .map(|(interface, block)| Fragment {
                interface: interface.name.clone(),
                path: path.clone(),
                text: Some(block),
            })
            .collect())
    }

    /// `ifdown` by the old files, `ifup` by the new ones. An interface that is not up in ifupdown's eyes may still have
    /// the addresses, which `ifup` would stumble over. `-f` is known to all implementations, `--force` is not.
    fn steps(&self, input: &Input<'_>, changed: Changed<'_>, draft: &Draft<'_>) -> Steps {
        let mut steps = Steps::default();
        let old = known_names(draft.base());
        let new = known_names(draft);
        let compatible = input.form == Some(Form::Compatible);
        for name in &old {
            let gone = compatible && base(name) != "lo" && !new.contains(name);
            if gone || changed.interfaces.iter().any(|i| i.name == base(name)) {
                steps.before.push(attempt(["ifdown", "-f", name]));
            }
        }
        for interface in changed.interfaces {
            steps.after.push(Step::Flush { interface: interface.name.clone() });
            for name in new.iter().filter(|name| base(name) == interface.name) {
                steps.after.push(program(["ifup", name], RESTART));
            }
        }
        steps
    }
}

/// An alias's interface.
fn base(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

/// The OpenStack agent's form: an alias for each further pair of addresses. Its routes stood with the last alias; they
/// belong to the interface.
pub(crate) fn compatible(interface: &Interface) -> String {
    let config = &interface.config;
    let mut out = String::new();
    let mut count = 0;
    for (k, (v4, v6)) in pairs(interface).enumerate() {
        let first = k == 0;
        let name = if first { interface.name.clone() } else { format!("{}:{k}", interface.name) };
        if !first {
            out += "\n";
        }
        out += &label_line(interface);
        out += &format!("auto {name}\n");
        if let Some(net) = v4 {
            out += &format!("iface {name} inet static\n    address {}\n", net.addr());
            out += &format!("    netmask {}\n", net.netmask());
            out += &option("gateway", config.gateway4.filter(|_| first));
        }
        if let Some(net) = v6 {
            out += &format!("iface {name} inet6 static\n    address {}\n", net.addr());
            out += &format!("    netmask {}\n", net.prefix_len());
            out += &option("gateway", config.gateway6.filter(|_| first));
        }
        if first {
            out += &servers(interface);
            out += &compatible_routes(interface);
        }
        count += 1;
    }
    if count == 0 {
        out += &format!("{}auto {}\n", label_line(interface), interface.name);
        out += &without_addresses(interface, "");
    }
    out
}

fn compatible_routes(interface: &Interface) -> String {
    let mut out = String::new();
    for (net, gateway) in interface.config.routes4() {
        for (when, verb) in [("post-up", "add"), ("pre-down", "del")] {
            let (address, mask) = (net.addr(), net.netmask());
            let _infallible = writeln!(
                out,
                "    {when} route {verb} -net {address} netmask {mask} gw {gateway} || true"
            );
        }
    }
    for (net, gateway) in interface.config.routes6() {
        for (when, verb) in [("post-up", "add"), ("pre-down", "del")] {
            let name = &interface.name;
            let _infallible = writeln!(
                out,
                "    {when} route -A inet6 {verb} {net} gw {gateway} dev {name} || true"
            );
        }
    }
    out
}

/// What an interface is made of, or part of, in the options of the packages vlan, ifenslave and bridge-utils.
fn made_of(interface: &Interface, input: &Input<'_>) -> String {
    let mut out = match &interface.config.kind {
        Kind::Physical => String::new(),
        Kind::Vlan(vlan) => {
            option("vlan-raw-device", Some(&vlan.parent)) + &option("vlan-id", Some(vlan.tag))
        }
        Kind::Bridge(bridge) => {
            let ports = match bridge.members.is_empty() {
                true => "none".to_owned(),
                false => bridge.members.join(" "),
            };
            let stp = if bridge.stp { "on" } else { "off" };
            option("bridge-ports", Some(ports)) + &option("bridge-stp", Some(stp))
        }
        Kind::Bond(bond) => {
            let mut out = option("bond-slaves", Some(bond.members.join(" ")));
            out += &option("bond-mode", Some(&bond.mode));
            out += &option("bond-miimon", bond.look_ms);
            out += &option("bond-xmit-hash-policy", bond.hash.as_ref());
            out += &option("bond-lacp-rate", bond.fast.then_some("fast"));
            out + &option("hwaddress", bond.mac)
        }
    };
    if let Some(master) = input.master_of(&interface.name)
        && matches!(master.config.kind, Kind::Bond(_))
    {
        out += &option("bond-master", Some(&master.name));
    }
    out
}

/// Several stanzas for one name, one for each address. `made_of` stands with the first.
pub(crate) fn modern(interface: &Interface, made_of: &str) -> String {
    let (name, config) = (&interface.name, &interface.config);
    let mut out = format!("{}auto {name}\n", label_line(interface));
    if config.ip4s.is_empty() && config.ip6s.is_empty() {
        out += &without_addresses(interface, made_of);
        return out;
    }
    // What is said once stands with the first stanza; a route with the last one of its family, when all addresses a
    // gateway may need are there.
    let mut stanzas: Vec<(bool, String)> = Vec::new();
    if config.dhcp4 {
        stanzas.push((false, format!("iface {name} inet dhcp\n")));
    }
    for (k, net) in config.ip4s.iter().enumerate() {
        let gateway = option("gateway", config.gateway4.filter(|_| k == 0));
        stanzas.push((false, format!("iface {name} inet static\n    address {net}\n{gateway}")));
    }
    if config.dhcp6 {
        stanzas.push((true, format!("iface {name} inet6 dhcp\n")));
    }
    for (k, net) in config.ip6s.iter().enumerate() {
        let mut stanza = format!("iface {name} inet6 static\n    address {net}\n");
        if k == 0 {
            let accept = if config.accept_ra { 2 } else { 0 };
            stanza += &option("accept_ra", Some(accept));
            stanza += &option("gateway", config.gateway6);
        }
        stanzas.push((true, stanza));
    }
    let end = stanzas.len() - 1;
    let last_of = |six| stanzas.iter().rposition(|(family, _)| *family == six).unwrap_or(end);
    let (last4, last6) = (last_of(false), last_of(true));
    for (k, (_, stanza)) in stanzas.iter().enumerate() {
        out += stanza;
        if k == 0 {
            out += made_of;
            out += &option("mtu", config.mtu_bytes);
            out += &servers(interface);
        }
        for (last, six) in [(last4, false), (last6, true)] {
            if k == last {
                out += &modern_routes(interface, six);
            }
        }
    }
    out
}

fn without_addresses(interface: &Interface, made_of: &str) -> String {
    let (name, config) = (&interface.name, &interface.config);
    let mut out = String::new();
    if config.dhcp4 {
        out += &format!("iface {name} inet dhcp\n");
    }
    if config.dhcp6 {
        out += &format!("iface {name} inet6 dhcp\n");
    } else if config.accept_ra {
        out += &format!("iface {name} inet6 auto\n");
    }
    if out.is_empty() {
        out = format!("iface {name} inet manual\n");
    }
    out += made_of;
    out += &option("mtu", config.mtu_bytes);
    out += &servers(interface);
    out + &modern_routes(interface, false) + &modern_routes(interface, true)
}

fn modern_routes(interface: &Interface, six: bool) -> String {
    let mut out = String::new();
    for route in interface.config.routes.iter().filter(|route| route.gateway.is_ipv6() == six) {
        let (net, gateway, name) = (route.destination, route.gateway, &interface.name);
        let family = if six { " -6" } else { "" };
        let on_link = if interface.config.on_link(gateway) { " onlink" } else { "" };
        let place = format!("{net} via {gateway} dev {name}{on_link}");
        let _infallible = write!(
            out,
            "    up ip{family} route replace {place}\n    down ip{family} route del {place} || true\n"
        );
    }
    out
}

fn servers(interface: &Interface) -> String {
    let config = &interface.config;
    let mut out = String::new();
    if !config.dns.is_empty() {
        let list: Vec<String> = config.dns.iter().map(ToString::to_string).collect();
        out += &format!("    dns-nameservers {}\n", list.join(" "));
    }
    if !config.search.is_empty() {
        out += &format!("    dns-search {}\n", config.search.join(" "));
    }
    out
}

fn option(key: &str, value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(String::new, |value| format!("    {key} {value}\n"))
}

/// True when the file reads what is in `interfaces.d`.
fn sources_folder(content: &[u8]) -> bool {
    text::lines(content).iter().any(|line| {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_whitespace();
        let what = words.next();
        let place = words.next().unwrap_or_default().trim_end_matches('/');
        let place = place.strip_prefix("/etc/network/").unwrap_or(place);
        match what {
            Some("source") => place == "interfaces.d/*",
            Some("source-directory") => place == "interfaces.d",
            _ => false,
        }
    })
}

/// The file without what stands between our marks.
fn unmarked(content: &[u8]) -> Vec<u8> {
    let mut inside = false;
    let mut kept: Vec<&[u8]> = Vec::new();
    for line in content.split_inclusive(|b| *b == b'\n') {
        if line == BEGIN.as_bytes() {
            inside = true;
            // The blank line we put in front.
            kept.pop_if(|last| *last == b"\n");
        }
        if !inside {
            kept.push(line);
        }
        if line == END.as_bytes() {
            inside = false;
        }
    }
    kept.concat()
}

/// The names a guest's files configure or bring up.
fn known_names(view: &dyn View) -> Vec<String> {
    let mut files = vec![FILE.to_owned()];
    if let Ok(names) = view.list(FOLDER) {
        files.extend(names.into_iter().map(|name| format!("{FOLDER}/{name}")));
    }
    let mut names = Vec::new();
    for file in files {
        let content = view.read(&file).ok().flatten().unwrap_or_default();
        for line in text::lines(&content) {
            let line = String::from_utf8_lossy(line).into_owned();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("iface") => names.extend(words.next().map(str::to_owned)),
                Some("auto") => names.extend(words.map(str::to_owned)),
                Some(word) if word.starts_with("allow-") => {
                    names.extend(words.map(str::to_owned));
                }
                _ => {}
            }
        }
    }
    names.retain(|name| crate::nic::is_plain_name(base(name)) && base(name) != "lo");
    crate::model::unique(&mut names);
    names
}

/// The file without the stanzas of managed interfaces and their aliases.
fn without(content: &[u8], input: &Input<'_>) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    // Blank lines and comments, which belong to what follows them.
    let mut pending: Vec<u8> = Vec::new();
    let mut dropping = false;
    let mut lines = content.split_inclusive(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        // A line that ends in a backslash goes on in the next.
        let mut logical = line.to_vec();
        while logical.trim_ascii_end().ends_with(b"\\")
            && let Some(more) = lines.next()
        {
            logical.extend_from_slice(more);
        }
        let shown = String::from_utf8_lossy(&logical).replace("\\\n", " ");
        let words: Vec<&str> = shown.split_whitespace().collect();
        let managed = |name: &str| input.manages(base(name));
        match words.first().copied() {
            None => pending.extend_from_slice(&logical),
            Some(word) if word.starts_with('#') => pending.extend_from_slice(&logical),
            Some("iface") => {
                dropping = words.get(1).is_some_and(|name| managed(name));
                if dropping {
                    pending.clear();
                } else {
                    out.append(&mut pending);
                    out.extend_from_slice(&logical);
                }
            }
            Some(word) if word == "auto" || word.starts_with("allow-") => {
                dropping = false;
                let rest: Vec<&str> =
                    words[1..].iter().copied().filter(|name| !managed(name)).collect();
                if rest.len() == words.len() - 1 {
                    out.append(&mut pending);
                    out.extend_from_slice(&logical);
                } else if rest.is_empty() {
                    pending.clear();
                } else {
                    out.append(&mut pending);
                    out.extend_from_slice(format!("{word} {}\n", rest.join(" ")).as_bytes());
                }
            }
            Some("mapping" | "source" | "source-directory" | "template" | "rename")
            | Some("no-auto-down" | "no-scripts") => {
                dropping = false;
                out.append(&mut pending);
                out.extend_from_slice(&logical);
            }
            Some(_) if dropping => pending.clear(),
            Some(_) => {
                out.append(&mut pending);
                out.extend_from_slice(&logical);
            }
        }
    }
    out.append(&mut pending);
    out
}
