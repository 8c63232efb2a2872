//! What `vnode_lifecycle` shows and takes, described for the API's document.
//!
//! The lifecycle does not know that there is an HTTP API, so the description stands here; a test holds each
//! of these against what serde really writes. Nothing but the document uses these types.

#![allow(dead_code, reason = "read by the ToSchema derive only")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// One lab.
#[derive(ToSchema)]
pub(crate) struct LabView {
    name: String,
    /// `up`, `partly`, `changing`, `down`.
    state: String,
    nodes: Vec<NodeView>,
    links: Vec<LinkView>,
    control_ipv4: Option<String>,
    control_ipv6: Option<String>,
    /// Topology file it was brought up from, when from a file.
    file: Option<String>,
    created: String,
}

/// Where a node is in its life.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub(crate) enum State {
    Absent,
    Creating,
    Stopped,
    Mounted,
    Booting,
    Running,
    Paused,
    Halting,
    Failed,
    Destroying,
    Unknown,
}

/// One node.
#[derive(ToSchema)]
pub(crate) struct NodeView {
    lab: String,
    node: String,
    vmid: u32,
    kind: String,
    driver: String,
    image: String,
    state: State,
    /// `healthy`, `unhealthy`, `starting`, or empty without a health check.
    health: String,
    ipv4: Option<String>,
    ipv6: Option<String>,
    /// First process, in the host's numbers.
    pid: Option<i32>,
    /// Times it was started again by its restart policy or from inside.
    restarts: u64,
    /// Since when it is in this state, RFC 3339.
    since: String,
    /// How the last run ended, e.g. `exit 1`.
    last_exit: Option<String>,
    /// Why it is `failed`.
    reason: Option<String>,
    labels: BTreeMap<String, String>,
}

/// What a node uses; null where nothing counts it.
#[derive(ToSchema)]
pub(crate) struct StatsView {
    /// Processor time since the boot, microseconds.
    cpu_usec: Option<u64>,
    memory_bytes: Option<u64>,
    pids: Option<u64>,
}

/// A copy of a node's disk.
#[derive(ToSchema)]
pub(crate) struct SnapshotView {
    name: String,
    created: String,
    /// Length of the files in it; on the disk they may share or save room.
    bytes: u64,
}

/// One link or one LAN.
#[derive(ToSchema)]
pub(crate) struct LinkView {
    lab: String,
    /// `a:eth1--b:eth1`, or the LAN's name.
    link: String,
    kind: String,
    down: bool,
    ends: Vec<EndView>,
}

/// One end of a link: what it sends.
#[derive(ToSchema)]
pub(crate) struct EndView {
    node: String,
    interface: String,
    mac: String,
    addresses: Vec<String>,
    declared: Impairment,
    /// What was set last.
    current: Impairment,
    /// For a LAN member: what it receives.
    #[schema(required = false)]
    inbound: Option<Impairment>,
    /// What it sends is lost, though the link as a whole is not down.
    down: bool,
    /// The kernel holds something else than `current`.
    drift: bool,
}

/// Impairment of one direction of a link, named by its sender.
#[derive(ToSchema)]
pub(crate) struct Impairment {
    /// Bits per second; absent is unlimited.
    #[schema(required = false)]
    rate_bps: Option<u64>,
    /// One-way delay, microseconds.
    delay_us: u64,
    /// Microseconds.
    jitter_us: u64,
    /// `uniform` or `normal`.
    distribution: String,
    /// Ratio 0..=1.
    delay_correlation: f64,
    /// Ratio 0..=1.
    loss: f64,
    loss_correlation: f64,
    /// Losses in bursts, in the place of `loss`.
    #[schema(required = false)]
    loss_model: Option<LossModel>,
    duplicate: f64,
    duplicate_correlation: f64,
    reorder: f64,
    reorder_correlation: f64,
    corrupt: f64,
    corrupt_correlation: f64,
    /// `{"packets": n}` or `{"bytes": n}`.
    #[schema(required = false)]
    queue: Option<Object>,
    /// `red`, `codel`, `fq-codel` or `pie`.
    #[schema(required = false)]
    aqm: Option<String>,
}

/// Loss after Gilbert and Elliott; all are ratios 0..=1.
#[derive(ToSchema)]
pub(crate) struct LossModel {
    /// From the good state to the bad one, at each frame.
    p: f64,
    /// From the bad state to the good one.
    r: f64,
    /// Loss in the bad state (netem's 1-h).
    loss_in_bad: f64,
    /// Loss in the good state (netem's 1-k).
    loss_in_good: f64,
}

/// Any object.
#[derive(ToSchema)]
pub(crate) struct Object {}

/// A lab's timeline.
#[derive(ToSchema)]
pub(crate) struct TimelineView {
    lab: String,
    /// `none`, `waiting`, `running`, `paused`, `stopped`, `over`.
    state: String,
    /// Microseconds on its clock, which stands still while it is paused.
    clock_us: u64,
    events: Vec<TimelineEntry>,
}

/// One event of a timeline.
#[derive(ToSchema)]
pub(crate) struct TimelineEntry {
    /// Microseconds after the lab came up.
    at_us: u64,
    /// A link, or a LAN's name.
    link: String,
    /// Only what this end sends, `node:interface`.
    end: Option<String>,
    /// `down`, `up`, `set`, `reset`.
    action: String,
    set: Vec<Vec<String>>,
    happened: bool,
}

/// One change `apply` makes.
#[derive(ToSchema)]
pub(crate) struct ChangeView {
    /// `create`, `recreate`, `update`, `remove`.
    change: String,
    /// `node r1`, `link r1:eth1--r2:eth1`, `network lan0`.
    subject: String,
    because: String,
}

/// One line of `doctor`.
#[derive(ToSchema)]
pub(crate) struct Check {
    name: String,
    /// `ok`, `warn`, `fail`.
    verdict: String,
    found: String,
    /// How to mend it; empty when ok.
    mend: String,
}

/// What `clean` found and removed.
#[derive(ToSchema)]
pub(crate) struct Cleaned {
    /// What was removed, or would be.
    removed: Vec<String>,
    /// What was not, each with the reason.
    left: Vec<String>,
}

/// Make one node that stands alone.
#[derive(ToSchema)]
pub(crate) struct Create {
    node: String,
    /// `default` when absent.
    #[schema(required = false)]
    lab: Option<String>,
    /// Image reference; `host` when absent.
    #[schema(required = false)]
    image: Option<String>,
    #[schema(required = false)]
    command: Vec<String>,
    #[schema(required = false)]
    env: BTreeMap<String, String>,
    #[schema(required = false)]
    privileged: bool,
    /// Start it too.
    #[schema(required = false)]
    boot: bool,
}

/// Run a program in a running node.
#[derive(ToSchema)]
pub(crate) struct Exec {
    /// None with `attach`.
    #[schema(required = false)]
    argv: Vec<String>,
    /// Added to the node's environment, `NAME=value`.
    #[schema(required = false)]
    env: Vec<String>,
    #[schema(required = false)]
    cwd: Option<String>,
    #[schema(required = false)]
    user: Option<String>,
    /// Rows and columns when the program gets a terminal.
    #[schema(required = false, min_items = 2, max_items = 2)]
    terminal: Option<Vec<u16>>,
    #[schema(required = false)]
    privileged: bool,
    #[schema(required = false)]
    through: Through,
    /// In place of a program of one's own: the detached program of the node's agent to attach to, by its id.
    #[schema(required = false)]
    attach: Option<String>,
}

/// Who starts a program: whoever is best at it, or the node's agent; of `component` and `vnf`, `argv` are a verb of the
/// agent's own tool and its arguments.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code, reason = "described, never made")]
pub(crate) enum Through {
    Node,
    Agent,
    Component,
    Vnf,
}

/// What a node's agent is asked.
#[derive(ToSchema)]
pub(crate) struct AgentCommand {
    command: AgentVerb,
    /// Of `time`: sets the clock first, nanoseconds since 1970.
    #[schema(required = false)]
    set_ns: Option<u64>,
    /// Of `shutdown`: `poweroff` when absent.
    #[schema(required = false)]
    mode: Option<ShutdownMode>,
    /// Of `exec-detach`: the program, which lives on without anybody.
    #[schema(required = false)]
    program: Option<Exec>,
    /// Of `exec-detach`: whether those who attach can give it input.
    #[schema(required = false)]
    stdin: bool,
    /// Of `exec-show`, `exec-signal`, `exec-end` and `exec-remove`: the detached program.
    #[schema(required = false)]
    id: Option<String>,
    /// Of `exec-signal`: a name or a number, `TERM` or `15`.
    #[schema(required = false)]
    signal: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code, reason = "described, never made")]
pub(crate) enum AgentVerb {
    Ping,
    Info,
    Network,
    Metrics,
    Time,
    Shutdown,
    ExecDetach,
    ExecList,
    ExecShow,
    ExecSignal,
    ExecEnd,
    ExecRemove,
}

#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code, reason = "described, never made")]
pub(crate) enum ShutdownMode {
    Poweroff,
    Reboot,
    Halt,
}

/// Change the impairments of a link.
#[derive(ToSchema)]
pub(crate) struct LinkSet {
    /// Pairs of key and value as in a topology file: `["delay", "10ms"]`.
    set: Vec<Vec<String>>,
    /// Only what this end sends, `node` or `node:interface`; both directions when absent.
    #[schema(required = false)]
    from: Option<String>,
}

#[cfg(test)]
mod tests;
