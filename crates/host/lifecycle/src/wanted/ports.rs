//! Ports of the host that lead to nodes. A forward is a rule and no socket: the kernel would let two have the same port, and
//! would take connections away from a program that listens.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use vnode_topology::{Node, Port, PortProtocol};

use crate::error::{Error, Result};
use crate::record::{Forward, NodeRecord};
use crate::wanted::Records;

/// Tries for a port that nobody has: the kernel gives any of some 28,000.
const TRIES: usize = 1000;

/// Who has a port, at which of the host's addresses.
type Users = Vec<(Option<IpAddr>, String)>;

/// Who has which port, by number and protocol.
#[derive(Debug, Default)]
pub struct Ports(HashMap<(u16, String), Users>);

impl Ports {
    /// Marks what a node of a lab has.
    pub(crate) fn take(&mut self, lab: &str, record: &NodeRecord) {
        for forward in record.control.iter().flat_map(|control| &control.forwards) {
            self.put(forward, format!("node `{lab}/{}`", record.node));
        }
    }

    fn put(&mut self, forward: &Forward, owner: String) {
        let key = (forward.host_port, forward.protocol.clone());
        self.0.entry(key).or_default().push((forward.host_address, owner));
    }

    fn owner(&self, forward: &Forward) -> Option<&str> {
        let users = self.0.get(&(forward.host_port, forward.protocol.clone()))?;
        let of = users.iter().find(|(other, _)| Port::overlap(*other, forward.host_address));
        of.map(|(_, owner)| owner.as_str())
    }

    /// Marks the ports that the nodes' definitions name, of all of a lab's before one is chosen.
    pub(super) fn fix<'a>(
        &mut self,
        lab: &str,
        nodes: impl Iterator<Item = &'a Node>,
    ) -> Result<()> {
        for node in nodes {
            for port in node.ports.iter().filter(|port| port.host != 0) {
                let forward = forward(port, port.host);
                if let Some(owner) = self.owner(&forward) {
                    return Err(refused(&forward, &node.name, &format!("leads to {owner}")));
                }
                self.put(&forward, format!("node `{lab}/{}`", node.name));
            }
        }
        Ok(())
    }

    /// The forwards of a node, whose named ports are marked; the others keep theirs where they can.
    pub(super) fn of(
        &mut self,
        lab: &str,
        node: &Node,
        old: Option<&[Forward]>,
    ) -> Result<Vec<Forward>> {
        let mut forwards: Vec<Forward> = Vec::new();
        for port in &node.ports {
            if port.host != 0 {
                forwards.push(forward(port, port.host));
                continue;
            }
            let kept = old.into_iter().flatten().find(|old| {
                let named = node.ports.iter().any(|port| port.host == old.host_port);
                old.node_port == port.node
                    && old.protocol == protocol(port.protocol)
                    && !named
                    && !forwards.iter().any(|new| new.host_port == old.host_port)
            });
            let kept = kept.map(|old| forward(port, old.host_port));
            let chosen = match kept.filter(|kept| self.owner(kept).is_none()) {
                Some(kept) => kept,
                None => self.free(port)?,
            };
            self.put(&chosen, format!("node `{lab}/{}`", node.name));
            forwards.push(chosen);
        }
        Ok(forwards)
    }

    /// A port that nobody listens on now, and that leads nowhere.
    fn free(&self, port: &Port) -> Result<Forward> {
        let failed = |source| Error::failed("no free port on the host").because(source);
        for _ in 0..TRIES {
            let free = match port.protocol {
                PortProtocol::Udp => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
                    .and_then(|socket| socket.local_addr()),
                PortProtocol::Tcp | PortProtocol::Sctp => {
                    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
                        .and_then(|listener| listener.local_addr())
                }
            };
            let forward = forward(port, free.map_err(failed)?.port());
            if self.owner(&forward).is_none() {
                return Ok(forward);
            }
        }
        Err(Error::conflict("all ports of the host that could be found lead to nodes"))
    }
}

fn protocol(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Sctp => "sctp",
    }
}

fn forward(port: &Port, host_port: u16) -> Forward {
    Forward {
        host_address: port.address,
        host_port,
        node_port: port.node,
        protocol: protocol(port.protocol).to_owned(),
    }
}

fn refused(forward: &Forward, node: &str, why: &str) -> Error {
    let (port, protocol) = (forward.host_port, &forward.protocol);
    Error::conflict(format!("port {port}/{protocol} of the host, for node `{node}`, {why}"))
        .hint("give another `host port:node port`, or the node's port alone")
}

/// Refuses ports that a program of the host listens on, of those that no node of the lab had before.
pub(crate) fn check_unused<'a>(
    new: impl Iterator<Item = &'a NodeRecord>,
    old: Option<&Records>,
) -> Result<()> {
    let had: Vec<&Forward> = old
        .into_iter()
        .flat_map(|old| old.nodes.values())
        .flat_map(|node| node.control.iter().flat_map(|control| &control.forwards))
        .collect();
    for node in new {
        for forward in node.control.iter().flat_map(|control| &control.forwards) {
            let same = |old: &&Forward| {
                (old.host_port, &old.protocol) == (forward.host_port, &forward.protocol)
            };
            if !had.iter().any(same) && is_listened_on(forward) {
                return Err(refused(
                    forward,
                    &node.node,
                    "is listened on by a program of the host",
                ));
            }
        }
    }
    Ok(())
}

/// Whether a program of the host has the port. Of SCTP nothing is known, and where the kernel will not say, nothing either:
/// the address may be one that the host will only have later.
fn is_listened_on(forward: &Forward) -> bool {
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let addresses = forward.host_address.map_or_else(|| any.to_vec(), |address| vec![address]);
    addresses.into_iter().any(|address| {
        let bound = match &*forward.protocol {
            "tcp" => TcpListener::bind((address, forward.host_port)).map(drop),
            "udp" => UdpSocket::bind((address, forward.host_port)).map(drop),
            _ => Ok(()),
        };
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ports: &[(u16, u16)]) -> Node {
        let port = |&(host, node): &(u16, u16)| Port {
            address: None,
            host,
            node,
            protocol: PortProtocol::Tcp,
        };
        Node { name: "n".into(), ports: ports.iter().map(port).collect(), ..Node::default() }
    }

    #[test]
    fn chosen_ports_are_chosen_once_and_kept() {
        let mut ports = Ports::default();
        let first = ports.of("l", &node(&[(0, 22), (0, 23)]), None).unwrap();
        assert_ne!(first[0].host_port, first[1].host_port);
        let again = Ports::default().of("l", &node(&[(0, 23), (0, 22)]), Some(&first)).unwrap();
        assert_eq!((&again[0], &again[1]), (&first[1], &first[0]));
        // Somebody else has it by now.
        let other = ports.of("m", &node(&[(0, 22)]), Some(&first)).unwrap();
        assert_ne!(other[0].host_port, first[0].host_port);
    }

    #[test]
    fn a_named_port_that_another_has_is_refused() {
        let named = node(&[(8080, 80)]);
        let mut ports = Ports::default();
        ports.fix("l", [&named].into_iter()).unwrap();
        let refused = ports.fix("m", [&named].into_iter()).unwrap_err();
        assert!(refused.text.contains("leads to node `l/n`"), "{refused}");
    }

    #[test]
    fn a_program_that_listens_is_seen() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = listener.local_addr().unwrap().port();
        let of = |address: Option<&str>| Port {
            address: address.map(|address| address.parse().unwrap()),
            host: number,
            node: 80,
            protocol: PortProtocol::Tcp,
        };
        assert!(is_listened_on(&forward(&of(None), number)));
        assert!(is_listened_on(&forward(&of(Some("127.0.0.1")), number)));
        assert!(!is_listened_on(&forward(&of(Some("127.0.0.2")), number)));
        drop(listener);
        assert!(!is_listened_on(&forward(&of(None), number)));
    }
}
