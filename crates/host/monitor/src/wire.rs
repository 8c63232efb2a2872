//! Requests, answers and events between the daemon and a node's monitor.
//!
//! A newer daemon must understand an older monitor, since monitors outlive daemons: fields are only ever
//! added, with a default; [`VERSION`] rises when a request is added, and a daemon asks nothing of a monitor
//! whose version lacks it.

use serde::{Deserialize, Serialize};

/// Version of these words that this build speaks.
pub const VERSION: u32 = 1;
/// Longest message, bytes; longer ones are refused by the sender.
pub const MAX_PACKET: usize = 192 * 1024;
/// Name of the monitor's socket in the node's folder.
pub const SOCKET: &str = "sock";
/// Name of the state record in the node's folder.
pub const STATE: &str = "state.json";
/// Names of the console log and its one rotated part.
pub const LOG: &str = "console.log";
pub const LOG_PREVIOUS: &str = "console.log.1";
/// Writable layer, overlay work folder and mount point of the root in the node's folder.
pub const UPPER: &str = "upper";
pub const WORK: &str = "work";
pub const ROOT: &str = "root";

/// From the daemon to the spawner; descriptors: the node's folder, the daemon's end's peer, and the
/// namespace to join for [`Net::Join`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spawn {
    /// Shown as the process' name.
    pub name: String,
    pub net: Net,
    /// `first, size` of the node's user namespace.
    #[serde(default)]
    pub id_map: Option<(u32, u32)>,
    /// No monitor has been in the folder before.
    #[serde(default)]
    pub fresh: bool,
}

/// The network namespace a monitor lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Net {
    Own,
    Host,
    Join,
}

/// From the daemon to a monitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Given back in the answer.
    pub id: u64,
    pub ask: Ask,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Ask {
    /// Answered by [`Answer::State`]; from now on events come too.
    State,
    /// Start the first process; descriptors: the node's v2 cgroup, if any, and the namespace of [`Pids::Join`].
    Boot(Box<Boot>),
    /// Signal to the first process.
    Signal { signal: i32 },
    /// Run a program in the node. Descriptors: the v2 cgroup (if `cgroup`), then stdin, stdout, stderr
    /// unless it has a terminal, whose master end comes back with the answer.
    Exec(Box<Exec>),
    /// Signal to a program's process group; SIGKILL to its session.
    ExecSignal { exec: u64, signal: i32 },
    /// Window size of a program's terminal, or of the console.
    Resize { exec: Option<u64>, rows: u16, cols: u16 },
    /// Attach to the console; a stream socket comes back with the answer.
    Console,
    /// Answered when nothing of the last run uses the node's disk any more.
    Settle,
    /// End the monitor; refused while the node runs unless `kill`. With `hand_over` the root of the last run comes with
    /// the answer, as a descriptor whose end is the end of the overlay, when the monitor still has it.
    Quit {
        kill: bool,
        #[serde(default)]
        hand_over: bool,
    },
}

/// How the first process is to be started. Everything is decided here; the monitor only carries it out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Boot {
    /// Read-only layers, uppermost first.
    pub layers: Vec<String>,
    /// Further overlays over the root, in order.
    #[serde(default)]
    pub over: Vec<Over>,
    pub read_only_root: bool,
    pub hostname: String,
    /// In order; targets are created where they are missing.
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    /// `(link, points at)`.
    pub links: Vec<(String, String)>,
    pub masked: Vec<String>,
    pub read_only: Vec<String>,
    /// `(path below /proc/sys, value)`.
    pub sysctls: Vec<(String, String)>,
    pub process: Process,
    #[serde(default)]
    pub pids: Pids,
    /// `cgroup.procs` files of v1 groups to enter.
    pub cgroup_procs: Vec<String>,
    /// File with a line `oom_kill N`.
    pub oom_file: Option<String>,
    /// A v2 cgroup descriptor comes with the request.
    pub cgroup: bool,
    pub log_limit_bytes: u64,
}

/// An overlay over a folder of the root: what is below the root on a file system of its own does not show through the
/// root's. Its writable layer is that folder of the root's writable layer, so the node has one disk all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// Absolute, without links, `.` and `..`.
    pub target: String,
    /// Uppermost first.
    pub layers: Vec<String>,
}

/// The process namespace a first process is born in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pids {
    /// A new one: whatever is in it ends with the first process.
    #[default]
    Own,
    /// The monitor's. `group` is the folder of the control group whose members are the node's, here and below.
    Host { group: String },
    /// The one whose descriptor comes with the request.
    Join { group: String },
}

impl Pids {
    /// The control group that what the node leaves is found by.
    pub fn group(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Host { group } | Self::Join { group } => Some(group),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mount {
    pub target: String,
    pub what: Source,
    /// `MOUNT_ATTR_*` bits to set.
    pub attr: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Source {
    /// A host path; `recursive` takes what is mounted below it along.
    Bind { path: String, recursive: bool },
    /// A new file system of this type. An empty value is a flag.
    New { kind: String, source: String, data: Vec<(String, String)> },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Device {
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    /// Host path, bound where nodes cannot be made.
    pub host: String,
    /// User and group, the numbers of the host's own: the group of `/dev/kvm` is who may open it.
    #[serde(default)]
    pub owner: (u32, u32),
}

/// A program and all that confines it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Process {
    /// Empty for a first process: the monitor's own init.
    pub argv: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub caps: Caps,
    pub no_new_privileges: bool,
    /// Classic BPF program, eight bytes an instruction in machine order, in hexadecimal; empty: none.
    pub seccomp: String,
    /// `(resource, soft, hard)`.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Terminal of `rows, columns`.
    pub tty: Option<(u16, u16)>,
}

/// Capability sets as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    pub bounding: u64,
    pub permitted: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exec {
    pub process: Process,
    pub cgroup_procs: Vec<String>,
    pub cgroup: bool,
}

/// From a monitor to the daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Message {
    Answer { id: u64, answer: Answer },
    Event(Event),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    Done,
    State(State),
    Exec {
        exec: u64,
    },
    /// What failed: step, path and cause.
    Failed {
        step: String,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// The monitor stands; first message on the first connection. With it comes, of a network namespace that was made, a
    /// socket of rtnetlink in it.
    Hello(State),
    Started(State),
    Exited(State),
    ExecExited {
        exec: u64,
        code: Option<i32>,
        signal: Option<i32>,
    },
}

/// What a monitor knows of its node; also the record in the node's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    /// The monitor's process id, and its start time in clock ticks since the machine's boot: together they
    /// name a process for certain.
    pub monitor: Pid,
    /// The first process, while it runs.
    #[serde(default)]
    pub init: Option<Pid>,
    #[serde(default)]
    pub started_unix_ms: u64,
    #[serde(default)]
    pub boots: u64,
    #[serde(default)]
    pub last_exit: Option<Exit>,
}

/// A process named for certain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pid {
    pub pid: u32,
    pub start: u64,
}

/// How the first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub at_unix_ms: u64,
    /// Ended by reboot(2) inside: `Some(true)` asked for a restart, `Some(false)` for halt or power-off.
    #[serde(default)]
    pub reboot: Option<bool>,
    #[serde(default)]
    pub oom_killed: bool,
}

/// Start time of a process in clock ticks since the machine's boot, field 22 of `/proc/PID/stat`.
///
/// # Errors
/// There is no such process.
pub fn start_time(pid: u32) -> std::io::Result<u64> {
    use std::io::Read;
    // Half of this is more than the line ever has, and one read gives it whole.
    let mut text = [0; 2048];
    let length = std::fs::File::open(format!("/proc/{pid}/stat"))?.read(&mut text)?;
    let text = &text[..length];
    // The name, field 2, may hold anything: count from the last closing parenthesis.
    text.iter()
        .rposition(|b| *b == b')')
        .and_then(|at| text.get(at + 2..))
        .and_then(|rest| std::str::from_utf8(rest).ok())
        .and_then(|rest| rest.split(' ').nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("/proc/{pid}/stat is not understood")))
}
