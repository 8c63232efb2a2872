//! systemd-networkd: one `.network` file for each interface, as systemd.network(5) has it.

use super::{
    Changed, Fragment, Input, RESTART, RenderError, Renderer, Steps, label_line, netplan, program,
    write_resolv_conf,
};
use crate::draft::Draft;
use crate::model::{Interface, Kind};
use crate::settings::Conflicts;
use crate::text;
use crate::view::View;

const FOLDER: &str = "/etc/systemd/network";

/// The back-end systemd-networkd.
#[derive(Debug)]
pub struct Networkd;

impl Renderer for Networkd {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let mut fragments = Vec::new();
        let mut own = Vec::new();
        for interface in input.interfaces {
            let name = format!("10-{}-{}.network", input.agent, interface.name);
            let path = format!("{FOLDER}/{name}");
            draft.write(&path, network(interface, input).into_bytes())?;
            own.push(name);
            fragments.push(Fragment { interface: interface.name.clone(), path, text: None });
            if let Some(text) = netdev(interface) {
                let name = format!("10-{}-{}.netdev", input.agent, interface.name);
                let path = format!("{FOLDER}/{name}");
                draft.write(&path, text.into_bytes())?;
                own.push(name);
                fragments.push(Fragment { interface: interface.name.clone(), path, text: None });
            }
        }
        let prefix = format!("10-{}-", input.agent);
        for name in draft.list(FOLDER)? {
            let (is_network, is_netdev) = (name.ends_with(".network"), name.ends_with(".netdev"));
            if own.contains(&name) || !(is_network || is_netdev) {
                continue;
            }
            let path = format!("{FOLDER}/{name}");
            if name.starts_with(&prefix) {
                // Ours, of an interface the host no longer speaks of.
                draft.remove(&path);
                continue;
            }
            if is_netdev {
                continue;
            }
            // The first file that fits an interface is the one that counts.
            let content = draft.read_or_empty(&path)?;
            let rival = input
                .interfaces
                .iter()
                .find(|i| name < format!("{prefix}{}.network", i.name) && matches(&content, i));
            let Some(rival) = rival else { continue };
            let what = format!("`{}`", rival.name);
            if input.conflicts == Conflicts::Refuse {
                let why = "files of others may not be moved by the settings";
                return Err(RenderError::Conflict { path, what, why });
            }
            draft.remove(&path);
            if name.contains("cloud-init") {
                super::silence_cloud_init(input, draft)?;
            }
        }
        write_resolv_conf(input, draft)?;
        Ok(fragments)
    }

    fn steps(&self, _: &Input<'_>, changed: Changed<'_>, _: &Draft<'_>) -> Steps {
        let mut after = vec![program(["networkctl", "reload"], RESTART)];
        for interface in changed.interfaces {
            after.push(program(["networkctl", "reconfigure", &interface.name], RESTART));
        }
        Steps { before: Vec::new(), after }
    }
}

/// What makes a VLAN, bond or bridge, as systemd.netdev(5) has it.
fn netdev(interface: &Interface) -> Option<String> {
    let head = |kind| format!("[NetDev]\nName={}\nKind={kind}\n", interface.name);
    Some(match &interface.config.kind {
        Kind::Physical => return None,
        Kind::Vlan(vlan) => format!("{}\n[VLAN]\nId={}\n", head("vlan"), vlan.tag),
        Kind::Bridge(bridge) => {
            let stp = if bridge.stp { "yes" } else { "no" };
            format!("{}\n[Bridge]\nSTP={stp}\n", head("bridge"))
        }
        Kind::Bond(bond) => {
            let mut out = head("bond");
            if let Some(mac) = bond.mac {
                out += &format!("MACAddress={mac}\n");
            }
            out += &format!("\n[Bond]\nMode={}\n", bond.mode);
            if let Some(ms) = bond.look_ms {
                out += &format!("MIIMonitorSec={ms}ms\n");
            }
            if let Some(hash) = &bond.hash {
                out += &format!("TransmitHashPolicy={hash}\n");
            }
            if bond.fast {
                out += "LACPTransmitRate=fast\n";
            }
            out
        }
    })
}

/// The interface's file.
pub(crate) fn network(interface: &Interface, input: &Input<'_>) -> String {
    let config = &interface.config;
    let mut out = format!("{}[Match]\n", label_line(interface));
    // An address given by software can be another interface's too.
    if config.kind != Kind::Physical {
        out += &format!("Name={}\n", interface.name);
    } else if interface.permanent_mac {
        out += &format!("PermanentMACAddress={}\n", interface.mac);
    } else {
        out += &format!("MACAddress={}\nName={}\n", interface.mac, interface.name);
    }
    if let Some(mtu) = config.mtu_bytes {
        out += &format!("\n[Link]\nMTUBytes={mtu}\n");
    }
    out += "\n[Network]\n";
    let master = input.master_of(&interface.name);
    if let Some(master) = master {
        let kind = if matches!(master.config.kind, Kind::Bond(_)) { "Bond" } else { "Bridge" };
        out += &format!("{kind}={}\n", master.name);
    }
    for vlan in input.vlans_on(&interface.name) {
        out += &format!("VLAN={}\n", vlan.name);
    }
    match (config.dhcp4, config.dhcp6) {
        (true, true) => out += "DHCP=yes\n",
        (true, false) => out += "DHCP=ipv4\n",
        (false, true) => out += "DHCP=ipv6\n",
        (false, false) => {}
    }
    for net in config.addresses() {
        out += &format!("Address={net}\n");
    }
    for server in &config.dns {
        out += &format!("DNS={server}\n");
    }
    if !config.search.is_empty() {
        out += &format!("Domains={}\n", config.search.join(" "));
    }
    out += if config.accept_ra { "IPv6AcceptRA=yes\n" } else { "IPv6AcceptRA=no\n" };
    out += if master.is_some() { "LinkLocalAddressing=no\n" } else { "LinkLocalAddressing=ipv6\n" };
    for route in config.all_routes() {
        out +=
            &format!("\n[Route]\nDestination={}\nGateway={}\n", route.destination, route.gateway);
        if config.on_link(route.gateway) {
            out += "GatewayOnLink=yes\n";
        }
    }
    out
}

/// Whether a file's `[Match]` section fits the interface, as far as name and address say.
fn matches(content: &[u8], interface: &Interface) -> bool {
    let mut inside = false;
    let (mut name, mut mac) = (None, None);
    for line in text::lines(content) {
        if line.starts_with(b"[") {
            inside = line == b"[Match]";
        } else if inside && let Some((key, value)) = text::assignment(line) {
            let value = String::from_utf8_lossy(value).into_owned();
            let mut words = value.split_whitespace();
            match key {
                b"Name" | b"OriginalName" => {
                    name = Some(words.any(|word| netplan::glob(word, &interface.name)));
                }
                b"MACAddress" | b"PermanentMACAddress" => {
                    let own = interface.mac.to_string();
                    mac = Some(words.any(|w| w.to_ascii_lowercase().replace('-', ":") == own));
                }
                // Anything else narrows the match; whether it fits is not known here.
                _ => {}
            }
        }
    }
    match (name, mac) {
        (None, None) => false,
        (name, mac) => name.unwrap_or(true) && mac.unwrap_or(true),
    }
}
