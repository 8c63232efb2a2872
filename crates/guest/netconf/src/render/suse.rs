//! SUSE's `/etc/sysconfig/network`: `ifcfg-<interface>` and `ifroute-<interface>`, read by wicked and by the older scripts.

use super::{
    Changed, Fragment, HEADER, Input, RESTART, RenderError, Renderer, Steps, label_line, program,
};
use crate::draft::Draft;
use crate::model::Interface;
use crate::settings::Form;
use crate::text;
use crate::view::View;

const FOLDER: &str = "/etc/sysconfig/network";
const CONFIG: &str = "/etc/sysconfig/network/config";
const SERVERS: &str = "NETCONFIG_DNS_STATIC_SERVERS";
const SEARCH: &str = "NETCONFIG_DNS_STATIC_SEARCHLIST";

/// The back-end of SUSE.
#[derive(Debug)]
pub struct Suse;

impl Renderer for Suse {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let mut fragments = Vec::new();
        let mut written = Vec::new();
        for interface in input.interfaces {
            let mut files = vec![(format!("ifcfg-{}", interface.name), ifcfg(interface))];
            let routes = ifroute(interface);
            if !routes.is_empty() {
                files.push((format!("ifroute-{}", interface.name), routes));
            }
            for (name, content) in files {
                let path = format!("{FOLDER}/{name}");
                draft.write(&path, content.into_bytes())?;
                written.push(name);
                fragments.push(Fragment { interface: interface.name.clone(), path, text: None });
            }
        }
        for name in draft.list(FOLDER)? {
            let path = format!("{FOLDER}/{name}");
            let Some(of) = name.strip_prefix("ifcfg-").or_else(|| name.strip_prefix("ifroute-"))
            else {
                // Default routes for all interfaces would stand beside ours.
                if name == "routes" {
                    draft.remove(&path);
                }
                continue;
            };
            let base = of.split(':').next().unwrap_or(of);
            let ours = match input.form_or(Form::Modern) {
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
        let old = draft.read_or_empty(CONFIG)?;
        draft.write(CONFIG, netconfig(&old, input.interfaces))?;
        Ok(fragments)
    }

    fn steps(&self, _: &Input<'_>, changed: Changed<'_>, draft: &Draft<'_>) -> Steps {
        let mut steps = Steps::default();
        if changed.interfaces.is_empty() {
            return steps;
        }
        if draft.has_program("wicked") {
            for interface in changed.interfaces {
                steps.after.push(program(["wicked", "ifreload", &interface.name], RESTART));
            }
            steps.after.push(super::attempt(["netconfig", "update", "-f"]));
        } else {
            steps.after.push(program(["/etc/init.d/network", "restart"], RESTART));
        }
        steps
    }
}

/// The interface's file.
pub(crate) fn ifcfg(interface: &Interface) -> String {
    let config = &interface.config;
    let protocol = match (config.dhcp4, config.dhcp6) {
        (true, true) => "dhcp",
        (true, false) => "dhcp4",
        (false, true) => "dhcp6",
        (false, false) => "static",
    };
    let mut out = format!("{HEADER}\n{}BOOTPROTO='{protocol}'\n", label_line(interface));
    let masks4 =
        config.ip4s.iter().map(|n| (n.addr().to_string(), "NETMASK", n.netmask().to_string()));
    let masks6 =
        config.ip6s.iter().map(|n| (n.addr().to_string(), "PREFIXLEN", n.prefix_len().to_string()));
    for (k, (address, key, mask)) in masks4.chain(masks6).enumerate() {
        match k.checked_sub(1) {
            None => out += &format!("IPADDR='{address}'\n{key}='{mask}'\n"),
            Some(n) => {
                out += &format!("IPADDR_{n}='{address}'\n{key}_{n}='{mask}'\nLABEL_{n}='{n}'\n");
            }
        }
    }
    if let Some(mtu) = config.mtu_bytes {
        out += &format!("MTU='{mtu}'\n");
    }
    out + "STARTMODE='auto'\nUSERCONTROL='no'\n"
}

/// The interface's routes: destination, gateway, mask, interface.
pub(crate) fn ifroute(interface: &Interface) -> String {
    let (name, config) = (&interface.name, &interface.config);
    let mut out = String::new();
    for (net, gateway) in config.routes4() {
        out += &format!("{} {gateway} {} {name}\n", net.addr(), net.netmask());
    }
    for (net, gateway) in config.routes6() {
        out += &format!("{net} {gateway} - {name}\n");
    }
    if let Some(gateway) = config.gateway4 {
        out += &format!("default {gateway} - -\n");
    }
    if let Some(gateway) = config.gateway6 {
        out += &format!("default {gateway} - -\n");
    }
    out
}

/// The file of the name service, with the servers of all interfaces.
pub(crate) fn netconfig(old: &[u8], interfaces: &[Interface]) -> Vec<u8> {
    let servers: Vec<String> =
        crate::resolv::servers(interfaces).iter().map(ToString::to_string).collect();
    let new = text::set(old, SERVERS, &format!("{SERVERS}=\"{}\"", servers.join(" ")));
    let mut search: Vec<&str> =
        interfaces.iter().flat_map(|i| i.config.search.iter().map(String::as_str)).collect();
    crate::model::unique(&mut search);
    if search.is_empty() {
        return new;
    }
    text::set(&new, SEARCH, &format!("{SEARCH}=\"{}\"", search.join(" ")))
}
