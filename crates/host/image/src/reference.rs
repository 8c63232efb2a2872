//! Names of images.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The name of an image, as parsed from what a user wrote.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Reference {
    /// `host`: the machine's own root, masked.
    Host,
    /// `tar:/path`, or a path that ends in `.tar`, `.tar.gz`, `.tgz`, `.tar.zst`: a root file system.
    Tarball(PathBuf),
    /// `oci:/path[:tag]`: an OCI image layout, folder or tar.
    Layout { path: PathBuf, tag: Option<String> },
    /// `docker-archive:/path.tar[:repo:tag]`: what `docker save` writes.
    DockerArchive { path: PathBuf, name: Option<String> },
    /// Anything else: a repository of a registry.
    Registry(RegistryReference),
}

/// A repository, and a tag or digest in it, as docker normalises them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryReference {
    /// `docker.io`, `ghcr.io`, `127.0.0.1:5000`; empty where the user wrote none.
    pub registry: String,
    /// `library/alpine`, `frrouting/frr`.
    pub repository: String,
    pub tag: Option<String>,
    /// `sha256:...`; wins over the tag.
    pub digest: Option<String>,
}

impl Reference {
    /// Understands `text`; nothing is looked up.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Err(Error::Reference { text: text.into(), why: "not built yet".into() })
    }

    /// A name of a file or folder for this image: safe on any file system, and no other image has it (T-18).
    pub fn folder_name(&self) -> String {
        self.to_string()
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::str::FromStr for Reference {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}
