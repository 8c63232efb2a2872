//! DHCP for IPv6 (RFC 8415): the address a node has anyway, on request.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::Ipv6Net;
use tokio::task::JoinHandle;
use vnode_network::Mac;

use crate::socket::{Device, receive};
use crate::{Directory, LEASE, Network, Node};

const SERVER: u16 = 547;
/// All servers and relays of a link.
const GROUPS: &[Ipv6Addr] = &[Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2)];
const MOST_BYTES: usize = 1500;
/// Longest client identifier (RFC 8415, 11.1).
const MOST_ID: usize = 130;

/// Kinds of messages.
const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const CONFIRM: u8 = 4;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const REPLY: u8 = 7;
const INFORMATION: u8 = 11;
/// Options.
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const ASSOCIATION: u16 = 3;
const ADDRESS: u16 = 5;
const STATUS: u16 = 13;
const RAPID: u16 = 14;
const RESOLVERS: u16 = 23;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub kind: u8,
    pub transaction: [u8; 3],
    pub client: Vec<u8>,
    pub server: Option<Vec<u8>>,
    /// Identifier of its first identity association, and the addresses it names there.
    pub association: Option<([u8; 4], Vec<Ipv6Addr>)>,
    /// It takes the answer to its first question.
    pub rapid: bool,
}

/// Options one after the other; `None` where one is cut off.
fn options(bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        found.push((u16::from_be_bytes([head[0], head[1]]), after.get(..length)?));
        rest = &after[length..];
    }
    Some(found)
}

/// Reads a message of a client; `None` for what is none.
pub fn parse(bytes: &[u8]) -> Option<Question> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let mut question = Question {
        kind: head[0],
        transaction: [head[1], head[2], head[3]],
        client: Vec::new(),
        server: None,
        association: None,
        rapid: false,
    };
    for (code, value) in options(rest)? {
        match code {
            CLIENT_ID if value.len() <= MOST_ID => question.client = value.to_vec(),
            CLIENT_ID => return None,
            SERVER_ID => question.server = Some(value.to_vec()),
            ASSOCIATION if question.association.is_none() => {
                let (head, inner) = value.split_first_chunk::<12>()?;
                let addresses = options(inner)?
                    .into_iter()
                    .filter(|(code, _)| *code == ADDRESS)
                    .filter_map(|(_, value)| value.first_chunk::<16>().copied())
                    .map(Ipv6Addr::from)
                    .collect();
                question.association = Some(([head[0], head[1], head[2], head[3]], addresses));
            }
            RAPID => question.rapid = true,
            _ => {}
        }
    }
    Some(question)
}

impl Question {
    /// The Ethernet address of whoever asks: from its identifier where that holds one, else from its address on the link.
    pub fn mac(&self, from: Ipv6Addr) -> Option<Mac> {
        match *self.client.as_slice() {
            // Link-layer address plus time, and link-layer address; of Ethernet.
            [0, 1, 0, 1, _, _, _, _, a, b, c, d, e, f] | [0, 3, 0, 1, a, b, c, d, e, f] => {
                Some(Mac([a, b, c, d, e, f]))
            }
            _ => match from.octets() {
                [0xfe, 0x80, _, _, _, _, _, _, a, b, c, 0xff, 0xfe, d, e, f] => {
                    Some(Mac([a ^ 2, b, c, d, e, f]))
                }
                _ => None,
            },
        }
    }
}

/// The server's identifier: a UUID, which the gateway's address is as good as (RFC 6355).
fn server_id(gateway: Ipv6Net) -> Vec<u8> {
    let mut id = vec![0, 4];
    id.extend(gateway.addr().octets());
    id
}

fn put(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    bytes.extend(code.to_be_bytes());
    // Every value here is short: the longest is a client's identifier, which is bounded.
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
}

fn association(id: [u8; 4], lease: Ipv6Addr, refused: &[Ipv6Addr]) -> Vec<u8> {
    let seconds = u32::try_from(LEASE.as_secs()).unwrap_or(u32::MAX);
    let mut bytes = id.to_vec();
    bytes.extend((seconds / 2).to_be_bytes());
    bytes.extend((seconds / 8 * 7).to_be_bytes());
    let own = std::iter::once((&lease, seconds));
    for (address, seconds) in own.chain(refused.iter().map(|address| (address, 0))) {
        let mut value = address.octets().to_vec();
        value.extend(seconds.to_be_bytes());
        value.extend(seconds.to_be_bytes());
        put(&mut bytes, ADDRESS, &value);
    }
    bytes
}

/// What a server of this network answers to a node; `None`: nothing.
pub fn answer(
    question: &Question,
    node: &Node,
    gateway: Ipv6Net,
    network: &Network,
) -> Option<Vec<u8>> {
    /// Addresses of a client that are told to be none of its own.
    const REFUSED: usize = 8;
    let lease = node.ipv6?;
    let own = server_id(gateway);
    if question.server.as_ref().is_some_and(|server| *server != own) {
        return None;
    }
    let kind = match question.kind {
        SOLICIT if !question.rapid => ADVERTISE,
        SOLICIT | CONFIRM | REBIND | INFORMATION => REPLY,
        // To one server only (RFC 8415, 16.4 and 16.6).
        REQUEST | RENEW if question.server.is_some() => REPLY,
        _ => return None,
    };
    if question.client.is_empty() && question.kind != INFORMATION {
        return None;
    }
    let mut bytes = vec![kind];
    bytes.extend(question.transaction);
    if !question.client.is_empty() {
        put(&mut bytes, CLIENT_ID, &question.client);
    }
    put(&mut bytes, SERVER_ID, &own);
    match (&question.association, question.kind) {
        (_, INFORMATION) => {}
        (Some((_, addresses)), CONFIRM) => {
            const NOT_ON_LINK: u16 = 4;
            let on_link = addresses.iter().all(|address| gateway.contains(address));
            let status: u16 = if on_link { 0 } else { NOT_ON_LINK };
            put(&mut bytes, STATUS, &status.to_be_bytes());
        }
        (Some((id, addresses)), _) => {
            let others = addresses.iter().filter(|address| **address != lease).copied();
            let refused: Vec<Ipv6Addr> = others.take(REFUSED).collect();
            put(&mut bytes, ASSOCIATION, &association(*id, lease, &refused));
            if question.kind == SOLICIT && question.rapid {
                put(&mut bytes, RAPID, &[]);
            }
        }
        // It wants no address, and there is nothing else to lease.
        (None, _) => return None,
    }
    let resolvers: Vec<u8> = network.resolvers.iter().filter_map(v6).take(8).flatten().collect();
    if !resolvers.is_empty() {
        put(&mut bytes, RESOLVERS, &resolvers);
    }
    Some(bytes)
}

fn v6(address: &IpAddr) -> Option<[u8; 16]> {
    match address {
        IpAddr::V6(address) => Some(address.octets()),
        IpAddr::V4(_) => None,
    }
}

pub(crate) fn start(
    device: &Device<'_>,
    gateway: Ipv6Net,
    network: &Arc<Network>,
    directory: &Arc<dyn Directory>,
) -> io::Result<JoinHandle<()>> {
    let socket = device.datagram(SocketAddr::from((Ipv6Addr::UNSPECIFIED, SERVER)), GROUPS)?;
    let (network, directory) = (Arc::clone(network), Arc::clone(directory));
    Ok(tokio::spawn(async move {
        let mut buffer = [0; MOST_BYTES];
        loop {
            let (length, from) =
                receive(&socket, &mut buffer, "DHCP for IPv6", &network.bridge).await;
            let SocketAddr::V6(sender) = from else { continue };
            let Some(question) = parse(&buffer[..length]) else { continue };
            let Some(mac) = question.mac(*sender.ip()) else { continue };
            let Some(node) = directory.by_mac(mac) else { continue };
            if let Some(bytes) = answer(&question, &node, gateway, &network)
                && let Err(error) = socket.send_to(&bytes, from).await
            {
                tracing::debug!(%error, %from, "DHCP for IPv6: the answer is lost");
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENT: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 7];

    fn question(kind: u8, more: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![kind, 1, 2, 3];
        put(&mut bytes, CLIENT_ID, &CLIENT);
        for (code, value) in more {
            put(&mut bytes, *code, value);
        }
        bytes
    }

    fn network() -> Network {
        Network {
            bridge: "b".into(),
            ipv4: None,
            ipv6: Some("3fff:172:20:20::1/64".parse().unwrap()),
            mtu: 1500,
            resolvers: vec!["2001:db8::1".parse().unwrap()],
        }
    }

    fn node() -> Node {
        let ipv6 = Some("3fff:172:20:20::5".parse().unwrap());
        Node { hostname: "r1".into(), ipv4: None, ipv6 }
    }

    fn answered(bytes: &[u8]) -> Option<Question> {
        let question = parse(bytes)?;
        parse(&answer(&question, &node(), network().ipv6?, &network())?)
    }

    #[test]
    fn a_node_gets_its_own_address_and_no_other() {
        let mut wanted = vec![0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
        let offered = answered(&question(SOLICIT, &[(ASSOCIATION, &wanted)])).unwrap();
        assert_eq!(offered.kind, ADVERTISE);
        let (id, addresses) = offered.association.unwrap();
        assert_eq!((id, addresses), ([0, 0, 0, 9], vec![node().ipv6.unwrap()]));
        let server = offered.server.unwrap();
        // Another address beside it is told to be none of its own; and only the server that is meant answers.
        let mut address = [0; 24];
        address[0] = 0x3f;
        put(&mut wanted, ADDRESS, &address);
        let asked = question(REQUEST, &[(ASSOCIATION, &wanted), (SERVER_ID, &server)]);
        let given = answered(&asked).unwrap();
        assert_eq!(given.kind, REPLY);
        assert_eq!(given.association.unwrap().1.len(), 2);
        let asked = question(REQUEST, &[(ASSOCIATION, &wanted), (SERVER_ID, &[0, 4, 1])]);
        assert_eq!(answered(&asked), None);
        let quick = answered(&question(SOLICIT, &[(ASSOCIATION, &wanted), (RAPID, &[])])).unwrap();
        assert!(quick.kind == REPLY && quick.rapid);
        assert_eq!(answered(&question(INFORMATION, &[])).unwrap().association, None);
    }

    #[test]
    fn who_asks_is_known_by_identifier_or_address() {
        let question = parse(&question(SOLICIT, &[])).unwrap();
        let mac = Mac([2, 0, 0, 0, 0, 7]);
        assert_eq!(question.mac("fe80::1".parse().unwrap()), Some(mac));
        let other = Question { client: vec![0, 4, 1, 2], ..question };
        assert_eq!(other.mac("fe80::ff:fe00:7".parse().unwrap()), Some(mac));
        assert_eq!(other.mac("fe80::1".parse().unwrap()), None);
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            inner in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            for bytes in [bytes, question(SOLICIT, &[(ASSOCIATION, &inner)])] {
                if let Some(question) = parse(&bytes) {
                    question.mac(Ipv6Addr::LOCALHOST);
                    answer(&question, &node(), network().ipv6.unwrap(), &network());
                }
            }
        }
    }
}
