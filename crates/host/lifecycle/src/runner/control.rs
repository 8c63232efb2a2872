//! A node's end on its lab's control network.

use std::sync::Arc;

use ipnet::IpNet;
use vnode_network::control::{Control, ControlPort, Forward, Protocol};
use vnode_network::{End, PairSpec, Place, Route};

use crate::error::Result;
use crate::inner::{Inner, blocking};
use crate::wanted::CONTROL_INTERFACE;

use super::node::namespace;

/// The pair to the control bridge, addresses, default routes, permission to speak, port forwards.
pub(super) async fn connect(
    inner: &Arc<Inner>,
    lab: &str,
    name: &str,
    operation: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    let instance = entry.live()?;
    let network_of_lab = inner.registry.lab(lab, |lab| lab.record.control.clone())?;
    let (Some(end), Some(lab_control)) =
        (entry.with(|record| record.control.clone()), network_of_lab)
    else {
        return Ok(());
    };
    let mut addresses = Vec::new();
    let mut routes = Vec::new();
    if let (Some(address), Some(net)) = (end.ipv4, lab_control.ipv4) {
        addresses.extend(IpNet::new(address.into(), net.prefix_len()).ok());
        if let Some(gateway) = lab_control.ipv4_gateway {
            routes.push(default_route("0.0.0.0/0", gateway.into()));
        }
    }
    if let (Some(address), Some(net)) = (end.ipv6, lab_control.ipv6) {
        addresses.extend(IpNet::new(address.into(), net.prefix_len()).ok());
        if let Some(gateway) = lab_control.ipv6_gateway {
            routes.push(default_route("::/0", gateway.into()));
        }
    }
    let ns = namespace(&*instance)?;
    let owner = inner.owner(lab, operation);
    let network = inner.network.clone();
    let link = format!("{name}:{CONTROL_INTERFACE} -- control");
    let what = format!("control {name}");
    let permissions = vec![port(&end)];
    blocking(move || {
        let control = Control::open(&network, &owner);
        if ns.has_interface(CONTROL_INTERFACE)? {
            ns.remove_interface(CONTROL_INTERFACE)?;
        }
        control.add_nodes(&permissions)?;
        network.link_pair(&PairSpec {
            link: &link,
            a: End {
                place: Place::Node(&ns),
                name: CONTROL_INTERFACE,
                alternative_name: None,
                mac: Some(end.mac),
                addresses: &addresses,
                routes: &routes,
                impairment: None,
                up: true,
            },
            b: End {
                place: Place::Host { bridge: Some(&control.bridge), owner: &owner, what: &what },
                name: &end.port,
                alternative_name: None,
                mac: None,
                addresses: &[],
                routes: &[],
                impairment: None,
                up: true,
            },
            mtu: Some(lab_control.mtu),
        })?;
        // Its addresses and routes are all here: what is advertised is for machines, which are behind this interface.
        if end.ipv6.is_some() {
            ns.sysctl_write(&format!("net/ipv6/conf/{CONTROL_INTERFACE}/accept_ra"), "0")?;
        }
        ns.close_sockets();
        Ok(())
    })
    .await?;
    // A lab has machines from its first one on, whenever that came.
    crate::served::start(inner, lab).await;
    Ok(())
}

fn default_route(to: &str, via: std::net::IpAddr) -> Route {
    Route { to: to.parse().expect("a constant that is a network"), via: Some(via), metric: None }
}

pub(super) fn port(control: &crate::record::ControlEnd) -> ControlPort {
    ControlPort {
        port: control.port.clone(),
        mac: control.mac,
        addresses: control
            .ipv4
            .map(Into::into)
            .into_iter()
            .chain(control.ipv6.map(Into::into))
            .collect(),
    }
}

/// Forwards in the network crate's words: to the node's address of the family the host's address has.
pub(super) fn forwards(control: &crate::record::ControlEnd) -> Result<Vec<Forward>> {
    let mut forwards = Vec::new();
    for forward in &control.forwards {
        let protocol = match forward.protocol.as_str() {
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        let v4 = control.ipv4.map(std::net::IpAddr::V4);
        let v6 = control.ipv6.map(std::net::IpAddr::V6);
        let targets = match forward.host_address {
            Some(address) if address.is_ipv4() => [v4, None],
            Some(_) => [v6, None],
            None => [v4, v6],
        };
        // `0.0.0.0` and `::` are every address of their family, and the destination of nothing.
        let host_address = forward.host_address.filter(|address| !address.is_unspecified());
        for node_address in targets.into_iter().flatten() {
            forwards.push(Forward {
                protocol,
                host_address,
                host_port: forward.host_port,
                node_address,
                node_port: forward.node_port,
            });
        }
    }
    Ok(forwards)
}

/// Inverse of [`connect`].
pub(super) async fn disconnect(inner: &Arc<Inner>, lab: &str, name: &str) -> Result<()> {
    let Ok(entry) = inner.registry.node(lab, name) else { return Ok(()) };
    let Some(end) = entry.with(|record| record.control.clone()) else { return Ok(()) };
    let owner = inner.owner(lab, "");
    let network = inner.network.clone();
    let forwards = forwards(&end)?;
    blocking(move || {
        network.remove_link(&end.port)?;
        let control = Control::open(&network, &owner);
        control.remove_forwards(&forwards)?;
        control.forget_nodes(&[port(&end)])
    })
    .await
}
