//! OCI image layouts (`image-layout.md`): a folder, or a tar of it.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::archive::{Archive, Metered};
use super::{blocking, finish, missing, unpack, unusable};
use crate::catalogue::{Expected, Inner, Pulled, Stamp};
use crate::config::ConfigFile;
use crate::digest::Digest;
use crate::error::PullError;
use crate::manifest::{self, Descriptor, ImageManifest, Manifest};
use crate::progress::Meter;

/// Annotations under which tools keep a tag.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

struct Found {
    archive: Archive,
    manifest: ImageManifest,
    manifest_digest: Digest,
    config: ConfigFile,
    stamp: Option<Stamp>,
}

pub(super) async fn pull(
    inner: &Arc<Inner>,
    path: &Path,
    tag: Option<&str>,
    meter: &Meter,
    cancel: &CancellationToken,
) -> Result<Pulled, PullError> {
    let (opener, path, tag) = (inner.clone(), path.to_owned(), tag.map(str::to_owned));
    let found = blocking(move || find(&opener, &path, tag.as_deref())).await?;
    let diff_ids = &found.config.diff_ids;
    let pins = inner.pin(diff_ids);
    let wanted = missing(inner, diff_ids);
    let bytes = wanted.iter().map(|(n, _)| found.manifest.layers[*n].size).sum();
    meter.begin(diff_ids.len(), diff_ids.len() - wanted.len(), bytes);
    for (n, diff_id) in wanted {
        let blob = &found.manifest.layers[n];
        let lock = inner.layer_lock(diff_id);
        let _turn = lock.lock().await;
        if !inner.has_layer(&diff_id) {
            let (reader, _) = found.archive.file(&blob_name(&blob.digest))?;
            let expected = Expected {
                name: blob.digest.to_string(),
                packed: Some((blob.digest, blob.size)),
                plain: Some(diff_id),
            };
            unpack(inner, Metered::new(reader, meter), expected, cancel).await?;
        }
        meter.layer_done();
    }
    let (layers, pins) = finish(inner, diff_ids, pins).await?;
    Ok(Pulled {
        id: found.manifest.config.digest,
        manifest_digest: Some(found.manifest_digest),
        layers,
        disk: None,
        config: found.config.config,
        stamp: found.stamp,
        pins,
    })
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn find(inner: &Inner, path: &Path, tag: Option<&str>) -> Result<Found, PullError> {
    let stamp = Stamp::of(path);
    let archive = Archive::open(inner, path)?;
    let limits = &inner.options.limits;
    let index = archive.small_file("index.json", limits.manifest_bytes)?;
    let Manifest::Index(entries) =
        Manifest::parse(&index, limits.layers).map_err(unusable("`index.json`"))?
    else {
        return Err(unusable("`index.json`")(manifest::Error::Neither));
    };
    let manifest_digest = choose(&entries, tag)?.digest;
    let mut digest = manifest_digest;
    for _ in 0..3 {
        let bytes = verified(&archive, &digest, limits.manifest_bytes)?;
        let what = || format!("manifest {digest}");
        match Manifest::parse(&bytes, limits.layers).map_err(unusable(what()))? {
            Manifest::Index(entries) => {
                digest = manifest::for_this_machine(&entries).map_err(unusable(what()))?.digest;
            }
            Manifest::Disk(_) => {
                return Err(unusable(what())(manifest::Error::Artifact("a disk".into())));
            }
            Manifest::Image(manifest) => {
                let of = manifest.config.digest;
                let config = verified(&archive, &of, limits.manifest_bytes)?;
                let config =
                    ConfigFile::parse(&config).map_err(unusable(format!("configuration {of}")))?;
                let (diff_ids, layers) = (config.diff_ids.len(), manifest.layers.len());
                if diff_ids != layers {
                    return Err(unusable(what())(manifest::Error::LayerCount { diff_ids, layers }));
                }
                // All layers are looked for before the first is unpacked.
                for layer in &manifest.layers {
                    archive.file(&blob_name(&layer.digest))?;
                }
                return Ok(Found { archive, manifest, manifest_digest, config, stamp });
            }
        }
    }
    Err(unusable("`index.json`")(manifest::Error::Nested))
}

fn verified(archive: &Archive, digest: &Digest, limit: u64) -> Result<Vec<u8>, PullError> {
    let bytes = archive.small_file(&blob_name(digest), limit)?;
    let actual = Digest::of(&bytes);
    if actual != *digest {
        let what = format!("`{}`", blob_name(digest));
        return Err(PullError::Digest { what, expected: *digest, actual, by: "name" });
    }
    Ok(bytes)
}

/// The entry with the wanted tag; without one, the only entry, or the one for this machine.
fn choose<'a>(entries: &'a [Descriptor], tag: Option<&str>) -> Result<&'a Descriptor, PullError> {
    let names = || {
        let all = entries.iter().filter_map(|e| NAMES.iter().find_map(|n| e.annotation(n)));
        all.take(20).collect::<Vec<_>>().join(", ")
    };
    match (tag, entries) {
        (Some(tag), _) => {
            let is = |e: &&Descriptor| {
                NAMES.iter().filter_map(|n| e.annotation(n)).any(|name| {
                    name == tag || name.strip_suffix(tag).is_some_and(|rest| rest.ends_with(':'))
                })
            };
            entries
                .iter()
                .find(is)
                .ok_or_else(|| PullError::NotInArchive { name: tag.to_owned(), names: names() })
        }
        (None, [only]) => Ok(only),
        (None, _) if !entries.is_empty() && entries.iter().all(|e| e.platform.is_some()) => {
            manifest::for_this_machine(entries).map_err(unusable("`index.json`"))
        }
        _ => Err(PullError::Choose { count: entries.len(), names: names() }),
    }
}
