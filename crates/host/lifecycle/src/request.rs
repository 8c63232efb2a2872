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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Exec {
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
}

/// Change the impairments of a link.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LinkSet {
    /// `key`, `value` as written (`delay`, `10ms`); parsed by `Impairment::set`.
    pub set: Vec<(String, String)>,
    /// Only what this end sends, `node` or `node:interface`; both directions when absent.
    #[serde(default)]
    pub from: Option<String>,
}

fn yes() -> bool {
    true
}
