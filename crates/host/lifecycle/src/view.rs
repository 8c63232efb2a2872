//! What is shown of labs, nodes, links: plain data for the API and the command line.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vnode_protocol::impairment::Impairment;

use crate::state::State;

/// One lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabView {
    pub name: String,
    /// `up`, `partly`, `changing`, `down`.
    pub state: String,
    pub nodes: Vec<NodeView>,
    pub links: Vec<LinkView>,
    pub control_ipv4: Option<String>,
    pub control_ipv6: Option<String>,
    /// Topology file it was brought up from, when from a file.
    pub file: Option<PathBuf>,
    pub created: String,
}

/// One node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeView {
    pub lab: String,
    pub node: String,
    pub vmid: u32,
    pub kind: String,
    pub driver: String,
    pub image: String,
    pub state: State,
    /// `healthy`, `unhealthy`, `starting`, or empty without a health check.
    pub health: String,
    pub ipv4: Option<IpAddr>,
    pub ipv6: Option<IpAddr>,
    /// First process, in the host's numbers.
    pub pid: Option<i32>,
    /// Times it was started again by its restart policy or from inside.
    pub restarts: u64,
    /// Since when it is in this state, RFC 3339.
    pub since: String,
    /// How the last run ended, e.g. `exit 1`, `signal 9 (out of memory)`.
    pub last_exit: Option<String>,
    /// Why it is `failed`.
    pub reason: Option<String>,
    pub labels: std::collections::BTreeMap<String, String>,
}

/// What a node uses; `None` where nothing counts it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatsView {
    /// Processor time since the boot, microseconds.
    pub cpu_usec: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub pids: Option<u64>,
}

/// One link or one LAN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkView {
    pub lab: String,
    /// `a:eth1--b:eth1`, or the LAN's name.
    pub link: String,
    /// `veth`, `lan`, `host`, `macvlan`, `vxlan`, ...
    pub kind: String,
    pub down: bool,
    pub ends: Vec<EndView>,
}

/// One end of a link: what it sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndView {
    pub node: String,
    pub interface: String,
    pub mac: String,
    pub addresses: Vec<String>,
    pub declared: Impairment,
    /// What we set last.
    pub current: Impairment,
    /// For a LAN member: what it receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Impairment>,
    /// What it sends is lost, though the link as a whole is not down.
    #[serde(default)]
    pub down: bool,
    /// The kernel holds something else than `current` (T-78).
    pub drift: bool,
}

/// A copy of a node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotView {
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// Length of the files in it; on the disk they may share or save room.
    pub bytes: u64,
}

/// A lab's timeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TimelineView {
    pub lab: String,
    /// `none`, `waiting`, `running`, `paused`, `stopped`, `over`.
    pub state: String,
    /// Microseconds on its clock, which stands still while it is paused.
    pub clock_us: u64,
    pub events: Vec<TimelineEntry>,
}

/// One event of a timeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// Microseconds after the lab came up.
    pub at_us: u64,
    /// A link, or a LAN's name.
    pub link: String,
    /// Only what this end sends, `node:interface`.
    pub end: Option<String>,
    /// `down`, `up`, `set`, `reset`.
    pub action: String,
    pub set: Vec<(String, String)>,
    pub happened: bool,
}

/// One change `apply` makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// `create`, `recreate`, `update`, `remove`.
    pub change: String,
    /// `node r1`, `link r1:eth1--r2:eth1`, `network lan0`.
    pub subject: String,
    /// Why, e.g. the keys that differ.
    pub because: String,
}

/// One line of `doctor`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    /// `ok`, `warn`, `fail`.
    pub verdict: String,
    pub found: String,
    /// How to mend it; empty when ok.
    pub mend: String,
}

/// Numbers for the metrics page.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub nodes_by_state: std::collections::BTreeMap<String, u64>,
    pub labs: u64,
    pub links: u64,
    pub images: u64,
    pub image_bytes: u64,
    pub events_total: u64,
    /// What each level of locks has cost.
    pub locks: Vec<vnode_operation::lock::LevelStats>,
}

/// What `clean` found and removed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cleaned {
    /// What was removed, or would be.
    pub removed: Vec<String>,
    /// What was not, each with the reason.
    pub left: Vec<String>,
}
