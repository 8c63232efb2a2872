//! DHCP (RFC 2131): the address a node has anyway, on request.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ipnet::Ipv4Net;
use tokio::task::JoinHandle;
use vnode_network::Mac;
use vnode_network::control::METADATA;

use crate::socket::{Device, receive};
use crate::{Directory, LEASE, Network, Node};

const SERVER: u16 = 67;
const CLIENT: u16 = 68;
/// Bytes before the options: the fixed part and the cookie.
const FIXED: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Nodes send less; what is longer is cut, and then not understood.
const MOST_BYTES: usize = 1500;
/// Least length of an answer: older clients refuse what is shorter than BOOTP.
const LEAST_BYTES: usize = 300;

/// Kinds of messages (option 53).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub kind: u8,
    pub transaction: [u8; 4],
    pub flags: [u8; 2],
    /// The address it has.
    pub own: Ipv4Addr,
    pub mac: Mac,
    /// The address it wants (option 50).
    pub wanted: Option<Ipv4Addr>,
    /// The server it means (option 54).
    pub server: Option<Ipv4Addr>,
}

/// Reads a message of a client; `None` for everything that is none: relayed ones, other hardware, broken options.
pub fn parse(bytes: &[u8]) -> Option<Question> {
    const ASKED: u8 = 1;
    const ETHERNET: [u8; 2] = [1, 6];
    let fixed: &[u8; FIXED] = bytes.first_chunk()?;
    let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
    if fixed[0] != ASKED || fixed[1..3] != ETHERNET || fixed[236..] != COOKIE {
        return None;
    }
    if !address(24).is_unspecified() {
        return None;
    }
    let mut question = Question {
        kind: 0,
        transaction: [fixed[4], fixed[5], fixed[6], fixed[7]],
        flags: [fixed[10], fixed[11]],
        own: address(12),
        mac: Mac(*fixed[28..].first_chunk()?),
        wanted: None,
        server: None,
    };
    let mut rest = &bytes[FIXED..];
    loop {
        match *rest {
            // What ends without its end mark is taken as if it had one.
            [] | [255, ..] => break,
            [0, ref after @ ..] => rest = after,
            [code, length, ref after @ ..] => {
                let value = after.get(..usize::from(length))?;
                let address = || value.first_chunk::<4>().copied().map(Ipv4Addr::from);
                match code {
                    50 => question.wanted = Some(address()?),
                    53 => question.kind = *value.first()?,
                    54 => question.server = Some(address()?),
                    _ => {}
                }
                rest = &after[usize::from(length)..];
            }
            [_] => return None,
        }
    }
    Some(question)
}

/// What a server of this network answers to a node, and where the answer goes; `None`: nothing.
pub fn answer(
    question: &Question,
    node: &Node,
    gateway: Ipv4Net,
    network: &Network,
) -> Option<(Vec<u8>, Ipv4Addr)> {
    let lease = node.ipv4?;
    if question.server.is_some_and(|server| server != gateway.addr()) {
        return None;
    }
    let everybody = Ipv4Addr::BROADCAST;
    let own = Some(question.own).filter(|own| !own.is_unspecified());
    let (kind, given, to) = match question.kind {
        DISCOVER => (OFFER, lease, everybody),
        REQUEST if question.wanted.or(own) == Some(lease) => {
            (ACK, lease, own.filter(|own| *own == lease).unwrap_or(everybody))
        }
        REQUEST => (NAK, Ipv4Addr::UNSPECIFIED, everybody),
        INFORM if own == Some(lease) => (ACK, Ipv4Addr::UNSPECIFIED, lease),
        // It gives its address back, or says that another has it: it stays the node's.
        _ => return None,
    };
    let mut bytes = vec![0; FIXED];
    bytes[..4].copy_from_slice(&[2, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&question.transaction);
    bytes[10..12].copy_from_slice(&question.flags);
    if kind == ACK {
        bytes[12..16].copy_from_slice(&question.own.octets());
    }
    bytes[16..20].copy_from_slice(&given.octets());
    bytes[28..34].copy_from_slice(&question.mac.0);
    bytes[236..].copy_from_slice(&COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        // Longer ones would have to be split; none here is.
        let value = &value[..value.len().min(255)];
        bytes.extend([code, value.len() as u8]);
        bytes.extend(value);
    };
    option(53, &[kind]);
    option(54, &gateway.addr().octets());
    if kind != NAK {
        if question.kind != INFORM {
            let seconds = u32::try_from(LEASE.as_secs()).unwrap_or(u32::MAX);
            option(51, &seconds.to_be_bytes());
            option(58, &(seconds / 2).to_be_bytes());
            option(59, &(seconds / 8 * 7).to_be_bytes());
        }
        option(1, &gateway.netmask().octets());
        option(3, &gateway.addr().octets());
        option(28, &gateway.broadcast().octets());
        option(26, &network.mtu.to_be_bytes());
        option(12, node.hostname.as_bytes());
        let resolvers: Vec<u8> =
            network.resolvers.iter().filter_map(v4).take(8).flatten().collect();
        if !resolvers.is_empty() {
            option(6, &resolvers);
        }
        // Whoever reads this one does not read option 3: the default route is in both.
        let via = gateway.addr().octets();
        let mut routes = vec![0];
        routes.extend(via);
        routes.push(32);
        routes.extend(METADATA.octets());
        routes.extend(via);
        option(121, &routes);
    }
    bytes.push(255);
    bytes.resize(bytes.len().max(LEAST_BYTES), 0);
    Some((bytes, to))
}

fn v4(address: &IpAddr) -> Option<[u8; 4]> {
    match address {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    }
}

pub(crate) fn start(
    device: &Device<'_>,
    gateway: Ipv4Net,
    network: &Arc<Network>,
    directory: &Arc<dyn Directory>,
) -> io::Result<JoinHandle<()>> {
    let socket = device.datagram(SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVER)), &[])?;
    let (network, directory) = (Arc::clone(network), Arc::clone(directory));
    Ok(tokio::spawn(async move {
        let mut buffer = [0; MOST_BYTES];
        loop {
            let (length, _) = receive(&socket, &mut buffer, "DHCP", &network.bridge).await;
            let Some(question) = parse(&buffer[..length]) else { continue };
            let Some(node) = directory.by_mac(question.mac) else { continue };
            if let Some((bytes, to)) = answer(&question, &node, gateway, &network)
                && let Err(error) = socket.send_to(&bytes, (to, CLIENT)).await
            {
                tracing::debug!(%error, %to, bridge = network.bridge, "DHCP: the answer is lost");
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn question(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        bytes[28..34].copy_from_slice(&MAC.0);
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend([53, 1, kind]);
        bytes.extend(options);
        bytes.push(255);
        bytes
    }

    fn network() -> Network {
        Network {
            bridge: "b".into(),
            ipv4: Some("172.20.20.1/24".parse().unwrap()),
            ipv6: None,
            mtu: 1500,
            resolvers: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        }
    }

    fn node() -> Node {
        Node { hostname: "r1".into(), ipv4: Some([172, 20, 20, 5].into()), ipv6: None }
    }

    fn answered(bytes: &[u8]) -> Option<(u8, Ipv4Addr, Ipv4Addr)> {
        let question = parse(bytes)?;
        let (bytes, to) = answer(&question, &node(), network().ipv4?, &network())?;
        let given = Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19]);
        assert_eq!(bytes[..8], [2, 1, 6, 0, 1, 2, 3, 4]);
        assert_eq!(bytes[FIXED..FIXED + 2], [53, 1]);
        Some((bytes[FIXED + 2], given, to))
    }

    #[test]
    fn a_node_is_offered_and_given_its_own_address_and_no_other() {
        let (own, all) = ([172, 20, 20, 5].into(), Ipv4Addr::BROADCAST);
        assert_eq!(answered(&question(DISCOVER, &[])), Some((OFFER, own, all)));
        let wants = |last| question(REQUEST, &[50, 4, 172, 20, 20, last, 54, 4, 172, 20, 20, 1]);
        assert_eq!(answered(&wants(5)), Some((ACK, own, all)));
        assert_eq!(answered(&wants(6)), Some((NAK, Ipv4Addr::UNSPECIFIED, all)));
        // Renewal: by unicast, to the address it has.
        let mut renewal = question(REQUEST, &[]);
        renewal[12..16].copy_from_slice(&[172, 20, 20, 5]);
        assert_eq!(answered(&renewal), Some((ACK, own, own)));
        // Another server is meant.
        assert_eq!(answered(&question(REQUEST, &[54, 4, 10, 0, 0, 1])), None);
        // Given back.
        assert_eq!(answered(&question(7, &[])), None);
    }

    #[test]
    fn an_answer_says_mask_router_names_and_the_way_to_the_metadata() {
        let question = parse(&question(DISCOVER, &[])).unwrap();
        let (bytes, _) = answer(&question, &node(), network().ipv4.unwrap(), &network()).unwrap();
        let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        assert!(has(&[1, 4, 255, 255, 255, 0]) && has(&[3, 4, 172, 20, 20, 1]));
        assert!(has(&[6, 4, 192, 0, 2, 1]) && has(b"\x0c\x02r1"));
        assert!(has(&[121, 14, 0, 172, 20, 20, 1, 32, 169, 254, 169, 254, 172, 20, 20, 1]));
    }

    #[test]
    fn what_is_no_question_is_not_taken_for_one() {
        let good = question(DISCOVER, &[]);
        assert!(parse(&good).is_some());
        for length in 0..FIXED {
            assert_eq!(parse(&good[..length]), None);
        }
        let mut relayed = good.clone();
        relayed[24] = 10;
        assert_eq!(parse(&relayed), None);
        assert_eq!(parse(&question(DISCOVER, &[50, 200])), None, "an option that is cut off");
        assert_eq!(parse(&question(DISCOVER, &[50, 3, 1, 2, 3])), None, "half an address");
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            options in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            for bytes in [bytes, question(REQUEST, &options)] {
                if let Some(question) = parse(&bytes) {
                    answer(&question, &node(), network().ipv4.unwrap(), &network());
                }
            }
        }
    }
}
