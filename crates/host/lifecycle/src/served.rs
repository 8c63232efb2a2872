//! Who stands behind the services of a lab's control network: the lab's records, as they are when a node asks.
//!
//! A lab of containers has none: their addresses are set from outside.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use ipnet::{Ipv4Net, Ipv6Net};
use vnode_netserve::{Directory, Network, Node};
use vnode_network::Mac;

use crate::inner::Inner;
use crate::record::NodeRecord;
use crate::registry::lock;

/// The nodes of one lab.
struct Records {
    inner: Weak<Inner>,
    lab: String,
}

impl Records {
    /// What `look` says of the first node it says something of.
    fn find<T>(&self, look: impl Fn(&NodeRecord) -> Option<T>) -> Option<T> {
        let inner = self.inner.upgrade()?;
        let found = inner
            .registry
            .lab(&self.lab, |lab| lab.nodes.values().find_map(|node| node.with(&look)));
        // A lab that is gone has no nodes.
        found.ok().flatten()
    }
}

impl Directory for Records {
    fn by_mac(&self, mac: Mac) -> Option<Node> {
        self.find(|record| {
            let end = record.control.as_ref().filter(|end| end.mac == mac)?;
            let hostname = record.spec.as_ref().map_or(&record.node, |spec| &spec.hostname);
            Some(Node { hostname: hostname.clone(), ipv4: end.ipv4, ipv6: end.ipv6 })
        })
    }

    fn files_of(&self, address: Ipv4Addr) -> Option<PathBuf> {
        let node = self.find(|record| {
            record.control.as_ref().filter(|end| end.ipv4 == Some(address))?;
            record.spec.as_ref()?.machine.as_ref()?;
            Some(record.node.clone())
        })?;
        let folder = self.inner.upgrade()?.node_dir(&self.lab, &node);
        Some(folder.join(vnode_qemu::METADATA_FOLDER))
    }
}

/// Serves a lab that has a machine and a control network; one that is served already is left alone. What cannot be served
/// is told: addresses reach machines by their seeds, too.
pub(crate) async fn start(inner: &Arc<Inner>, lab: &str) {
    let wanted = inner.registry.lab(lab, |lab| {
        let control = lab.record.control.clone()?;
        lab.record.lab.nodes.iter().any(|node| node.vm.is_some()).then_some(control)
    });
    let Ok(Some(control)) = wanted else { return };
    {
        let mut served = lock(&inner.served);
        if served.contains_key(lab) {
            return;
        }
        // Its place is taken at once: many nodes come here together.
        served.insert(lab.to_owned(), None);
    }
    let ipv4 = control.ipv4.zip(control.ipv4_gateway);
    let ipv6 = control.ipv6.zip(control.ipv6_gateway);
    let network = Network {
        bridge: control.bridge.clone(),
        ipv4: ipv4.and_then(|(net, gateway)| Ipv4Net::new(gateway, net.prefix_len()).ok()),
        ipv6: ipv6.and_then(|(net, gateway)| Ipv6Net::new(gateway, net.prefix_len()).ok()),
        mtu: u16::try_from(control.mtu).unwrap_or(u16::MAX),
        resolvers: resolvers(),
    };
    let directory = Arc::new(Records { inner: Arc::downgrade(inner), lab: lab.to_owned() });
    let host = inner.network.clone();
    // It asks the kernel, and sets its tasks going on the runtime this thread belongs to.
    let made =
        tokio::task::spawn_blocking(move || vnode_netserve::serve(host.ns(), network, directory));
    match made.await {
        Ok((served, errors)) => {
            for error in errors {
                tracing::warn!(lab, "{}", vnode_protocol::chain(&error));
            }
            // A lab that went meanwhile has no place any more, and these end here.
            if let Some(place) = lock(&inner.served).get_mut(lab) {
                *place = Some(served);
            }
        }
        Err(error) => tracing::warn!(lab, %error, "the control network's services"),
    }
}

/// Ends what [`start`] began.
pub(crate) fn stop(inner: &Inner, lab: &str) {
    lock(&inner.served).remove(lab);
}

/// The host's name servers that nodes can reach.
fn resolvers() -> Vec<IpAddr> {
    // A host without the file has none.
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|address| address.trim().parse().ok())
        .filter(|address: &IpAddr| !address.is_loopback())
        .collect()
}
