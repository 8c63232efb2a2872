//! The resolved model: what a topology file says once inheritance, units and defaults are applied.
//!
//! Every name in it is checked, every path to the host absolute, every impairment composed per
//! direction. It is what the daemon stores and compares; [`Span`]s say where a thing was written and
//! take no part in comparison.

mod libvirt;
mod link;
mod network;
mod node;
mod timeline;
mod vm;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

pub use libvirt::Libvirt;
pub use link::{Endpoint, Far, Link, Mac, MacvlanMode};
pub use network::{Member, Network};
pub use node::{
    AgentMode, Bind, Device, Dns, Health, HealthTest, ImagePullPolicy, NetworkMode, Node, NodeKind,
    Phase, PidMode, Port, PortProtocol, Preconfig, Resources, RestartPolicy, Stage, StageExec,
    StageExecTarget, StageName, WaitFor,
};
pub use timeline::{Action, Target, TimelineEvent};
pub use vm::Vm;

/// MTU of a link that names none, as containerlab has it.
pub const DEFAULT_MTU: u32 = 9500;
/// Image of a linux node that names none: the machine's own root, read-only under an overlay.
pub const HOST_IMAGE: &str = "host";

/// A lab: the whole of one topology file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lab {
    pub name: String,
    /// How node names become names on the host; see [`Lab::full_name`]. `None` is containerlab's
    /// `clab`.
    pub prefix: Option<String>,
    pub mgmt: Mgmt,
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
    pub networks: Vec<Network>,
    /// In the order of their time.
    pub events: Vec<TimelineEvent>,
    /// Folder of the topology file; relative paths in it were taken from here.
    pub folder: PathBuf,
}

impl Lab {
    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The link of that identity, `a:eth1--b:eth1`, with its ends in either order.
    pub fn link(&self, id: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.is_called(id))
    }

    /// The LAN of that name.
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name == name)
    }

    /// Name of a node as containerlab would call its container: `clab-<lab>-<node>`; with an empty
    /// prefix the node alone; with `__lab-name`, `<lab>-<node>`; else `<prefix>-<lab>-<node>`.
    pub fn full_name(&self, node: &str) -> String {
        match self.prefix.as_deref() {
            None => format!("clab-{}-{node}", self.name),
            Some("") => node.to_owned(),
            Some("__lab-name") => format!("{}-{node}", self.name),
            Some(prefix) => format!("{prefix}-{}-{node}", self.name),
        }
    }
}

/// The management (control) network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mgmt {
    /// Name of the network; labs that name the same one share it.
    pub network: String,
    /// Name of its bridge on the host, when the file gives one.
    pub bridge: Option<String>,
    /// `None`: no IPv4 there.
    pub ipv4_subnet: Option<Ipv4Net>,
    /// `None`: no IPv6 there.
    pub ipv6_subnet: Option<Ipv6Net>,
    /// The file says `auto`, or nothing: a free subnet may be taken instead of the one given here.
    pub ipv4_auto: bool,
    pub ipv6_auto: bool,
    /// Address of the host; `None` is the first of the subnet.
    pub ipv4_gateway: Option<Ipv4Addr>,
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// Part of the subnet that addresses are given out from; `None` is all of it.
    pub ipv4_range: Option<Ipv4Net>,
    pub ipv6_range: Option<Ipv6Net>,
    /// Bytes; `None` leaves the choice to the host (1500).
    pub mtu: Option<u32>,
    /// Whether nodes reach what lies outside the host.
    pub external_access: bool,
    /// Whether the network is left out when no node uses it.
    pub skip_when_unused: bool,
    pub span: Span,
}

impl Default for Mgmt {
    fn default() -> Self {
        Self {
            network: "clab".to_owned(),
            bridge: None,
            ipv4_subnet: Some(default_ipv4()),
            ipv6_subnet: Some(default_ipv6()),
            ipv4_auto: false,
            ipv6_auto: false,
            ipv4_gateway: None,
            ipv6_gateway: None,
            ipv4_range: None,
            ipv6_range: None,
            mtu: None,
            external_access: true,
            skip_when_unused: false,
            span: Span::default(),
        }
    }
}

/// 172.20.20.0/24, as containerlab has it.
pub(crate) fn default_ipv4() -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(172, 20, 20, 0), 24)
}

/// 3fff:172:20:20::/64, as containerlab has it.
pub(crate) fn default_ipv6() -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(0x3fff, 0x172, 0x20, 0x20, 0, 0, 0, 0), 64)
}

/// Where in the topology file a thing was written; line and column count from 1, 0 is unknown.
///
/// Two things written in different places may well be the same thing, so all spans are equal.
#[derive(Debug, Clone, Copy, Default, Eq, Serialize, Deserialize)]
pub struct Span {
    pub line: u32,
    pub column: u32,
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
