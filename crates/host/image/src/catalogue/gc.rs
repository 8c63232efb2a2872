//! Removal: by name, and of what nobody uses.

use std::collections::HashSet;
use std::sync::MutexGuard;

use jiff::{SignedDuration, Timestamp};

use super::inner::State;
use super::{GcPolicy, GcReport, InUse, Inner};
use crate::Error;
use crate::digest::Digest;

pub(super) fn remove(inner: &Inner, name: &str, in_use: InUse<'_>) -> Result<GcReport, Error> {
    let (id, reference) = inner.lookup(name)?;
    let mut state = inner.state();
    let unknown = || Error::Unknown { name: name.to_owned() };
    let record = state.records.get_mut(&id).ok_or_else(unknown)?;
    if let Some(reference) = reference.filter(|_| record.references.len() > 1) {
        record.references.remove(&reference);
        inner.write_record(record)?;
        return Ok(GcReport::default());
    }
    if state.in_use(id, in_use) {
        return Err(Error::InUse { name: name.to_owned() });
    }
    let mut report = GcReport::default();
    drop_record(inner, &mut state, id, &mut report)?;
    sweep_layers(inner, state, report)
}

pub(super) fn withdraw(inner: &Inner, name: &str, in_use: InUse<'_>) -> Result<bool, Error> {
    let mut state = inner.state();
    let Some(record) = state.records.values_mut().find(|r| r.references.contains_key(name)) else {
        return Ok(false);
    };
    let id = record.id;
    record.references.remove(name);
    inner.write_record(record)?;
    let others = !record.references.is_empty();
    if others || state.in_use(id, in_use) {
        return Ok(true);
    }
    drop_record(inner, &mut state, id, &mut GcReport::default())?;
    sweep_layers(inner, state, GcReport::default())?;
    Ok(true)
}

pub(super) fn collect(
    inner: &Inner,
    in_use: InUse<'_>,
    policy: GcPolicy,
) -> Result<GcReport, Error> {
    crate::host::collect(inner, in_use)?;
    let mut report = GcReport::default();
    let mut state = inner.state();
    let (leased, in_use) = (state.leased(), in_use());
    let now = Timestamp::now();
    let idle = SignedDuration::try_from(policy.unused_for).unwrap_or(SignedDuration::MAX);
    let mut candidates: Vec<(Timestamp, Digest)> = state
        .records
        .values()
        .filter(|r| !in_use.contains(&r.id.to_string()) && !leased.contains(&r.id.to_string()))
        .filter(|r| now.duration_since(r.last_used) >= idle)
        .map(|r| (r.last_used, r.id))
        .collect();
    candidates.sort();
    for (_, id) in candidates {
        if policy.keep_bytes.is_some_and(|keep| state.held_bytes() <= keep) {
            break;
        }
        drop_record(inner, &mut state, id, &mut report)?;
    }
    sweep_layers(inner, state, report)
}

/// Removes the layers that a pull had brought in before it failed.
pub(super) fn after_failure(inner: &Inner) {
    if let Err(error) = sweep_layers(inner, inner.state(), GcReport::default()) {
        // The pull's own error is the one to report; what is left goes with the next collection or start.
        tracing::warn!(%error, "layers of a failed pull left behind");
    }
}

/// The record goes first: from then on the image is not there, whatever happens to its layers.
fn drop_record(
    inner: &Inner,
    state: &mut State,
    id: Digest,
    report: &mut GcReport,
) -> Result<(), Error> {
    inner.dir.remove_file(format!("images/{}.json", id.hex())).map_err(Error::dir(&inner.root))?;
    if let Some(disk) = state.records.remove(&id).and_then(|record| record.disk)
        && !state.records.values().any(|r| r.disk.as_ref().is_some_and(|d| d.path() == disk.path()))
    {
        inner.dir.remove_file(disk.path()).map_err(Error::dir(&inner.root))?;
        report.freed_bytes += disk.size_bytes;
    }
    report.images.push(id.to_string());
    Ok(())
}

/// Removes layers that no record names and no pull counts on: out of the way by a rename under the lock, then at
/// leisure without it.
fn sweep_layers(
    inner: &Inner,
    mut state: MutexGuard<'_, State>,
    mut report: GcReport,
) -> Result<GcReport, Error> {
    let used = state.used_layers();
    let unused: Vec<Digest> = state.layers.keys().filter(|l| !used.contains(l)).copied().collect();
    let mut moved = Vec::new();
    for layer in unused {
        let away = inner.temporary().map_err(Error::dir(&inner.root))?;
        inner
            .dir
            .rename(format!("layers/{}", layer.hex()), away.path.join("layer"))
            .map_err(Error::dir(&inner.root))?;
        if let Some(record) = state.layers.remove(&layer) {
            report.layers += 1;
            report.freed_bytes += record.size_bytes;
        }
        moved.push(away);
    }
    drop(state);
    // Dropping them removes the trees.
    drop(moved);
    Ok(report)
}

impl State {
    /// Whether an image is held or used. Nobody gets hold of it before the caller has let go of the state.
    fn in_use(&mut self, id: Digest, in_use: InUse<'_>) -> bool {
        let id = id.to_string();
        // In this order: who lets an image go has written it down before.
        self.leased().contains(&id) || in_use().contains(&id)
    }

    fn used_layers(&self) -> HashSet<Digest> {
        let named = self.records.values().flat_map(|r| r.layers.iter());
        named.chain(self.pinned.keys()).copied().collect()
    }

    /// Bytes of the layers that images have; shared ones count once.
    fn held_bytes(&self) -> u64 {
        let used = self.used_layers();
        let layers =
            self.layers.iter().filter(|(l, _)| used.contains(l)).map(|(_, r)| r.size_bytes);
        let disks = self.records.values().filter_map(|r| r.disk.as_ref()).map(|d| d.size_bytes);
        layers.chain(disks).sum()
    }
}
