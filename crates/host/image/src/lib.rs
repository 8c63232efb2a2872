//! Images: what a node's root file system is made from, and the catalogue that holds them on disk.
//!
//! * [`Reference`] is the name of an image as a user writes it; parsing it touches nothing.
//! * [`Catalogue`] holds images unpacked, content-addressed and shared: one folder per layer, one record per image.
//!   [`Catalogue::ensure`] brings an image in (from the host itself, a tarball, an OCI layout, a `docker save`
//!   archive or a registry) and answers with an [`Image`]: overlay layers and the image's own settings, or, for a
//!   virtual machine, a [`DiskFile`]: the path of a verified disk and its format.
//! * [`artefact`] asks a registry what it has, and for the bytes of it, for those who follow its tags.
//! * [`disk`] tells what a disk image is by its header, and refuses those that refer to other files.
//! * [`host`] makes nodes from the machine's own root with the machine's secrets masked.
//!
//! Everything that comes from outside (manifests, archives, servers) is bounded in size and time and verified by
//! digest while it streams past once. This crate knows nothing of nodes.

pub mod artefact;
mod catalogue;
pub mod config;
mod digest;
pub mod disk;
mod error;
pub mod host;
pub mod http;
pub mod manifest;
mod options;
mod progress;
mod reference;
pub mod registry;
mod source;

pub use catalogue::{Catalogue, DiskFile, GcPolicy, GcReport, Image, ImageInfo, InUse, Known};
pub use config::{Healthcheck, ImageConfig};
pub use digest::Digest;
pub use error::{Error, PullError};
pub use host::rules::TOO_LARGE;
pub use host::{ExtraOverlay, MaskAction, MaskEntry, describe_host_mask};
pub use options::{Credential, HostOptions, Limits, Options};
pub use progress::{NoProgress, Phase, Progress, PullProgress};
pub use reference::{Reference, RegistryReference, safe_name};

/// When an image is looked for at its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// Only when the catalogue has none of that name. A local file whose size, time or inode changed counts as new.
    #[default]
    IfNotPresent,
    /// Never: what the catalogue has, or an error.
    Never,
    /// Ask the source each time; what it still has in common with the catalogue is not fetched again.
    Always,
}
