//! Artefacts of registries, followed as lists are: a second kind of source for the same cache, events and publishers.
//!
//! | address | what is followed |
//! |---|---|
//! | `oci://HOST/REPOSITORY:TAG` | one image: the disk that the tag leads to, whatever it leads to next |
//! | `oci://HOST/PROJECT/` | a catalogue as EGI keeps one: every repository of the project, every tag that leads to a disk with the annotation `eu.egi.cloud.tag` |
//!
//! A registry has no list that somebody signed: one is made here of what it has, and its message is the manifests. With
//! [`Settings::key`](crate::record::Settings::key) every artefact must be signed with that key, in cosign's form
//! ([`signature`]); else the registry's word counts, over a verified connection. A moved tag is a new version of its
//! image; a tag has no version that could be compared, and no end.

mod map;
mod signature;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, OnceLock},
};

use futures_util::{StreamExt as _, future::BoxFuture, stream};
use serde::Serialize;
use sha2::{Digest as _, Sha512};
use tokio_util::sync::CancellationToken;
use vnode_image::{
    Digest, PullError, RegistryReference,
    artefact::{Artefact, Blob, Registry},
};

use self::signature::Key;
use crate::{
    error::Refusal,
    fetch::{self, Fetch, FetchError, Fetched, HttpFetch, Request},
    judge::hex,
    list::{Dropped, Image, ImageList, MAX_IMAGES},
    name::Principal,
    record::Credential,
};

/// What addresses of registries begin with.
pub(crate) const SCHEME: &str = "oci://";
/// Annotation of an artefact that EGI's catalogue offers to sites; its value names the version.
const OFFERED: &str = "eu.egi.cloud.tag";
/// Manifests asked for at a time.
const AT_ONCE: usize = 4;

/// Whether an address is one of a registry.
pub(crate) fn is_address(uri: &str) -> bool {
    uri.starts_with(SCHEME)
}

/// What a registry offers, as a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    pub list: ImageList,
    /// The manifests it was made of: the same bytes, the same offer.
    pub message: Vec<u8>,
    /// The key that all of it is signed with; nobody's where none is asked for.
    pub signer: Principal,
    /// Images that are there, but are refused: what was accepted of them before stays.
    pub held: BTreeSet<String>,
}

impl Offer {
    pub(crate) fn message_sha512(&self) -> String {
        hex(&Sha512::digest(&self.message))
    }
}

/// Asks registries.
pub struct RegistryFetch {
    options: vnode_image::Options,
    registry: OnceLock<Registry>,
}

impl fmt::Debug for RegistryFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryFetch").finish_non_exhaustive()
    }
}

/// One artefact of an offer, as its message tells it.
#[derive(Serialize)]
struct Told {
    reference: String,
    digest: String,
    manifest: String,
    /// An artefact that is signed later is another offer, though its bytes are the same.
    counts: bool,
}

struct Found {
    reference: RegistryReference,
    artefact: Artefact,
    /// Why its signature is refused.
    refused: Option<Refusal>,
}

impl RegistryFetch {
    /// Logins, mirrors, limits are those of the catalogue.
    pub fn new(options: vnode_image::Options) -> Self {
        Self { options, registry: OnceLock::new() }
    }

    fn registry(
        &self,
        host: &str,
        credential: Option<&Credential>,
    ) -> Result<Registry, FetchError> {
        let wrong = |source| failed(host, PullError::Registry(source));
        let registry = match self.registry.get() {
            Some(registry) => registry,
            None => {
                let made = Registry::new(self.options.clone()).map_err(wrong)?;
                self.registry.get_or_init(|| made)
            }
        };
        match fetch::secret(credential)? {
            None => Ok(registry.clone()),
            Some((user, password)) => registry.with_login(host, user, password).map_err(wrong),
        }
    }

    fn reference(&self, uri: &str) -> Result<RegistryReference, FetchError> {
        let wrong = |reason: String| FetchError::Address { uri: uri.to_owned(), reason };
        let text = uri.strip_prefix(SCHEME).unwrap_or(uri);
        match vnode_image::Reference::parse(text).map_err(|error| wrong(error.to_string()))? {
            vnode_image::Reference::Registry(reference) if !reference.registry.is_empty() => {
                Ok(reference)
            }
            _ => Err(wrong("write oci://HOST/REPOSITORY:TAG, or oci://HOST/PROJECT/".to_owned())),
        }
    }

    async fn get(&self, request: &Request) -> Result<Fetched, FetchError> {
        let uri = request.uri.as_str();
        let key = request.key.as_deref().map(Key::read).transpose()?;
        let catalogue = uri.ends_with('/');
        let name = self.reference(uri.trim_end_matches('/'))?;
        let registry = self.registry(&name.registry, request.credential.as_ref())?;
        // Cut off with the future that waits for it.
        let never = CancellationToken::new();
        let mut dropped = Vec::new();
        let found = if catalogue {
            let last = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            if last.contains([':', '@']) {
                let reason = "a catalogue has neither tag nor digest".to_owned();
                return Err(FetchError::Address { uri: uri.to_owned(), reason });
            }
            catalogue_of(&registry, &name, key.as_ref(), &mut dropped, &never).await
        } else {
            one(&registry, name.clone(), key.as_ref(), &never).await.map(|found| vec![found])
        };
        let mut found = found.map_err(|source| failed(uri, source))?;
        if !catalogue && let Some(refusal) = found[0].refused.take() {
            return Ok(Fetched::Refused(refusal));
        }
        let mut images = Vec::new();
        let mut held = BTreeSet::new();
        let mut told = Vec::new();
        for (index, found) in found.iter().enumerate() {
            let image = map::image(&found.reference, &found.artefact);
            match &found.refused {
                Some(refusal) => {
                    let reason = refusal.to_string();
                    held.insert(image.identifier.clone());
                    dropped.push(Dropped { index, identifier: Some(image.identifier), reason });
                }
                None => images.push(image),
            }
            told.push(Told {
                reference: found.reference.to_string(),
                digest: found.artefact.digest.to_string(),
                manifest: String::from_utf8_lossy(&found.artefact.manifest).into_owned(),
                counts: found.refused.is_none(),
            });
        }
        let message = serde_json::to_vec(&told).expect("texts have a JSON form");
        let signer = key.map_or_else(signature::nobody, |key| key.principal());
        let list = map::list(uri, &name, catalogue, &message, signer.clone(), images, dropped);
        Ok(Fetched::Offer(Box::new(Offer { list, message, signer, held })))
    }
}

/// What a tag leads to, and whether its signature counts.
async fn one(
    registry: &Registry,
    reference: RegistryReference,
    key: Option<&Key>,
    cancel: &CancellationToken,
) -> Result<Found, PullError> {
    let artefact = registry.artefact(&reference, cancel).await?;
    let refused = match key {
        None => None,
        Some(key) => {
            let signed = registry.signatures(&reference, artefact.digest, cancel).await?;
            key.check(&signed, artefact.digest).err()
        }
    };
    Ok(Found { reference, artefact, refused })
}

/// Everything that a project offers, by repository and tag.
async fn catalogue_of(
    registry: &Registry,
    project: &RegistryReference,
    key: Option<&Key>,
    dropped: &mut Vec<Dropped>,
    cancel: &CancellationToken,
) -> Result<Vec<Found>, PullError> {
    let mut repositories =
        registry.repositories(&project.registry, &project.repository, cancel).await?;
    repositories.sort();
    let mut all = Vec::new();
    for repository in repositories {
        let own = RegistryReference { repository, tag: None, digest: None, ..project.clone() };
        let mut tags = registry.tags(&own, cancel).await?;
        tags.sort();
        let each = tags.clone().into_iter().map(|tag| {
            let reference = RegistryReference { tag: Some(tag), ..own.clone() };
            async move { (reference.clone(), one(registry, reference, key, cancel).await) }
        });
        let mut found: Vec<_> = stream::iter(each).buffered(AT_ONCE).collect().await;
        for (reference, result) in found.drain(..) {
            match result {
                Ok(found) if is_offered(&found, &tags) => all.push(found),
                Ok(_) => {}
                // Something else than a disk, or taken away meanwhile; the others are what they are.
                Err(error) if is_of_this_one(&error) => dropped.push(Dropped {
                    index: all.len(),
                    identifier: None,
                    reason: format!("{reference}: {}", vnode_protocol::chain(&error)),
                }),
                Err(error) => return Err(error),
            }
            if all.len() > MAX_IMAGES {
                let what = format!("the catalogue {}", project.repository);
                let source = vnode_image::manifest::Error::TooMany {
                    what: "images",
                    found: all.len(),
                    limit: MAX_IMAGES,
                };
                return Err(PullError::Manifest { what, source });
            }
        }
    }
    Ok(all)
}

/// Whether the catalogue offers it: it is marked so, and its tag is not the memory of a version that another tag leads
/// to, or led to (`22.04-2025-09-04-4d7122d6` beside `22.04`).
fn is_offered(found: &Found, tags: &[String]) -> bool {
    let Some(version) = found.artefact.annotation(OFFERED) else { return false };
    let tag = found.reference.tag.as_deref().unwrap_or_default();
    let moving = tag.strip_suffix(version).and_then(|rest| rest.strip_suffix('-'));
    !moving.is_some_and(|moving| tags.iter().any(|other| other == moving))
}

fn is_of_this_one(error: &PullError) -> bool {
    use vnode_image::registry::Error as E;
    matches!(error, PullError::Manifest { .. } | PullError::Registry(E::NotFound { .. }))
}

fn failed(uri: &str, source: PullError) -> FetchError {
    FetchError::Registry { uri: uri.to_owned(), source: Box::new(source) }
}

impl Fetch for RegistryFetch {
    fn fetch<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(self.get(request))
    }

    fn blobs(
        &self,
        image: &Image,
        credential: Option<&Credential>,
    ) -> Result<Vec<Blob>, FetchError> {
        let reference = self.reference(&image.uri)?;
        let digest = image.sha256.as_deref().and_then(Digest::from_hex).ok_or_else(|| {
            let reason = "its digest is not known".to_owned();
            FetchError::Address { uri: image.uri.clone(), reason }
        })?;
        let registry = self.registry(&reference.registry, credential)?;
        registry
            .blobs(&reference, digest)
            .map_err(|source| failed(&image.uri, PullError::Registry(source)))
    }
}

/// Every kind of source, by the begin of the address.
#[derive(Debug)]
pub struct Sources {
    http: HttpFetch,
    registry: Arc<RegistryFetch>,
}

impl Sources {
    /// Messages over `http`, artefacts over `registry`.
    pub fn new(http: HttpFetch, registry: Arc<RegistryFetch>) -> Self {
        Self { http, registry }
    }
}

impl Fetch for Sources {
    fn fetch<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        if is_address(&request.uri) {
            self.registry.fetch(request)
        } else {
            self.http.fetch(request)
        }
    }

    fn blobs(
        &self,
        image: &Image,
        credential: Option<&Credential>,
    ) -> Result<Vec<Blob>, FetchError> {
        self.registry.blobs(image, credential)
    }
}
