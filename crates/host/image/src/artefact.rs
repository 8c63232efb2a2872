//! Artefacts of registries, for those who follow tags: what a tag leads to now, who signed it, and the bytes.
//!
//! Nothing here is kept in the catalogue: a follower has its own place for the file, and hands it over when it was
//! verified ([`Catalogue::take_in_disk`](crate::Catalogue::take_in_disk)). Logins, mirrors, limits are the catalogue's
//! ([`Options`]).

use std::sync::Arc;

use reqwest::Response;
use tokio_util::sync::CancellationToken;

use crate::digest::Digest;
use crate::error::PullError;
use crate::manifest::{self, Descriptor, Manifest};
use crate::reference::{Reference, RegistryReference};
use crate::registry::{self, Client, Endpoint, Request};
use crate::{Credential, Error, Options};

/// Annotation of a layer that holds a signature, and the ending of the tag it is found under: cosign's
/// SIGNATURE_SPEC.md.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const SIGNED_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Most signatures of one artefact that are looked at.
const SIGNATURES: usize = 16;

/// Registries, and how they are spoken to.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    options: Arc<Options>,
}

/// What a tag leads to: the disk of a machine.
#[derive(Debug, Clone)]
pub struct Artefact {
    /// Of the manifest or index that the tag names: what is signed.
    pub digest: Digest,
    /// The manifest that has the disk, verified.
    pub manifest: Vec<u8>,
    /// Digest and size of the disk; its annotations, and the manifest's.
    pub disk: Descriptor,
}

impl Artefact {
    /// An annotation that is there and not empty.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.disk.annotation(name).filter(|text| !text.is_empty())
    }
}

/// Something that was signed: nothing of it is verified.
#[derive(Debug, Clone)]
pub struct Signed {
    pub payload: Vec<u8>,
    /// Base64, as it stands in the annotation.
    pub signature: String,
}

/// Bytes of a registry, by their digest, at one of its mirrors or itself.
#[derive(Debug, Clone)]
pub struct Blob {
    client: Client,
    endpoint: Endpoint,
    repository: String,
    pub digest: Digest,
}

impl Blob {
    /// Names it, with where it is: `registry.example.org/images/demo@sha256:...`.
    pub fn name(&self) -> String {
        format!("{}/{}@{}", self.endpoint.name, self.repository, self.digest)
    }

    /// Asks for the bytes from `from` on: the answer is a success, but it may be the whole (200).
    ///
    /// # Errors
    /// When the registry does not give it.
    pub async fn open(&self, from: u64) -> Result<Response, registry::Error> {
        let request = Request {
            repository: &self.repository,
            path: format!("blobs/{}", self.digest),
            what: format!("blob {}", self.digest),
        };
        self.client.get(&self.endpoint, &request, from).await
    }
}

impl Registry {
    /// # Errors
    /// When the options make no client.
    pub fn new(options: Options) -> Result<Self, registry::Error> {
        let options = Arc::new(options);
        Ok(Self { client: Client::new(Arc::clone(&options))?, options })
    }

    /// The same, with a login for one registry.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_login(
        &self,
        registry: &str,
        user: String,
        password: String,
    ) -> Result<Self, registry::Error> {
        let mut options = Options::clone(&self.options);
        options.credentials.insert(registry.to_owned(), Credential::Basic { user, password });
        Self::new(options)
    }

    /// Understands `REGISTRY/REPOSITORY[:TAG]`.
    ///
    /// # Errors
    /// When it names no repository of a registry.
    pub fn reference(&self, text: &str) -> Result<RegistryReference, Error> {
        match Reference::parse(text)?.normalised(&self.options.default_registry) {
            Reference::Registry(reference) => Ok(reference),
            _ => Err(Error::Reference {
                text: text.to_owned(),
                why: "it names no repository of a registry".to_owned(),
            }),
        }
    }

    /// What a tag or digest leads to, for this machine's architecture where there is a choice.
    ///
    /// # Errors
    /// When it cannot be had, or is no artefact with one disk.
    pub async fn artefact(
        &self,
        reference: &RegistryReference,
        cancel: &CancellationToken,
    ) -> Result<Artefact, PullError> {
        let endpoints = self.client.endpoints(reference)?;
        let mut asked = reference.tag_or_digest().to_owned();
        let mut top = None;
        for _ in 0..3 {
            let (bytes, digest) =
                self.client.manifest(&endpoints, &reference.repository, &asked, cancel).await?;
            let top = *top.get_or_insert(digest);
            let unusable =
                |source| PullError::Manifest { what: format!("manifest {digest}"), source };
            match Manifest::parse(&bytes, self.options.limits.layers).map_err(unusable)? {
                Manifest::Disk(disk) => {
                    let limit = self.options.limits.packed_bytes;
                    if disk.size > limit {
                        let digest = format!("disk {}", disk.digest);
                        return Err(unusable(manifest::Error::TooLarge { digest, limit }));
                    }
                    return Ok(Artefact { digest: top, manifest: bytes, disk });
                }
                Manifest::Image(_) => return Err(unusable(manifest::Error::NoDisk)),
                Manifest::Index(entries) => {
                    let entry = manifest::for_this_machine(&entries).map_err(unusable)?;
                    asked = entry.digest.to_string();
                }
            }
        }
        let what = format!("`{reference}`");
        Err(PullError::Manifest { what, source: manifest::Error::Nested })
    }

    /// Tags of a repository, but for those that tools keep signatures under.
    ///
    /// # Errors
    /// When the registry does not tell.
    pub async fn tags(
        &self,
        reference: &RegistryReference,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, registry::Error> {
        let endpoints = self.client.endpoints(reference)?;
        let mut tags = self.client.tags(&endpoints, &reference.repository, cancel).await?;
        let beside = |tag: &str| {
            tag.strip_prefix("sha256-")
                .and_then(|rest| rest.get(..64))
                .is_some_and(|digits| Digest::from_hex(digits).is_some())
        };
        tags.retain(|tag| !beside(tag) && !tag.contains('/'));
        Ok(tags)
    }

    /// Repositories below `PROJECT/`: of Harbor's project of that name, or of the whole registry.
    ///
    /// # Errors
    /// When the registry does not tell.
    pub async fn repositories(
        &self,
        registry: &str,
        project: &str,
        cancel: &CancellationToken,
    ) -> Result<Vec<String>, registry::Error> {
        let own = RegistryReference {
            registry: registry.to_owned(),
            repository: project.to_owned(),
            tag: None,
            digest: None,
        };
        let mut last = registry::Error::Cancelled;
        for endpoint in self.client.endpoints(&own)? {
            match self.client.repositories(&endpoint, project, cancel).await {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// What is said to be signed of the manifest `digest`; nothing where nobody signed it.
    ///
    /// # Errors
    /// When the registry does not give what it has.
    pub async fn signatures(
        &self,
        reference: &RegistryReference,
        digest: Digest,
        cancel: &CancellationToken,
    ) -> Result<Vec<Signed>, PullError> {
        let endpoints = self.client.endpoints(reference)?;
        let repository = reference.repository.as_str();
        let tag = format!("sha256-{}.sig", digest.hex());
        let bytes = match self.client.manifest(&endpoints, repository, &tag, cancel).await {
            Ok((bytes, _)) => bytes,
            Err(registry::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let layers = manifest::layers(&bytes).map_err(|source| PullError::Manifest {
            what: format!("signatures `{tag}`"),
            source,
        })?;
        let mut all = Vec::new();
        for layer in layers.iter().filter(|l| l.media_type == SIGNED_TYPE).take(SIGNATURES) {
            let Some(signature) = layer.annotation(SIGNATURE) else { continue };
            let payload =
                self.client.small_blob(&endpoints, repository, layer.digest, cancel).await?;
            all.push(Signed { payload, signature: signature.to_owned() });
        }
        Ok(all)
    }

    /// Where the bytes of `digest` are: mirrors first, the registry last.
    ///
    /// # Errors
    /// When a mirror's address is none.
    pub fn blobs(
        &self,
        reference: &RegistryReference,
        digest: Digest,
    ) -> Result<Vec<Blob>, registry::Error> {
        let endpoints = self.client.endpoints(reference)?;
        let blob = |endpoint| Blob {
            client: self.client.clone(),
            endpoint,
            repository: reference.repository.clone(),
            digest,
        };
        Ok(endpoints.into_iter().map(blob).collect())
    }
}
