//! What is remembered of labs, nodes and links: the values of the store.
//!
//! | key | value |
//! |---|---|
//! | `lab/<lab>` | [`LabRecord`] |
//! | `node/<lab>/<node>` | [`NodeRecord`] |
//! | `link/<lab>/<link>` | [`LinkRecord`] |
//! | `host` | [`HostRecord`] |
//!
//! A record is written in the same durable commit as the plan that will make the thing, so that
//! whatever a crash leaves can be found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vnode_driver::NodeSpec;
use vnode_protocol::impairment::Impairment;
use vnode_store::{Change, record};

use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::restart::Policy;
use crate::state::State;

/// Version of every record of this module; a change of meaning raises it and adds a migration.
pub const SCHEMA: u32 = 1;

/// The machine as we found it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Kernel parameters changed by us, to be restored.
    pub saved_sysctls: Option<vnode_network::control::SavedSysctls>,
    /// Boot of the machine the record speaks of.
    pub boot_id: String,
}

/// One lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabRecord {
    pub name: String,
    pub uuid: String,
    pub file: Option<PathBuf>,
    /// What was asked for.
    pub lab: vnode_topology::Lab,
    pub control: Option<Control>,
    pub created: Timestamp,
    /// When the timeline began.
    pub timeline_started: Option<Timestamp>,
    /// Timeline events already carried out.
    pub timeline_done: usize,
    /// Since when the timeline stands still.
    #[serde(default)]
    pub timeline_paused: Option<Timestamp>,
    /// Nothing more happens.
    #[serde(default)]
    pub timeline_stopped: bool,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub lab: String,
    pub node: String,
    pub vmid: u32,
    pub uuid: String,
    /// Reference of the image.
    pub image: String,
    /// Identity of the image it was made from; known once the image is here.
    pub image_id: Option<String>,
    /// The resolved definition; `None` until the image is here.
    pub spec: Option<NodeSpec>,
    pub state: State,
    pub since: Timestamp,
    pub reason: Option<String>,
    pub restarts: u64,
    pub last_exit: Option<String>,
    pub restart: Policy,
    /// It was asked to run: boots again after the machine restarted.
    pub wanted: bool,
    /// Folder, monitor and namespace are there.
    #[serde(default)]
    pub made: bool,
    pub control: Option<ControlEnd>,
    /// How its last renewal ended.
    #[serde(default)]
    pub renewal: Option<Renewal>,
}

/// The end of a node's renewal, written down when it is reached: whoever takes the operation up again does not begin anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    pub operation: String,
    /// Why the node is what it was before; `None`: it is what it was to become.
    pub failed: Option<String>,
}

/// What a node was before it was renewed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Its definition in the topology.
    pub node: vnode_topology::Node,
    pub record: NodeRecord,
}

/// The node's end of the control network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlEnd {
    /// Host side of the pair.
    pub port: String,
    pub mac: vnode_network::Mac,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub forwards: Vec<Forward>,
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    pub host_address: Option<IpAddr>,
    pub host_port: u16,
    pub node_port: u16,
    /// `tcp`, `udp`, `sctp`.
    pub protocol: String,
}

/// One link: two ends, or a LAN with any number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkRecord {
    pub lab: String,
    pub link: String,
    pub kind: LinkKind,
    pub mtu: u32,
    pub ends: Vec<EndRecord>,
    pub down: bool,
    /// It is in the kernel; of a LAN: its bridges are.
    #[serde(default)]
    pub made: bool,
}

/// What carries a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum LinkKind {
    /// A pair between two nodes.
    Veth,
    /// Bridges of ours on the host.
    Lan,
    /// A pair whose other end stays on the host under this name.
    Host {
        interface: String,
    },
    /// A pair whose other end is a port of a bridge that exists on the host.
    Bridge {
        bridge: String,
        port: String,
    },
    /// A pair whose other end is a port of the control bridge.
    Control {
        interface: String,
    },
    Macvlan {
        parent: String,
        mode: String,
    },
    Vxlan {
        remote: IpAddr,
        vni: u32,
        port: u16,
        source_port: Option<u16>,
    },
    Dummy,
}

/// Members from which on a LAN is large: it is wired before its nodes boot, and those that have not booted are kept from it.
pub(crate) const LARGE_LAN: usize = 200;

/// One end of a link, in a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndRecord {
    pub node: String,
    /// As the user wrote it.
    pub interface: String,
    /// As the kernel has it.
    pub device: String,
    pub mac: vnode_network::Mac,
    pub addresses: Vec<IpNet>,
    /// What the end sends, as declared and as last set.
    pub declared: Impairment,
    pub current: Impairment,
    /// What the end receives; LAN members only, made at the bridge's port.
    pub inbound_declared: Option<Impairment>,
    pub inbound: Option<Impairment>,
    /// Device in the host's namespace that belongs to this end.
    pub port: Option<String>,
    /// What it sends is lost, and what is sent to it is, though the link as a whole is not down.
    #[serde(default)]
    pub down: bool,
    #[serde(default)]
    pub inbound_down: bool,
    /// Of a LAN: this member has joined.
    #[serde(default)]
    pub made: bool,
    /// Of a large LAN: its node has not booted since, and it is kept from the LAN.
    #[serde(default)]
    pub waits: bool,
}

impl EndRecord {
    /// `node:interface`, as the user writes it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.node, self.interface)
    }

    /// Whether the other is the same interface of the same node with the same addresses, so that nothing is to be made
    /// anew.
    pub(crate) fn is_wired_as(&self, other: &Self) -> bool {
        self.node == other.node
            && self.device == other.device
            && self.mac == other.mac
            && self.addresses == other.addresses
    }
}

impl LabRecord {
    /// Takes over how far the timeline of the other is.
    pub(crate) fn keep_timeline(&mut self, of: &Self) {
        self.timeline_started = of.timeline_started;
        self.timeline_done = of.timeline_done;
        self.timeline_paused = of.timeline_paused;
        self.timeline_stopped = of.timeline_stopped;
    }

    pub fn key(lab: &str) -> String {
        format!("lab/{lab}")
    }

    pub fn put(&self) -> Change {
        put(Self::key(&self.name), self)
    }
}

impl NodeRecord {
    pub fn key(lab: &str, node: &str) -> String {
        format!("node/{lab}/{node}")
    }

    /// Whether it is a domain that was there before, and that outlives the node.
    pub fn is_adopted(&self) -> bool {
        let domain = self.spec.as_ref().and_then(|spec| spec.domain.as_ref());
        domain.is_some_and(|domain| matches!(domain.source, vnode_driver::DomainSource::Adopt(_)))
    }

    pub fn put(&self) -> Change {
        put(Self::key(&self.lab, &self.node), self)
    }
}

impl LinkRecord {
    /// The end on the host, as the user writes it; of a link that has one whose direction is ours to change.
    pub(crate) fn far_name(&self) -> Option<&str> {
        let near = self.ends.first().filter(|end| end.inbound.is_some())?.name();
        let rest = self.link.strip_prefix(&near).and_then(|rest| rest.strip_prefix("--"));
        rest.or_else(|| self.link.strip_suffix(&near).and_then(|rest| rest.strip_suffix("--")))
    }

    /// Whether anything that is sent over it is lost because it, or a direction of it, was taken down.
    pub(crate) fn is_cut(&self) -> bool {
        self.down || self.ends.iter().any(|end| end.down || end.inbound_down)
    }

    pub fn key(lab: &str, link: &str) -> String {
        format!("link/{lab}/{link}")
    }

    pub fn put(&self) -> Change {
        put(Self::key(&self.lab, &self.link), self)
    }
}

impl HostRecord {
    pub const KEY: &str = "host";

    pub fn put(&self) -> Change {
        put(Self::KEY.to_owned(), self)
    }
}

/// The change that writes a record.
pub fn put<T: Serialize>(key: String, value: &T) -> Change {
    let value = record::encode(SCHEMA, value).expect("records are plain data that JSON can hold");
    Change::put(key, value)
}

/// Removes a record, there or not.
pub fn delete(key: String) -> Change {
    Change::delete(key)
}

/// Reads a record; an unreadable one is an error that names the key (T-31).
pub fn read<T: serde::de::DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    record::decode(bytes, &[]).map_err(|source| {
        Error::new(Kind::Failed, format!("record `{key}` cannot be read")).because(source)
    })
}
