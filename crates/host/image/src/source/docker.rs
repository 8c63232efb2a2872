//! What `docker save` writes: a tar with `manifest.json`, configurations and layers.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::archive::{Archive, Metered};
use super::{blocking, finish, missing, unpack, unusable};
use crate::Reference;
use crate::catalogue::{Expected, Inner, Pulled, Stamp};
use crate::config::ConfigFile;
use crate::digest::Digest;
use crate::error::PullError;
use crate::manifest;
use crate::progress::Meter;
use crate::reference::DOCKER;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    /// Lowest first.
    layers: Vec<String>,
}

struct Found {
    archive: Archive,
    layers: Vec<String>,
    id: Digest,
    config: ConfigFile,
    stamp: Option<Stamp>,
}

pub(super) async fn pull(
    inner: &Arc<Inner>,
    path: &Path,
    name: Option<&str>,
    meter: &Meter,
    cancel: &CancellationToken,
) -> Result<Pulled, PullError> {
    let (opener, path, name) = (inner.clone(), path.to_owned(), name.map(str::to_owned));
    let found = blocking(move || find(&opener, &path, name.as_deref())).await?;
    let diff_ids = &found.config.diff_ids;
    let pins = inner.pin(diff_ids);
    let wanted = missing(inner, diff_ids);
    let mut bytes = 0;
    for (n, _) in &wanted {
        bytes += found.archive.file(&found.layers[*n])?.1;
    }
    meter.begin(diff_ids.len(), diff_ids.len() - wanted.len(), bytes);
    for (n, diff_id) in wanted {
        let lock = inner.layer_lock(diff_id);
        let _turn = lock.lock().await;
        if !inner.has_layer(&diff_id) {
            let name = &found.layers[n];
            let (reader, _) = found.archive.file(name)?;
            let expected =
                Expected { name: format!("`{name}`"), packed: None, plain: Some(diff_id) };
            unpack(inner, Metered::new(reader, meter), expected, cancel).await?;
        }
        meter.layer_done();
    }
    let (layers, pins) = finish(inner, diff_ids, pins).await?;
    Ok(Pulled {
        id: found.id,
        manifest_digest: None,
        layers,
        disk: None,
        config: found.config.config,
        stamp: found.stamp,
        pins,
    })
}

fn find(inner: &Inner, path: &Path, name: Option<&str>) -> Result<Found, PullError> {
    let stamp = Stamp::of(path);
    let archive = Archive::open(inner, path)?;
    let limits = &inner.options.limits;
    let bytes = archive.small_file("manifest.json", limits.manifest_bytes)?;
    let entries: Vec<Entry> =
        serde_json::from_slice(&bytes).map_err(|e| unusable("`manifest.json`")(e.into()))?;
    let entry = choose(&entries, name)?;
    let bytes = archive.small_file(&entry.config, limits.manifest_bytes)?;
    let what = || format!("configuration `{}`", entry.config);
    let config = ConfigFile::parse(&bytes).map_err(unusable(what()))?;
    let (diff_ids, layers) = (config.diff_ids.len(), entry.layers.len());
    if layers > limits.layers {
        let limit = limits.layers;
        return Err(unusable(what())(manifest::Error::TooMany {
            what: "layers",
            found: layers,
            limit,
        }));
    }
    if diff_ids != layers {
        return Err(unusable(what())(manifest::Error::LayerCount { diff_ids, layers }));
    }
    // All layers are looked for before the first is unpacked.
    for layer in &entry.layers {
        archive.file(layer)?;
    }
    Ok(Found { archive, layers: entry.layers.clone(), id: Digest::of(&bytes), config, stamp })
}

fn choose<'a>(entries: &'a [Entry], name: Option<&str>) -> Result<&'a Entry, PullError> {
    let names = || {
        let all = entries.iter().flat_map(|e| e.repo_tags.iter().flatten());
        all.take(20).cloned().collect::<Vec<_>>().join(", ")
    };
    let full = |name: &str| Reference::parse(name).ok().map(|r| r.normalised(DOCKER));
    match (name, entries) {
        (Some(name), _) => {
            let wanted = full(name);
            let is = |e: &&Entry| {
                e.repo_tags
                    .iter()
                    .flatten()
                    .any(|tag| tag == name || (wanted.is_some() && full(tag) == wanted))
            };
            entries
                .iter()
                .find(is)
                .ok_or_else(|| PullError::NotInArchive { name: name.to_owned(), names: names() })
        }
        (None, [only]) => Ok(only),
        _ => Err(PullError::Choose { count: entries.len(), names: names() }),
    }
}
