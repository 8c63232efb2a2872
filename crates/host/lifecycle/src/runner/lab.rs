//! Steps about the host and a lab as a whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use vnode_network::control::{Control, ControlSpec};

use crate::error::{Error, Result};
use crate::inner::{Inner, blocking};
use crate::names;
use crate::record::HostRecord;
use crate::registry::lock;

/// Kernel parameters of the host; what they were is written before they are changed.
pub(super) async fn prepare(inner: &Arc<Inner>) -> Result<()> {
    let _root = inner.locks.host_root().await;
    let host = lock(&inner.host).clone();
    let network = inner.network.clone();
    let planned = blocking(move || vnode_network::control::root_plan(&network)).await?;
    if planned.changed.is_empty() {
        return Ok(());
    }
    // old values first. What an earlier lab wrote down is older still, and stays.
    let mut saved = host.saved_sysctls.clone().unwrap_or_default();
    for (path, change) in planned.changed {
        saved.changed.entry(path).or_insert(change);
    }
    let record = HostRecord { saved_sysctls: Some(saved), ..host };
    inner.save(vec![record.put()]).await?;
    *lock(&inner.host) = record;
    let network = inner.network.clone();
    blocking(move || vnode_network::control::root_prepare(&network).map(drop)).await
}

/// Puts the parameters back when no lab is left but the one that goes, or none at all.
pub(super) async fn restore(inner: &Arc<Inner>) -> Result<()> {
    let others = inner.registry.read().len();
    // The lab that goes is still in the registry in both cases; another one keeps the parameters.
    if others > 1 {
        return Ok(());
    }
    let _root = inner.locks.host_root().await;
    let host = lock(&inner.host).clone();
    let Some(saved) = host.saved_sysctls.clone() else { return Ok(()) };
    let network = inner.network.clone();
    blocking(move || vnode_network::control::root_restore(&network, &saved)).await?;
    let record = HostRecord { saved_sysctls: None, ..host };
    inner.save(vec![record.put()]).await?;
    *lock(&inner.host) = record;
    Ok(())
}

/// The image `host` keeps a small file system mounted while nodes stand on it.
pub(super) async fn release_masks(inner: &Arc<Inner>, operation: &str) -> Result<()> {
    inner.let_images_go(operation);
    let inner = Arc::clone(inner);
    let work = move || inner.catalogue.release_host_masks(&|| inner.images_in_use());
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::failed("collecting masks ended early").because(source))?
        .map_err(|source| Error::failed("cannot take the host's mask away").because(source))
}

/// The control bridge with its rules, and the hosts file.
pub(super) async fn ensure_control(inner: &Arc<Inner>, lab: &str, operation: &str) -> Result<()> {
    write_names(inner, lab)?;
    let control = inner.registry.lab(lab, |lab| lab.record.control.clone())?;
    let Some(control) = control else { return Ok(()) };
    let spec = ControlSpec {
        owner: inner.owner(lab, operation),
        gateways: gateways(&control),
        mtu: Some(control.mtu),
        nat: control.external,
        external_access: control.external,
    };
    let network = inner.network.clone();
    blocking(move || Control::ensure(&network, &spec)?.also_named(control.alias.as_deref())).await
}

fn gateways(control: &crate::control::Control) -> Vec<IpNet> {
    let ipv4 = control
        .ipv4
        .zip(control.ipv4_gateway)
        .and_then(|(net, gateway)| IpNet::new(gateway.into(), net.prefix_len()).ok());
    let ipv6 = control
        .ipv6
        .zip(control.ipv6_gateway)
        .and_then(|(net, gateway)| IpNet::new(gateway.into(), net.prefix_len()).ok());
    ipv4.into_iter().chain(ipv6).collect()
}

pub(super) async fn remove_control(inner: &Arc<Inner>, lab: &str) -> Result<()> {
    crate::served::stop(inner, lab);
    let owner = inner.owner(lab, "");
    let network = inner.network.clone();
    blocking(move || Control::open(&network, &owner).remove()).await
}

/// Writes the hosts file of a lab; running nodes see it at once.
pub(crate) fn write_names(inner: &Inner, name: &str) -> Result<()> {
    let text = inner.registry.lab(name, |lab| {
        let mut nodes = Vec::new();
        for node in lab.nodes.values() {
            let record = node.record();
            let aliases = lab
                .record
                .lab
                .node(&record.node)
                .map(|node| node.aliases.clone())
                .unwrap_or_default();
            nodes.push((record, aliases));
        }
        names::hosts(name, nodes.iter().map(|(record, aliases)| (record, aliases.as_slice())))
    })?;
    inner
        .make_lab_dir(name)
        .and_then(|folder| names::write_in_place(&folder.join("hosts"), &text))
        .map_err(|source| {
            Error::failed(format!("cannot write the hosts file of lab `{name}`")).because(source)
        })
}

/// Namespaces end some time after their last process: names may be used again only then.
pub(super) async fn settle(inner: &Arc<Inner>, ports: Vec<String>, operation: &str) -> Result<()> {
    let network = inner.network.clone();
    blocking(move || {
        let names: Vec<&str> = ports.iter().map(String::as_str).collect();
        network.wait_gone(&names, Instant::now() + Duration::from_secs(45))
    })
    .await?;
    // Another lab's nodes may stand on them.
    if inner.registry.read().len() > 1 {
        return Ok(());
    }
    release_masks(inner, operation).await
}
