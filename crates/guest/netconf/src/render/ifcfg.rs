//! Red Hat's `/etc/sysconfig/network-scripts`: `ifcfg-<interface>`, `route-<interface>`, `route6-<interface>`.

use super::{
    Changed, Fragment, HEADER, Input, RESTART, RenderError, Renderer, Step, Steps, attempt,
    label_line, pairs, program,
};
use crate::draft::Draft;
use crate::model::{Interface, Kind};
use crate::settings::Form;
use crate::text;
use crate::view::View;

const FOLDER: &str = "/etc/sysconfig/network-scripts";
const NETWORK: &str = "/etc/sysconfig/network";

/// The back-end of Red Hat's scripts, which NetworkManager reads too.
#[derive(Debug)]
pub struct Ifcfg;

impl Renderer for Ifcfg {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let form = input.form_or(Form::Modern);
        let mut fragments = Vec::new();
        let mut written = Vec::new();
        for interface in input.interfaces {
            let mut files = match form {
                Form::Compatible => {
                    super::only_plain("ifcfg (compatible)", interface)?;
                    compatible(interface)
                }
                Form::Modern => {
                    let name = format!("ifcfg-{}", interface.name);
                    let old = draft.read_or_empty(&format!("{FOLDER}/{name}"))?;
                    let service = has_service(draft.base());
                    vec![(name, modern(interface, &made_of(interface, input), &old, service))]
                }
            };
            files.extend(routes(interface));
            for (name, content) in files {
                let path = format!("{FOLDER}/{name}");
                draft.write(&path, content)?;
                written.push(name);
                fragments.push(Fragment { interface: interface.name.clone(), path, text: None });
            }
        }
        for name in draft.list(FOLDER)? {
            let Some(of) =
                ["ifcfg-", "route-", "route6-"].iter().find_map(|p| name.strip_prefix(p))
            else {
                continue;
            };
            let path = format!("{FOLDER}/{name}");
            let base = of.split(':').next().unwrap_or(of);
            let ours = match form {
                // The OpenStack agent takes everything away but names with a dot, which are copies and VLANs.
                Form::Compatible => !of.contains('.'),
                Form::Modern => {
                    input.manages(base)
                        || draft.read_or_empty(&path)?.starts_with(HEADER.as_bytes())
                }
            };
            if ours && base != "lo" && !written.contains(&name) {
                draft.remove(&path);
                if input.manages(base) {
                    let interface = base.to_owned();
                    fragments.push(Fragment { interface, path, text: None });
                }
            }
        }
        if form == Form::Compatible || draft.exists(NETWORK) {
            let ipv6 = input.interfaces.iter().any(|i| !i.config.ip6s.is_empty());
            let line = format!("NETWORKING_IPV6={}", if ipv6 { "yes" } else { "no" });
            let old = draft.read_or_empty(NETWORK)?;
            draft.write(NETWORK, text::set(&old, "NETWORKING_IPV6", &line))?;
        }
        Ok(fragments)
    }

    fn steps(&self, input: &Input<'_>, changed: Changed<'_>, draft: &Draft<'_>) -> Steps {
        let mut steps = Steps::default();
        if changed.interfaces.is_empty() {
            return steps;
        }
        if draft.has_program("nmcli") && draft.exists("/run/NetworkManager") {
            for interface in changed.interfaces {
                let path = format!("{FOLDER}/ifcfg-{}", interface.name);
                steps.after.push(program(["nmcli", "connection", "load", &path], RESTART));
                steps.after.push(program(["nmcli", "device", "connect", &interface.name], RESTART));
            }
        } else if input.form == Some(Form::Compatible) || !draft.has_program("ifup") {
            let restart = if draft.exists("/etc/init.d/network") {
                program(["/etc/init.d/network", "restart"], RESTART)
            } else {
                program(["systemctl", "restart", "network"], RESTART)
            };
            steps.after.push(restart);
        } else {
            for interface in changed.interfaces {
                steps.before.push(attempt(["ifdown", &interface.name]));
                steps.after.push(Step::Flush { interface: interface.name.clone() });
                steps.after.push(program(["ifup", &interface.name], RESTART));
            }
        }
        steps
    }
}

fn has_service(view: &dyn View) -> bool {
    view.exists("/etc/init.d/network") || view.exists("/etc/rc.d/init.d/network")
}

/// The OpenStack agent's form: an alias's file for each further IPv4 address. It put further IPv6 addresses into the
/// aliases, where nothing reads them; they are secondary addresses of the interface.
pub(crate) fn compatible(interface: &Interface) -> Vec<(String, Vec<u8>)> {
    let config = &interface.config;
    let mut files = Vec::new();
    let v4_only = pairs(interface).enumerate().filter(|(k, (v4, _))| *k == 0 || v4.is_some());
    let mut blocks: Vec<(usize, Option<ipnet::Ipv4Net>)> =
        v4_only.map(|(k, (v4, _))| (k, v4)).collect();
    if blocks.is_empty() {
        blocks.push((0, None));
    }
    for (k, v4) in blocks {
        let first = k == 0;
        let name = if first { interface.name.clone() } else { format!("{}:{k}", interface.name) };
        let mut out = format!("{HEADER}\n{}DEVICE={name}\n", label_line(interface));
        out +=
            &format!("BOOTPROTO={}\nHWADDR={}\n", boot_protocol(interface, first), interface.mac);
        if let Some(net) = v4 {
            out += &format!("IPADDR={}\nNETMASK={}\n", net.addr(), net.netmask());
            if let Some(gateway) = config.gateway4.filter(|_| first) {
                out += &format!("DEFROUTE=yes\nGATEWAY={gateway}\n");
            }
        }
        if first {
            out += &ipv6(interface);
            out += &servers(interface);
        }
        out += "ONBOOT=yes\nNM_CONTROLLED=no\n";
        files.push((format!("ifcfg-{name}"), out.into_bytes()));
    }
    files
}

fn boot_protocol(interface: &Interface, first: bool) -> &'static str {
    if interface.config.dhcp4 && first { "dhcp" } else { "static" }
}

fn ipv6(interface: &Interface) -> String {
    let config = &interface.config;
    let mut out = String::new();
    if config.dhcp6 || config.accept_ra {
        out += "IPV6INIT=yes\n";
        out += if config.accept_ra { "IPV6_AUTOCONF=yes\n" } else { "IPV6_AUTOCONF=no\n" };
        out += if config.dhcp6 { "DHCPV6C=yes\n" } else { "" };
    }
    let Some((first, rest)) = config.ip6s.split_first() else { return out };
    if out.is_empty() {
        out += "IPV6INIT=yes\nIPV6_AUTOCONF=no\n";
    }
    out += &format!("IPV6ADDR={first}\n");
    if !rest.is_empty() {
        let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
        out += &format!("IPV6ADDR_SECONDARIES=\"{}\"\n", rest.join(" "));
    }
    if let Some(gateway) = config.gateway6 {
        out += &format!("IPV6_DEFAULTGW={gateway}%{}\n", interface.name);
    }
    out
}

fn servers(interface: &Interface) -> String {
    let numbered = (1..).zip(&interface.config.dns);
    let mut out: String = numbered.map(|(n, server)| format!("DNS{n}={server}\n")).collect();
    if !interface.config.search.is_empty() {
        out += &format!("DOMAIN=\"{}\"\n", interface.config.search.join(" "));
    }
    out
}

/// What an interface is made of, or part of.
fn made_of(interface: &Interface, input: &Input<'_>) -> String {
    let mut out = match &interface.config.kind {
        Kind::Physical => String::new(),
        Kind::Vlan(vlan) => {
            let (parent, tag) = (&vlan.parent, vlan.tag);
            format!("TYPE=Vlan\nVLAN=yes\nPHYSDEV={parent}\nVLAN_ID={tag}\n")
        }
        Kind::Bridge(bridge) => {
            format!("TYPE=Bridge\nSTP={}\n", if bridge.stp { "on" } else { "off" })
        }
        Kind::Bond(bond) => {
            let mut options = format!("mode={}", bond.mode);
            if let Some(ms) = bond.look_ms {
                options += &format!(" miimon={ms}");
            }
            if let Some(hash) = &bond.hash {
                options += &format!(" xmit_hash_policy={hash}");
            }
            if bond.fast {
                options += " lacp_rate=fast";
            }
            let mac = bond.mac.map_or_else(String::new, |mac| format!("MACADDR={mac}\n"));
            format!("TYPE=Bond\nBONDING_MASTER=yes\nBONDING_OPTS=\"{options}\"\n{mac}")
        }
    };
    match input.master_of(&interface.name).map(|master| (&master.name, &master.config.kind)) {
        Some((name, Kind::Bond(_))) => out += &format!("MASTER={name}\nSLAVE=yes\n"),
        Some((name, _)) => out += &format!("BRIDGE={name}\n"),
        None => {}
    }
    out
}

/// One file for the interface, with what others wrote into it and we know nothing of.
pub(crate) fn modern(interface: &Interface, made_of: &str, old: &[u8], service: bool) -> Vec<u8> {
    let config = &interface.config;
    let mut out = format!("{HEADER}\n{}DEVICE={}\n", label_line(interface), interface.name);
    out += made_of;
    out += &format!("BOOTPROTO={}\n", boot_protocol(interface, true));
    if interface.permanent_mac {
        out += &format!("HWADDR={}\n", interface.mac);
    }
    for (k, net) in config.ip4s.iter().enumerate() {
        let n = if k == 0 { String::new() } else { k.to_string() };
        out += &format!("IPADDR{n}={}\nPREFIX{n}={}\n", net.addr(), net.prefix_len());
        if let Some(gateway) = config.gateway4.filter(|_| k == 0) {
            out += &format!("DEFROUTE=yes\nGATEWAY={gateway}\n");
        }
    }
    out += &ipv6(interface);
    if config.ip6s.is_empty() && !config.dhcp6 && !config.accept_ra {
        out += "IPV6_AUTOCONF=no\n";
    }
    out += &servers(interface);
    if let Some(mtu) = config.mtu_bytes {
        out += &format!("MTU={mtu}\n");
    }
    out += "ONBOOT=yes\n";
    if service {
        out += "NM_CONTROLLED=no\n";
    }
    let mut out = out.into_bytes();
    for line in text::lines(old) {
        if text::assignment(line).is_some_and(|(key, _)| !is_managed(key)) {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
    out
}

/// Keys that say what the description says.
fn is_managed(key: &[u8]) -> bool {
    let Ok(key) = std::str::from_utf8(key) else { return false };
    let bare = key.trim_end_matches(|c: char| c.is_ascii_digit());
    matches!(bare, "IPADDR" | "PREFIX" | "NETMASK" | "GATEWAY" | "BROADCAST" | "NETWORK" | "DNS")
        || matches!(
            key,
            "DEVICE"
                | "BOOTPROTO"
                | "HWADDR"
                | "DEFROUTE"
                | "DOMAIN"
                | "IPV6INIT"
                | "IPV6_AUTOCONF"
                | "IPV6ADDR"
                | "IPV6ADDR_SECONDARIES"
                | "IPV6_DEFAULTGW"
                | "DHCPV6C"
                | "MTU"
                | "ONBOOT"
                | "NM_CONTROLLED"
                | "TYPE"
                | "VLAN"
                | "PHYSDEV"
                | "VLAN_ID"
                | "STP"
                | "BONDING_MASTER"
                | "BONDING_OPTS"
                | "MACADDR"
                | "MASTER"
                | "SLAVE"
                | "BRIDGE"
        )
}

/// The route files. The OpenStack agent left gaps in the numbers, at which the reader stops, and named the file after the
/// last alias.
pub(crate) fn routes(interface: &Interface) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut v4 = String::new();
    for (n, (net, gateway)) in interface.config.routes4().enumerate() {
        let (address, mask) = (net.addr(), net.netmask());
        v4 += &format!("ADDRESS{n}={address}\nNETMASK{n}={mask}\nGATEWAY{n}={gateway}\n");
    }
    let v6: String = interface
        .config
        .routes6()
        .map(|(net, gateway)| format!("{net} via {gateway} dev {}\n", interface.name))
        .collect();
    for (prefix, content) in [("route", v4), ("route6", v6)] {
        if !content.is_empty() {
            files.push((format!("{prefix}-{}", interface.name), content.into_bytes()));
        }
    }
    files
}
