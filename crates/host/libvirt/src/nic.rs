//! A domain's network interfaces: one for each of the namespace's, in the order of their names.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use vnode_driver::{Error, NodeSpec, Result};
use vnode_network::{Mac, Ns, Owner, host_name, state};

use crate::xml::Element;

/// libvirt's name of its driver of QEMU.
pub(crate) const QEMU: &str = "QEMU";

/// One interface of the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nic {
    /// As in the topology.
    pub(crate) name: String,
    /// The hypervisor's end, a function of instance, lab, node and name.
    pub(crate) tap: String,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<IpNet>,
    /// Ways out of the lab; only the control interface has some.
    pub(crate) gateways: Vec<IpAddr>,
}

pub(crate) fn network(error: vnode_network::Error) -> Error {
    Error::Io {
        doing: "set up the domain's network".to_owned(),
        source: std::io::Error::other(error),
    }
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

/// What bears this mark in the alias is a hypervisor's end of one of the node's interfaces.
fn what(spec: &NodeSpec) -> String {
    format!("domain {}", spec.node)
}

fn owner(instance: &str, spec: &NodeSpec) -> Owner {
    Owner { instance: instance.to_owned(), lab: spec.lab.clone(), operation: "libvirt".to_owned() }
}

fn is_end(name: &str, alias: Option<&str>) -> bool {
    // Ends carry a name of ours; a pair made by libvirt's LXC driver bears no mark.
    (name.len() == 15 && name.starts_with("vn")) || alias.is_some_and(|a| a.starts_with("vnode:"))
}

/// Interfaces of the namespace that are the domain's.
pub(crate) fn find(ns: &Ns, instance: &str, spec: &NodeSpec) -> Result<Vec<Nic>> {
    let gateways: Vec<(u32, IpAddr)> = state::gateways(ns).map_err(network)?;
    let mut nics = Vec::new();
    for interface in state::interfaces(ns).map_err(network)? {
        if interface.name == "lo" || is_end(&interface.name, interface.alias.as_deref()) {
            continue;
        }
        let Some(mac) = interface.mac else { continue };
        let routable =
            |net: &IpNet| !matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
        nics.push(Nic {
            tap: host_name(&[instance, &spec.lab, &spec.node, "domain", &interface.name]),
            mac,
            mtu: interface.mtu,
            addresses: interface.addresses.into_iter().filter(routable).collect(),
            gateways: gateways
                .iter()
                .filter(|(index, _)| *index == interface.index)
                .map(|(_, via)| *via)
                .collect(),
            name: interface.name,
        });
    }
    nics.sort_by(|a, b| natural(&a.name, &b.name));
    Ok(nics)
}

/// Removes the hypervisor's ends of an earlier boot, wherever they are.
pub(crate) fn clear(host: &Ns, ns: Option<&Ns>, instance: &str, spec: &NodeSpec) -> Result<()> {
    let mark = owner(instance, spec).mark(&what(spec));
    for interface in state::interfaces(host).map_err(network)? {
        if interface.alias.as_deref() == Some(mark.as_str()) {
            host.remove_interface(&interface.name).map_err(network)?;
        }
    }
    let Some(ns) = ns else { return Ok(()) };
    for interface in state::interfaces(ns).map_err(network)? {
        if interface.name != "lo" && is_end(&interface.name, interface.alias.as_deref()) {
            ns.remove_tap(&interface.name, "").map_err(network)?;
        }
    }
    Ok(())
}

/// Makes the taps for the hypervisor to open, in the host's namespace.
pub(crate) fn offer(host: &Ns, nics: &[Nic], instance: &str, spec: &NodeSpec) -> Result<()> {
    for nic in nics {
        host.offer_tap(&nic.tap, 0, &owner(instance, spec), &what(spec)).map_err(network)?;
    }
    Ok(())
}

/// Brings what the hypervisor holds now into the node.
pub(crate) fn take(host: &Ns, ns: &Ns, nics: &[Nic]) -> Result<()> {
    for nic in nics {
        ns.take_in(host, &nic.tap, &nic.name).map_err(network)?;
    }
    ns.close_sockets();
    Ok(())
}

/// What libvirt is told of an interface. An interface of the file gives its model and its place, if it has one. QEMU opens a tap
/// that is there; other drivers make their end themselves, under the name they are given.
pub(crate) fn element(nic: &Nic, model: Option<&Element>, kind: &str) -> Element {
    let mut element = Element::new("interface", &[("type", "ethernet")]);
    let mac = nic.mac.to_string();
    element.children.push(Element::new("mac", &[("address", mac.as_str())]));
    let mut target = Element::new("target", &[("dev", nic.tap.as_str())]);
    if kind == QEMU {
        target.set("managed", "no");
        let mtu = nic.mtu.to_string();
        element.children.push(Element::new("mtu", &[("size", mtu.as_str())]));
    }
    element.children.push(target);
    for name in ["model", "driver", "boot", "rom", "alias", "address", "guest"] {
        if let Some(given) = model.and_then(|model| model.child(name)) {
            element.children.push(given.clone());
        }
    }
    if kind == QEMU && element.child("model").is_none() {
        element.children.push(Element::new("model", &[("type", "virtio")]));
    }
    element
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
