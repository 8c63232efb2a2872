//! A node and everything that is said of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{HOST_IMAGE, Span};

/// What a node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// A container.
    #[default]
    Linux,
    /// A virtual machine.
    Vm,
    /// A bridge on the host that exists already and stays: ports of the lab join it and leave it.
    Bridge,
    /// The host itself, as an end of links.
    Host,
}

impl NodeKind {
    /// Whether vnode makes and runs it, as a container or a machine; others are places that links lead to.
    #[must_use]
    pub const fn is_run(self) -> bool {
        matches!(self, Self::Linux | Self::Vm)
    }
}

/// One node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    pub name: String,
    pub kind: NodeKind,
    /// Reference of the image; `host` where a linux node names none; `None` for bridges and the host.
    pub image: Option<String>,
    pub image_pull_policy: ImagePullPolicy,
    pub restart_policy: RestartPolicy,
    /// Free text, for graphs.
    pub group: Option<String>,
    /// Seconds to wait before the node is booted.
    pub startup_delay_s: u32,
    /// Seconds a container has from the beginning of its boot until its first process runs; `None`: the daemon's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_timeout_s: Option<u32>,
    /// File or inline text, for the driver or the user's own commands; the path is absolute.
    pub startup_config: Option<PathBuf>,
    /// Command lines run in the node after it booted and its links are there, in order.
    pub exec: Vec<String>,
    /// In order, no two with the same destination.
    pub binds: Vec<Bind>,
    pub ports: Vec<Port>,
    /// With the contents of `env-files` already under it.
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub hostname: Option<String>,
    /// As written; the driver splits it into words as a shell would, without running one.
    pub entrypoint: Option<String>,
    pub cmd: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub mgmt_ipv4: Option<Ipv4Addr>,
    pub mgmt_ipv6: Option<Ipv6Addr>,
    pub network_mode: NetworkMode,
    pub resources: Resources,
    pub shm_size_bytes: Option<u64>,
    /// Keyed by stage; only stages that the file speaks of.
    pub stages: BTreeMap<StageName, Stage>,
    /// Run on the host before each boot that is asked for, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preconfig: Vec<Preconfig>,
    pub dns: Dns,
    pub healthcheck: Option<Health>,
    /// Further names of the node within the lab.
    pub aliases: Vec<String>,
    /// Capabilities without the `CAP_` prefix, upper case.
    pub cap_add: Vec<String>,
    /// Unlike containerlab's, nodes are not privileged unless the file says so.
    pub privileged: bool,
    /// Whose processes the node's are among; `None`: it has a process namespace of its own.
    pub pid_mode: Option<PidMode>,
    /// As written: `host` or `private`.
    pub cgroupns_mode: Option<String>,
    /// `path[:options]`, as written.
    pub tmpfs: Vec<String>,
    pub security_opts: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub devices: Vec<Device>,
    /// The node is destroyed when its first process exits.
    pub auto_remove: bool,
    /// Driver that runs the node; `None` leaves the choice to the kind.
    pub backend: Option<String>,
    /// Host the node is to run on, as written; it was this one when the file was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// Whether the host's `vnode-agent` is in a container.
    pub agent: AgentMode,
    /// Set for the kind `vm`, and for no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<super::Vm>,
    /// Set for a node of kind `vm` whose backend is `libvirt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<super::Libvirt>,
    pub span: Span,
}

impl Node {
    /// A linux node on the host's own root with nothing else said of it.
    pub fn linux(name: impl Into<String>) -> Self {
        Self { name: name.into(), image: Some(HOST_IMAGE.to_owned()), ..Self::default() }
    }
}

/// How the host's agent is in a container. Virtual machines have their own, in their image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentMode {
    #[default]
    None,
    /// Bound into the node, and started when it is asked for something.
    OnDemand,
    /// The node's first process: it starts the node's own program, reaps what that leaves, passes signals on, and serves.
    Init,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImagePullPolicy {
    #[default]
    IfNotPresent,
    Never,
    Always,
}

/// What is done when a node's first process ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    No,
    OnFailure,
    /// The linux kind's default.
    #[default]
    Always,
    UnlessStopped,
}

/// A file or folder of the host that shows in the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host; `None` is an anonymous, empty folder that lives with the node.
    pub source: Option<PathBuf>,
    /// Absolute path in the node.
    pub destination: PathBuf,
    pub read_only: bool,
    /// Other options as written (`z`, `rshared`, ...).
    #[serde(default)]
    pub options: Vec<String>,
    /// From `volumes`: a source that is no path names a volume instead of a file.
    #[serde(default)]
    pub volume: Option<String>,
}

/// A port of the host that leads into the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Address of the host; `None` is every one.
    pub address: Option<IpAddr>,
    /// 0 lets the host choose.
    pub host: u16,
    pub node: u16,
    pub protocol: PortProtocol,
}

impl Port {
    /// Whether what comes to the one address of the host may be for the other: none stands for every one, `0.0.0.0` and
    /// `::` for every one of their family.
    pub fn overlap(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
        let (Some(a), Some(b)) = (a, b) else { return true };
        let any = a.is_unspecified() || b.is_unspecified();
        a == b || (any && a.is_ipv4() == b.is_ipv4())
    }
}

#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum PortProtocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// What the node is connected to besides its links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// The management network.
    #[default]
    Management,
    /// Nothing.
    None,
    /// The host's own network.
    Host,
    /// The network namespace of another node of the lab.
    Node(String),
    /// The network namespace of a container that is not in this lab, by its full name.
    Container(String),
}

/// A process namespace that is not the node's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidMode {
    /// The host's.
    Host,
    /// That of another node of the lab, for as long as it runs.
    Node(String),
    /// That of a container that is not in this lab, by its full name.
    Container(String),
}

/// Limits, as cgroup v2 knows them. `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `memory` of the node, or of `resources`.
    pub memory_bytes: Option<u64>,
    /// Where the kernel begins to take memory back.
    pub memory_high_bytes: Option<u64>,
    pub swap_bytes: Option<u64>,
    /// Processors, fractions allowed.
    pub cpu: Option<f64>,
    /// 1 to 10000; the kernel's default is 100.
    pub cpu_weight: Option<u32>,
    /// Processors it may use, as `0-2,4`.
    pub cpu_set: Option<String>,
    pub pids: Option<u64>,
}

/// A phase of a node's coming up, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageName {
    Create,
    CreateLinks,
    Configure,
    Healthy,
    Exit,
}

impl StageName {
    pub const ALL: [Self; 5] =
        [Self::Create, Self::CreateLinks, Self::Configure, Self::Healthy, Self::Exit];

    /// As written in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::CreateLinks => "create-links",
            Self::Configure => "configure",
            Self::Healthy => "healthy",
            Self::Exit => "exit",
        }
    }
}

/// What is to happen around one stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// The stage is not entered before all of these are finished.
    pub wait_for: Vec<WaitFor>,
    pub exec: Vec<StageExec>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitFor {
    pub node: String,
    pub stage: StageName,
}

/// One command line at the beginning or end of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageExec {
    pub command: String,
    pub target: StageExecTarget,
    pub phase: Phase,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageExecTarget {
    #[default]
    Container,
    Host,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    #[default]
    OnEnter,
    OnExit,
}

/// A program of the host that is given a node's mounted root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preconfig {
    /// As written; split into words as a shell would, without running one.
    pub command: String,
    /// Without it there is no boot: neither where the root cannot be mounted, nor where the command fails.
    pub required: bool,
}

/// The node's resolver; empty lists leave it to the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// How it is found out whether the node is healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub test: HealthTest,
    pub start_period_s: u32,
    pub interval_s: u32,
    pub timeout_s: u32,
    pub retries: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthTest {
    /// `[NONE]`: the image's own check is switched off.
    None,
    /// `[CMD, word...]`.
    Command(Vec<String>),
    /// `[CMD-SHELL, text]`: run by the node's own shell.
    Shell(String),
}

/// A device of the host that the node may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host: PathBuf,
    pub node: PathBuf,
    /// Subset of `rwm`.
    pub permissions: String,
}
