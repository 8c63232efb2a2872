//! Changes of links while they run: the record first, then the kernel, in place.

use std::sync::Arc;

use serde_json::json;
use vnode_protocol::impairment::Impairment;

use crate::error::{Error, Result};
use crate::inner::{Inner, network_error};
use crate::record::{LinkKind, LinkRecord};
use crate::request::LinkSet;
use crate::runner;

/// Changes the parameters named, of both directions or of what one end sends; others keep their values.
pub(crate) async fn set(inner: &Arc<Inner>, lab: &str, link: &str, set: &LinkSet) -> Result<()> {
    change(inner, lab, link, "link.set", |record| {
        let mut touched = false;
        for end in &mut record.ends {
            let named =
                set.from.as_ref().is_none_or(|from| *from == end.name() || *from == end.node);
            if !named {
                continue;
            }
            touched = true;
            parameters(&mut end.current, &set.set)?;
            // A LAN member's parameters are for what it sends and, unless one end was named, what it gets;
            // the host's side of a link is its other direction.
            if set.from.is_none()
                && record.kind != LinkKind::Lan
                && let Some(inbound) = &mut end.inbound
            {
                parameters(inbound, &set.set)?;
            }
        }
        if touched {
            Ok(())
        } else {
            let from = set.from.clone().unwrap_or_default();
            Err(Error::not_found(format!("link `{link}` has no end `{from}`")))
        }
    })
    .await
}

fn parameters(impairment: &mut Impairment, set: &[(String, String)]) -> Result<()> {
    for (key, value) in set {
        impairment
            .set(key, value)
            .map_err(|source| Error::usage(format!("`{key}={value}`: {source}")))?;
    }
    impairment.check().map_err(|source| Error::usage(source.to_string()))
}

/// Cuts a link, or joins it again; parameters, addresses and interfaces stay.
pub(crate) async fn down(inner: &Arc<Inner>, lab: &str, link: &str, down: bool) -> Result<()> {
    let kind = if down { "link.down" } else { "link.up" };
    change(inner, lab, link, kind, |record| {
        record.down = down;
        Ok(())
    })
    .await
}

/// Back to what the topology declares.
pub(crate) async fn reset(inner: &Arc<Inner>, lab: &str, link: &str) -> Result<()> {
    change(inner, lab, link, "link.reset", |record| {
        record.down = false;
        for end in &mut record.ends {
            end.current = end.declared.clone();
            end.inbound = end.inbound_declared.clone();
        }
        Ok(())
    })
    .await
}

/// Fails where this kernel cannot do what the link's ends ask, naming link, end and parameter (T-75).
pub(crate) fn check(inner: &Inner, record: &LinkRecord) -> Result<()> {
    let features = inner.network.features().map_err(network_error)?;
    for end in &record.ends {
        let name = end.name();
        let context = vnode_network::impair::Context { link: &record.link, end: &name };
        for impairment in std::iter::once(&end.current).chain(end.inbound.as_ref()) {
            vnode_network::impair::check(&features, impairment, &context).map_err(|source| {
                network_error(source)
                    .hint("`vnode doctor` says what this machine can do and how to mend it")
            })?;
        }
    }
    Ok(())
}

async fn change(
    inner: &Arc<Inner>,
    lab: &str,
    link: &str,
    kind: &str,
    edit: impl FnOnce(&mut LinkRecord) -> Result<()>,
) -> Result<()> {
    let _one_at_a_time = inner.locks.link().await;
    let before = inner
        .registry
        .lab(lab, |lab| lab.links.get(link).cloned())?
        .ok_or_else(|| Error::not_found(format!("no link `{link}` in lab `{lab}`")))?;
    let mut after = before.clone();
    edit(&mut after)?;
    check(inner, &after)?;
    let put = |record: LinkRecord| {
        inner.registry.lab_mut(lab, |lab| lab.links.insert(record.link.clone(), record))
    };
    inner.save(vec![after.put()]).await?;
    put(after.clone())?;
    if let Err(error) = runner::set_link(inner, lab, link).await {
        // The kernel refused: what was before is put back, in the record and, as far as it went, in the
        // kernel.
        put(before.clone())?;
        inner.save(vec![before.put()]).await?;
        if let Err(second) = runner::set_link(inner, lab, link).await {
            return Err(error
                .hint(format!("putting the old parameters back failed too: {}", second.chain())));
        }
        return Err(error);
    }
    let ends: Vec<_> =
        after.ends.iter().map(|end| json!({ "end": end.name(), "current": end.current })).collect();
    let data = json!({ "down": after.down, "ends": ends });
    inner.tell(kind, &format!("lab/{lab}/link/{link}"), None, data);
    Ok(())
}
