//! Changes of links while they run: the record first, then the kernel, in place.

use std::sync::Arc;

use serde_json::json;
use vnode_protocol::impairment::Impairment;

use crate::error::{Error, Result};
use crate::inner::{Inner, network_error};
use crate::record::{EndRecord, LinkKind, LinkRecord};
use crate::runner;

/// What of a link a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    /// What one end sends: `node`, `node:interface`, or the end on the host.
    From(String),
    /// A LAN's member: what it sends, and what it gets.
    Member(String),
}

/// Ends of a record, by number.
struct Ways {
    sending: Vec<usize>,
    getting: Vec<usize>,
}

impl Part {
    fn ways(&self, record: &LinkRecord) -> Result<Ways> {
        let ends = |is: &dyn Fn(&EndRecord) -> bool| -> Vec<usize> {
            record.ends.iter().enumerate().filter(|(_, end)| is(end)).map(|(i, _)| i).collect()
        };
        let named = |name: &str| ends(&|end| name == end.name() || name == end.node);
        let (name, ways) = match self {
            Self::All => ("", Ways { sending: ends(&|_| true), getting: ends(&|_| true) }),
            Self::Member(name) => (&**name, Ways { sending: named(name), getting: named(name) }),
            Self::From(name) if record.far_name() == Some(name) => {
                (&**name, Ways { sending: Vec::new(), getting: vec![0] })
            }
            Self::From(name) => (&**name, Ways { sending: named(name), getting: Vec::new() }),
        };
        if ways.sending.is_empty() && ways.getting.is_empty() {
            return Err(Error::not_found(format!("link `{}` has no end `{name}`", record.link)));
        }
        Ok(ways)
    }
}

/// Changes the parameters named; others keep their values.
pub(crate) async fn set(
    inner: &Arc<Inner>,
    lab: &str,
    link: &str,
    part: &Part,
    set: &[(String, String)],
) -> Result<()> {
    change(inner, lab, link, "link.set", |record| {
        let ways = part.ways(record)?;
        if *part == Part::All && record.kind == LinkKind::Lan && record.ends.len() > 2 {
            return record.ends.iter_mut().try_for_each(|end| between_members(end, set));
        }
        for index in ways.sending {
            parameters(&mut record.ends[index].current, set)?;
        }
        // A LAN of two is a link: its way from the LAN is perfect, and stays so.
        let is_lan = record.kind == LinkKind::Lan;
        for index in ways.getting {
            if let Some(inbound) = &mut record.ends[index].inbound
                && (!is_lan || *part != Part::All)
            {
                parameters(inbound, set)?;
            }
        }
        Ok(())
    })
    .await
}

/// Of a LAN as a whole: what any two members see of each other, half of it at each.
fn between_members(end: &mut EndRecord, set: &[(String, String)]) -> Result<()> {
    let inbound = end.inbound.get_or_insert_default();
    let mut whole = end.current.compose(inbound);
    parameters(&mut whole, set)?;
    let (to, from) = whole.halves();
    for (key, _) in set {
        end.current.take(key, &to);
        inbound.take(key, &from);
    }
    Ok(())
}

fn parameters(impairment: &mut Impairment, set: &[(String, String)]) -> Result<()> {
    for (key, value) in set {
        impairment
            .set(key, value)
            .map_err(|source| Error::usage(format!("`{key}={value}`: {source}")))?;
    }
    impairment.check().map_err(|source| Error::usage(source.to_string()))
}

/// Cuts a link or a part of it, or joins it again; parameters, addresses and interfaces stay.
pub(crate) async fn down(
    inner: &Arc<Inner>,
    lab: &str,
    link: &str,
    part: &Part,
    down: bool,
) -> Result<()> {
    let kind = if down { "link.down" } else { "link.up" };
    change(inner, lab, link, kind, |record| cut(record, part, down)).await
}

/// What it carries comes from and goes to elsewhere, past no device of ours but the node's own.
fn has_no_other_end(record: &LinkRecord) -> bool {
    matches!(record.kind, LinkKind::Vxlan { .. } | LinkKind::Macvlan { .. } | LinkKind::Dummy)
}

fn cut(record: &mut LinkRecord, part: &Part, down: bool) -> Result<()> {
    let ways = part.ways(record)?;
    if *part == Part::All {
        record.down = down;
        for end in &mut record.ends {
            (end.down, end.inbound_down) = (false, false);
        }
        return Ok(());
    }
    if has_no_other_end(record) {
        return Err(Error::usage(format!(
            "one direction of `{}` cannot be cut: its other end is not ours",
            record.link
        ))
        .hint("take the whole link down"));
    }
    if record.down {
        // All of it is down: what is not named stays so.
        record.down = false;
        for end in &mut record.ends {
            (end.down, end.inbound_down) = (true, true);
        }
    }
    for index in ways.sending {
        record.ends[index].down = down;
        if record.kind == LinkKind::Veth {
            record.ends[1 - index].inbound_down = down;
        }
    }
    for index in ways.getting {
        record.ends[index].inbound_down = down;
    }
    Ok(())
}

/// Back to what the topology declares.
pub(crate) async fn reset(inner: &Arc<Inner>, lab: &str, link: &str, part: &Part) -> Result<()> {
    change(inner, lab, link, "link.reset", |record| {
        let ways = part.ways(record)?;
        if record.is_cut() && (*part == Part::All || !has_no_other_end(record)) {
            cut(record, part, false)?;
        }
        for index in ways.sending {
            record.ends[index].current = record.ends[index].declared.clone();
        }
        for index in ways.getting {
            record.ends[index].inbound = record.ends[index].inbound_declared.clone();
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
    let end =
        |end: &EndRecord| json!({ "end": end.name(), "current": end.current, "down": end.down });
    let ends: Vec<_> = after.ends.iter().map(end).collect();
    let data = json!({ "down": after.down, "ends": ends });
    inner.tell(kind, &format!("lab/{lab}/link/{link}"), None, data);
    Ok(())
}
