//! Where images come from: one file for each kind of source.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::Reference;
use crate::catalogue::{Expected, Inner, Pins, Pulled};
use crate::digest::Digest;
use crate::error::PullError;
use crate::manifest;
use crate::progress::Meter;

mod archive;
mod disk;
mod docker;
mod layout;
mod registry;
mod tarball;

/// Brings all layers of an image into the catalogue.
pub(crate) async fn pull(
    inner: &Arc<Inner>,
    reference: &Reference,
    meter: &Meter,
    cancel: &CancellationToken,
) -> Result<Pulled, PullError> {
    if let Some(path) = reference.path().filter(|p| !p.is_absolute()) {
        return Err(PullError::Relative { path: path.to_owned() });
    }
    match reference {
        Reference::Registry(reference) => registry::pull(inner, reference, meter, cancel).await,
        Reference::Tarball(path) => tarball::pull(inner, path, meter, cancel).await,
        Reference::Layout { path, tag } => {
            layout::pull(inner, path, tag.as_deref(), meter, cancel).await
        }
        Reference::DockerArchive { path, name } => {
            docker::pull(inner, path, name.as_deref(), meter, cancel).await
        }
        Reference::Disk(path) => disk::pull(inner, path, meter, cancel).await,
        // Not copied, or brought in by its list: never pulled.
        Reference::Host | Reference::List(_) => {
            Err(PullError::Missing { what: "a source to copy from".into() })
        }
    }
}

/// A tar stream of no members: the layer of an image that has none, since an overlay wants one.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

/// What an overlay is mounted from: an image may have a layer twice, and the kernel refuses that. The lower of the
/// two hides nothing that the upper does not hide again, so it goes.
fn without_repeats(layers: &[Digest]) -> Vec<Digest> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<Digest> = layers.iter().rev().filter(|l| seen.insert(**l)).copied().collect();
    kept.reverse();
    kept
}

/// The layers to be mounted, all of them being here: without repeats, at least one, and with what corrects them.
async fn finish(
    inner: &Arc<Inner>,
    diff_ids: &[Digest],
    mut pins: Pins,
) -> Result<(Vec<Digest>, Pins), PullError> {
    let mut layers = without_repeats(diff_ids);
    if layers.is_empty() {
        let (layer, pinned) = empty_layer(inner).await?;
        layers.push(layer);
        pins.join(pinned);
    }
    let (worker, below) = (inner.clone(), layers.clone());
    if let Some((top, pinned)) = blocking(move || worker.correct_implied_folders(&below)).await? {
        layers.push(top);
        pins.join(pinned);
    }
    Ok((layers, pins))
}

/// Layers of an image that are to be brought in, without repeats: number in the image and digest.
fn missing(inner: &Inner, layers: &[Digest]) -> Vec<(usize, Digest)> {
    let mut seen = BTreeSet::new();
    let all = layers.iter().enumerate().filter(|(_, l)| seen.insert(**l));
    all.filter(|(_, l)| !inner.has_layer(l)).map(|(n, l)| (n, *l)).collect()
}

/// Brings in the one empty layer of an image without layers.
async fn empty_layer(inner: &Arc<Inner>) -> Result<(Digest, Pins), PullError> {
    let digest = Digest::of(&EMPTY_TAR);
    let pins = inner.pin(&[digest]);
    if inner.has_layer(&digest) {
        return Ok((digest, pins));
    }
    let expected = Expected { name: "(empty)".into(), packed: None, plain: Some(digest) };
    unpack(inner, std::io::Cursor::new(EMPTY_TAR), expected, &CancellationToken::new()).await
}

/// Unpacks a layer on a thread that may block.
async fn unpack(
    inner: &Arc<Inner>,
    reader: impl Read + Send + 'static,
    expected: Expected,
    cancel: &CancellationToken,
) -> Result<(Digest, Pins), PullError> {
    let (inner, cancel) = (inner.clone(), cancel.clone());
    tokio::task::spawn_blocking(move || {
        inner.unpack_layer(reader, &expected, &|| cancel.is_cancelled())
    })
    .await
    .unwrap_or(Err(PullError::Panicked))
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(PullError::Panicked))
}

fn unusable(what: impl Into<String>) -> impl FnOnce(manifest::Error) -> PullError {
    let what = what.into();
    move |source| PullError::Manifest { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_occurs_twice_is_kept_where_it_is_uppermost() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|x| Digest::of(x));
        assert_eq!(without_repeats(&[a, b, a, c, b]), [a, c, b]);
    }
}
