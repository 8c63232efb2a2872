//! NetworkManager: one keyfile for each interface, as nm-settings-keyfile(5) has it.

use std::net::IpAddr;

use uuid::Uuid;

use super::{
    Changed, Fragment, Input, RESTART, RenderError, Renderer, Steps, attempt, label_line, program,
};
use crate::draft::Draft;
use crate::model::{Interface, Kind};
use crate::view::View;

const FOLDER: &str = "/etc/NetworkManager/system-connections";

/// The back-end NetworkManager.
#[derive(Debug)]
pub struct NetworkManager;

impl Renderer for NetworkManager {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let mut fragments = Vec::new();
        let mut own = Vec::new();
        let prefix = format!("{}-", input.agent);
        for interface in input.interfaces {
            let name = format!("{prefix}{}.nmconnection", interface.name);
            let path = format!("{FOLDER}/{name}");
            // A profile that others may read is ignored.
            draft.write_private(&path, profile(interface, input).into_bytes());
            own.push(name);
            fragments.push(Fragment { interface: interface.name.clone(), path, text: None });
        }
        for name in draft.list(FOLDER)? {
            if name.starts_with(&prefix) && name.ends_with(".nmconnection") && !own.contains(&name)
            {
                draft.remove(&format!("{FOLDER}/{name}"));
            }
        }
        Ok(fragments)
    }

    fn steps(&self, input: &Input<'_>, changed: Changed<'_>, draft: &Draft<'_>) -> Steps {
        let mut steps = Steps::default();
        let gone = draft.changes().iter().any(|(path, content)| {
            path.starts_with(FOLDER) && *content == crate::draft::Content::Absent
        });
        if gone {
            steps.after.push(attempt(["nmcli", "connection", "reload"]));
        }
        for interface in changed.interfaces {
            let id = format!("{}-{}", input.agent, interface.name);
            let path = format!("{FOLDER}/{id}.nmconnection");
            steps.after.push(program(["nmcli", "connection", "load", &path], RESTART));
            let up = ["nmcli", "--wait", "10", "connection", "up", "id", &id];
            steps.after.push(program(up, RESTART));
        }
        steps
    }
}

/// The profile's UUID: the same for one interface of one agent, always.
pub(crate) fn uuid(agent: &str, interface: &Interface) -> Uuid {
    let name = match interface.config.kind {
        Kind::Physical => format!("{agent} {}", interface.mac),
        // It may have the address of what it is made of.
        _ => format!("{agent} {}", interface.name),
    };
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// The section of what a VLAN, bond or bridge is made of, and the word for its kind.
fn made_of(kind: &Kind) -> (&'static str, String) {
    match kind {
        Kind::Physical => ("ethernet", String::new()),
        Kind::Vlan(vlan) => {
            ("vlan", format!("\n[vlan]\nflags=1\nid={}\nparent={}\n", vlan.tag, vlan.parent))
        }
        Kind::Bridge(bridge) => ("bridge", format!("\n[bridge]\nstp={}\n", bridge.stp)),
        Kind::Bond(bond) => {
            let mut out = format!("\n[bond]\nmode={}\n", bond.mode);
            if let Some(ms) = bond.look_ms {
                out += &format!("miimon={ms}\n");
            }
            if let Some(hash) = &bond.hash {
                out += &format!("xmit_hash_policy={hash}\n");
            }
            if bond.fast {
                out += "lacp_rate=fast\n";
            }
            ("bond", out)
        }
    }
}

/// The interface's file.
pub(crate) fn profile(interface: &Interface, input: &Input<'_>) -> String {
    let (name, config, agent) = (&interface.name, &interface.config, input.agent);
    let (kind, made_of) = made_of(&config.kind);
    let mut out = label_line(interface);
    out +=
        &format!("[connection]\nid={agent}-{name}\nuuid={}\ntype={kind}\n", uuid(agent, interface));
    // Wins over profiles others made for the same interface.
    out += &format!("autoconnect-priority=100\ninterface-name={name}\n");
    let master = input.master_of(name);
    if let Some(master) = master {
        let kind = if matches!(master.config.kind, Kind::Bond(_)) { "bond" } else { "bridge" };
        out += &format!("master={}\nslave-type={kind}\n", master.name);
    }
    out += &made_of;
    let own_mac = match &config.kind {
        Kind::Bond(bond) => bond.mac,
        _ => None,
    };
    if config.kind == Kind::Physical || config.mtu_bytes.is_some() || own_mac.is_some() {
        out += "\n[ethernet]\n";
    }
    if interface.permanent_mac {
        out += &format!("mac-address={}\n", interface.mac.to_string().to_ascii_uppercase());
    }
    if let Some(mac) = own_mac {
        out += &format!("cloned-mac-address={}\n", mac.to_string().to_ascii_uppercase());
    }
    if let Some(mtu) = config.mtu_bytes {
        out += &format!("mtu={mtu}\n");
    }
    if master.is_some() {
        // Part of another: no addresses.
        return out;
    }
    let v4: Vec<String> = config.ip4s.iter().map(ToString::to_string).collect();
    let method = match (config.dhcp4, v4.is_empty()) {
        (true, _) => "auto",
        (false, false) => "manual",
        (false, true) => "disabled",
    };
    out += &family(interface, "ipv4", method, &v4);
    let v6: Vec<String> = config.ip6s.iter().map(ToString::to_string).collect();
    let method = match (config.accept_ra, config.dhcp6, v6.is_empty()) {
        (true, ..) => "auto",
        (false, true, _) => "dhcp",
        (false, false, false) => "manual",
        (false, false, true) => "disabled",
    };
    out += &family(interface, "ipv6", method, &v6);
    out
}

fn family(interface: &Interface, section: &str, method: &str, addresses: &[String]) -> String {
    let config = &interface.config;
    let six = section == "ipv6";
    let mut out = format!("\n[{section}]\nmethod={method}\n");
    if method == "disabled" {
        return out;
    }
    let gateway = match six {
        true => config.gateway6.map(IpAddr::V6),
        false => config.gateway4.map(IpAddr::V4),
    };
    for (n, address) in (1..).zip(addresses) {
        // The gateway stands with the first address: the form every version reads.
        let gateway = gateway.filter(|_| n == 1).map_or_else(String::new, |g| format!(",{g}"));
        out += &format!("address{n}={address}{gateway}\n");
    }
    if addresses.is_empty()
        && let Some(gateway) = gateway
    {
        let all = if six { "::/0" } else { "0.0.0.0/0" };
        out += &format!("route99999={all},{gateway}\n");
    }
    let servers: String =
        config.dns.iter().filter(|s| s.is_ipv6() == six).map(|s| format!("{s};")).collect();
    if !servers.is_empty() {
        out += &format!("dns={servers}\n");
    }
    if !config.search.is_empty() {
        let list: String = config.search.iter().map(|domain| format!("{domain};")).collect();
        out += &format!("dns-search={list}\n");
    }
    let own = config.routes.iter().filter(|route| route.gateway.is_ipv6() == six);
    for (n, route) in (1..).zip(own) {
        out += &format!("route{n}={},{}\n", route.destination, route.gateway);
        if config.on_link(route.gateway) {
            out += &format!("route{n}_options=onlink=true\n");
        }
    }
    out
}
