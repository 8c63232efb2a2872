//! Every key of the file: its shape, and whether vnode acts on it.
//!
//! The reader checks files against these tables and the published JSON Schema is made from them, so
//! the two cannot differ.

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Text,
    /// Text or number.
    Word,
    Bool,
    Number,
    Count,
    TextList,
    TextMap,
    OneOf(&'static [&'static str]),
    /// A map with keys of its own.
    Table(&'static [Key]),
    /// A map of names to nodes, whose definition is given once.
    Nodes,
    /// One node definition.
    Node,
    Links,
    Networks,
    Members,
    Events,
    Impairment,
    Endpoint,
    Endpoints,
    Prefixes,
    StageExec,
    Anything,
}

/// Who gives the key its meaning here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Acted {
    /// Containerlab's key, and vnode does what it says.
    Yes,
    /// An addition of vnode's.
    Ours,
    /// Containerlab's key; vnode does not act on it, for this reason.
    No(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) acted: Acted,
    pub(crate) doc: &'static str,
}

const fn yes(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, acted: Acted::Yes, doc }
}

const fn ours(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, acted: Acted::Ours, doc }
}

const fn no(name: &'static str, shape: Shape, why: &'static str, doc: &'static str) -> Key {
    Key { name, shape, acted: Acted::No(why), doc }
}

pub(crate) const TOP: &[Key] = &[
    yes("name", Shape::Word, "Name of the lab: a letter or digit, then also `-`, `.`, `_`."),
    yes(
        "prefix",
        Shape::Word,
        "First part of the nodes' names on the host. Absent: `clab`; empty: node names alone; \
         `__lab-name`: the lab's name.",
    ),
    yes("mgmt", Shape::Table(MGMT), "The management network."),
    yes("topology", Shape::Table(TOPOLOGY), "Nodes and links."),
    ours("events", Shape::Events, "What happens to links while the lab runs."),
    no(
        "settings",
        Shape::Anything,
        "vnode makes no certificates for nodes",
        "Certificate authority.",
    ),
    no("debug", Shape::Bool, "use `vnode --verbose`", "Verbose output of containerlab."),
];

pub(crate) const MGMT: &[Key] = &[
    yes("network", Shape::Word, "Name of the network, carried along: each lab has one of its own."),
    yes(
        "bridge",
        Shape::Word,
        "Further name of its bridge on the host; no other interface may have it.",
    ),
    yes("ipv4-subnet", Shape::Text, "Prefix such as `172.20.20.0/24`, `auto`, or empty for none."),
    yes(
        "ipv6-subnet",
        Shape::Text,
        "Prefix such as `3fff:172:20:20::/64`, `auto`, or empty for none.",
    ),
    yes("ipv4-gw", Shape::Text, "Address of the host in the IPv4 subnet."),
    yes("ipv6-gw", Shape::Text, "Address of the host in the IPv6 subnet."),
    yes("ipv4-range", Shape::Text, "Part of the IPv4 subnet that addresses are given out from."),
    yes("ipv6-range", Shape::Text, "Part of the IPv6 subnet that addresses are given out from."),
    yes("mtu", Shape::Count, "MTU in bytes."),
    yes("external-access", Shape::Bool, "Whether nodes reach what lies outside the host (true)."),
    yes("skip-when-unused", Shape::Bool, "Leave the network out when no node uses it."),
    no("driver-opts", Shape::Anything, "it configures Docker's network", "Docker network options."),
    no(
        "driver",
        Shape::Text,
        "the management network is a bridge of vnode's own",
        "Docker network driver.",
    ),
];

pub(crate) const TOPOLOGY: &[Key] = &[
    yes("nodes", Shape::Nodes, "Nodes by name."),
    yes("kinds", Shape::Nodes, "What holds for all nodes of a kind."),
    yes("groups", Shape::Nodes, "What holds for all nodes of a group."),
    yes("defaults", Shape::Node, "What holds for all nodes."),
    yes("links", Shape::Links, "Links between nodes."),
    ours("networks", Shape::Networks, "LANs with any number of members, by name."),
];

pub(crate) const NODE: &[Key] = &[
    yes(
        "kind",
        Shape::Text,
        "What the node is: `linux` (a container), `vm` (a virtual machine), `bridge` or `host`.",
    ),
    yes("image", Shape::Text, "Image reference; `host`, the machine's own root, when absent."),
    yes(
        "image-pull-policy",
        Shape::OneOf(&["IfNotPresent", "Never", "Always"]),
        "When the image is fetched.",
    ),
    yes(
        "restart-policy",
        Shape::OneOf(&["no", "on-failure", "always", "unless-stopped"]),
        "What is done when the node's first process ends (always).",
    ),
    yes("group", Shape::Word, "Group the node takes values from."),
    yes("startup-delay", Shape::Count, "Seconds to wait before the node is booted."),
    yes("auto-remove", Shape::Bool, "Destroy the node when its first process ends."),
    yes("exec", Shape::TextList, "Commands run in the node once it is up and linked."),
    yes(
        "binds",
        Shape::TextList,
        "Files and folders of the host that show in the node: `source:destination[:options]`.",
    ),
    yes("volumes", Shape::TextList, "Folders that live with the node: `[name:]destination`."),
    yes(
        "ports",
        Shape::TextList,
        "Ports of the host that lead into the node: `[address:]host:node[/protocol]`.",
    ),
    yes("env", Shape::TextMap, "Environment variables; `__IMPORT_ENVS: true` copies the caller's."),
    yes("env-files", Shape::TextList, "Files of environment variables."),
    yes("user", Shape::Word, "User of the first process."),
    yes("hostname", Shape::Word, "Host name, when it is not the node's name."),
    yes("entrypoint", Shape::Text, "Entry point instead of the image's."),
    yes("cmd", Shape::Word, "Command instead of the image's."),
    yes("labels", Shape::TextMap, "Labels."),
    yes("mgmt-ipv4", Shape::Text, "Address in the management network."),
    yes("mgmt-ipv6", Shape::Text, "Address in the management network."),
    yes(
        "network-mode",
        Shape::Text,
        "`none`, `host`, or `container:<node>` to share that node's network.",
    ),
    yes("cpu", Shape::Number, "Processors the node may use, fractions allowed."),
    yes("memory", Shape::Word, "Memory limit, such as `512MB` or `1GiB`."),
    yes("cpu-set", Shape::Word, "Processors the node may use, such as `0-2,4`."),
    yes("shm-size", Shape::Word, "Size of /dev/shm."),
    yes("stages", Shape::Table(STAGES), "What each stage of coming up waits for and runs."),
    yes("dns", Shape::Table(DNS), "The node's resolver."),
    yes("healthcheck", Shape::Table(HEALTH), "How it is found out whether the node is healthy."),
    yes("aliases", Shape::TextList, "Further names of the node within the lab."),
    yes("cap-add", Shape::TextList, "Capabilities added to the default set."),
    yes("privileged", Shape::Bool, "All capabilities and devices (false, unlike containerlab)."),
    no(
        "cgroupns-mode",
        Shape::OneOf(&["host", "private"]),
        "every node has a control group namespace of its own",
        "Control group namespace.",
    ),
    yes(
        "pid-mode",
        Shape::Text,
        "`host`, or `container:<node>`: the node's processes are among those of the host, or of that node.",
    ),
    yes("tmpfs", Shape::TextList, "Paths with a file system in memory."),
    yes("security-opts", Shape::TextList, "Security options as Docker has them."),
    yes("sysctls", Shape::TextMap, "Kernel parameters of the node."),
    yes("devices", Shape::TextList, "Devices of the host: `path[:path in node[:rwm]]`."),
    ours("vm", Shape::Table(VM), "The machine of a node of kind `vm`."),
    ours(
        "libvirt",
        Shape::Table(LIBVIRT),
        "The domain that a node of kind `vm` is, in place of a machine of vnode's.",
    ),
    ours("resources", Shape::Table(RESOURCES), "Limits as cgroup v2 knows them."),
    ours("backend", Shape::Text, "Driver that runs the node."),
    ours(
        "boot-timeout",
        Shape::Count,
        "Seconds a container has until its first process runs (30).",
    ),
    ours(
        "agent",
        Shape::OneOf(&["none", "on-demand", "init"]),
        "Whether the host's `vnode-agent` is in the container: started when asked, or as its init (none).",
    ),
    ours(
        "preconfig",
        Shape::Anything,
        "Command lines run on the host before each boot, with the node's root in VNODE_ROOT: list of {command, required}.",
    ),
    ours(
        "placement",
        Shape::Anything,
        "The host it is to run on: a name, or {host: name}. It must be this one.",
    ),
    no(
        "startup-config",
        Shape::Text,
        "the linux kind loads no configuration by itself; bind the file to where its program reads it",
        "Configuration of a network operating system.",
    ),
    no(
        "enforce-startup-config",
        Shape::Bool,
        "the linux kind loads no configuration by itself",
        "Overwrite a saved configuration.",
    ),
    no(
        "suppress-startup-config",
        Shape::Bool,
        "the linux kind loads no configuration by itself",
        "Load no configuration.",
    ),
    no("type", Shape::Word, "it selects a model of vendor kinds", "Model of a vendor kind."),
    no("license", Shape::Text, "it is for vendor kinds", "License file."),
    no("credentials", Shape::Anything, "it is for vendor kinds", "Login of a vendor kind."),
    no("runtime", Shape::Text, "vnode runs containers itself", "Container engine."),
    no(
        "link-apply-mode",
        Shape::Text,
        "`vnode apply` changes links live where it can",
        "How containerlab applies link changes.",
    ),
    no(
        "config",
        Shape::Anything,
        "vnode makes no configuration from templates",
        "Template variables.",
    ),
    no("extras", Shape::Anything, "it is for vendor kinds", "Options of vendor kinds."),
    no("certificate", Shape::Anything, "vnode makes no certificates for nodes", "TLS certificate."),
    no("components", Shape::Anything, "it is for modular vendor kinds", "Cards."),
    no(
        "cgroup-parent",
        Shape::Text,
        "all nodes lie below vnode's own control group",
        "Control group.",
    ),
    no("publish", Shape::TextList, "use `ports`", "Ports published by mysocket."),
    no("sandbox", Shape::Text, "it is for an engine that vnode does not use", "Sandbox image."),
    no("kernel", Shape::Text, "it is for an engine that vnode does not use", "Kernel image."),
    no("wait-for", Shape::TextList, "use `stages`", "Nodes to wait for, in older files."),
    no("SANs", Shape::TextList, "vnode makes no certificates for nodes", "Names in a certificate."),
];

pub(crate) const DNS: &[Key] = &[
    yes("servers", Shape::TextList, "Addresses of name servers."),
    yes("search", Shape::TextList, "Search domains."),
    yes("options", Shape::TextList, "Resolver options."),
];

pub(crate) const HEALTH: &[Key] = &[
    yes("test", Shape::TextList, "First `CMD` or `CMD-SHELL`, then the command."),
    yes("start-period", Shape::Count, "Seconds at first in which failures do not count (0)."),
    yes("interval", Shape::Count, "Seconds between tests (30)."),
    yes("timeout", Shape::Count, "Seconds a test may take (30)."),
    yes("retries", Shape::Count, "Failures in a row that make the node unhealthy (3)."),
];

pub(crate) const RESOURCES: &[Key] = &[
    ours("memory", Shape::Word, "Memory limit, such as `512MB` or `1GiB`."),
    ours("memory-high", Shape::Word, "Memory at which the kernel begins to take back."),
    ours("swap", Shape::Word, "Swap limit."),
    ours("cpu", Shape::Number, "Processors, fractions allowed."),
    ours("cpu-weight", Shape::Count, "Share against others, 1 to 10000 (100)."),
    ours("cpu-set", Shape::Word, "Processors it may use, such as `0-2,4`."),
    ours("pids", Shape::Count, "Most processes and threads."),
];

pub(crate) const LIBVIRT: &[Key] = &[
    ours("uri", Shape::Text, "Where libvirt is (`qemu:///system`)."),
    ours(
        "domain",
        Shape::Text,
        "Name or UUID of a domain that is there; it stays when the node goes.",
    ),
    ours("xml", Shape::Text, "Definition of a domain that comes and goes with the node."),
];

pub(crate) const VM: &[Key] = &[
    ours("machine", Shape::OneOf(&["q35", "microvm"]), "Model of the machine (q35)."),
    ours(
        "accel",
        Shape::OneOf(&["auto", "kvm", "tcg"]),
        "What it runs on: KVM where that works, else emulation (auto).",
    ),
    ours("firmware", Shape::OneOf(&["bios", "uefi"]), "What starts its disk (bios)."),
    ours(
        "kernel",
        Shape::Text,
        "Kernel that is booted without firmware; an ELF `vmlinux` starts fastest.",
    ),
    ours("initrd", Shape::Text, "Initial RAM disk of the kernel."),
    ours("append", Shape::Text, "Words added to the kernel's command line."),
    ours("disk", Shape::Word, "Size of the first disk, when larger than its image: `10GB`."),
    ours("disks", Shape::TextList, "Sizes of further, empty disks."),
    ours("nic", Shape::OneOf(&["virtio", "e1000"]), "Model of its network interfaces (virtio)."),
    ours("queues", Shape::Count, "Queues of each virtio interface (1)."),
    ours(
        "seed",
        Shape::OneOf(&["nocloud", "config-drive", "metadata", "none"]),
        "How names, addresses and user data reach it (nocloud).",
    ),
    ours("user-data", Shape::Text, "cloud-init user data put in the seed."),
    ours(
        "ready",
        Shape::OneOf(&["started", "agent", "reachable"]),
        "What its boot waits for: that it runs, its agent, or its address (started).",
    ),
    ours("ready-timeout", Shape::Count, "Seconds that is waited for it (180)."),
    ours("vnc", Shape::Bool, "A VNC server on the socket `vm/vnc.sock` in the node's folder."),
    ours("watchdog", Shape::Bool, "A watchdog device that resets the machine (false)."),
    ours("vsock", Shape::Bool, "A vsock device, on hosts that have vhost-vsock (false)."),
];

pub(crate) const STAGES: &[Key] = &[
    yes("create", Shape::Table(STAGE), "The node is made."),
    yes("create-links", Shape::Table(STAGE), "Its links are made."),
    yes("configure", Shape::Table(STAGE), "It is configured: `exec` runs."),
    yes("healthy", Shape::Table(STAGE), "Its health check passes."),
    yes("exit", Shape::Table(STAGE), "Its first process ends."),
];

pub(crate) const STAGE: &[Key] = &[
    yes(
        "wait-for",
        Shape::Anything,
        "Stages of other nodes that must be finished first: list of {node, stage}.",
    ),
    yes("exec", Shape::StageExec, "Commands at the beginning or end of the stage."),
];

pub(crate) const WAIT_FOR: &[Key] = &[
    yes("node", Shape::Word, "Node."),
    yes(
        "stage",
        Shape::OneOf(&["create", "create-links", "configure", "healthy", "exit"]),
        "Stage.",
    ),
];

pub(crate) const PRECONFIG: &[Key] = &[
    ours("command", Shape::Text, "Command line."),
    ours(
        "required",
        Shape::Bool,
        "The boot fails where the root cannot be mounted or the command fails (false).",
    ),
];

pub(crate) const PLACEMENT: &[Key] = &[ours("host", Shape::Text, "Name of the host.")];

pub(crate) const STAGE_EXEC: &[Key] = &[
    yes("command", Shape::Text, "Command line."),
    yes("target", Shape::OneOf(&["container", "host"]), "Where it runs (container)."),
    yes("phase", Shape::OneOf(&["on-enter", "on-exit"]), "When it runs (on-enter)."),
];

pub(crate) const STAGE_EXEC_OLD: &[Key] = &[
    yes("on-enter", Shape::TextList, "Command lines at the beginning of the stage."),
    yes("on-exit", Shape::TextList, "Command lines at the end of the stage."),
];

pub(crate) const LINK: &[Key] = &[
    yes(
        "type",
        Shape::OneOf(&[
            "veth",
            "veth-stitch",
            "host",
            "mgmt-net",
            "macvlan",
            "vxlan",
            "vxlan-stitch",
            "dummy",
        ]),
        "Type of the link (veth).",
    ),
    yes("endpoints", Shape::Endpoints, "The two ends: `node:interface`, or maps."),
    yes("endpoint", Shape::Endpoint, "The one end of a link that leads to the host or out of it."),
    yes("host-interface", Shape::Text, "Interface on the host."),
    yes(
        "mode",
        Shape::OneOf(&["bridge", "private", "vepa", "passthru", "source"]),
        "Mode of a macvlan (bridge).",
    ),
    yes("remote", Shape::Text, "Other machine of a VXLAN tunnel."),
    yes("vni", Shape::Count, "VXLAN network identifier, 1 to 16777215."),
    yes("dst-port", Shape::Count, "UDP port of the other machine."),
    yes("udp-port", Shape::Count, "Older name of `dst-port`."),
    yes("src-port", Shape::Count, "UDP port of this machine."),
    yes("mtu", Shape::Count, "MTU in bytes (9500)."),
    yes("ipv4", Shape::Prefixes, "Addresses of the ends, in their order."),
    yes("ipv6", Shape::Prefixes, "Addresses of the ends, in their order."),
    yes("vars", Shape::Anything, "Carried along."),
    yes("labels", Shape::TextMap, "Labels."),
    ours("impair", Shape::Impairment, "What happens to frames, in each direction."),
];

pub(crate) const ENDPOINT: &[Key] = &[
    yes("node", Shape::Word, "Node."),
    yes("interface", Shape::Word, "Interface in the node."),
    yes("mac", Shape::Text, "Ethernet address."),
    yes("ipv4", Shape::Prefixes, "Address with prefix length."),
    yes("ipv6", Shape::Prefixes, "Address with prefix length."),
    yes("vars", Shape::Anything, "Carried along."),
    ours("impair", Shape::Impairment, "What happens to frames that this end sends."),
];

pub(crate) const NETWORK: &[Key] = &[
    ours("members", Shape::Members, "Interfaces on the LAN: `node:interface`, or maps."),
    ours("impair", Shape::Impairment, "What happens to frames between any two members, one way."),
    ours("mtu", Shape::Count, "MTU in bytes (9500)."),
];

pub(crate) const MEMBER: &[Key] = &[
    ours("node", Shape::Word, "Node."),
    ours("interface", Shape::Word, "Interface in the node."),
    ours("mac", Shape::Text, "Ethernet address."),
    ours("ipv4", Shape::Prefixes, "Address with prefix length."),
    ours("ipv6", Shape::Prefixes, "Address with prefix length."),
    ours(
        "impair",
        Shape::Impairment,
        "What happens between this member and the LAN, each way, not halved.",
    ),
    ours("to-lan", Shape::Impairment, "The same, on the way to the LAN only."),
    ours("from-lan", Shape::Impairment, "The same, on the way from the LAN only."),
];

pub(crate) const EVENT: &[Key] = &[
    ours("at", Shape::Word, "Time after the lab came up, such as `10s` or `1500ms`."),
    ours("link", Shape::Text, "Link: `a:eth1--b:eth1`."),
    ours("end", Shape::Text, "Only what this end of the link sends: `a:eth1`."),
    ours("network", Shape::Word, "LAN."),
    ours("member", Shape::Text, "Only this member of the LAN: `a:eth3`."),
    ours("do", Shape::OneOf(&["down", "up", "set", "reset"]), "What is done."),
    ours("set", Shape::Impairment, "Parameters that change; the others stay."),
];
