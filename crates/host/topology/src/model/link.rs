//! Links between nodes, and between a node and the host.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use vnode_protocol::impairment::Impairment;

use super::Span;

/// One link: its near end is always in a container, its far end may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// `a:eth1--b:eth1`: the near end, then the far end. Both are in the order of the file, except
    /// that a container always comes before a bridge or the host. Far ends that are no node are
    /// written as containerlab's brief form does (`a:eth1--host:veth0`),
    /// `a:eth1--vxlan:<remote>/<vni>`, or `a:eth1--dummy`.
    pub id: String,
    pub near: Endpoint,
    pub far: Far,
    /// Bytes.
    pub mtu: u32,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Containerlab's `vars`: carried along, not acted on.
    #[serde(default)]
    pub vars: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub span: Span,
}

impl Link {
    /// Whether `id` names this link, with its ends in either order.
    pub fn is_called(&self, id: &str) -> bool {
        self.id == id || format!("{}--{}", self.far_name(), self.near.name()) == id
    }

    /// The second half of [`Link::id`]: name of the far end.
    pub fn far_name(&self) -> String {
        match &self.far {
            Far::Node { endpoint, .. } => endpoint.name(),
            Far::Host { interface, .. } => format!("host:{interface}"),
            Far::Management { interface, .. } => format!("mgmt-net:{interface}"),
            Far::Macvlan { interface, .. } => format!("macvlan:{interface}"),
            Far::Vxlan { remote, vni, .. } => format!("vxlan:{remote}/{vni}"),
            Far::Dummy => "dummy".to_owned(),
        }
    }

    /// The ends that are in nodes: one or two.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let far = match &self.far {
            Far::Node { endpoint, .. } => Some(endpoint),
            _ => None,
        };
        std::iter::once(&self.near).chain(far)
    }

    /// What the far end sends towards the near one.
    pub fn far_impair(&self) -> Option<&Impairment> {
        match &self.far {
            Far::Node { endpoint, .. } => Some(&endpoint.impair),
            Far::Host { impair, .. } | Far::Management { impair, .. } => Some(impair),
            Far::Macvlan { .. } | Far::Vxlan { .. } | Far::Dummy => None,
        }
    }
}

/// An interface in a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub node: String,
    pub interface: String,
    pub mac: Option<Mac>,
    pub ipv4: Option<Ipv4Net>,
    pub ipv6: Option<Ipv6Net>,
    /// What happens to frames that this end sends; declared for the link, then changed by what is
    /// declared for this end.
    pub impair: Impairment,
    /// Containerlab's `vars`: carried along, not acted on.
    pub vars: BTreeMap<String, serde_json::Value>,
    pub span: Span,
}

impl Endpoint {
    /// `node:interface`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.node, self.interface)
    }
}

/// Where a link leads to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Far {
    /// Another container (or the same, on another interface), or a port of that name on a node of
    /// kind bridge.
    Node {
        endpoint: Endpoint,
        /// Written as `veth-stitch`: containerlab joins two pairs in the host. Made as one pair here.
        stitch: bool,
    },
    /// An interface of the host.
    Host { interface: String, impair: Impairment },
    /// A port of the management bridge, of that name on the host.
    Management { interface: String, impair: Impairment },
    /// An interface of the host, shared.
    Macvlan { interface: String, mode: MacvlanMode },
    /// A tunnel to another machine.
    Vxlan {
        /// Address or host name of the other machine.
        remote: String,
        vni: u32,
        /// UDP port there.
        dst_port: u16,
        src_port: Option<u16>,
        /// The tunnel ends in the host and is joined to a pair; else it is the node's interface.
        stitch: bool,
    },
    /// Nowhere: frames sent are dropped.
    Dummy,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacvlanMode {
    #[default]
    Bridge,
    Private,
    Vepa,
    Passthru,
    Source,
}

impl MacvlanMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Passthru => "passthru",
            Self::Source => "source",
        }
    }
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads six pairs of hexadecimal digits between colons or hyphens.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next()?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(bytes))
    }

    /// Whether it names a group of stations and so cannot be an interface's own.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no Ethernet address")))
    }
}
