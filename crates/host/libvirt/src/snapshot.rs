//! Snapshots are libvirt's own; who took one with vnode is in its description.

use std::sync::Arc;

use vnode_driver::{Error, Result, Snapshot};

use crate::domain::{Domain, State};
use crate::hub::Hub;
use crate::kept::Kept;
use crate::typed::{self, VirError};
use crate::xml::{self, Element};

/// Before the mark, in a description.
const BY: &str = "vnode: ";

/// One snapshot, and its description.
fn read(text: &str) -> typed::Result<(Snapshot, String)> {
    let root = xml::tree(text).map_err(|error| VirError::own(error.to_string()))?;
    let seconds: u64 = root.text_of("creationTime").and_then(|t| t.parse().ok()).unwrap_or(0);
    let snapshot = Snapshot {
        name: root.text_of("name").unwrap_or_default().to_owned(),
        created_unix_ms: seconds * 1000,
        // libvirt does not say.
        bytes: 0,
    };
    Ok((snapshot, root.text_of("description").unwrap_or_default().to_owned()))
}

fn all(domain: &Domain) -> typed::Result<Vec<(Snapshot, String)>> {
    let mut all = Vec::new();
    for snapshot in domain.snapshots()? {
        all.push(read(&snapshot.xml()?)?);
    }
    all.sort_by_key(|(snapshot, _)| snapshot.created_unix_ms);
    Ok(all)
}

async fn off(hub: &Arc<Hub>, node: &str, kept: &Kept) -> Result<()> {
    let state = hub.domain((node, &kept.uuid), "ask for the state", Domain::state).await?;
    if state == State::Off { Ok(()) } else { Err(Error::Running { node: node.to_owned() }) }
}

pub(crate) async fn list(hub: &Arc<Hub>, node: &str, kept: &Kept) -> Result<Vec<Snapshot>> {
    let all = hub.domain((node, &kept.uuid), "list snapshots", all).await?;
    Ok(all.into_iter().map(|(snapshot, _)| snapshot).collect())
}

pub(crate) async fn take(
    hub: &Arc<Hub>,
    node: &str,
    kept: &Kept,
    name: &str,
    mark: &str,
) -> Result<Snapshot> {
    off(hub, node, kept).await?;
    let taken = hub.domain((node, &kept.uuid), "list snapshots", all).await?;
    let wanted = format!("{BY}{mark}");
    if let Some((there, description)) = taken.into_iter().find(|(there, _)| there.name == name) {
        if description == wanted {
            return Ok(there);
        }
        let what = format!("it has a snapshot `{name}` already: remove it, or take another name");
        return Err(Error::Invalid { node: node.to_owned(), what });
    }
    let mut root = Element::new("domainsnapshot", &[]);
    root.children.push(Element::with_text("name", name));
    root.children.push(Element::with_text("description", &wanted));
    let text = root.write();
    hub.domain((node, &kept.uuid), "take a snapshot", move |domain| {
        read(&domain.snapshot(&text)?.xml()?)
    })
    .await
    .map(|(snapshot, _)| snapshot)
}

pub(crate) async fn revert(hub: &Arc<Hub>, node: &str, kept: &Kept, name: &str) -> Result<()> {
    off(hub, node, kept).await?;
    if hub.domain((node, &kept.uuid), "ask for its saved memory", Domain::is_saved).await? {
        let what = "its memory was saved, and goes with the disks as they are: throw it away with `vnode save --discard`";
        return Err(Error::Invalid { node: node.to_owned(), what: what.to_owned() });
    }
    let name = name.to_owned();
    hub.domain((node, &kept.uuid), "go back to a snapshot", move |domain| {
        domain.snapshot_by_name(&name)?.revert()
    })
    .await
}

pub(crate) async fn remove(
    hub: &Arc<Hub>,
    node: &str,
    kept: &Kept,
    name: &str,
    mark: Option<&str>,
) -> Result<()> {
    let (name, mark) = (name.to_owned(), mark.map(|mark| format!("{BY}{mark}")));
    hub.domain((node, &kept.uuid), "remove a snapshot", move |domain| {
        let snapshot = match domain.snapshot_by_name(&name) {
            Ok(snapshot) => snapshot,
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(mark) = mark
            && read(&snapshot.xml()?)?.1 != mark
        {
            return Ok(());
        }
        snapshot.delete()
    })
    .await
}
