//! The network interfaces of a machine: one for each of its node's namespace, in the order of their names.
//!
//! A hypervisor does not live in that namespace as a container does. Each interface is joined to an end that the hypervisor
//! holds; how such an end is made, found and named is the driver's business.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use vnode_network::state::{self, Interface};
use vnode_network::{Mac, Ns};

use crate::{Error, Result};

/// One interface of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// As in the topology; the guest gives it this name where it is told.
    pub name: String,
    /// Name of the hypervisor's end.
    pub tap: String,
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// Without those of the link alone.
    pub addresses: Vec<IpNet>,
    /// Of its default routes; only the control interface has some.
    pub gateways: Vec<IpAddr>,
}

/// What the kernel refused, as a driver's error.
#[must_use]
pub fn network(error: vnode_network::Error) -> Error {
    Error::io("set up the machine's network", std::io::Error::other(error))
}

/// Interfaces of the namespace that are the machine's: all with an Ethernet address that are no hypervisor's end
/// (`is_end`). `tap` names the end of each.
///
/// # Errors
/// The kernel refuses to list them.
pub fn find(
    ns: &Ns,
    is_end: impl Fn(&Interface) -> bool,
    tap: impl Fn(&Interface) -> String,
) -> Result<Vec<Nic>> {
    let gateways = state::gateways(ns).map_err(network)?;
    let mut nics: Vec<Nic> = state::interfaces(ns)
        .map_err(network)?
        .into_iter()
        .filter(|interface| interface.name != "lo" && !is_end(interface))
        .filter_map(|interface| {
            Some(Nic {
                tap: tap(&interface),
                mac: interface.mac?,
                mtu: interface.mtu,
                name: interface.name,
                addresses: interface
                    .addresses
                    .into_iter()
                    .filter(|net| !is_link_local(net))
                    .collect(),
                gateways: gateways
                    .iter()
                    .filter(|(index, _)| *index == interface.index)
                    .map(|(_, via)| *via)
                    .collect(),
            })
        })
        .collect();
    nics.sort_by(|a, b| natural(&a.name, &b.name));
    Ok(nics)
}

/// Where a machine is reached from its host: its first address of the control network.
#[must_use]
pub fn control_address(nics: &[Nic]) -> Option<IpAddr> {
    let with_gateway = nics.iter().filter(|nic| !nic.gateways.is_empty());
    with_gateway.flat_map(|nic| nic.addresses.first()).next().map(IpNet::addr)
}

/// Whether anything answers at an address: a refusal is an answer.
pub async fn answers(address: IpAddr) -> bool {
    /// `discard`: nothing listens there, and who does takes no harm.
    const PORT: u16 = 9;
    const PATIENCE: Duration = Duration::from_secs(2);
    let connect = tokio::net::TcpStream::connect((address, PORT));
    match tokio::time::timeout(PATIENCE, connect).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Err(_) => false,
    }
}

fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

/// `eth2` before `eth10`.
fn natural(a: &str, b: &str) -> Ordering {
    let split = |name: &str| {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (word, number) = name.split_at(name.len() - digits);
        (word.to_owned(), number.parse::<u64>().unwrap_or(0))
    };
    split(a).cmp(&split(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_numbered_as_people_count() {
        let mut names = ["eth10", "eth2", "ge1", "eth0", "eth1"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["eth0", "eth1", "eth2", "eth10", "ge1"]);
    }
}
