//! Steps about links.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use vnode_network::block::Way;
use vnode_network::{
    DummySpec, End, Host, MacvlanSpec, Ns, Owner, PairSpec, Place, VxlanSpec, VxlanTarget, block,
    control, impair,
};
use vnode_protocol::impairment::Impairment;

use crate::error::{Error, Result};
use crate::inner::{Inner, blocking, driver_error};
use crate::record::{EndRecord, LinkKind, LinkRecord};

use super::node::namespace;

pub(super) fn record(inner: &Inner, lab: &str, link: &str) -> Result<LinkRecord> {
    inner
        .registry
        .lab(lab, |lab| lab.links.get(link).cloned())?
        .ok_or_else(|| Error::not_found(format!("no link `{link}` in lab `{lab}`")))
}

/// The namespace an end lives in.
pub(crate) fn namespace_of(inner: &Inner, lab: &str, node: &str) -> Result<Ns> {
    namespace(&*inner.registry.node(lab, node)?.live()?)
}

pub(super) fn mark(inner: &Inner, lab: &str, link: &str, made: bool) -> Result<()> {
    inner.registry.lab_mut(lab, |lab| {
        if let Some(link) = lab.links.get_mut(link) {
            link.made = made;
        }
    })
}

/// What is put on an end: nothing for a perfect link.
fn shaper(impairment: &Impairment) -> Option<&Impairment> {
    (!impairment.is_perfect()).then_some(impairment)
}

pub(super) fn node_end<'a>(ns: &'a Ns, end: &'a EndRecord) -> End<'a> {
    End {
        place: Place::Node(ns),
        name: &end.device,
        alternative_name: (end.device != end.interface).then_some(end.interface.as_str()),
        mac: Some(end.mac),
        addresses: &end.addresses,
        routes: &[],
        impairment: shaper(&end.current),
        up: true,
    }
}

pub(super) fn host_end<'a>(
    name: &'a str,
    bridge: Option<&'a str>,
    owner: &'a Owner,
    what: &'a str,
    impairment: Option<&'a Impairment>,
) -> End<'a> {
    End {
        place: Place::Host { bridge, owner, what },
        name,
        alternative_name: None,
        mac: None,
        addresses: &[],
        routes: &[],
        impairment: impairment.and_then(shaper),
        up: true,
    }
}

/// Makes a link whole: shaped, addressed, up; or not at all.
pub(super) async fn create(
    inner: &Arc<Inner>,
    lab: &str,
    link: &str,
    operation: &str,
) -> Result<()> {
    let record = record(inner, lab, link)?;
    let namespaces =
        record.ends.iter().map(|end| namespace_of(inner, lab, &end.node)).collect::<Result<_>>()?;
    let owner = inner.owner(lab, operation);
    let network = inner.network.clone();
    let ends = record.ends.clone();
    blocking(move || wire(&network, &record, namespaces, &owner)).await?;
    for end in &ends {
        relink(inner, lab, end).await?;
    }
    mark(inner, lab, link, true)
}

/// A machine that runs goes on with an interface that was made anew, as the processes of a container do (T-76, T-102).
pub(super) async fn relink(inner: &Inner, lab: &str, end: &EndRecord) -> Result<()> {
    let instance = inner.registry.node(lab, &end.node)?.live()?;
    match instance.hardware() {
        Some(hardware) => hardware.relink(&end.device).await.map_err(driver_error),
        None => Ok(()),
    }
}

/// An interface that a step made which is done again after a crash, and what blocked it: newer kernels keep that for the
/// next interface of the name.
pub(super) fn clear(ns: &Ns, device: &str) -> vnode_network::Result<()> {
    if ns.has_interface(device)? {
        ns.remove_interface(device)?;
        block::forget(ns, device)?;
    }
    Ok(())
}

/// Brings what an end hears, and what is heard of it at the other end, to its record; `all`: the whole link is down. Where
/// that other end is not on this host, or is the host's own interface, it is what the end sends.
pub(super) fn cut(
    host: &Ns,
    ns: &Ns,
    kind: &LinkKind,
    all: bool,
    end: &EndRecord,
) -> vnode_network::Result<()> {
    let set = |ns: &Ns, interface: &str, way: Way, cut: bool| {
        if cut { block::block(ns, interface, way) } else { block::unblock(ns, interface, way) }
    };
    set(ns, &end.device, Way::In, all || end.inbound_down)?;
    match (&end.port, kind) {
        // Each of the two is told what it hears.
        (_, LinkKind::Veth) => Ok(()),
        (
            Some(port),
            LinkKind::Host { .. }
            | LinkKind::Bridge { .. }
            | LinkKind::Lan
            | LinkKind::Control { .. },
        ) => set(host, port, Way::In, all || end.down),
        _ => set(ns, &end.device, Way::Out, all || end.down),
    }
}

fn wire(
    network: &Host,
    record: &LinkRecord,
    namespaces: Vec<Ns>,
    owner: &Owner,
) -> vnode_network::Result<()> {
    let first = &record.ends[0];
    let ns = &namespaces[0];
    // A step that is done again after a crash finds what it made before.
    for (end, ns) in record.ends.iter().zip(&namespaces) {
        clear(ns, &end.device)?;
    }
    let what = format!("link {}", record.link);
    let inbound = first.inbound.as_ref();
    match &record.kind {
        LinkKind::Veth => {
            let second = &record.ends[1];
            network.link_pair(&PairSpec {
                link: &record.link,
                a: node_end(ns, first),
                b: node_end(&namespaces[1], second),
                mtu: Some(record.mtu),
            })?;
        }
        LinkKind::Host { interface } => network.link_pair(&PairSpec {
            link: &record.link,
            a: node_end(ns, first),
            b: host_end(interface, None, owner, &what, inbound),
            mtu: Some(record.mtu),
        })?,
        LinkKind::Bridge { bridge, port } => network.link_pair(&PairSpec {
            link: &record.link,
            a: node_end(ns, first),
            b: host_end(port, Some(bridge), owner, &what, inbound),
            mtu: Some(record.mtu),
        })?,
        LinkKind::Control { interface } => {
            let bridge = control::bridge_name(owner);
            network.link_pair(&PairSpec {
                link: &record.link,
                a: node_end(ns, first),
                b: host_end(interface, Some(&bridge), owner, &what, inbound),
                mtu: Some(record.mtu),
            })?;
        }
        LinkKind::Macvlan { parent, mode } => network.create_macvlan(&MacvlanSpec {
            link: &record.link,
            parent,
            mode: mode.parse()?,
            ns,
            name: &first.device,
            alternative_name: (first.device != first.interface).then_some(first.interface.as_str()),
            owner,
            mac: Some(first.mac),
            mtu: None,
            addresses: &first.addresses,
            routes: &[],
            impairment: shaper(&first.current),
        })?,
        LinkKind::Vxlan { remote, vni, port, source_port } => {
            let name = first.port.as_deref().unwrap_or(&first.device);
            network.create_vxlan(&VxlanSpec {
                link: &record.link,
                name,
                vni: *vni,
                remote: *remote,
                port: *port,
                source_port: *source_port,
                local: None,
                ttl: 64,
                mtu: vxlan_mtu(record.mtu, *remote),
                mac: Some(first.mac),
                owner,
                what: &what,
                target: VxlanTarget::Node { ns, name: &first.device },
                impairment: shaper(&first.current),
            })?;
            ns.configure(&first.device, &first.addresses, &[])?;
        }
        LinkKind::Dummy => {
            network.create_dummy(&DummySpec {
                link: &record.link,
                ns,
                name: &first.device,
                mac: Some(first.mac),
                mtu: Some(record.mtu),
                addresses: &first.addresses,
                impairment: shaper(&first.current),
            })?;
        }
        LinkKind::Lan => {}
    }
    if record.is_cut() {
        for (end, ns) in record.ends.iter().zip(&namespaces) {
            cut(network.ns(), ns, &record.kind, record.down, end)?;
        }
    }
    for ns in &namespaces {
        ns.close_sockets();
    }
    Ok(())
}

/// T-81: a declared MTU that the tunnel cannot carry is adjusted to what fits a 1500-byte underlay.
fn vxlan_mtu(declared: u32, remote: IpAddr) -> Option<u32> {
    let overhead = match remote {
        IpAddr::V4(_) => vnode_network::vxlan::OVERHEAD_V4,
        IpAddr::V6(_) => vnode_network::vxlan::OVERHEAD_V6,
    };
    let fits = 1500 - overhead;
    (declared < fits).then_some(declared)
}

/// Removes a link that is no longer recorded; idempotent.
pub(super) async fn remove(inner: &Arc<Inner>, record: LinkRecord) -> Result<()> {
    // A node that is gone has taken its end along.
    let namespaces: Vec<(String, Ns)> = record
        .ends
        .iter()
        .filter_map(|end| {
            Some((end.device.clone(), namespace_of(inner, &record.lab, &end.node).ok()?))
        })
        .collect();
    let network = inner.network.clone();
    let ours = record.kind.clone();
    let lab = record.lab.clone();
    let name = record.link.clone();
    blocking(move || {
        for (device, ns) in &namespaces {
            ns.remove_interface(device)?;
            if record.is_cut() {
                // Newer kernels keep it for the next interface of that name.
                block::forget(ns, device)?;
            }
            ns.close_sockets();
        }
        if let Some(port) = record.ends.first().and_then(|end| end.port.as_deref()) {
            block::forget(network.ns(), port)?;
        }
        // The other end of a pair goes with it; a tunnel or a port whose node died first is removed here.
        match &ours {
            LinkKind::Host { interface } | LinkKind::Control { interface } => {
                network.remove_link(interface).map(drop)
            }
            LinkKind::Bridge { port, .. } => network.remove_link(port).map(drop),
            LinkKind::Vxlan { .. } => {
                let port = record.ends.first().and_then(|end| end.port.as_deref());
                port.map_or(Ok(()), |port| network.remove_link(port).map(drop))
            }
            LinkKind::Veth | LinkKind::Lan | LinkKind::Macvlan { .. } | LinkKind::Dummy => Ok(()),
        }
    })
    .await?;
    // Only when it is not there with a new record, to be made again.
    mark(inner, &lab, &name, false)
}

/// Inverse of [`create`].
pub(super) async fn undo(inner: &Arc<Inner>, lab: &str, link: &str) -> Result<()> {
    let Ok(record) = record(inner, lab, link) else { return Ok(()) };
    remove(inner, record).await
}

/// Brings impairments, blocking and LAN membership parameters of a link to its record, in place.
pub(crate) async fn set(inner: &Arc<Inner>, lab: &str, link: &str) -> Result<()> {
    let record = record(inner, lab, link)?;
    let mut work = Vec::new();
    for end in &record.ends {
        if record.kind == LinkKind::Lan && !end.made {
            continue;
        }
        work.push((end.clone(), namespace_of(inner, lab, &end.node)?));
    }
    let host = inner.network.ns().clone();
    let (name, down, kind) = (record.link.clone(), record.down, record.kind.clone());
    blocking(move || {
        for (end, ns) in &work {
            let full = end.name();
            let context = impair::Context { link: &name, end: &full };
            impair::apply(ns, &end.device, &end.current, &context)?;
            if let (Some(inbound), Some(port)) = (&end.inbound, &end.port)
                && !matches!(kind, LinkKind::Vxlan { .. })
            {
                impair::apply(&host, port, inbound, &context)?;
            }
            cut(&host, ns, &kind, down, end)?;
            ns.close_sockets();
        }
        Ok(())
    })
    .await
}

/// Addresses of an end as the kernel should have them.
pub(crate) fn addresses(end: &EndRecord) -> Vec<String> {
    end.addresses.iter().map(IpNet::to_string).collect()
}
