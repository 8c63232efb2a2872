//! Port forwards as elements of maps.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::nft::{Element, Set};
use crate::{Error, Result};

/// A port of the host that leads to a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Forward {
    pub protocol: Protocol,
    /// Address of the host; `None` is any of the family of `node_address`. 127.0.0.1 is among them, `::1` is not: the
    /// kernel does not route from it.
    pub host_address: Option<IpAddr>,
    pub host_port: u16,
    pub node_address: IpAddr,
    pub node_port: u16,
}

/// Protocols that have ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    fn number(self) -> u8 {
        match self {
            Protocol::Tcp => libc::IPPROTO_TCP as u8,
            Protocol::Udp => libc::IPPROTO_UDP as u8,
            Protocol::Sctp => libc::IPPROTO_SCTP as u8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.host_address {
            write!(f, "{}", bracketed(address))?;
            f.write_str(":")?;
        }
        let to = bracketed(self.node_address);
        write!(f, "{} -> {to}:{}/{}", self.host_port, self.node_port, self.protocol.name())
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Types as `nft` numbers them, for its listings.
mod kind {
    pub(super) const IPV4: u32 = 7;
    pub(super) const IPV6: u32 = 8;
    pub(super) const PROTOCOL: u32 = 12;
    pub(super) const SERVICE: u32 = 13;
}

const fn pair(first: u32, second: u32) -> u32 {
    first << 6 | second
}

/// The maps of a lab: for any address of the host and for one, in both families. Keys are address (where there is one),
/// protocol and port, values address and port, each part padded to four bytes.
pub(super) const MAPS: [Set<'static>; 4] = [
    Set {
        name: "forwards4",
        key_type: pair(kind::PROTOCOL, kind::SERVICE),
        key_length: 8,
        data: Some((pair(kind::IPV4, kind::SERVICE), 8)),
    },
    Set {
        name: "forwards4_at",
        key_type: pair(pair(kind::IPV4, kind::PROTOCOL), kind::SERVICE),
        key_length: 12,
        data: Some((pair(kind::IPV4, kind::SERVICE), 8)),
    },
    Set {
        name: "forwards6",
        key_type: pair(kind::PROTOCOL, kind::SERVICE),
        key_length: 8,
        data: Some((pair(kind::IPV6, kind::SERVICE), 20)),
    },
    Set {
        name: "forwards6_at",
        key_type: pair(pair(kind::IPV6, kind::PROTOCOL), kind::SERVICE),
        key_length: 24,
        data: Some((pair(kind::IPV6, kind::SERVICE), 20)),
    },
];

impl Forward {
    /// What must be unique: family, address, protocol and port of the host.
    pub(super) fn key(&self) -> (bool, Option<IpAddr>, Protocol, u16) {
        (self.node_address.is_ipv4(), self.host_address, self.protocol, self.host_port)
    }

    /// Map and element of the forward.
    pub(super) fn element(&self) -> Result<(&'static str, Element)> {
        if self.host_address.is_some_and(|host| host.is_ipv4() != self.node_address.is_ipv4()) {
            return Err(Error::Invalid {
                what: format!("port forward {self}"),
                reason: "an IPv4 address cannot be forwarded to an IPv6 one, nor the other way"
                    .into(),
            });
        }
        let octets = crate::netlink::rtnl::octets;
        let mut key = self.host_address.map(octets).unwrap_or_default();
        key.extend([self.protocol.number(), 0, 0, 0]);
        key.extend(self.host_port.to_be_bytes());
        key.extend([0, 0]);
        let mut data = octets(self.node_address);
        data.extend(self.node_port.to_be_bytes());
        data.extend([0, 0]);
        let set = match (self.node_address.is_ipv4(), self.host_address.is_some()) {
            (true, false) => "forwards4",
            (true, true) => "forwards4_at",
            (false, false) => "forwards6",
            (false, true) => "forwards6_at",
        };
        Ok((set, Element { key, data: Some(data) }))
    }

    /// Reads an element back.
    pub(super) fn parse(set: &str, key: &[u8], data: &[u8]) -> Option<Forward> {
        let (address, rest) = if set.ends_with("_at") {
            let length = key.len().checked_sub(8)?;
            let (address, rest) = key.split_at(length);
            (Some(parse_address(address)?), rest)
        } else {
            (None, key)
        };
        let protocol = *rest.first()?;
        let (node, port) = data.split_at(data.len().checked_sub(4)?);
        Some(Forward {
            protocol: Protocol::ALL.into_iter().find(|known| known.number() == protocol)?,
            host_address: address,
            host_port: u16::from_be_bytes(*rest.get(4..)?.first_chunk()?),
            node_address: parse_address(node)?,
            node_port: u16::from_be_bytes(*port.first_chunk()?),
        })
    }
}

fn parse_address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_element_makes_the_reader_panic(
            key in proptest::collection::vec(any::<u8>(), 0..30),
            data in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            for set in MAPS {
                Forward::parse(set.name, &key, &data);
            }
        }
    }

    #[test]
    fn an_element_reads_back() {
        for (host, node) in [
            (None, "10.0.0.2"),
            (Some("192.0.2.1"), "10.0.0.2"),
            (None, "fd00::2"),
            (Some("2001:db8::1"), "fd00::2"),
        ] {
            let forward = Forward {
                protocol: Protocol::Udp,
                host_address: host.map(|host| host.parse().unwrap()),
                host_port: 2222,
                node_address: node.parse().unwrap(),
                node_port: 22,
            };
            let (set, element) = forward.element().unwrap();
            let map = MAPS.iter().find(|map| map.name == set).unwrap();
            assert_eq!(element.key.len(), map.key_length as usize);
            let data = element.data.unwrap();
            assert_eq!(data.len(), map.data.unwrap().1 as usize);
            assert_eq!(Forward::parse(set, &element.key, &data), Some(forward));
        }
    }
}
