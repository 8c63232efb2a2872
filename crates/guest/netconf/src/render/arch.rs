//! Arch's three older forms: `/etc/rc.conf` alone, netcfg's `/etc/network.d` beside it, and netctl's `/etc/netctl`.

use super::{
    Changed, Fragment, Input, OnFailure, RenderError, Renderer, Steps, attempt, global_gateways,
    label_line, pairs, program, run, write_resolv_conf,
};
use crate::draft::Draft;
use crate::model::Interface;
use crate::text::{self, variable};

const RC: &str = "/etc/rc.conf";
const NETCFG: &str = "/etc/network.d";
const NETCTL: &str = "/etc/netctl";

/// `/etc/rc.conf` alone.
#[derive(Debug)]
pub struct Legacy;

/// netcfg.
#[derive(Debug)]
pub struct Netcfg;

/// netctl, under systemd.
#[derive(Debug)]
pub struct Netctl;

fn whole_file(interface: &Interface, path: &str) -> Fragment {
    Fragment { interface: interface.name.clone(), path: path.to_owned(), text: None }
}

impl Renderer for Legacy {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let old = draft.read_or_empty(RC)?;
        draft.write(RC, legacy_rc(&old, input.interfaces)?)?;
        write_resolv_conf(input, draft)?;
        Ok(input.interfaces.iter().map(|i| whole_file(i, RC)).collect())
    }

    fn steps(&self, _: &Input<'_>, changed: Changed<'_>, _: &Draft<'_>) -> Steps {
        if changed.interfaces.is_empty() {
            return Steps::default();
        }
        Steps {
            before: vec![program(["/etc/rc.d/network", "stop"], "Couldn't stop network")],
            after: vec![program(["/etc/rc.d/network", "start"], "Couldn't start network")],
        }
    }
}

impl Renderer for Netcfg {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let mut fragments = Vec::new();
        for interface in input.interfaces {
            let path = format!("{NETCFG}/{}", interface.name);
            draft.write(&path, netcfg_profile(interface).into_bytes())?;
            fragments.push(whole_file(interface, &path));
        }
        let names: Vec<&str> = input.interfaces.iter().map(|i| i.name.as_str()).collect();
        let old = draft.read_or_empty(RC)?;
        draft.write(RC, netcfg_rc(&old, &names))?;
        Ok(fragments)
    }

    fn steps(&self, _: &Input<'_>, changed: Changed<'_>, _: &Draft<'_>) -> Steps {
        let mut steps = Steps::default();
        for interface in changed.interfaces {
            if interface.up {
                steps.before.push(attempt(["/usr/bin/netcfg", "-d", &interface.name]));
            }
            let failure = OnFailure::Start(interface.name.clone());
            steps.after.push(run(["/usr/bin/netcfg", "-u", &interface.name], failure));
        }
        steps
    }
}

impl Renderer for Netctl {
    fn render(
        &self,
        input: &Input<'_>,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Fragment>, RenderError> {
        let mut fragments = Vec::new();
        for interface in input.interfaces {
            let path = format!("{NETCTL}/{}", interface.name);
            draft.write(&path, netctl_profile(interface).into_bytes())?;
            fragments.push(whole_file(interface, &path));
        }
        Ok(fragments)
    }

    fn steps(&self, _: &Input<'_>, changed: Changed<'_>, _: &Draft<'_>) -> Steps {
        let mut steps = Steps::default();
        for interface in changed.interfaces {
            let failure = OnFailure::Start(interface.name.clone());
            steps.after.push(run(["netctl", "restart", &interface.name], failure.clone()));
            steps.after.push(run(["netctl", "reenable", &interface.name], failure));
        }
        steps
    }
}

/// The lines of `rc.conf`, and the line of each variable.
struct RcConf {
    lines: Vec<Option<Vec<u8>>>,
}

impl RcConf {
    fn read(content: &[u8]) -> Self {
        Self { lines: text::lines(content).into_iter().map(|l| Some(l.to_vec())).collect() }
    }

    /// The last line that sets the variable: where the shell's value comes from.
    fn line_of(&self, name: &str) -> Option<usize> {
        self.lines.iter().rposition(|line| {
            let assigned = line.as_deref().and_then(text::assignment);
            assigned.is_some_and(|(key, _)| key == name.as_bytes())
        })
    }

    /// The words of an array.
    fn words(&self, line: usize) -> Vec<String> {
        let value = self.lines[line].as_deref().and_then(text::assignment).map(|(_, v)| v);
        let value = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let inner = value.trim_start_matches('(').split(')').next().unwrap_or_default();
        inner.split_whitespace().map(str::to_owned).collect()
    }

    /// The names an array lists, also those switched off by `!`, and where it stands.
    fn list(&self, name: &str) -> Option<(usize, Vec<String>)> {
        let line = self.line_of(name)?;
        let bare = |word: &String| word.trim_start_matches('!').trim_matches('"').to_owned();
        Some((line, self.words(line).iter().map(bare).collect()))
    }

    /// Takes away the list with the variables it names, and puts new lines in its place.
    fn replace(&mut self, name: &str, new: String) {
        let at = match self.list(name) {
            Some((at, names)) => {
                for line in names.iter().filter_map(|name| self.line_of(name)).collect::<Vec<_>>() {
                    self.lines[line] = None;
                }
                at
            }
            None => {
                self.lines.push(None);
                self.lines.len() - 1
            }
        };
        self.lines[at] = Some(new.into_bytes());
    }

    /// Comments out a list and the variables it names.
    fn comment(&mut self, name: &str) {
        let Some((at, names)) = self.list(name) else { return };
        let mut lines: Vec<usize> = names.iter().filter_map(|name| self.line_of(name)).collect();
        lines.push(at);
        for line in lines {
            if let Some(text) = &mut self.lines[line] {
                text.insert(0, b'#');
            }
        }
    }

    fn daemons(&mut self, edit: impl FnOnce(&mut Vec<String>)) {
        let Some(at) = self.line_of("DAEMONS") else { return };
        let old = self.words(at);
        let mut new = old.clone();
        edit(&mut new);
        if new != old {
            self.lines[at] = Some(format!("DAEMONS=({})", new.join(" ")).into_bytes());
        }
    }

    fn write(self) -> Vec<u8> {
        text::join(&self.lines.into_iter().flatten().collect::<Vec<_>>())
    }
}

/// `/etc/rc.conf` of the oldest form.
///
/// # Errors
/// With two default gateways of one family.
pub(crate) fn legacy_rc(old: &[u8], interfaces: &[Interface]) -> Result<Vec<u8>, RenderError> {
    let (gateway4, gateway6) = global_gateways(interfaces)?;
    let mut addresses: Vec<(String, String)> = Vec::new();
    let mut routes: Vec<(String, String)> = Vec::new();
    for interface in interfaces {
        let config = &interface.config;
        let base = variable(&interface.name);
        if config.dhcp4 {
            addresses.push((base.clone(), "dhcp".to_owned()));
        }
        for (k, (v4, v6)) in pairs(interface).enumerate() {
            let (name, device) = if k == 0 {
                (base.clone(), interface.name.clone())
            } else {
                (format!("{base}_{k}"), format!("{}:{k}", interface.name))
            };
            let v4 =
                v4.map_or_else(String::new, |n| format!(" {} netmask {}", n.addr(), n.netmask()));
            let v6 = v6.map_or_else(String::new, |n| format!(" add {n}"));
            addresses.push((name, format!("{device}{v4}{v6}")));
        }
        let v4 = config.routes4().map(|(net, gateway)| {
            format!("-net {} netmask {} gw {gateway}", net.addr(), net.netmask())
        });
        let v6 = config.routes6().map(|(net, gateway)| format!("-A inet6 {net} gw {gateway}"));
        routes.extend(v4.chain(v6).enumerate().map(|(n, line)| (format!("{base}_route{n}"), line)));
    }
    routes.extend(gateway4.map(|(g, _)| ("gateway".to_owned(), format!("default gw {g}"))));
    routes.extend(gateway6.map(|(g, _)| ("gateway6".to_owned(), format!("default gw {g}"))));
    let mut rc = RcConf::read(old);
    for (list, entries) in [("INTERFACES", addresses), ("ROUTES", routes)] {
        let mut text: String =
            entries.iter().map(|(name, line)| format!("{name}=\"{line}\"\n")).collect();
        let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        text += &format!("{list}=({})", names.join(" "));
        rc.replace(list, text);
    }
    rc.comment("NETWORKS");
    rc.daemons(|daemons| {
        if let Some(network) = daemons.iter_mut().find(|d| *d == "!network") {
            "network".clone_into(network);
            daemons.retain(|d| d != "@net-profiles");
        }
    });
    Ok(rc.write())
}

/// `/etc/rc.conf` beside netcfg's profiles.
pub(crate) fn netcfg_rc(old: &[u8], names: &[&str]) -> Vec<u8> {
    let mut rc = RcConf::read(old);
    let line = format!("NETWORKS=({})", names.join(" "));
    match rc.line_of("NETWORKS") {
        Some(at) => rc.lines[at] = Some(line.into_bytes()),
        None => rc.lines.push(Some(line.into_bytes())),
    }
    // The OpenStack agent overwrote the variables with the list; they stay readable in their comments.
    rc.comment("INTERFACES");
    rc.comment("ROUTES");
    rc.daemons(|daemons| {
        if let Some(at) = daemons.iter().position(|d| d == "network") {
            "!network".clone_into(&mut daemons[at]);
            if !daemons.iter().any(|d| d == "@net-profiles") {
                daemons.insert(at + 1, "@net-profiles".to_owned());
            }
        }
    });
    rc.write()
}

/// A profile of netcfg.
pub(crate) fn netcfg_profile(interface: &Interface) -> String {
    let (name, config) = (&interface.name, &interface.config);
    let mut out = label_line(interface);
    out += &format!("CONNECTION=\"ethernet\"\nINTERFACE={name}\n");
    if config.dhcp4 {
        out += "IP=\"dhcp\"\n";
    }
    if let Some(net) = config.ip4s.first() {
        out += &format!("IP=\"static\"\nADDR=\"{}\"\nNETMASK=\"{}\"\n", net.addr(), net.netmask());
    }
    if let Some(gateway) = config.gateway4 {
        out += &format!("GATEWAY=\"{gateway}\"\n");
    }
    if let Some(net) = config.ip6s.first() {
        out += &format!("IP6=\"static\"\nADDR6=\"{net}\"\n");
    }
    if let Some(gateway) = config.gateway6 {
        out += &format!("GATEWAY6=\"{gateway}\"\n");
    }
    let v4 = config
        .routes4()
        .map(|(n, gateway)| format!("\"{}/{} via {gateway}\"", n.addr(), n.netmask()));
    let routes: Vec<String> = v4.collect();
    if !routes.is_empty() {
        out += &format!("ROUTES=({})\n", routes.join(" "));
    }
    let routes6: Vec<String> =
        config.routes6().map(|(net, gateway)| format!("\"{net} via {gateway}\"")).collect();
    if !routes6.is_empty() {
        out += &format!("ROUTES6=({})\n", routes6.join(" "));
    }
    if !config.dns.is_empty() {
        let servers: Vec<String> = config.dns.iter().map(ToString::to_string).collect();
        out += &format!("DNS=({})\n", servers.join(" "));
    }
    // A profile holds one address of each family; the others are commands.
    let v4 = config.ip4s.iter().skip(1).map(|n| format!("{}/{}", n.addr(), n.netmask()));
    let more: Vec<String> = v4.chain(config.ip6s.iter().skip(1).map(ToString::to_string)).collect();
    if !more.is_empty() {
        let commands = |verb: &str, list: &mut dyn Iterator<Item = &String>| {
            let all: Vec<String> = list.map(|a| format!("ip addr {verb} {a} dev {name}")).collect();
            all.join("; ")
        };
        out += &format!("POST_UP=\"{}\"\n", commands("add", &mut more.iter()));
        out += &format!("PRE_DOWN=\"{}\"\n", commands("del", &mut more.iter().rev()));
    }
    out
}

/// A profile of netctl.
pub(crate) fn netctl_profile(interface: &Interface) -> String {
    let (name, config) = (&interface.name, &interface.config);
    let quoted = |list: &mut dyn Iterator<Item = String>| {
        let all: Vec<String> = list.map(|item| format!("'{item}'")).collect();
        format!("({})", all.join(" "))
    };
    let mut out = label_line(interface);
    out += &format!("Connection=ethernet\nInterface={name}\n");
    if config.dhcp4 {
        out += "IP=dhcp\n";
    } else if !config.ip4s.is_empty() {
        out += "IP=static\n";
    }
    if !config.ip4s.is_empty() {
        out += &format!("Address={}\n", quoted(&mut config.ip4s.iter().map(ToString::to_string)));
    }
    if let Some(gateway) = config.gateway4 {
        out += &format!("Gateway={gateway}\n");
    }
    if config.dhcp6 {
        out += "IP6=dhcp\n";
    } else if config.accept_ra {
        out += "IP6=stateless\n";
    } else if !config.ip6s.is_empty() {
        out += "IP6=static\n";
    }
    if !config.ip6s.is_empty() {
        out += &format!("Address6={}\n", quoted(&mut config.ip6s.iter().map(ToString::to_string)));
    }
    if let Some(gateway) = config.gateway6 {
        out += &format!("Gateway6={gateway}\n");
    }
    let mut v4 = config.routes4().map(|(net, gateway)| format!("{net} via {gateway}")).peekable();
    if v4.peek().is_some() {
        out += &format!("Routes={}\n", quoted(&mut v4));
    }
    let mut v6 = config.routes6().map(|(net, gateway)| format!("{net} via {gateway}")).peekable();
    if v6.peek().is_some() {
        out += &format!("Routes6={}\n", quoted(&mut v6));
    }
    if !config.dns.is_empty() {
        out += &format!("DNS={}\n", quoted(&mut config.dns.iter().map(ToString::to_string)));
    }
    out
}
