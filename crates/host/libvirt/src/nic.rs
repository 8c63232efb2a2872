//! A domain's network interfaces: one for each of the namespace's, in the order of their names.

pub(crate) use vnode_driver::nic::{Nic, network};
use vnode_driver::{NodeSpec, Result};
use vnode_network::state::{self, Interface};
use vnode_network::{Ns, Owner, host_name};

use crate::container::LXC;
use crate::xml::Element;

/// libvirt's name of its driver of QEMU.
pub(crate) const QEMU: &str = "QEMU";

/// What bears this mark in the alias is a hypervisor's end of one of the node's interfaces.
fn what(spec: &NodeSpec) -> String {
    format!("domain {}", spec.node)
}

fn owner(instance: &str, spec: &NodeSpec) -> Owner {
    Owner { instance: instance.to_owned(), lab: spec.lab.clone(), operation: "libvirt".to_owned() }
}

fn is_end(interface: &Interface) -> bool {
    // Ends carry a name of ours; a pair made by libvirt's LXC driver bears no mark.
    (interface.name.len() == 15 && interface.name.starts_with("vn"))
        || interface.alias.as_deref().is_some_and(|alias| alias.starts_with("vnode:"))
}

/// The hypervisor's end of an interface: a name that is a function of instance, lab, node and name.
fn end(instance: &str, spec: &NodeSpec, interface: &str) -> String {
    host_name(&[instance, &spec.lab, &spec.node, "domain", interface])
}

/// Interfaces of the namespace that are the domain's.
pub(crate) fn find(ns: &Ns, instance: &str, spec: &NodeSpec) -> Result<Vec<Nic>> {
    vnode_driver::nic::find(ns, is_end, |interface| end(instance, spec, &interface.name))
}

/// Joins an interface that was made anew to the end it had; nothing, when it had none.
pub(crate) fn rejoin(ns: &Ns, instance: &str, spec: &NodeSpec, interface: &str) -> Result<()> {
    let tap = end(instance, spec, interface);
    let joined = match ns.has_interface(&tap).map_err(network)? {
        true => ns.join_tap(&tap, interface).map_err(network),
        false => Ok(()),
    };
    ns.close_sockets();
    joined
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
        if interface.name != "lo" && is_end(&interface) {
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

/// Puts something of that name where libvirt looks for its end of an interface. Its LXC driver deletes that end by its name
/// when it takes an interface off a domain, and keeps the interface where there is none: it is in the node, or went with it.
pub(crate) fn stand_in(host: &Ns, wire: &str, instance: &str, spec: &NodeSpec) -> Result<()> {
    let whole = crate::xml::read(&format!("<domain>{wire}</domain>"));
    let whole = whole.map_err(|error| vnode_driver::Error::Invalid {
        node: spec.node.clone(),
        what: format!("what is kept of its interfaces: {error}"),
    })?;
    let target = whole.child("interface").and_then(|wire| wire.child("target"));
    let Some(name) = target.and_then(|target| target.attribute("dev")) else { return Ok(()) };
    host.offer_tap(name, 0, &owner(instance, spec), &what(spec)).map_err(network)
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
    if kind == LXC {
        // A container's own definition has them in place before its first process runs.
        element.children.push(Element::new("guest", &[("dev", nic.name.as_str())]));
        for net in &nic.addresses {
            let (address, prefix) = (net.addr().to_string(), net.prefix_len().to_string());
            let family = if net.addr().is_ipv4() { "ipv4" } else { "ipv6" };
            let about = [("family", family), ("address", &address), ("prefix", &prefix)];
            element.children.push(Element::new("ip", &about));
        }
    }
    for name in ["model", "driver", "boot", "rom", "alias", "address", "guest"] {
        if element.child(name).is_some() {
            continue;
        }
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
    fn a_containers_end_has_its_name_and_addresses_before_anything_runs_in_it() {
        let nic = Nic {
            name: "eth1".to_owned(),
            tap: "vn0123456789abc".to_owned(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            mtu: 1500,
            addresses: vec!["10.0.0.1/24".parse().unwrap(), "fd00::1/64".parse().unwrap()],
            gateways: Vec::new(),
        };
        let made = element(&nic, None, LXC);
        assert_eq!(made.child("guest").and_then(|guest| guest.attribute("dev")), Some("eth1"));
        let about = |ip: &Element| {
            ["family", "address", "prefix"].map(|name| ip.attribute(name).map(str::to_owned))
        };
        let all: Vec<_> = made.all("ip").map(about).collect();
        let word = |text: &str| Some(text.to_owned());
        assert_eq!(
            all,
            [
                [word("ipv4"), word("10.0.0.1"), word("24")],
                [word("ipv6"), word("fd00::1"), word("64")]
            ]
        );
        // A machine's guest is told in another way.
        let machine = element(&nic, None, QEMU);
        assert!(machine.child("ip").is_none() && machine.child("guest").is_none());
    }
}
