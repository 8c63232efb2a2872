//! FreeBSD's `/etc/rc.conf`, as rc.conf(5) has it now and had it before version 9.

use std::fmt::Write as _;

use super::{
    Changed, Fragment, Input, RenderError, Renderer, Steps, attempt, global_gateways, label_line,
    pairs, program, write_resolv_conf,
};
use crate::draft::Draft;
use crate::model::Interface;
use crate::settings::Form;
use crate::text::{self, variable};
use crate::view::View;

const FILE: &str = "/etc/rc.conf";

/// Beginnings of lines that say what we say.
const OURS: &[&str] = &[
    "ifconfig",
    "defaultrouter",
    "ipv6_ifconfig",
    "ipv6_defaultrouter",
    "ipv6_enable",
    "ipv6_network_interfaces",
    "ipv6_static_routes",
    "ipv6_route_",
    "static_routes",
    "route_",
    "dhcpd_",
    "hostname",
    "# Label ",
];

/// The back-end of FreeBSD.
#[derive(Debug)]
pub struct RcConf;

impl Renderer for RcConf {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let old = draft.read_or_empty(FILE)?;
        let form = input.form_or(Form::Compatible);
        let new = rc_conf(&old, input.interfaces, input.hostname, form)?;
        // The guest's name stands in the same file, and is no reason to restart the network.
        let network_is_same = without_name(&old) == without_name(&new);
        draft.write(FILE, new)?;
        write_resolv_conf(input, draft)?;
        if network_is_same {
            return Ok(Vec::new());
        }
        let whole = |interface: &Interface| Fragment {
            interface: interface.name.clone(),
            path: FILE.to_owned(),
            text: None,
        };
        Ok(input.interfaces.iter().map(whole).collect())
    }

    fn steps(&self, input: &Input<'_>, changed: Changed<'_>, draft: &Draft<'_>) -> Steps {
        let mut steps = Steps::default();
        if changed.interfaces.is_empty() {
            return steps;
        }
        let restart = "Couldn't restart IPv4 networking";
        steps.after.push(program(["/bin/sh", "/etc/rc.d/netif", "restart"], restart));
        if draft.exists("/etc/rc.d/network_ipv6") {
            let restart = "Couldn't restart IPv6 networking";
            steps.after.push(program(["/etc/rc.d/network_ipv6", "restart"], restart));
        }
        // Its status says nothing: it fails for routes that are there already.
        steps.after.push(attempt(["/bin/sh", "/etc/rc.d/routing", "restart"]));
        steps.after.extend(super::resolvconf_steps(input, draft));
        steps
    }
}

fn without_name(content: &[u8]) -> Vec<&[u8]> {
    text::lines(content).into_iter().filter(|line| !line.starts_with(b"hostname")).collect()
}

/// The file without our lines of before, and with our lines.
///
/// # Errors
/// With two default gateways of one family: there is one for the whole system.
pub(crate) fn rc_conf(
    old: &[u8],
    interfaces: &[Interface],
    hostname: &str,
    form: Form,
) -> Result<Vec<u8>, RenderError> {
    let (gateway4, gateway6) = global_gateways(interfaces)?;
    let kept: Vec<&[u8]> = text::lines(old)
        .into_iter()
        .filter(|line| !OURS.iter().any(|start| line.starts_with(start.as_bytes())))
        .collect();
    let mut out = format!("dhcpd_enable=\"NO\"\nhostname={hostname}\n");
    for interface in interfaces {
        out += &match form {
            Form::Compatible => compatible(interface),
            Form::Modern => modern(interface),
        };
    }
    out += &routes(interfaces, form);
    let with_ipv6: Vec<&str> =
        interfaces.iter().filter(|i| !i.config.ip6s.is_empty()).map(|i| i.name.as_str()).collect();
    if !with_ipv6.is_empty() && form == Form::Compatible {
        out += "ipv6_enable=\"YES\"\n";
        out += &format!("ipv6_network_interfaces=\"{}\"\n", with_ipv6.join(","));
    }
    if let Some((gateway, _)) = gateway4 {
        out += &format!("defaultrouter=\"{gateway}\"\n");
    }
    if let Some((gateway, interface)) = gateway6 {
        // The OpenStack agent wrote `%xn0` after every gateway. A zone means something with a link-local one only, and
        // then it is the interface's own.
        let zone = form == Form::Compatible || gateway.is_unicast_link_local();
        let zone = if zone { format!("%{interface}") } else { String::new() };
        out += &format!("ipv6_defaultrouter=\"{gateway}{zone}\"\n");
    }
    let mut content = text::join(&kept);
    content.extend_from_slice(out.as_bytes());
    Ok(content)
}

fn compatible(interface: &Interface) -> String {
    let mut out = label_line(interface);
    let base = variable(&interface.name);
    if interface.config.dhcp4 {
        let _infallible = writeln!(out, "ifconfig_{base}=\"DHCP\"");
    }
    for (k, (v4, v6)) in pairs(interface).enumerate() {
        let name = k.checked_sub(1).map_or_else(|| base.clone(), |n| format!("{base}_alias{n}"));
        let up = if k == 0 { " up" } else { "" };
        if let Some(net) = v4 {
            let (address, mask) = (net.addr(), net.netmask());
            let _infallible = writeln!(out, "ifconfig_{name}=\"{address} netmask {mask}{up}\"");
        }
        if let Some(net) = v6 {
            let _infallible = writeln!(out, "ipv6_ifconfig_{name}=\"{net}\"");
        }
    }
    out
}

fn modern(interface: &Interface) -> String {
    let mut out = label_line(interface);
    let (name, config) = (variable(&interface.name), &interface.config);
    let mtu = config.mtu_bytes.map_or_else(String::new, |mtu| format!(" mtu {mtu}"));
    let mut v4 = config.ip4s.iter().map(|n| format!("inet {} netmask {}", n.addr(), n.netmask()));
    let mut v6 =
        config.ip6s.iter().map(|n| format!("inet6 {} prefixlen {}", n.addr(), n.prefix_len()));
    let first4 = if config.dhcp4 {
        "DHCP".to_owned()
    } else {
        v4.next().map_or_else(|| "up".to_owned(), |line| line + &mtu)
    };
    out += &format!("ifconfig_{name}=\"{first4}\"\n");
    let accept = if config.accept_ra { "accept_rtadv" } else { "-accept_rtadv" };
    if let Some(line) = v6.next() {
        out += &format!("ifconfig_{name}_ipv6=\"{line} {accept}\"\n");
    } else if config.accept_ra {
        out += &format!("ifconfig_{name}_ipv6=\"inet6 {accept}\"\n");
    }
    for (n, line) in v4.chain(v6).enumerate() {
        out += &format!("ifconfig_{name}_alias{n}=\"{line}\"\n");
    }
    out
}

/// Routes are numbered through all interfaces.
fn routes(interfaces: &[Interface], form: Form) -> String {
    let mut out = String::new();
    let mut names = Vec::new();
    for (net, gateway) in interfaces.iter().flat_map(|i| i.config.routes4()) {
        let name = format!("lan{}", names.len());
        let (address, mask) = (net.addr(), net.netmask());
        out += &format!("route_{name}=\"-net {address} -netmask {mask} {gateway}\"\n");
        names.push(name);
    }
    let six: Vec<_> = interfaces.iter().flat_map(|i| i.config.routes6()).collect();
    if form == Form::Compatible {
        for (net, gateway) in &six {
            let name = format!("lan{}", names.len());
            out += &format!("route_{name}=\"-inet6 -net {net} {gateway}\"\n");
            names.push(name);
        }
    }
    if !names.is_empty() {
        out += &format!("static_routes=\"{}\"\n", names.join(" "));
    }
    if form == Form::Modern && !six.is_empty() {
        let mut names = Vec::new();
        for (n, (net, gateway)) in six.iter().enumerate() {
            let (address, length) = (net.addr(), net.prefix_len());
            out += &format!("ipv6_route_lan{n}=\"{address} -prefixlen {length} {gateway}\"\n");
            names.push(format!("lan{n}"));
        }
        out += &format!("ipv6_static_routes=\"{}\"\n", names.join(" "));
    }
    out
}
