//! Steps about links and LANs.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use vnode_driver::Phase;
use vnode_network::{
    End, Host, Lan, LanSpec, MacvlanSpec, Ns, Owner, PairSpec, Place, VxlanSpec, VxlanTarget,
    block, control, impair,
};
use vnode_protocol::impairment::Impairment;

use crate::error::{Error, Result};
use crate::inner::{Inner, blocking, driver_error};
use crate::record::{EndRecord, LARGE_LAN, LinkKind, LinkRecord};

use super::node::namespace;

fn record(inner: &Inner, lab: &str, link: &str) -> Result<LinkRecord> {
    inner
        .registry
        .lab(lab, |lab| lab.links.get(link).cloned())?
        .ok_or_else(|| Error::not_found(format!("no link `{link}` in lab `{lab}`")))
}

/// The namespace an end lives in.
pub(crate) fn namespace_of(inner: &Inner, lab: &str, node: &str) -> Result<Ns> {
    namespace(&*inner.registry.node(lab, node)?.live()?)
}

fn mark(inner: &Inner, lab: &str, link: &str, made: bool) -> Result<()> {
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

fn node_end<'a>(ns: &'a Ns, end: &'a EndRecord) -> End<'a> {
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

fn host_end<'a>(
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
async fn relink(inner: &Inner, lab: &str, end: &EndRecord) -> Result<()> {
    let instance = inner.registry.node(lab, &end.node)?.live()?;
    match instance.hardware() {
        Some(hardware) => hardware.relink(&end.device).await.map_err(driver_error),
        None => Ok(()),
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
        if ns.has_interface(&end.device)? {
            ns.remove_interface(&end.device)?;
        }
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
            ns.create_dummy(&first.device, Some(first.mac), Some(record.mtu), &first.addresses)?;
        }
        LinkKind::Lan => {}
    }
    if record.down {
        for (end, ns) in record.ends.iter().zip(&namespaces) {
            block::block(ns, &end.device)?;
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
            ns.close_sockets();
        }
        if let Some(port) = record.ends.first().and_then(|end| end.port.as_deref())
            && record.down
        {
            block::unblock(network.ns(), port)?;
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
            if down {
                block::block(ns, &end.device)?;
            } else {
                block::unblock(ns, &end.device)?;
            }
            // What leaves the host's side is cut on the host's side too.
            if let (
                Some(port),
                LinkKind::Host { .. }
                | LinkKind::Bridge { .. }
                | LinkKind::Lan
                | LinkKind::Control { .. },
            ) = (&end.port, &kind)
            {
                if down {
                    block::block(&host, port)?;
                } else {
                    block::unblock(&host, port)?;
                }
            }
            ns.close_sockets();
        }
        Ok(())
    })
    .await
}

fn lan_spec(inner: &Inner, record: &LinkRecord, operation: &str) -> LanSpec {
    LanSpec {
        name: record.link.clone(),
        members: record.ends.len(),
        mtu: Some(record.mtu),
        ageing_s: None,
        owner: inner.owner(&record.lab, operation),
    }
}

pub(super) async fn ensure_lan(
    inner: &Arc<Inner>,
    lab: &str,
    lan: &str,
    operation: &str,
) -> Result<()> {
    let record = record(inner, lab, lan)?;
    let spec = lan_spec(inner, &record, operation);
    let network = inner.network.clone();
    blocking(move || network.ensure_lan(&spec).map(drop)).await?;
    mark(inner, lab, lan, true)
}

pub(super) async fn remove_lan(inner: &Arc<Inner>, record: LinkRecord) -> Result<()> {
    let owner = inner.owner(&record.lab, "");
    let network = inner.network.clone();
    let (lab, name, members) = (record.lab.clone(), record.link.clone(), record.ends.len());
    blocking(move || {
        if record.down {
            for port in record.ends.iter().filter_map(|end| end.port.as_deref()) {
                block::unblock(network.ns(), port)?;
            }
        }
        network.remove_lan(&Lan::names(&owner, &record.link, members))
    })
    .await?;
    mark(inner, &lab, &name, false)
}

pub(super) async fn undo_lan(inner: &Arc<Inner>, lab: &str, lan: &str) -> Result<()> {
    let Ok(record) = record(inner, lab, lan) else { return Ok(()) };
    remove_lan(inner, record).await
}

/// One member's pair to its bridge of the LAN.
pub(super) async fn join(
    inner: &Arc<Inner>,
    lab: &str,
    lan: &str,
    index: usize,
    operation: &str,
) -> Result<()> {
    // Not the whole record: a LAN of a thousand members would be copied a thousand times.
    let found = inner.registry.lab(lab, |lab| {
        let record = lab.links.get(lan)?;
        let end = record.ends.get(index)?.clone();
        Some((end, record.ends.len(), record.mtu, record.down))
    })?;
    let Some((end, members, mtu, down)) = found else {
        return Err(Error::not_found(format!("LAN `{lan}` has no member {index}")));
    };
    let instance = inner.registry.node(lab, &end.node)?.live()?;
    let runs = matches!(instance.status().phase, Phase::Running | Phase::Paused);
    let waits = members >= LARGE_LAN && !runs;
    let ns = namespace(&*instance)?;
    let owner = inner.owner(lab, operation);
    let network = inner.network.clone();
    let name = lan.to_owned();
    let anew = end.clone();
    blocking(move || {
        let bridges = Lan::names(&owner, &name, members);
        let port = end.port.clone().unwrap_or_default();
        if ns.has_interface(&end.device)? {
            ns.remove_interface(&end.device)?;
        }
        let what = format!("lan {name} {}", end.name());
        let link = format!("{} -- {name}", end.name());
        network.link_pair(&PairSpec {
            link: &link,
            a: node_end(&ns, &end),
            b: host_end(
                &port,
                Some(bridges.bridge_for(index)),
                &owner,
                &what,
                end.inbound.as_ref(),
            ),
            mtu: Some(mtu),
        })?;
        if waits {
            network.set_waiting(&port, true)?;
        }
        if down {
            block::block(&ns, &end.device)?;
            block::block(network.ns(), &port)?;
        }
        ns.close_sockets();
        Ok(())
    })
    .await?;
    relink(inner, lab, &anew).await?;
    joined(inner, lab, lan, index, (true, waits))
}

/// Lets a node that is about to boot into its LANs.
pub(super) async fn serve(inner: &Inner, lab: &str, node: &str) -> Result<()> {
    let ports = inner.registry.lab(lab, |lab| {
        let ends = lab.links.values().flat_map(|link| &link.ends);
        let waiting = ends.filter(|end| end.waits && end.node == node);
        waiting.filter_map(|end| end.port.clone()).collect::<Vec<_>>()
    })?;
    if ports.is_empty() {
        return Ok(());
    }
    let network = inner.network.clone();
    blocking(move || ports.iter().try_for_each(|port| network.set_waiting(port, false))).await?;
    inner.registry.lab_mut(lab, |lab| {
        let ends = lab.links.values_mut().flat_map(|link| &mut link.ends);
        ends.filter(|end| end.node == node).for_each(|end| end.waits = false);
    })
}

fn joined(
    inner: &Inner,
    lab: &str,
    lan: &str,
    index: usize,
    (made, waits): (bool, bool),
) -> Result<()> {
    inner.registry.lab_mut(lab, |lab| {
        if let Some(end) = lab.links.get_mut(lan).and_then(|link| link.ends.get_mut(index)) {
            (end.made, end.waits) = (made, waits);
        }
    })
}

/// A member's pair goes; the port's name leads to it even when its node is gone.
pub(super) async fn leave(inner: &Arc<Inner>, _lab: &str, end: EndRecord) -> Result<()> {
    let network = inner.network.clone();
    blocking(move || match &end.port {
        Some(port) => {
            network.remove_link(port)?;
            block::unblock(network.ns(), port)
        }
        None => Ok(()),
    })
    .await
}

pub(super) async fn undo_join(
    inner: &Arc<Inner>,
    lab: &str,
    lan: &str,
    index: usize,
) -> Result<()> {
    let end = inner
        .registry
        .lab(lab, |lab| lab.links.get(lan).and_then(|link| link.ends.get(index)).cloned());
    let Ok(Some(end)) = end else { return Ok(()) };
    leave(inner, lab, end).await?;
    joined(inner, lab, lan, index, (false, false))
}

/// Addresses of an end as the kernel should have them.
pub(crate) fn addresses(end: &EndRecord) -> Vec<String> {
    end.addresses.iter().map(IpNet::to_string).collect()
}
