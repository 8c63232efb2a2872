//! LANs with any number of members: an addition of ours to containerlab's file.

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use vnode_protocol::impairment::Impairment;

use super::{Mac, Span};

/// One LAN.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    pub name: String,
    pub members: Vec<Member>,
    /// Bytes.
    pub mtu: u32,
    /// As declared, between any two members. The members' own values are composed from it.
    pub impair: Impairment,
    pub span: Span,
}

impl Network {
    /// The member of that node and interface, or of that node alone where it has but one.
    pub fn member(&self, name: &str) -> Option<&Member> {
        let mut found = self
            .members
            .iter()
            .filter(|member| member.name() == name || (member.node == name && !name.contains(':')));
        let first = found.next();
        if found.next().is_some() { None } else { first }
    }
}

/// An interface on a LAN.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    pub node: String,
    pub interface: String,
    pub mac: Option<Mac>,
    pub ipv4: Option<Ipv4Net>,
    pub ipv6: Option<Ipv6Net>,
    /// What happens to frames that this member sends to the LAN. In a LAN of two it is the whole of
    /// the way to the other, as a link's would be.
    pub to_lan: Impairment,
    /// What happens to frames that come from the LAN to this member; nothing in a LAN of two.
    pub from_lan: Impairment,
    pub span: Span,
}

impl Member {
    /// `node:interface`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.node, self.interface)
    }
}
