//! Steps about LANs and their members.

use std::sync::Arc;

use vnode_driver::Phase;
use vnode_network::{Lan, LanSpec, PairSpec, block};

use crate::error::{Error, Result};
use crate::inner::{Inner, blocking};
use crate::record::{EndRecord, LARGE_LAN, LinkKind, LinkRecord};

use super::link::{clear, cut, host_end, mark, namespace_of, node_end, record, relink};
use super::node::namespace;

fn spec(inner: &Inner, record: &LinkRecord, operation: &str) -> LanSpec {
    LanSpec {
        name: record.link.clone(),
        members: record.ends.len(),
        mtu: Some(record.mtu),
        ageing_s: None,
        owner: inner.owner(&record.lab, operation),
    }
}

pub(super) async fn ensure(
    inner: &Arc<Inner>,
    lab: &str,
    lan: &str,
    operation: &str,
) -> Result<()> {
    let record = record(inner, lab, lan)?;
    let spec = spec(inner, &record, operation);
    let network = inner.network.clone();
    blocking(move || network.ensure_lan(&spec).map(drop)).await?;
    mark(inner, lab, lan, true)
}

pub(super) async fn remove(inner: &Arc<Inner>, record: LinkRecord) -> Result<()> {
    let owner = inner.owner(&record.lab, "");
    let network = inner.network.clone();
    let (lab, name, members) = (record.lab.clone(), record.link.clone(), record.ends.len());
    blocking(move || {
        // Also when its record knows of none: newer kernels keep what blocks a port for the next one of that name.
        let ports = record.ends.iter().filter_map(|end| end.port.as_deref());
        block::forget_all(network.ns(), ports)?;
        network.remove_lan(&Lan::names(&owner, &record.link, members))
    })
    .await?;
    mark(inner, &lab, &name, false)
}

pub(super) async fn undo(inner: &Arc<Inner>, lab: &str, lan: &str) -> Result<()> {
    let Ok(record) = record(inner, lab, lan) else { return Ok(()) };
    remove(inner, record).await
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
        clear(&ns, &end.device)?;
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
        if down || end.down || end.inbound_down {
            cut(network.ns(), &ns, &LinkKind::Lan, down, &end)?;
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
pub(super) async fn leave(inner: &Arc<Inner>, lab: &str, end: EndRecord) -> Result<()> {
    let network = inner.network.clone();
    // A node that is gone has taken its end along.
    let ns = namespace_of(inner, lab, &end.node).ok();
    blocking(move || {
        let Some(port) = &end.port else { return Ok(()) };
        network.remove_link(port)?;
        block::forget(network.ns(), port)?;
        // Newer kernels keep it for the next interface of that name.
        ns.map_or(Ok(()), |ns| block::forget(&ns, &end.device))
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
