//! What can go wrong with an image.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vnode_beneath::{DirError, UnpackError};

use crate::digest::Digest;
use crate::manifest;
use crate::registry;

/// Errors of this crate. Cheap to clone, because all who wait for one pull get the same error.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("`{text}` is not an image name: {why}")]
    Reference { text: String, why: String },
    #[error("no image `{name}` in the catalogue; bring it in with `vnode image pull {name}`")]
    Unknown { name: String },
    #[error(
        "no image `{identifier}` of a signed list is here; `vnode image lists` shows what is followed, `vnode image want {identifier}` brings one in"
    )]
    NotOfAList { identifier: String },
    #[error("`{name}` is the beginning of more than one image id; give more of it")]
    Ambiguous { name: String },
    #[error("image `{name}` is in use; destroy its nodes first")]
    InUse { name: String },
    #[error(
        "the image catalogue `{root}` is open in another process; stop that `vnode daemon`, or give another --state-dir"
    )]
    Busy { root: PathBuf },
    #[error("cannot {action} `{path}`")]
    Disk {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
    /// A pull or import failed; nothing of it is in the catalogue.
    #[error("cannot bring in image `{reference}` from `{from}`")]
    Pull {
        reference: String,
        /// Registry, or path of the archive.
        from: String,
        #[source]
        source: Arc<PullError>,
    },
    #[error("bringing in image `{reference}` was cancelled")]
    Cancelled { reference: String },
    #[error("image `{reference}` did not come within {} s; look at the connection, or raise the limit", limit.as_secs())]
    TooSlow { reference: String, limit: Duration },
    /// The mask of the host's root could not be made: the root is not shown without it.
    #[error("cannot mask `{path}` of the host's root: {action} failed")]
    Mask {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: Arc<io::Error>,
    },
}

/// The cause of a failed pull or import.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error("{what} is not usable")]
    Manifest {
        what: String,
        #[source]
        source: manifest::Error,
    },
    #[error(
        "{what} has digest {actual}, not {expected} as its {by} says; it was damaged or changed on the way"
    )]
    Digest { what: String, expected: Digest, actual: Digest, by: &'static str },
    #[error("{what} has {actual} bytes, not {expected} as its manifest says")]
    Size { what: String, expected: u64, actual: u64 },
    #[error("layer {layer} cannot be unpacked{}", if source.is_disk_full() { ": the disk is full; free some space, `vnode image gc` may help" } else { "" })]
    Unpack {
        layer: String,
        #[source]
        source: UnpackError,
    },
    #[error("{what} is missing in the archive; make the archive again")]
    Missing { what: String },
    #[error("the archive holds {count} images; name one of them: {names}")]
    Choose { count: usize, names: String },
    #[error("the archive holds no image `{name}`; it holds: {names}")]
    NotInArchive { name: String, names: String },
    #[error("`{path}` is no disk a machine can be started from: {why}")]
    NotADisk { path: PathBuf, why: String },
    #[error(transparent)]
    DiskHeader(#[from] crate::disk::DiskError),
    #[error("`{path}` must be an absolute path")]
    Relative { path: PathBuf },
    #[error("cannot read the archive")]
    Archive(#[source] vnode_beneath::archive::Error),
    #[error("cannot {action} `{path}`")]
    Disk {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Dir(#[from] DirError),
    #[error("cancelled")]
    Cancelled,
    #[error("the work ended in a panic; this is a defect of vnode")]
    Panicked,
}

impl PullError {
    pub(crate) fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| PullError::Disk { action, path, source }
    }
}

impl Error {
    pub(crate) fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Disk { action, path, source: Arc::new(source) }
    }

    pub(crate) fn dir(root: &Path) -> impl FnOnce(DirError) -> Self {
        let path = root.to_owned();
        move |source| Error::Disk {
            action: "use the image catalogue",
            path,
            source: Arc::new(io::Error::other(source)),
        }
    }
}
