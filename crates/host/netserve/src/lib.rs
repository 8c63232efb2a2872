//! What a lab's control network says to nodes that ask: addresses by DHCP, the router by router advertisements, and a
//! machine's names, addresses and user data by the metadata service of the clouds.
//!
//! ```text
//!   node ── eth0 ── bridge (the gateway's address)
//!                     ├─ UDP 67     DHCP                  the address the node has, by its Ethernet address
//!                     ├─ UDP 547    DHCP for IPv6         the same
//!                     ├─ ICMPv6     router advertisements
//!                     └─ TCP 8775   metadata; the lab's rules lead 169.254.169.254:80 here
//! ```
//!
//! Nothing is given out that the topology has not given: an unknown node gets no answer. Every socket is bound to the
//! lab's bridge. Leases outlive the daemon, whose absence nodes notice only when they ask.

pub mod dhcp;
pub mod dhcp6;
mod metadata;
mod router;
mod socket;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use tokio::task::JoinHandle;
use vnode_network::{Mac, Ns};

pub use metadata::{Files, PORT as METADATA_PORT};

/// How long a node may use its address before it asks again. It never changes while the node is there.
pub const LEASE: Duration = Duration::from_secs(24 * 3600);

/// A lab's control network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Kernel name of its bridge.
    pub bridge: String,
    /// The gateway's addresses, with their subnets' prefixes.
    pub ipv4: Option<Ipv4Net>,
    pub ipv6: Option<Ipv6Net>,
    pub mtu: u16,
    /// Name servers nodes are told of.
    pub resolvers: Vec<IpAddr>,
}

/// A node, as the topology has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub hostname: String,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

/// Who is on the network; asked at every request, so that it is always as it is now.
pub trait Directory: Send + Sync + 'static {
    /// The node whose control interface has this Ethernet address.
    fn by_mac(&self, mac: Mac) -> Option<Node>;

    /// Folder of the files ([`Files`]) of the machine with this address. The lab's rules let no node send with
    /// another's.
    fn files_of(&self, address: Ipv4Addr) -> Option<PathBuf>;
}

/// Why something is not served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve {what} on the control network `{bridge}`")]
pub struct Error {
    what: &'static str,
    bridge: String,
    #[source]
    source: std::io::Error,
}

/// The services of one network; they end when it is dropped.
#[derive(Debug)]
pub struct Served(Vec<JoinHandle<()>>);

impl Drop for Served {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Serves a network, whose bridge stands in `ns`. What cannot be served (another server has the port) is told beside what
/// is; the network is of use without it.
#[must_use]
pub fn serve(ns: &Ns, network: Network, directory: Arc<dyn Directory>) -> (Served, Vec<Error>) {
    let network = Arc::new(network);
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    let device = match socket::Device::find(ns, &network.bridge) {
        Ok(device) => device,
        Err(source) => {
            let error = Error { what: "anything", bridge: network.bridge.clone(), source };
            return (Served(tasks), vec![error]);
        }
    };
    let mut take = |what, made: std::io::Result<JoinHandle<()>>| match made {
        Ok(task) => tasks.push(task),
        Err(source) => errors.push(Error { what, bridge: network.bridge.clone(), source }),
    };
    if let Some(gateway) = network.ipv4 {
        take("DHCP", dhcp::start(&device, gateway, &network, &directory));
        take("metadata", metadata::start(&device, gateway, &directory));
    }
    if let Some(gateway) = network.ipv6 {
        take("router advertisements", router::start(&device, gateway, &network));
        take("DHCP for IPv6", dhcp6::start(&device, gateway, &network, &directory));
    }
    (Served(tasks), errors)
}
