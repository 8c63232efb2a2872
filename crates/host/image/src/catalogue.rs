//! The catalogue of images on disk.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{Error, ExtraOverlay, ImageConfig, Options, Progress, PullPolicy, Reference};

/// Images on disk. Clones are the same catalogue.
#[derive(Debug, Clone)]
pub struct Catalogue {
    root: Arc<PathBuf>,
}

/// An image that is in the catalogue. While a value of it lives, `remove` and `gc` leave the image alone.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    /// `sha256:...` of the image's configuration; `host-...` for the host's root.
    pub id: String,
    /// Name it was asked for by, normalised.
    pub reference: String,
    /// Root file system, uppermost layer first; absolute paths, read-only for all users.
    pub layers: Vec<PathBuf>,
    /// Further overlays to mount over the root, in order; empty but for `host` on machines with more than one file system.
    pub extra_overlays: Vec<ExtraOverlay>,
    pub config: ImageConfig,
    /// What a user should know: things left out or not understood.
    pub warnings: Vec<String>,
    #[serde(skip)]
    #[allow(dead_code, reason = "held for its count of owners only")]
    pub(crate) lease: Arc<()>,
}

/// What the catalogue knows of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    pub id: String,
    /// Names that lead to it; none when a newer image has taken them all.
    pub references: Vec<String>,
    /// Digest of the manifest it was pulled by.
    pub manifest_digest: Option<String>,
    /// Bytes of its unpacked layers, shared ones included.
    pub size_bytes: u64,
    pub layers: Vec<PathBuf>,
    pub config: ImageConfig,
    pub created: jiff::Timestamp,
    pub last_used: jiff::Timestamp,
}

/// What may be collected. Images in use never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcPolicy {
    /// Only images that nobody has asked for during this time.
    pub unused_for: Duration,
    /// Least recently used first, and only while the catalogue holds more than this; `None`: all that qualify.
    pub keep_bytes: Option<u64>,
}

/// What was collected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GcReport {
    /// Ids.
    pub images: Vec<String>,
    pub layers: usize,
    pub freed_bytes: u64,
}

impl Catalogue {
    /// Opens or makes the catalogue at `root`, sweeping what a crash left half done. One process at a time. Blocks.
    pub fn open(root: &Path, _options: Options) -> Result<Self, Error> {
        Ok(Self { root: Arc::new(root.to_owned()) })
    }

    /// Makes sure that the image is in the catalogue, and answers with it.
    ///
    /// Callers that ask for one image at once share one download; different images come in parallel. Cancelling, or
    /// dropping the future, gives up this caller's wait; the work itself ends when nobody waits any more.
    pub async fn ensure(
        &self,
        reference: &Reference,
        _policy: PullPolicy,
        _progress: &dyn Progress,
        _cancel: CancellationToken,
    ) -> Result<Image, Error> {
        Err(not_built(&self.root, &reference.to_string()))
    }

    /// Brings in an archive under a name of the user's choice, which must have a registry reference's form.
    pub async fn import(
        &self,
        source: &Reference,
        _name: &str,
        _progress: &dyn Progress,
        _cancel: CancellationToken,
    ) -> Result<Image, Error> {
        Err(not_built(&self.root, &source.to_string()))
    }

    /// All images, by reference.
    pub fn list(&self) -> Vec<ImageInfo> {
        Vec::new()
    }

    /// The image of that reference or id (or unambiguous start of an id).
    pub fn inspect(&self, name: &str) -> Result<ImageInfo, Error> {
        Err(not_built(&self.root, name))
    }

    /// Removes a name, and the image with the last of its names. Refused while the image's id is in `in_use`. Blocks.
    pub fn remove(&self, name: &str, _in_use: &HashSet<String>) -> Result<(), Error> {
        Err(not_built(&self.root, name))
    }

    /// Removes images that nobody uses, least recently used first, and layers that no image has. Blocks.
    pub fn gc(&self, _in_use: &HashSet<String>, _policy: GcPolicy) -> Result<GcReport, Error> {
        Err(not_built(&self.root, "gc"))
    }
}

fn not_built(_: &Path, text: &str) -> Error {
    Error::Reference { text: text.into(), why: "not built yet".into() }
}
