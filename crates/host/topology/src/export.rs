//! A lab as a topology file: whole, or with nothing in it that containerlab does not know.

mod parts;

use std::path::Path;

use vnode_protocol::impairment::Impairment;

use crate::emit::Yaml;
use crate::model::{
    AgentMode, Bind, DEFAULT_MTU, Endpoint, Far, ImagePullPolicy, Lab, Link, NetworkMode, Node,
    NodeKind, PidMode, RestartPolicy, Vm,
};

use parts::{
    dns, event, health, impairment, list, mgmt, network, port, preconfig, put, resources, stages,
    text, vars, words,
};

type Map = Vec<(String, Yaml)>;

/// Writes the lab with everything vnode knows; [`parse`](crate::parse) in the same folder gives the
/// same lab.
pub fn export(lab: &Lab) -> String {
    Writer { lab, ours: true }.file().document()
}

/// Writes the lab as containerlab accepts it.
///
/// What containerlab has no word for is left out, and a comment at the head says so: impairments,
/// LANs, the timeline, `resources` beyond memory and processors, backends, agents.
pub fn export_clab(lab: &Lab) -> String {
    let mut out = String::new();
    for left in left_out(lab) {
        out.push_str("# left out, containerlab has no such thing: ");
        out.push_str(&left);
        out.push('\n');
    }
    out.push_str(&Writer { lab, ours: false }.file().document());
    out
}

/// What a strict export cannot say.
fn left_out(lab: &Lab) -> Vec<String> {
    let mut left = Vec::new();
    let impaired = lab
        .links
        .iter()
        .filter(|link| {
            !link.near.impair.is_perfect() || link.far_impair().is_some_and(|i| !i.is_perfect())
        })
        .count();
    if impaired > 0 {
        left.push(format!("impairments of {impaired} links"));
    }
    for network in &lab.networks {
        left.push(format!("LAN {} with {} members", network.name, network.members.len()));
    }
    if !lab.events.is_empty() {
        left.push(format!("a timeline of {} events", lab.events.len()));
    }
    let limited = lab.nodes.iter().filter(|node| !resources(node).is_empty()).count();
    if limited > 0 {
        left.push(format!("resources of {limited} nodes"));
    }
    let prepared = lab.nodes.iter().filter(|node| !node.preconfig.is_empty()).count();
    if prepared > 0 {
        left.push(format!("`preconfig` of {prepared} nodes"));
    }
    let patient = lab.nodes.iter().filter(|node| node.boot_timeout_s.is_some()).count();
    if patient > 0 {
        left.push(format!("`boot-timeout` of {patient} nodes"));
    }
    left
}

struct Writer<'l> {
    lab: &'l Lab,
    /// Our additions are written.
    ours: bool,
}

impl Writer<'_> {
    fn file(&self) -> Yaml {
        let lab = self.lab;
        let mut file = Map::new();
        put(&mut file, "name", Yaml::text(&lab.name));
        if let Some(prefix) = &lab.prefix {
            put(&mut file, "prefix", Yaml::text(prefix));
        }
        put(&mut file, "mgmt", mgmt(&lab.mgmt));
        let mut topology = Map::new();
        let nodes = lab.nodes.iter().map(|node| (node.name.clone(), self.node(node))).collect();
        put(&mut topology, "nodes", Yaml::Map(nodes));
        if !lab.links.is_empty() {
            let links = lab.links.iter().map(|link| self.link(link)).collect();
            put(&mut topology, "links", Yaml::List(links));
        }
        if self.ours && !lab.networks.is_empty() {
            let networks = lab.networks.iter().map(|lan| (lan.name.clone(), network(lan)));
            put(&mut topology, "networks", Yaml::Map(networks.collect()));
        }
        put(&mut file, "topology", Yaml::Map(topology));
        if self.ours && !lab.events.is_empty() {
            put(&mut file, "events", Yaml::List(lab.events.iter().map(event).collect()));
        }
        Yaml::Map(file)
    }

    fn vm(&self, vm: &Vm) -> Map {
        let mut map = Map::new();
        text(&mut map, "machine", vm.machine.as_ref());
        text(&mut map, "accel", vm.accel.as_ref());
        text(&mut map, "firmware", vm.firmware.as_ref());
        text(&mut map, "kernel", vm.kernel.as_ref().map(|p| self.path(p)));
        text(&mut map, "initrd", vm.initrd.as_ref().map(|p| self.path(p)));
        text(&mut map, "append", vm.append.as_ref());
        text(&mut map, "disk", vm.disk_bytes.map(|bytes| format!("{bytes}b")));
        let disks = vm.disks_bytes.iter().map(|bytes| format!("{bytes}b"));
        list(&mut map, "disks", &disks.collect::<Vec<_>>());
        text(&mut map, "nic", vm.nic.as_ref());
        text(&mut map, "seed", vm.seed.as_ref());
        text(&mut map, "user-data", vm.user_data.as_ref().map(|p| self.path(p)));
        text(&mut map, "ready", vm.ready.as_ref());
        for (name, number) in [("queues", vm.queues), ("ready-timeout", vm.ready_timeout_s)] {
            if let Some(number) = number {
                put(&mut map, name, Yaml::bare(number));
            }
        }
        for (name, on) in [("vnc", vm.vnc), ("watchdog", vm.watchdog), ("vsock", vm.vsock)] {
            if on {
                put(&mut map, name, Yaml::bare(true));
            }
        }
        map
    }

    fn node(&self, node: &Node) -> Yaml {
        let mut map = Map::new();
        let kind = match node.kind {
            NodeKind::Linux => "linux",
            NodeKind::Vm => "vm",
            NodeKind::Bridge => "bridge",
            NodeKind::Host => "host",
        };
        put(&mut map, "kind", Yaml::text(kind));
        text(&mut map, "group", node.group.as_ref());
        words(&mut map, "labels", &node.labels);
        if !node.kind.is_run() {
            return Yaml::Map(map);
        }
        text(&mut map, "image", node.image.as_ref());
        let pull = match node.image_pull_policy {
            ImagePullPolicy::IfNotPresent => None,
            ImagePullPolicy::Never => Some("Never"),
            ImagePullPolicy::Always => Some("Always"),
        };
        text(&mut map, "image-pull-policy", pull);
        let restart = match node.restart_policy {
            RestartPolicy::Always => None,
            RestartPolicy::No => Some("no"),
            RestartPolicy::OnFailure => Some("on-failure"),
            RestartPolicy::UnlessStopped => Some("unless-stopped"),
        };
        text(&mut map, "restart-policy", restart);
        // Containerlab's nodes are privileged unless they say so; ours are not.
        if !self.ours || node.privileged {
            put(&mut map, "privileged", Yaml::bare(node.privileged));
        }
        if node.startup_delay_s > 0 {
            put(&mut map, "startup-delay", Yaml::bare(node.startup_delay_s));
        }
        text(&mut map, "startup-config", node.startup_config.as_ref().map(|p| self.path(p)));
        list(&mut map, "exec", &node.exec);
        let volume = |bind: &&Bind| bind.volume.is_some();
        let binds: Vec<String> =
            node.binds.iter().filter(|b| !volume(b)).map(|b| self.bind(b)).collect();
        let volumes: Vec<String> = node.binds.iter().filter(volume).map(|b| self.bind(b)).collect();
        list(&mut map, "binds", &binds);
        list(&mut map, "volumes", &volumes);
        list(&mut map, "ports", &node.ports.iter().map(port).collect::<Vec<_>>());
        words(&mut map, "env", &node.env);
        text(&mut map, "user", node.user.as_ref());
        text(&mut map, "hostname", node.hostname.as_ref());
        text(&mut map, "entrypoint", node.entrypoint.as_ref());
        text(&mut map, "cmd", node.cmd.as_ref());
        text(&mut map, "mgmt-ipv4", node.mgmt_ipv4);
        text(&mut map, "mgmt-ipv6", node.mgmt_ipv6);
        let mode = match &node.network_mode {
            NetworkMode::Management => None,
            NetworkMode::None => Some("none".to_owned()),
            NetworkMode::Host => Some("host".to_owned()),
            NetworkMode::Node(name) | NetworkMode::Container(name) => {
                Some(format!("container:{name}"))
            }
        };
        text(&mut map, "network-mode", mode);
        if let Some(cpu) = node.resources.cpu {
            put(&mut map, "cpu", Yaml::bare(cpu));
        }
        text(&mut map, "cpu-set", node.resources.cpu_set.as_ref());
        text(&mut map, "memory", node.resources.memory_bytes.map(|bytes| format!("{bytes}b")));
        text(&mut map, "shm-size", node.shm_size_bytes.map(|bytes| format!("{bytes}b")));
        stages(&mut map, node);
        dns(&mut map, node);
        health(&mut map, node);
        list(&mut map, "aliases", &node.aliases);
        list(&mut map, "cap-add", &node.cap_add);
        text(&mut map, "cgroupns-mode", node.cgroupns_mode.as_ref());
        let mode = node.pid_mode.as_ref().map(|mode| match mode {
            PidMode::Host => "host".to_owned(),
            PidMode::Node(name) | PidMode::Container(name) => format!("container:{name}"),
        });
        text(&mut map, "pid-mode", mode);
        list(&mut map, "tmpfs", &node.tmpfs);
        list(&mut map, "security-opts", &node.security_opts);
        words(&mut map, "sysctls", &node.sysctls);
        let device = |d: &crate::model::Device| {
            format!("{}:{}:{}", d.host.display(), d.node.display(), d.permissions)
        };
        list(&mut map, "devices", &node.devices.iter().map(device).collect::<Vec<_>>());
        if node.auto_remove {
            put(&mut map, "auto-remove", Yaml::bare(true));
        }
        if self.ours {
            let resources = resources(node);
            if !resources.is_empty() {
                put(&mut map, "resources", Yaml::Map(resources));
            }
            preconfig(&mut map, node);
            if let Some(limit) = node.boot_timeout_s {
                put(&mut map, "boot-timeout", Yaml::bare(limit));
            }
            text(&mut map, "placement", node.placement.as_ref());
            text(&mut map, "backend", node.backend.as_ref());
            if let Some(libvirt) = &node.libvirt {
                let mut domain = Map::new();
                text(&mut domain, "uri", libvirt.uri.as_ref());
                text(&mut domain, "domain", libvirt.domain.as_ref());
                text(&mut domain, "xml", libvirt.xml.as_ref().map(|p| self.path(p)));
                put(&mut map, "libvirt", Yaml::Map(domain));
            }
            if let Some(vm) = &node.vm {
                put(&mut map, "vm", Yaml::Map(self.vm(vm)));
            }
            let agent = match node.agent {
                AgentMode::None => None,
                AgentMode::OnDemand => Some("on-demand"),
                AgentMode::Init => Some("init"),
            };
            text(&mut map, "agent", agent);
        }
        Yaml::Map(map)
    }

    /// Paths below the folder of the file are written from there, so that the folder can be moved.
    fn path(&self, path: &Path) -> String {
        match path.strip_prefix(&self.lab.folder) {
            Ok(below) if !self.lab.folder.as_os_str().is_empty() => {
                format!("./{}", below.display())
            }
            _ => path.display().to_string(),
        }
    }

    fn bind(&self, bind: &Bind) -> String {
        let mut options: Vec<&str> = Vec::new();
        if bind.read_only {
            options.push("ro");
        }
        options.extend(bind.options.iter().map(String::as_str));
        let source = match (&bind.volume, &bind.source) {
            (Some(volume), _) => Some(volume.clone()),
            (None, Some(source)) => Some(self.path(source)),
            (None, None) => None,
        };
        let mut out = source.map_or_else(String::new, |source| format!("{source}:"));
        out.push_str(&bind.destination.to_string_lossy());
        if !options.is_empty() {
            out.push(':');
            out.push_str(&options.join(","));
        }
        out
    }

    fn link(&self, link: &Link) -> Yaml {
        let mut map = Map::new();
        let near = |base: &Impairment| self.endpoint(&link.near, base);
        let perfect = Impairment::default();
        match &link.far {
            Far::Node { endpoint, stitch } => {
                let ends = [&link.near, endpoint];
                let brief = !stitch && ends.iter().all(|end| self.is_brief(end));
                if brief {
                    let names = Yaml::texts(ends.iter().map(|end| end.name()));
                    put(&mut map, "endpoints", Yaml::Flow(Box::new(names)));
                } else {
                    put(&mut map, "type", Yaml::text(if *stitch { "veth-stitch" } else { "veth" }));
                    let ends = ends.iter().map(|end| self.endpoint(end, &perfect)).collect();
                    put(&mut map, "endpoints", Yaml::List(ends));
                }
            }
            Far::Host { interface, impair } | Far::Management { interface, impair } => {
                let kind = if matches!(link.far, Far::Host { .. }) { "host" } else { "mgmt-net" };
                put(&mut map, "type", Yaml::text(kind));
                put(&mut map, "endpoint", near(impair));
                put(&mut map, "host-interface", Yaml::text(interface));
                if self.ours {
                    impairment(&mut map, "impair", &perfect, impair);
                }
            }
            Far::Macvlan { interface, mode } => {
                put(&mut map, "type", Yaml::text("macvlan"));
                put(&mut map, "endpoint", near(&perfect));
                put(&mut map, "host-interface", Yaml::text(interface));
                put(&mut map, "mode", Yaml::text(mode.as_str()));
            }
            Far::Vxlan { remote, vni, dst_port, src_port, stitch } => {
                put(&mut map, "type", Yaml::text(if *stitch { "vxlan-stitch" } else { "vxlan" }));
                put(&mut map, "endpoint", near(&perfect));
                put(&mut map, "remote", Yaml::text(remote));
                put(&mut map, "vni", Yaml::bare(vni));
                put(&mut map, "dst-port", Yaml::bare(dst_port));
                if let Some(port) = src_port {
                    put(&mut map, "src-port", Yaml::bare(port));
                }
            }
            Far::Dummy => {
                put(&mut map, "type", Yaml::text("dummy"));
                put(&mut map, "endpoint", near(&perfect));
            }
        }
        if link.mtu != DEFAULT_MTU {
            put(&mut map, "mtu", Yaml::bare(link.mtu));
        }
        words(&mut map, "labels", &link.labels);
        vars(&mut map, &link.vars);
        Yaml::Map(map)
    }

    /// Whether the end is no more than its name.
    fn is_brief(&self, end: &Endpoint) -> bool {
        let bare = Endpoint {
            node: end.node.clone(),
            interface: end.interface.clone(),
            impair: if self.ours { Impairment::default() } else { end.impair.clone() },
            ..Endpoint::default()
        };
        bare == *end
    }

    fn endpoint(&self, end: &Endpoint, base: &Impairment) -> Yaml {
        let mut map = Map::new();
        put(&mut map, "node", Yaml::text(&end.node));
        put(&mut map, "interface", Yaml::text(&end.interface));
        text(&mut map, "mac", end.mac);
        text(&mut map, "ipv4", end.ipv4);
        text(&mut map, "ipv6", end.ipv6);
        vars(&mut map, &end.vars);
        if self.ours {
            impairment(&mut map, "impair", base, &end.impair);
        }
        Yaml::Map(map)
    }
}
