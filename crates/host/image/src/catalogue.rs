//! The catalogue of images on disk.
//!
//! ```text
//! ROOT/lock                          held while the catalogue is open
//! ROOT/layers/<diff id>/root/        one layer, unpacked, whiteouts in overlayfs' form
//! ROOT/layers/<diff id>/layer.json   what is known of it
//! ROOT/disks/<sha512>                one disk of virtual machines, as it came; never written
//! ROOT/images/<image id>.json        one image: names, layers or disk, configuration
//! ROOT/tmp/                          what is being made or removed; swept at open
//! ROOT/mask/<digest>/root/           masks of the image `host` (a small file system in memory, see `host`)
//! ```
//!
//! A layer appears under its name by one rename, after its digests were verified; an image's record, by one rename,
//! after its layers were made durable. So a crash leaves either nothing or everything; layers that no record names
//! are swept at open. Everything below ROOT is closed to other users: images hold setuid programs.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{Error, ExtraOverlay, ImageConfig, Options, Progress, PullPolicy, Reference};

mod disk;
mod flight;
mod gc;
mod implied;
mod inner;
mod layer;
mod record;

pub use disk::Known;
pub(crate) use disk::{Staged, from_file as disk_from_file};
pub(crate) use inner::{Inner, Pins, Pulled};
pub(crate) use layer::Expected;
pub(crate) use record::Stamp;

/// Images on disk. Clones are the same catalogue.
#[derive(Debug, Clone)]
pub struct Catalogue(pub(crate) Arc<Inner>);

/// An image that is in the catalogue. While a value of it lives, `remove` and `gc` leave the image alone.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    /// `sha256:...` of the image's configuration; `host-...` for the host's root.
    pub id: String,
    /// Name it was asked for by, normalised.
    pub reference: String,
    /// Root file system, uppermost layer first; absolute paths, to be used as lower layers of an overlay only.
    pub layers: Vec<PathBuf>,
    /// Further overlays to mount over the root, in order; empty but for `host` on machines with more than one file system.
    pub extra_overlays: Vec<ExtraOverlay>,
    /// The disk of a virtual machine; then there are no layers, and a container cannot be made from it.
    pub disk: Option<DiskFile>,
    pub config: ImageConfig,
    /// What a user should know: things left out or not understood.
    pub warnings: Vec<String>,
    #[serde(skip)]
    #[allow(dead_code, reason = "held for its count of owners only")]
    pub(crate) lease: Arc<()>,
}

/// A verified disk image of the catalogue.
///
/// The file is the catalogue's and is never written: make a disk of a node's own over it, as an overlay whose backing
/// file is [`path`](Self::path) and whose backing format is [`format`](Self::format), given by name. Its header was
/// read by [`disk::probe`](crate::disk::probe): it refers to no other file. It stays while the [`Image`] it came with
/// lives, or its id is among those in use that `remove` and `gc` are given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFile {
    /// Absolute.
    pub path: PathBuf,
    /// Raw, qcow2, VMDK or VDI: to be named to every program that opens the file; it must never guess.
    pub format: crate::disk::Format,
    /// Bytes of the disk a machine sees.
    pub virtual_size: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// SHA-512 of the file, hexadecimal.
    pub sha512: String,
}

/// What the catalogue knows of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    pub id: String,
    /// Names that lead to it; none when a newer image has taken them all.
    pub references: Vec<String>,
    /// Digest of the manifest or index it was pulled by.
    pub manifest_digest: Option<String>,
    /// Bytes of its unpacked layers, shared ones included.
    pub size_bytes: u64,
    /// Uppermost first.
    pub layers: Vec<PathBuf>,
    /// The disk, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskFile>,
    pub config: ImageConfig,
    /// When it came into the catalogue.
    pub created: jiff::Timestamp,
    pub last_used: jiff::Timestamp,
}

/// Gives the ids of images that are in use. It is asked while nobody can get hold of an image: who has held one, and
/// writes its use down before letting go, is never passed over. It must not wait for who may be asking the catalogue.
pub type InUse<'a> = &'a dyn Fn() -> HashSet<String>;

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
    /// Ids, in the order of removal.
    pub images: Vec<String>,
    pub layers: usize,
    pub freed_bytes: u64,
}

impl Catalogue {
    /// Opens or makes the catalogue at `root`, sweeping what a crash left half done. One process at a time. Blocks.
    pub fn open(root: &Path, options: Options) -> Result<Self, Error> {
        Inner::open(root, options).map(|inner| Self(Arc::new(inner)))
    }

    /// Begins to look the host's root over for an [`ensure`](Self::ensure) of the image `host` that is about to come and would
    /// wait for it. Makes nothing. Needs a tokio runtime.
    pub fn foresee_host(&self) {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            // Whoever asks for the image is told what is wrong.
            if let Err(error) = crate::host::foresee(&inner) {
                tracing::debug!(%error, "the mask of the host's root");
            }
        });
    }

    /// Makes sure that the image is in the catalogue, and answers with it. Needs a tokio runtime with time and I/O.
    ///
    /// Callers that ask for one image at once share one download; different images come in parallel. Cancelling, or
    /// dropping the future, gives up this caller's wait; the work itself ends when nobody waits any more. After an
    /// error nothing of the image is left, and what was there before is as it was.
    pub async fn ensure(
        &self,
        reference: &Reference,
        policy: PullPolicy,
        progress: &dyn Progress,
        cancel: CancellationToken,
    ) -> Result<Image, Error> {
        if *reference == Reference::Host {
            return crate::host::ensure(&self.0).await;
        }
        let reference = reference.normalised(&self.0.options.default_registry);
        let name = reference.to_string();
        if policy != PullPolicy::Always {
            if let Some(image) = self.0.find(&reference, &name, policy) {
                return Ok(image);
            }
            if policy == PullPolicy::Never {
                return Err(Error::Unknown { name });
            }
        }
        if let Reference::List(identifier) = &reference {
            // What it is, its list says; the catalogue has the last one that was verified.
            return self
                .0
                .find(&reference, &name, PullPolicy::Never)
                .ok_or_else(|| Error::NotOfAList { identifier: identifier.clone() });
        }
        flight::join(&self.0, reference, name, progress, cancel).await
    }

    /// [`ensure`](Self::ensure) that always asks the source.
    pub async fn pull(
        &self,
        reference: &Reference,
        progress: &dyn Progress,
        cancel: CancellationToken,
    ) -> Result<Image, Error> {
        self.ensure(reference, PullPolicy::Always, progress, cancel).await
    }

    /// Brings in an image under a name of the user's choice, which must have a registry reference's form.
    pub async fn import(
        &self,
        source: &Reference,
        name: &str,
        progress: &dyn Progress,
        cancel: CancellationToken,
    ) -> Result<Image, Error> {
        let refused =
            |text: &str, why: &str| Error::Reference { text: text.into(), why: why.into() };
        let parsed = Reference::parse(name)?;
        let Reference::Registry(registry) = &parsed else {
            return Err(refused(name, "a name for an import looks like `example/router:1`"));
        };
        if registry.digest.is_some() {
            return Err(refused(name, "a digest cannot be chosen"));
        }
        if *source == Reference::Host {
            return Err(refused("host", "the host's root is not copied, and so not imported"));
        }
        let default = &self.0.options.default_registry;
        let name = parsed.normalised(default).to_string();
        flight::join(&self.0, source.normalised(default), name, progress, cancel).await
    }

    /// Brings in what a followed list offers, verified by the caller, as `list:IDENTIFIER`; the image that had the
    /// name before loses it in the same step, and stays as long as nodes are made from it.
    ///
    /// # Errors
    /// When `source` is no file or archive of this machine, or cannot be read as an image.
    pub async fn take_in(
        &self,
        source: &Reference,
        identifier: &str,
        progress: &dyn Progress,
        cancel: CancellationToken,
    ) -> Result<Image, Error> {
        let name = Reference::parse(&format!("list:{identifier}"))?.to_string();
        if source.path().is_none() {
            let text = source.to_string();
            return Err(Error::Reference { text, why: "a list's image is a file".into() });
        }
        flight::join(&self.0, source.clone(), name, progress, cancel).await
    }

    /// As [`take_in`](Self::take_in), for a disk that the caller knows: it is not read again, but linked, or copied where
    /// a link cannot be.
    ///
    /// # Errors
    /// When the file is no disk, refers to other files, or cannot be linked or copied.
    pub async fn take_in_disk(
        &self,
        file: &Path,
        known: Known,
        identifier: &str,
    ) -> Result<Image, Error> {
        let name = Reference::parse(&format!("list:{identifier}"))?.to_string();
        let (inner, file) = (Arc::clone(&self.0), file.to_owned());
        let from = file.display().to_string();
        let failed = {
            let reference = name.clone();
            move |source| Error::Pull { reference, from, source: Arc::new(source) }
        };
        tokio::task::spawn_blocking(move || {
            let pulled = disk::linked(&inner, &file, known).map_err(failed)?;
            inner.commit(pulled, &name)
        })
        .await
        .unwrap_or_else(|_| {
            let reference = format!("list:{identifier}");
            let from = String::new();
            Err(Error::Pull { reference, from, source: Arc::new(crate::PullError::Panicked) })
        })
    }

    /// Takes the name `list:IDENTIFIER` away: the list no longer offers the image. False when it was not there. The
    /// image goes with it, unless a node is made from it or it has other names. Blocks.
    ///
    /// # Errors
    /// When the catalogue cannot be written.
    pub fn withdraw(&self, identifier: &str, in_use: InUse<'_>) -> Result<bool, Error> {
        gc::withdraw(&self.0, &format!("list:{identifier}"), in_use)
    }

    /// All images, by their first reference.
    pub fn list(&self) -> Vec<ImageInfo> {
        let mut all = self.0.infos();
        all.sort_by(|a, b| (&a.references, &a.id).cmp(&(&b.references, &b.id)));
        all
    }

    /// The image of that reference or id (or unambiguous start of an id, six digits at least).
    pub fn inspect(&self, name: &str) -> Result<ImageInfo, Error> {
        self.0
            .lookup(name)
            .map(|(id, _)| self.0.info(&id))
            .and_then(|info| info.ok_or_else(|| Error::Unknown { name: name.to_owned() }))
    }

    /// Removes a name, and the image with the last of its names; an id removes the image with all its names.
    ///
    /// Refused while `in_use` gives the image's id or an [`Image`] value of it lives, unless other names remain.
    /// Answers what was freed. Blocks.
    pub fn remove(&self, name: &str, in_use: InUse<'_>) -> Result<GcReport, Error> {
        gc::remove(&self.0, name, in_use)
    }

    /// Removes images that nobody uses, least recently used first, and layers that no image has. Blocks.
    ///
    /// Live [`Image`] values count as use beside what `in_use` gives. Masks of the image `host` that are not in
    /// use go as well, and with the last of them the file system they were on.
    pub fn gc(&self, in_use: InUse<'_>, policy: GcPolicy) -> Result<GcReport, Error> {
        gc::collect(&self.0, in_use, policy)
    }

    /// Takes away masks of the image `host` that are not in use, and with the last of them the file system they were on:
    /// after a lab is down nothing of it stays mounted. [`ensure`](Self::ensure) makes them again. Blocks.
    pub fn release_host_masks(&self, in_use: InUse<'_>) -> Result<(), Error> {
        crate::host::collect(&self.0, in_use)
    }

    /// Ids of images of which [`Image`] values live in this process.
    pub fn leased(&self) -> BTreeSet<String> {
        self.0.leased()
    }

    /// The settings it was opened with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }
}
