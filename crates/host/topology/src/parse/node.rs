//! One node, from its layers.

mod env;
mod limits;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use crate::keys;
use crate::kinds;
use crate::model::{
    AgentMode, Bind, Dns, HOST_IMAGE, ImagePullPolicy, NetworkMode, Node, NodeKind, RestartPolicy,
};
use crate::parse::binds;
use crate::parse::fields::{Fields, boolean, count, short, text, texts};
use crate::parse::layers::{Layers, Shared};
use crate::parse::libvirt;
use crate::parse::placement;
use crate::parse::preconfig;
use crate::parse::stage::{self, Waits};
use crate::parse::vm;
use crate::report::{At, Report};
use crate::world::World;
use crate::yaml::Entry;
use limits::{health, limits, rights};

/// What all nodes of the lab are read with.
pub(crate) struct Reader<'a> {
    pub(crate) world: &'a dyn World,
    pub(crate) folder: &'a Path,
    pub(crate) lab: &'a str,
    pub(crate) home: Option<String>,
    pub(crate) waits: Waits,
    /// Contents of env-files read so far; many nodes name the same one.
    pub(crate) env_files: HashMap<String, Option<Vec<(String, String)>>>,
}

/// Where values are written that are checked when all nodes are known.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) name: At,
    pub(crate) mgmt_ipv4: Option<At>,
    pub(crate) mgmt_ipv6: Option<At>,
    pub(crate) network_mode: Option<At>,
    pub(crate) pid_mode: Option<At>,
    /// In the order of the node's ports.
    pub(crate) ports: Vec<At>,
}

impl Reader<'_> {
    /// Reads one node. A kind that cannot be run is an error, and the node is read as a container
    /// all the same, so that the rest of the file is checked too.
    pub(crate) fn node<'v>(
        &mut self,
        entry: &'v Entry,
        shared: &Shared<'v>,
        report: &mut Report<'_>,
    ) -> (Node, Places) {
        let own = Fields::read(
            &entry.value,
            &format!("node `{}`", short(&entry.key)),
            keys::NODE,
            report,
        );
        let layers = shared.layers(&own);
        let mut node = Node {
            name: entry.key.to_string(),
            kind: kind(&layers, report),
            span: report.span(&entry.key_at),
            ..Node::default()
        };
        let mut places = Places {
            name: entry.key_at.clone(),
            mgmt_ipv4: None,
            mgmt_ipv6: None,
            network_mode: None,
            pid_mode: None,
            ports: Vec::new(),
        };
        node.group = layers.text("group", report).map(|(group, _)| group.to_owned());
        node.labels = self.map(&layers, "labels", &node.name, report);
        if !node.kind.is_run() {
            meaningless(&own, node.kind, report);
            return (node, places);
        }
        self.image_and_start(&mut node, &layers, report);
        self.files(&mut node, &layers, &mut places, report);
        self.env(&mut node, &layers, report);
        network(&mut node, &layers, &mut places, report);
        limits(&mut node, &layers, report);
        places.pid_mode = rights(&mut node, &layers, report);
        node.sysctls = self.map(&layers, "sysctls", &node.name, report);
        node.stages = stage::read(&layers.every("stages"), &node.name, &mut self.waits, report);
        node.preconfig = preconfig::read(
            &layers.every("preconfig"),
            |word| self.magic(word, &node.name),
            report,
        );
        node.placement =
            layers.one("placement").and_then(|entry| placement::read(entry, self.world, report));
        node.healthcheck = layers.one("healthcheck").and_then(|entry| health(entry, report));
        if node.kind == NodeKind::Vm {
            let paths = (self.folder, self.home.as_deref());
            libvirt::read(&mut node, &own, &layers, paths, &places.name, report);
            vm::read(&mut node, &own, &layers, paths, &places.name, report);
        } else {
            for name in ["vm", "libvirt"] {
                if let Some(entry) = own.get(name) {
                    report.warn(&entry.key_at, format!("`{name}` is for nodes of kind `vm`"));
                }
            }
        }
        (node, places)
    }

    /// Puts the words in that stand for names and folders of the lab.
    fn magic(&self, given: &str, node: &str) -> String {
        if !given.contains("__clab") {
            return given.to_owned();
        }
        let dir = self.folder.join(format!("clab-{}", self.lab));
        given
            .replace("__clabNodeDir__", &dir.join(node).to_string_lossy())
            .replace("__clabDir__", &dir.to_string_lossy())
            .replace("__clabNodeName__", node)
            .replace("__clabLabName__", self.lab)
    }

    fn map(
        &self,
        layers: &Layers<'_, '_>,
        key: &str,
        node: &str,
        report: &mut Report<'_>,
    ) -> BTreeMap<String, String> {
        let merged = layers.merged(key, report);
        merged
            .into_iter()
            .map(|(key, (value, _))| (key.to_owned(), self.magic(value, node)))
            .collect()
    }

    fn image_and_start(&self, node: &mut Node, layers: &Layers<'_, '_>, report: &mut Report<'_>) {
        let name = node.name.clone();
        let image = layers.text("image", report);
        if let Some((image, at)) = &image
            && (image.chars().any(|c| c.is_whitespace() || c.is_control()) || image.len() > 512)
        {
            report.error(at, format!("`{}` is no image reference", short(image)));
        }
        node.image = Some(image.map_or(HOST_IMAGE, |(image, _)| image).to_owned());
        if let Some((policy, at)) = layers.text("image-pull-policy", report) {
            node.image_pull_policy = match policy.to_ascii_lowercase().as_str() {
                "ifnotpresent" => ImagePullPolicy::IfNotPresent,
                "never" => ImagePullPolicy::Never,
                "always" => ImagePullPolicy::Always,
                _ => {
                    report.error(
                        &at,
                        format!(
                            "`image-pull-policy` is IfNotPresent, Never or Always, not `{}`",
                            short(policy)
                        ),
                    );
                    ImagePullPolicy::IfNotPresent
                }
            };
        }
        if let Some((policy, at)) = layers.text("restart-policy", report) {
            node.restart_policy = match policy {
                // Unquoted, `no` is a truth value to some; here it is the word.
                "no" | "false" => RestartPolicy::No,
                "on-failure" => RestartPolicy::OnFailure,
                "always" => RestartPolicy::Always,
                "unless-stopped" => RestartPolicy::UnlessStopped,
                _ => {
                    report.error(&at, format!("`restart-policy` is no, on-failure, always or unless-stopped, not `{}`", short(policy)));
                    RestartPolicy::Always
                }
            };
        }
        if let Some((mode, at)) = layers.text("agent", report) {
            node.agent = match mode {
                "none" => AgentMode::None,
                "on-demand" => AgentMode::OnDemand,
                "init" => AgentMode::Init,
                _ => {
                    let text = format!("`agent` is none, on-demand or init, not `{}`", short(mode));
                    report.error(&at, text);
                    AgentMode::None
                }
            };
        }
        if let Some(entry) = layers.one("startup-delay") {
            let delay = count(&entry.value, "startup-delay", 0..=86_400, report).unwrap_or(0);
            node.startup_delay_s = u32::try_from(delay).unwrap_or(0);
        }
        if let Some(entry) = layers.one("boot-timeout") {
            let limit = count(&entry.value, "boot-timeout", 1..=86_400, report);
            node.boot_timeout_s = limit.and_then(|limit| u32::try_from(limit).ok());
        }
        if let Some((given, _)) = layers.text("startup-config", report)
            && !given.contains('\n')
            && !given.contains("://")
        {
            let given = self.magic(given, &name);
            node.startup_config = Some(binds::host_path(&given, self.folder, self.home.as_deref()));
        }
        if let Some(entry) = layers.one("auto-remove") {
            node.auto_remove = boolean(&entry.value, "auto-remove", report).unwrap_or(false);
        }
        let joined = layers.joined("exec", report);
        node.exec = joined.into_iter().map(|(line, _)| self.magic(line, &name)).collect();
        let mut word =
            |key: &str| layers.text(key, report).map(|(given, _)| self.magic(given, &name));
        node.user = word("user");
        node.entrypoint = word("entrypoint");
        node.cmd = word("cmd");
        node.backend = word("backend");
        node.hostname = word("hostname");
        if let Some(hostname) = &node.hostname
            && let Some(entry) = layers.one("hostname")
            && !is_host_name(hostname)
        {
            report.error_with(
                &entry.value.at,
                format!("`{}` is no host name", short(hostname)),
                "letters, digits, `-` and `.`, at most 253",
            );
        }
    }

    fn files(
        &self,
        node: &mut Node,
        layers: &Layers<'_, '_>,
        places: &mut Places,
        report: &mut Report<'_>,
    ) {
        let home = self.home.as_deref();
        let mut all: Vec<Bind> = Vec::new();
        for (given, at) in layers.joined("binds", report) {
            let given = self.magic(given, &node.name);
            let bind = binds::bind(&given, &at, self.folder, home, report);
            put(&mut all, bind);
        }
        for (given, at) in layers.joined("volumes", report) {
            let given = self.magic(given, &node.name);
            if let Some(bind) = binds::volume(&given, &at, self.folder, home, report) {
                all.retain(|other| other.destination != bind.destination);
                all.push(bind);
            }
        }
        node.binds = all;
        for (given, at) in layers.list("ports", report) {
            for port in binds::ports(given, &at, report) {
                node.ports.push(port);
                places.ports.push(at.clone());
            }
        }
        for (given, at) in layers.joined("devices", report) {
            if let Some(device) = binds::device(given, &at, report)
                && !node.devices.contains(&device)
            {
                node.devices.push(device);
            }
        }
        for (given, at) in layers.list("tmpfs", report) {
            if !given.starts_with('/') {
                report.error(
                    &at,
                    format!("`tmpfs` takes absolute paths in the node, not `{}`", short(given)),
                );
            }
            node.tmpfs.push(given.to_owned());
        }
    }
}

/// Adds a bind in the place of an earlier one with the same destination, else at the end.
fn put(all: &mut Vec<Bind>, bind: Option<Bind>) {
    let Some(bind) = bind else { return };
    match all.iter_mut().find(|other| other.destination == bind.destination) {
        Some(other) => *other = bind,
        None => all.push(bind),
    }
}

fn kind(layers: &Layers<'_, '_>, report: &mut Report<'_>) -> NodeKind {
    let Some(entry) = layers.kind else { return NodeKind::Linux };
    let Some(given) = text(&entry.value, "kind", report) else { return NodeKind::Linux };
    if let Some((_, kind)) = kinds::RUN.iter().find(|(name, _)| *name == given) {
        return *kind;
    }
    match kinds::hint(given) {
        Some(hint) => report.error_with(
            &entry.value.at,
            format!("vnode cannot run the kind `{given}` (it runs linux, vm, bridge and host)"),
            hint,
        ),
        None => report.error_with(
            &entry.value.at,
            format!("unknown kind `{}` (vnode runs linux, vm, bridge and host)", short(given)),
            "containerlab as vnode knows it has no such kind either",
        ),
    }
    NodeKind::Linux
}

/// Keys of the node's own that mean nothing for a bridge or the host.
fn meaningless(own: &Fields<'_>, kind: NodeKind, report: &mut Report<'_>) {
    let what = if kind == NodeKind::Bridge { "a bridge" } else { "the host" };
    for (name, entry) in own.names() {
        let acted =
            keys::NODE.iter().any(|key| key.name == name && key.acted != keys::Acted::No(""));
        if acted && !matches!(name, "kind" | "group" | "labels") && !entry.value.is_null() {
            report.warn(&entry.key_at, format!("`{name}` has no meaning for {what}"));
        }
    }
}

fn network(node: &mut Node, layers: &Layers<'_, '_>, places: &mut Places, report: &mut Report<'_>) {
    fn address<T: FromStr>(
        layers: &Layers<'_, '_>,
        key: &str,
        what: &str,
        report: &mut Report<'_>,
    ) -> Option<(T, At)> {
        let (given, at) = layers.text(key, report)?;
        match given.parse() {
            Ok(address) => Some((address, at)),
            Err(_) => {
                report.error(&at, format!("`{key}: {}` is not {what}", short(given)));
                None
            }
        }
    }
    if let Some((address, at)) = address(layers, "mgmt-ipv4", "an IPv4 address", report) {
        node.mgmt_ipv4 = Some(address);
        places.mgmt_ipv4 = Some(at);
    }
    if let Some((address, at)) = address(layers, "mgmt-ipv6", "an IPv6 address", report) {
        node.mgmt_ipv6 = Some(address);
        places.mgmt_ipv6 = Some(at);
    }
    if let Some((mode, at)) = layers.text("network-mode", report) {
        node.network_mode = match mode {
            "bridge" => NetworkMode::Management,
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            _ => match mode.strip_prefix("container:").filter(|name| !name.is_empty()) {
                // Whether it is a node of this lab is known when all nodes are.
                Some(name) => NetworkMode::Container(name.to_owned()),
                None => {
                    report.error_with(
                        &at,
                        format!("there is no network mode `{}`", short(mode)),
                        "modes are none, host and container:<node>",
                    );
                    NetworkMode::Management
                }
            },
        };
        places.network_mode = Some(at);
    }
    if let Some(entry) = layers.one("dns") {
        let fields = Fields::read(&entry.value, "`dns`", keys::DNS, report);
        let mut list = |key: &str| {
            fields.get(key).map_or_else(Vec::new, |entry| texts(&entry.value, key, report))
        };
        let servers = list("servers");
        let search = list("search").into_iter().map(|(text, _)| text.to_owned()).collect();
        let options = list("options").into_iter().map(|(text, _)| text.to_owned()).collect();
        let mut dns = Dns { servers: Vec::new(), search, options };
        for (given, at) in servers {
            match given.parse::<IpAddr>() {
                Ok(address) => dns.servers.push(address),
                Err(_) => {
                    report.error(&at, format!("name server `{}` is no address", short(given)))
                }
            }
        }
        node.dns = dns;
    }
    for (alias, at) in layers.list("aliases", report) {
        if is_host_name(alias) {
            node.aliases.push(alias.to_owned());
        } else {
            report.error(&at, format!("the alias `{}` is no host name", short(alias)));
        }
    }
}

/// A name that may stand in /etc/hosts.
pub(crate) fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && !text.starts_with(['-', '.'])
}
