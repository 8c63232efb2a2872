//! Names of images: parsed, normalised as docker does, and made into safe folder names.
//!
//! Grammar of registry references: `distribution/reference` (the one docker uses).

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::digest::Digest;

/// The registry docker means when none is named.
pub(crate) const DOCKER: &str = "docker.io";

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
    /// `disk:/path`, or a path that ends in `.qcow2`, `.raw`, `.img`, `.vmdk`, `.vdi`: the disk of a virtual machine.
    Disk(PathBuf),
    /// `list:IDENTIFIER`: an image of a signed list that this site follows. Only the followed lists bring it in
    /// ([`Catalogue::take_in`](crate::Catalogue::take_in)); it is never looked for anywhere.
    List(String),
    /// Anything else: a repository of a registry.
    Registry(RegistryReference),
}

/// A repository, and a tag or digest in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryReference {
    /// `docker.io`, `ghcr.io`, `127.0.0.1:5000`; empty where the user wrote none.
    pub registry: String,
    /// `library/alpine`, `frrouting/frr`.
    pub repository: String,
    /// `latest` where neither tag nor digest was written.
    pub tag: Option<String>,
    /// `sha256:...`; wins over the tag.
    pub digest: Option<String>,
}

impl Reference {
    /// Understands `text`; nothing is looked up.
    ///
    /// A path after `tar:`, `oci:` or `docker-archive:` is told from a tag by its `/` or its ending, so that
    /// `tar:1.34` is still the image `tar` of a registry.
    ///
    /// ```
    /// # use vnode_image::Reference;
    /// let image = Reference::parse("frrouting/frr").unwrap();
    /// assert_eq!(image.to_string(), "frrouting/frr:latest");
    /// ```
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|why| Error::Reference {
            text: text.chars().take(300).collect(),
            why: why.into(),
        })
    }

    /// The same with relative paths taken from `base` (the folder of a topology file, or where a command was typed).
    pub fn resolve_paths(self, base: &Path) -> Self {
        match self {
            Reference::Tarball(path) => Reference::Tarball(base.join(path)),
            Reference::Disk(path) => Reference::Disk(base.join(path)),
            Reference::Layout { path, tag } => Reference::Layout { path: base.join(path), tag },
            Reference::DockerArchive { path, name } => {
                Reference::DockerArchive { path: base.join(path), name }
            }
            other => other,
        }
    }

    /// The file or folder the image is read from.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Reference::Tarball(path)
            | Reference::Disk(path)
            | Reference::Layout { path, .. }
            | Reference::DockerArchive { path, .. } => Some(path),
            Reference::Host | Reference::List(_) | Reference::Registry(_) => None,
        }
    }

    /// The same with the registry filled in, and `library/` where docker means it.
    pub fn normalised(&self, default_registry: &str) -> Self {
        match self {
            Reference::Registry(r) => Reference::Registry(r.normalised(default_registry)),
            other => other.clone(),
        }
    }

    /// A name of a file or folder for this image: safe on any file system, and no other image has it (T-18).
    pub fn folder_name(&self) -> String {
        safe_name(&self.to_string())
    }
}

/// Maps any text to a safe file name; different texts get different names (T-18).
pub fn safe_name(text: &str) -> String {
    let mut name: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .collect();
    if name.starts_with('.') || name.is_empty() {
        name.insert(0, '_');
    }
    name.make_ascii_lowercase();
    format!("{name}-{}", &Digest::of(text.as_bytes()).hex()[..24])
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > 4096 {
        return Err("it is longer than 4096 bytes");
    }
    if text.contains('\0') {
        return Err("it contains a zero byte");
    }
    if text == "host" {
        return Ok(Reference::Host);
    }
    if let Some(rest) = text.strip_prefix("tar:").filter(|r| is_path(r)) {
        return Ok(Reference::Tarball(rest.into()));
    }
    if let Some(rest) = text.strip_prefix("oci:").filter(|r| is_path(r)) {
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if path.is_empty() || tag == Some("") {
            return Err("write oci:/path or oci:/path:tag");
        }
        return Ok(Reference::Layout { path: path.into(), tag: tag.map(Into::into) });
    }
    if let Some(rest) = text.strip_prefix("docker-archive:").filter(|r| is_path(r)) {
        let (path, name) = match rest.split_once(':') {
            Some((path, name)) => (path, Some(name)),
            None => (rest, None),
        };
        if path.is_empty() || name == Some("") {
            return Err(
                "write docker-archive:/path.tar or docker-archive:/path.tar:repository:tag",
            );
        }
        return Ok(Reference::DockerArchive { path: path.into(), name: name.map(Into::into) });
    }
    if let Some(rest) = text.strip_prefix("disk:").filter(|r| r.contains('/') || is_disk_name(r)) {
        return Ok(Reference::Disk(rest.into()));
    }
    if let Some(identifier) = text.strip_prefix("list:") {
        if !is_list_identifier(identifier) {
            return Err(
                "after `list:` comes an image's identifier: 1 to 128 of letters, digits, `.`, `_`, `-`",
            );
        }
        return Ok(Reference::List(identifier.to_owned()));
    }
    if text == "list" {
        // With the tag that is meant where none is written it would be `list:latest`, an image of a signed list.
        return Err(
            "write `list:IDENTIFIER`, or `docker.io/library/list` for a repository of that name",
        );
    }
    if is_archive_name(text) {
        return Ok(Reference::Tarball(text.into()));
    }
    if text.contains('/') && is_disk_name(text) && !is_registry_path(text) {
        return Ok(Reference::Disk(text.into()));
    }
    RegistryReference::parse(text).map(Reference::Registry)
}

fn is_path(text: &str) -> bool {
    text.contains('/') || is_archive_name(text.split(':').next().unwrap_or_default())
}

fn is_archive_name(text: &str) -> bool {
    [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst"].iter().any(|e| text.ends_with(e))
}

/// Whether a text is a path for sure: no name in a registry begins so.
fn is_registry_path(text: &str) -> bool {
    !text.starts_with(['/', '.', '~'])
}

fn is_disk_name(text: &str) -> bool {
    [".qcow2", ".raw", ".img", ".vmdk", ".vdi"].iter().any(|e| text.ends_with(e))
}

fn is_list_identifier(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl RegistryReference {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                digest.parse::<Digest>().map_err(|_| "after `@` comes sha256: and 64 digits")?;
                (name, Some(digest.to_owned()))
            }
            None => (text, None),
        };
        // A colon after the last slash begins a tag; before it, a port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(
                "a tag has letters, digits, `_`, `.`, `-`, at most 128, and begins with none of the last two",
            );
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => ("", name),
        };
        if !registry.is_empty() && !valid_registry(registry) {
            return Err("its registry is not a host name or address with an optional port");
        }
        // Counted with the `library/` that docker puts before a lone name.
        let room = if repository.contains('/') { 255 } else { 255 - "library/".len() };
        if repository.len() > room {
            return Err("a repository's name has at most 255 bytes");
        }
        if !repository.split('/').all(is_component) {
            return Err(
                "a repository's name has lower case letters and digits, parted by `/`, `.`, `_`, `__` or `-`; paths of archives begin with tar:, oci: or docker-archive:",
            );
        }
        let registry = if registry == "index.docker.io" { DOCKER } else { registry };
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(Into::into),
        };
        Ok(Self { registry: registry.into(), repository: repository.into(), tag, digest })
    }

    fn normalised(&self, default_registry: &str) -> Self {
        let mut this = self.clone();
        if this.registry.is_empty() {
            this.registry = default_registry.to_owned();
        }
        if this.registry == DOCKER && !this.repository.contains('/') {
            this.repository = format!("library/{}", this.repository);
        }
        this
    }

    /// What a manifest is asked for by.
    pub(crate) fn tag_or_digest(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

/// The first part of a name is a registry when it could not be a folder of docker.io.
fn is_registry(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.chars().any(|c| c.is_ascii_uppercase())
}

fn valid_registry(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, None),
        },
    };
    port.is_none_or(is_port)
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|p| p > 0) && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.bytes().enumerate().all(|(n, b)| {
            b.is_ascii_alphanumeric() || b == b'_' || (n > 0 && matches!(b, b'.' | b'-'))
        })
        && !tag.is_empty()
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let letter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    bytes.first().is_some_and(letter)
        && bytes.last().is_some_and(letter)
        && bytes
            .split(letter)
            .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.registry.is_empty() {
            write!(f, "{}/", self.registry)?;
        }
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Host => f.write_str("host"),
            Reference::Tarball(path) if is_path(&path.to_string_lossy()) => {
                write!(f, "tar:{}", path.display())
            }
            // After `tar:` this would be a tag; alone, its ending tells.
            Reference::Tarball(path) => write!(f, "{}", path.display()),
            Reference::Layout { path, tag } => {
                write!(f, "oci:{}", path.display())?;
                tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
            }
            Reference::DockerArchive { path, name } => {
                write!(f, "docker-archive:{}", path.display())?;
                name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
            }
            Reference::Disk(path) => write!(f, "disk:{}", path.display()),
            Reference::List(identifier) => write!(f, "list:{identifier}"),
            Reference::Registry(reference) => reference.fmt(f),
        }
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

#[cfg(test)]
mod tests;
