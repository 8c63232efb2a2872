//! Gentoo's `/etc/conf.d/net`, in the form of OpenRC and in the older one with bash arrays.

use super::{
    Changed, Fragment, HEADER, Input, RenderError, Renderer, Step, Steps, label_line, program,
    write_resolv_conf,
};
use crate::draft::Draft;
use crate::model::Interface;
use crate::text::variable;
use crate::view::View;

const FILE: &str = "/etc/conf.d/net";

/// The back-end netifrc.
#[derive(Debug)]
pub struct Netifrc;

impl Renderer for Netifrc {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let openrc =
            ["/sbin/rc", "/sbin/openrc", "/usr/bin/openrc"].iter().any(|p| draft.exists(p));
        let modules = if draft.has_program("ip") { "iproute2" } else { "ifconfig" };
        let mut text = format!("{HEADER}\nmodules=\"{modules}\"\n\n");
        let mut fragments = Vec::new();
        for interface in input.interfaces {
            let block = if openrc { openrc_block(interface) } else { legacy_block(interface) };
            text += &block;
            fragments.push(Fragment {
                interface: interface.name.clone(),
                path: FILE.to_owned(),
                text: Some(block),
            });
            // Gentoo does not make these by itself.
            let link = format!("/etc/init.d/net.{}", interface.name);
            if draft.kind(&link).is_none() {
                draft.link(&link, "net.lo");
            }
        }
        draft.write(FILE, text.into_bytes())?;
        write_resolv_conf(input, draft)?;
        Ok(fragments)
    }

    fn steps(&self, _: &Input<'_>, changed: Changed<'_>, _: &Draft<'_>) -> Steps {
        let mut steps = Steps::default();
        for interface in changed.interfaces {
            let name = &interface.name;
            steps.after.push(Step::Flush { interface: name.clone() });
            let script = format!("/etc/init.d/net.{name}");
            let failure = format!("Couldn't restart network {name}");
            steps.after.push(program([&script, "restart"], &failure));
        }
        steps
    }
}

/// What is in the configuration where there is no address.
fn methods(interface: &Interface) -> Vec<&'static str> {
    let config = &interface.config;
    let mut methods = Vec::new();
    if config.dhcp4 {
        methods.push("dhcp");
    }
    if config.dhcp6 {
        methods.push("dhcpv6");
    }
    if methods.is_empty() && config.ip4s.is_empty() && config.ip6s.is_empty() {
        methods.push("null");
    }
    methods
}

fn on_link(interface: &Interface, gateway: std::net::IpAddr) -> &'static str {
    if interface.config.on_link(gateway) { " onlink" } else { "" }
}

/// The default routes, after the others.
fn defaults(interface: &Interface) -> Vec<String> {
    let v4 = interface.config.gateway4.map(std::net::IpAddr::V4);
    let v6 = interface.config.gateway6.map(std::net::IpAddr::V6);
    let line = |gateway| format!("default via {gateway}{}", on_link(interface, gateway));
    v4.into_iter().chain(v6).map(line).collect()
}

/// Strings with an entry on each line.
pub(crate) fn openrc_block(interface: &Interface) -> String {
    let (name, config) = (variable(&interface.name), &interface.config);
    let mut out = label_line(interface);
    out += &format!("config_{name}=\"\n");
    for method in methods(interface) {
        out += &format!("  {method}\n");
    }
    for net in config.addresses() {
        out += &format!("  {net}\n");
    }
    out += &format!("\"\n\nroutes_{name}=\"\n");
    for route in &config.routes {
        let (net, gateway) = (route.destination, route.gateway);
        out += &format!("  {net} via {gateway}{}\n", on_link(interface, gateway));
    }
    for line in defaults(interface) {
        out += &format!("  {line}\n");
    }
    out += "\"\n\n";
    if !config.dns.is_empty() {
        let servers: Vec<String> = config.dns.iter().map(ToString::to_string).collect();
        out += &format!("dns_servers_{name}=\"{}\"\n\n", servers.join("\n"));
    }
    if !config.search.is_empty() {
        out += &format!("dns_search_{name}=\"{}\"\n\n", config.search.join(" "));
    }
    if let Some(mtu) = config.mtu_bytes {
        out += &format!("mtu_{name}=\"{mtu}\"\n\n");
    }
    out
}

/// Arrays of bash with an entry on each line.
pub(crate) fn legacy_block(interface: &Interface) -> String {
    let (name, config) = (variable(&interface.name), &interface.config);
    let mut out = label_line(interface);
    out += &format!("config_{name}=(\n");
    for method in methods(interface) {
        out += &format!("  \"{method}\"\n");
    }
    for net in &config.ip4s {
        out += &format!("  \"{} netmask {}\"\n", net.addr(), net.netmask());
    }
    for net in &config.ip6s {
        out += &format!("  \"{net}\"\n");
    }
    out += &format!(")\n\nroutes_{name}=(\n");
    for (net, gateway) in config.routes4() {
        out += &format!("  \"{} netmask {} gw {gateway}\"\n", net.addr(), net.netmask());
    }
    for (net, gateway) in config.routes6() {
        out += &format!("  \"{net} via {gateway}\"\n");
    }
    for line in defaults(interface) {
        out += &format!("  \"{line}\"\n");
    }
    out += ")\n\n";
    if !config.dns.is_empty() {
        out += &format!("dns_servers_{name}=(\n");
        for server in &config.dns {
            out += &format!("  \"{server}\"\n");
        }
        out += ")\n\n";
    }
    if let Some(mtu) = config.mtu_bytes {
        out += &format!("mtu_{name}=\"{mtu}\"\n\n");
    }
    out
}
