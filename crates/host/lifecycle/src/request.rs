//! What can be asked of a [`Host`](crate::Host): plain data, as the API receives it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Bring a lab up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Up {
    /// The resolved topology.
    pub lab: vnode_topology::Lab,
    /// Topology file it came from.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Start the nodes as well (`false`: create and wire only).
    #[serde(default = "yes")]
    pub boot: bool,
}

/// Take a lab down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Down {
    /// Ask the nodes to end and wait their grace first; otherwise they are killed.
    #[serde(default)]
    pub graceful: bool,
}

/// Remove what belongs to nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Clean {
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Give up the damaged records of this lab, and all that they may speak of.
    #[serde(default)]
    pub lab: Option<String>,
}

/// Make one node that stands alone (in the lab `default` unless another is named).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Create {
    pub node: String,
    #[serde(default)]
    pub lab: Option<String>,
    /// Image reference; `host` when absent.
    #[serde(default)]
    pub image: Option<String>,
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub privileged: bool,
    /// Start it too.
    #[serde(default)]
    pub boot: bool,
}

/// Run a program in a running node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    #[serde(default)]
    pub argv: Vec<String>,
    /// Added to the node's environment, `NAME=value`.
    #[serde(default)]
    pub env: Vec<String>,
    #[serde(default)]
    pub cwd: Option<String>,
    #[serde(default)]
    pub user: Option<String>,
    /// Rows and columns when the program gets a terminal.
    #[serde(default)]
    pub terminal: Option<(u16, u16)>,
    #[serde(default)]
    pub privileged: bool,
    /// Who starts it.
    #[serde(default)]
    pub through: Through,
    /// In place of a program of one's own: the detached program of the node's agent to attach to, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<String>,
}

/// Who starts a program in a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// Whoever is best at it: the monitor of a container, the agent of a virtual machine.
    #[default]
    Node,
    /// The node's agent.
    Agent,
    /// The node's agent, and the program is its `component`: `argv` are a verb and its arguments.
    Component,
    /// The same of its `vnf`.
    Vnf,
}

/// What a node's agent is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum AgentCommand {
    /// Whether it answers, and how fast.
    Ping,
    /// What it is and what it can do.
    Info,
    /// Interfaces, addresses, routes.
    Network,
    /// Load, memory, processors, file systems.
    Metrics,
    /// The node's clock, which is set first when `set_ns` (nanoseconds since 1970) is there.
    Time {
        #[serde(default)]
        set_ns: Option<u64>,
    },
    /// End of the node, as its own system does it.
    Shutdown {
        #[serde(default)]
        mode: ShutdownMode,
    },
    /// Begins a program that lives on without anybody.
    ExecDetach {
        program: Exec,
        /// Whether those who attach can give it input.
        #[serde(default)]
        stdin: bool,
    },
    /// The detached programs.
    ExecList,
    ExecShow {
        id: String,
    },
    /// Signals a detached program and its group.
    ExecSignal {
        id: String,
        /// A name or a number: `TERM`, `SIGTERM`, `15`.
        signal: String,
    },
    /// Ends a detached program with all it started; how it ended stays known.
    ExecEnd {
        id: String,
    },
    /// Ends one, and forgets it.
    ExecRemove {
        id: String,
    },
}

/// How a node ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownMode {
    #[default]
    Poweroff,
    Reboot,
    Halt,
}

/// Change the impairments of a link.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LinkSet {
    /// `key`, `value` as written (`delay`, `10ms`); parsed by `Impairment::set`.
    pub set: Vec<(String, String)>,
    /// Only what this end sends, `node`, `node:interface` or the end on the host; both directions when absent.
    #[serde(default)]
    pub from: Option<String>,
}

fn yes() -> bool {
    true
}
