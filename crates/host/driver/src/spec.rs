//! The resolved definition of one node, as stored in its record and given to its driver.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything a driver needs to make a node; every default is already filled in, every path is absolute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Lab the node belongs to.
    pub lab: String,
    /// Node's name, unique in the lab.
    pub node: String,
    /// Small number, unique on the host while the node exists; used in kernel object names.
    pub vmid: u32,
    /// Identity of this incarnation; a recreated node has another.
    pub uuid: String,
    /// Host name seen inside.
    pub hostname: String,
    /// Layers of the root file system, uppermost first; all read-only, shared between nodes.
    pub layers: Vec<PathBuf>,
    /// Further overlays over the root, in order; of the image `host` on machines of several file systems.
    #[serde(default)]
    pub over: Vec<Over>,
    /// Root file system read-only for the node.
    pub read_only_root: bool,
    pub process: Process,
    /// Bind mounts, in order.
    pub mounts: Vec<Mount>,
    pub sysctls: BTreeMap<String, String>,
    pub devices: Vec<Device>,
    pub security: Security,
    pub limits: Limits,
    /// Whose network namespace the node lives in.
    pub network: NetworkMode,
    /// Whose processes the node's are among.
    #[serde(default)]
    pub pids: PidMode,
    /// Signal that asks the node's first process to end (SIGTERM unless the image says otherwise).
    pub stop_signal: i32,
    /// Time between asking and killing, milliseconds.
    pub stop_grace_ms: u64,
    /// Size at which the console log is rotated once, bytes.
    pub log_limit_bytes: u64,
    /// Whose the node's kernel objects are, as its interfaces say it too: instance, lab, node and operation.
    #[serde(default)]
    pub mark: String,
    /// Set for a node that is a virtual machine.
    #[serde(default)]
    pub machine: Option<crate::Machine>,
    /// Set for a node that is a domain of libvirt.
    #[serde(default)]
    pub domain: Option<crate::Domain>,
}

impl NodeSpec {
    /// A node of which nothing is known but its names: the least by which a driver finds what it left, and what other
    /// definitions begin as. It has no root, runs the monitor's own init, may do nothing, and has a namespace of its own.
    #[must_use]
    pub fn bare(lab: &str, node: &str, vmid: u32, uuid: &str) -> Self {
        /// SIGTERM, whose number is the same on every Linux.
        const ASK: i32 = 15;
        Self {
            lab: lab.to_owned(),
            node: node.to_owned(),
            vmid,
            uuid: uuid.to_owned(),
            hostname: node.to_owned(),
            layers: Vec::new(),
            over: Vec::new(),
            read_only_root: false,
            process: Process::default(),
            mounts: Vec::new(),
            sysctls: BTreeMap::new(),
            devices: Vec::new(),
            security: Security::default(),
            limits: Limits::default(),
            network: NetworkMode::Own,
            pids: PidMode::Own,
            stop_signal: ASK,
            stop_grace_ms: 0,
            log_limit_bytes: 0,
            mark: String::new(),
            machine: None,
            domain: None,
        }
    }
}

/// An overlay over a folder of the root, for a file system that does not show through the root's layers. What the node
/// writes there is on its one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// Absolute, without links, `.` and `..`.
    pub target: PathBuf,
    /// Uppermost first.
    pub layers: Vec<PathBuf>,
}

/// The node's first process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments. Empty: the monitor's own minimal init (reaps, ends on SIGTERM).
    pub argv: Vec<String>,
    /// Complete environment, `NAME=value`.
    pub env: Vec<String>,
    pub cwd: String,
    /// `uid[:gid]`, `user[:group]` resolved against the node's own account files, as OCI images write it.
    pub user: String,
    /// Standard streams are a pseudo-terminal held by the monitor.
    pub tty: bool,
}

/// The monitor's own init.
impl Default for Process {
    fn default() -> Self {
        Self {
            argv: Vec::new(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            tty: false,
        }
    }
}

/// One bind mount or temporary file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub target: String,
    pub kind: MountKind,
    pub read_only: bool,
    /// Further options as in fstab: `nosuid`, `noexec`, `nodev`, `size=`, `mode=`; unknown ones are refused.
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// Bind of a host path (file or folder).
    Bind {
        source: PathBuf,
        recursive: bool,
    },
    Tmpfs,
}

/// A device node made in the node's `/dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Host device the numbers are read from.
    pub source: PathBuf,
    /// Path inside.
    pub target: String,
    /// Subset of `rwm`.
    pub access: String,
    /// Its rights inside, where it is not the host's own file (as it is in a user namespace); `None`: those on the host.
    #[serde(default)]
    pub mode: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// All capabilities, all devices, no seccomp, nothing masked: as containerlab runs nodes. Off by default.
    pub privileged: bool,
    /// Bounding, permitted and effective set: names without `CAP_`, upper case.
    pub capabilities: Vec<String>,
    pub seccomp: Seccomp,
    /// Root inside is nobody outside; `None` where the kernel or the operator has no user namespaces.
    pub user_namespace: Option<IdMap>,
    pub no_new_privileges: bool,
}

/// As little as there is.
impl Default for Security {
    fn default() -> Self {
        Self {
            privileged: false,
            capabilities: Vec::new(),
            seccomp: Seccomp::Default,
            user_namespace: None,
            no_new_privileges: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    Default,
    Unconfined,
}

/// `inside 0..size` is `outside first..first+size`, for users and groups alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    pub first: u32,
    pub size: u32,
}

/// Resource limits; `None` is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// Cores; fractions allowed.
    pub cpus: Option<f64>,
    /// List format of cpuset, e.g. `0-1,3`.
    pub cpu_set: Option<String>,
    pub pids: Option<u64>,
    /// Above it the kernel slows the node down and takes memory back; cgroup v2 only.
    #[serde(default)]
    pub memory_high_bytes: Option<u64>,
    /// Memory it may have swapped out.
    #[serde(default)]
    pub swap_bytes: Option<u64>,
    /// Share of a busy processor, 1 to 10000; a node without one has 100.
    #[serde(default)]
    pub cpu_weight: Option<u32>,
    /// Size of `/dev/shm`, bytes.
    pub shm_bytes: Option<u64>,
}

/// The process namespace a node lives in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidMode {
    /// One of its own, whose end is the node's.
    #[default]
    Own,
    /// The host's.
    Host,
    /// That of another node of the lab, which has to run.
    Node(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A namespace of its own.
    Own,
    /// No namespace made, the host's is used (containerlab `network-mode: host`).
    Host,
    /// The namespace of another node of the lab.
    Node(String),
}
