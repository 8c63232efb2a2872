//! Images of a registry.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{finish, missing, unpack, unusable};
use crate::catalogue::{Expected, Inner, Pulled, disk_from_file};
use crate::config::ConfigFile;
use crate::digest::{Digest, Gauge};
use crate::error::PullError;
use crate::manifest::{self, Descriptor, ImageManifest, Manifest};
use crate::progress::Meter;
use crate::reference::RegistryReference;
use crate::registry::{self, Client, Endpoint};

pub(super) async fn pull(
    inner: &Arc<Inner>,
    reference: &RegistryReference,
    meter: &Meter,
    cancel: &CancellationToken,
) -> Result<Pulled, PullError> {
    let client = inner.client()?.clone();
    let endpoints = client.endpoints(reference)?;
    let repository = reference.repository.as_str();
    let (found, manifest_digest) = resolve(inner, &client, &endpoints, reference, cancel).await?;
    let manifest = match found {
        Found::Image(manifest) => manifest,
        Found::Disk(blob) => {
            let mut pulled =
                disk(inner, &client, &endpoints, repository, &blob, meter, cancel).await?;
            pulled.manifest_digest = Some(manifest_digest);
            return Ok(pulled);
        }
    };
    let limits = &inner.options.limits;
    let what = || format!("manifest {manifest_digest}");
    for layer in &manifest.layers {
        if layer.size > limits.packed_bytes {
            let (digest, limit) = (format!("layer {}", layer.digest), limits.packed_bytes);
            return Err(unusable(what())(manifest::Error::TooLarge { digest, limit }));
        }
    }
    let config = client.small_blob(&endpoints, repository, manifest.config.digest, cancel).await?;
    let file = ConfigFile::parse(&config)
        .map_err(unusable(format!("configuration {}", manifest.config.digest)))?;
    let (diff_ids, layers) = (file.diff_ids.len(), manifest.layers.len());
    if diff_ids != layers {
        return Err(unusable(what())(manifest::Error::LayerCount { diff_ids, layers }));
    }
    let pins = inner.pin(&file.diff_ids);
    let wanted = missing(inner, &file.diff_ids);
    let bytes = wanted.iter().map(|(n, _)| manifest.layers[*n].size).sum();
    meter.begin(layers, layers - wanted.len(), bytes);
    // The first failure ends the others, and all are awaited, so that nothing of them is left behind.
    let together = cancel.child_token();
    let fetched = join_all(wanted.iter().map(|(n, diff_id)| {
        let (client, endpoints, together) = (&client, &endpoints, &together);
        let blob = &manifest.layers[*n];
        async move {
            let done =
                layer(inner, client, endpoints, repository, blob, *diff_id, meter, together).await;
            if done.is_err() {
                together.cancel();
            }
            done
        }
    }))
    .await;
    let mut failed: Vec<PullError> = fetched.into_iter().filter_map(Result::err).collect();
    let real = |e: &PullError| {
        !matches!(e, PullError::Cancelled | PullError::Registry(registry::Error::Cancelled))
    };
    if let Some(first) = failed.iter().position(real).or((!failed.is_empty()).then_some(0)) {
        return Err(failed.swap_remove(first));
    }
    let (layers, pins) = finish(inner, &file.diff_ids, pins).await?;
    Ok(Pulled {
        id: manifest.config.digest,
        manifest_digest: Some(manifest_digest),
        layers,
        disk: None,
        config: file.config,
        stamp: None,
        pins,
    })
}

/// What a manifest is of.
enum Found {
    Image(ImageManifest),
    Disk(Descriptor),
}

/// The manifest for this machine, through an index where there is one, and the digest of what the reference names.
async fn resolve(
    inner: &Inner,
    client: &Client,
    endpoints: &[Endpoint],
    reference: &RegistryReference,
    cancel: &CancellationToken,
) -> Result<(Found, Digest), PullError> {
    let repository = reference.repository.as_str();
    let mut asked = reference.tag_or_digest().to_owned();
    let mut top = None;
    for _ in 0..3 {
        let (bytes, digest) = client.manifest(endpoints, repository, &asked, cancel).await?;
        let top = *top.get_or_insert(digest);
        let what = || format!("manifest {digest}");
        match Manifest::parse(&bytes, inner.options.limits.layers).map_err(unusable(what()))? {
            Manifest::Image(image) => return Ok((Found::Image(image), top)),
            Manifest::Disk(blob) => return Ok((Found::Disk(blob), top)),
            Manifest::Index(entries) => {
                let entry = manifest::for_this_machine(&entries).map_err(unusable(what()))?;
                asked = entry.digest.to_string();
            }
        }
    }
    Err(unusable(format!("`{reference}`"))(manifest::Error::Nested))
}

/// Fetches, verifies and unpacks one layer in one pass, unless somebody else is at it.
#[allow(clippy::too_many_arguments, reason = "one call site; a struct of them would say no more")]
async fn layer(
    inner: &Arc<Inner>,
    client: &Client,
    endpoints: &[Endpoint],
    repository: &str,
    blob: &Descriptor,
    diff_id: Digest,
    meter: &Meter,
    cancel: &CancellationToken,
) -> Result<(), PullError> {
    let lock = inner.layer_lock(diff_id);
    let _turn = tokio::select! {
        turn = lock.lock() => turn,
        () = cancel.cancelled() => return Err(PullError::Cancelled),
    };
    if inner.has_layer(&diff_id) {
        meter.bytes(blob.size);
        meter.layer_done();
        return Ok(());
    }
    let _permit = tokio::select! {
        permit = inner.permits.acquire() => permit,
        () = cancel.cancelled() => return Err(PullError::Cancelled),
    };
    let mut first = 0;
    loop {
        let endpoints = &endpoints[first..];
        let received = |n| meter.bytes(n);
        let (stream, feed) =
            client.blob(endpoints, repository, blob.digest, blob.size, cancel, received);
        let expected = Expected {
            name: blob.digest.to_string(),
            packed: Some((blob.digest, blob.size)),
            plain: Some(diff_id),
        };
        let (fed, unpacked) = tokio::join!(feed, unpack(inner, stream, expected, cancel));
        match (unpacked, fed) {
            (Ok(_), _) => {
                meter.layer_done();
                return Ok(());
            }
            (Err(_), _) if cancel.is_cancelled() => return Err(PullError::Cancelled),
            // A mirror that serves something else; the next may not.
            (Err(PullError::Digest { .. } | PullError::Size { .. }), Ok(()))
                if endpoints.len() > 1 =>
            {
                tracing::warn!(layer = %blob.digest, "a mirror served something else than this layer");
                first += 1;
            }
            // The transfer stopped because the unpacking did.
            (Err(e), Ok(()) | Err(registry::Error::Cancelled)) => return Err(e),
            (Err(_), Err(e)) => return Err(e.into()),
        }
    }
}

/// Fetches a disk: verified by its digest, hashed once more for its name, its header read, in one pass.
async fn disk(
    inner: &Arc<Inner>,
    client: &Client,
    endpoints: &[Endpoint],
    repository: &str,
    blob: &Descriptor,
    meter: &Meter,
    cancel: &CancellationToken,
) -> Result<Pulled, PullError> {
    let limit = inner.options.limits.packed_bytes;
    if blob.size > limit {
        let digest = format!("disk {}", blob.digest);
        return Err(unusable("the manifest")(manifest::Error::TooLarge { digest, limit }));
    }
    meter.begin(1, 0, blob.size);
    let _permit = tokio::select! {
        permit = inner.permits.acquire() => permit,
        () = cancel.cancelled() => return Err(PullError::Cancelled),
    };
    let mut first = 0;
    loop {
        let endpoints = &endpoints[first..];
        let received = |n| meter.bytes(n);
        let (stream, feed) =
            client.blob(endpoints, repository, blob.digest, blob.size, cancel, received);
        let (worker, stop) = (inner.clone(), cancel.clone());
        let (digest, size) = (blob.digest, blob.size);
        let read = super::blocking(move || {
            let gauge = Gauge::default();
            let name = format!("disk {digest}");
            let path = std::path::Path::new(&name);
            let made =
                disk_from_file(&worker, path, gauge.tap(stream), size, &|| stop.is_cancelled());
            match gauge.digest() {
                // What is not what was promised has no other fault worth telling.
                actual if gauge.bytes() == size && actual != digest => {
                    Err(PullError::Digest { what: name, expected: digest, actual, by: "manifest" })
                }
                _ => made,
            }
        });
        let (fed, made) = tokio::join!(feed, read);
        match (made, fed) {
            (Ok(pulled), _) => {
                meter.layer_done();
                return Ok(pulled);
            }
            (Err(_), _) if cancel.is_cancelled() => return Err(PullError::Cancelled),
            // A mirror that serves something else; the next may not.
            (Err(PullError::Digest { .. }), Ok(())) if endpoints.len() > 1 => {
                tracing::warn!(disk = %blob.digest, "a mirror served something else than this disk");
                first += 1;
            }
            (Err(e), Ok(()) | Err(registry::Error::Cancelled)) => return Err(e),
            (Err(_), Err(e)) => return Err(e.into()),
        }
    }
}
