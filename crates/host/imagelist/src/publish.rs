//! Publishers: who is told, in this process, that an image is available, was replaced, or ended.
//!
//! A cloud beside this host (OpenNebula, say) attaches here: it implements [`Publisher`] and is given to
//! [`Site::attach`](crate::Site::attach) when the daemon starts. What it is told:
//!
//! | [`ImageChange`] | when | the files at that moment |
//! |---|---|---|
//! | `Available` | an image is verified and in its place for the first time | `image.file` is in the cache folder |
//! | `Replaced` | a newer file of the same identifier took the place of an older one | `new.file` is in the cache folder, `old.file` in the expired folder |
//! | `Expired` | an image is no longer wanted, or no longer offered by a list in force | `image.file` is in the expired folder |
//!
//! A change is stored in the commit that makes it, once for each attached publisher, and is forgotten when the
//! publisher answered `Ok`. So nothing is lost by a crash, and a change may be told twice: `publish` must bear that,
//! by looking at what its cloud has already. Changes of one image are told in their order, one at a time; an image
//! that fails does not hold up others. A failure that may pass ([`PublishError::later`]) is tried again for ever, with
//! pauses that grow to an hour; one that cannot pass ([`PublishError::never`]) is kept, listed by
//! `vnode image events`, and offered again when an operator asks for it.
//!
//! What a publisher was told is remembered by its name. One that is attached later, or again, is told what differs from
//! that: images that are here already, those that were replaced or went while it was away.
//!
//! By the time a change is told again the file may have moved on: a publisher that finds `file` gone answers `later`
//! when a newer change will come, which it then gets.

mod queue;

use std::{fmt, path::PathBuf};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use queue::PublishQueue;

use crate::{
    disk::Disk,
    list::Image,
    waiting::{Tries, Waiting},
};

/// An image as its list describes it, and where its file is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedImage {
    /// Identifier of the list (the subscription).
    pub list: String,
    /// The list's `ad:vo`.
    pub vo: Option<String>,
    /// Everything the list says of it; [`Image::attributes`] has every key.
    pub image: Image,
    /// SHA-512 of the signed message it came by, hexadecimal.
    pub message_sha512: String,
    /// The verified file, as signed; absolute.
    pub file: PathBuf,
    /// What its header says, when it was read here.
    pub disk: Option<Disk>,
}

/// What became of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum ImageChange {
    Available { image: PublishedImage },
    Replaced { old: Box<PublishedImage>, new: Box<PublishedImage> },
    Expired { image: PublishedImage },
}

impl ImageChange {
    /// `available`, `replaced`, `expired`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Available { .. } => "available",
            Self::Replaced { .. } => "replaced",
            Self::Expired { .. } => "expired",
        }
    }

    /// The image it is about; of a replacement the new one.
    pub fn image(&self) -> &PublishedImage {
        match self {
            Self::Available { image } | Self::Expired { image } => image,
            Self::Replaced { new, .. } => new,
        }
    }
}

/// Why a change was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct PublishError {
    pub text: String,
    /// Whether trying again may help.
    pub may_pass: bool,
}

impl PublishError {
    /// It may do better later.
    pub fn later(error: &dyn std::error::Error) -> Self {
        Self { text: vnode_protocol::chain(error), may_pass: true }
    }

    /// An operator must see to it.
    pub fn never(error: &dyn std::error::Error) -> Self {
        Self { text: vnode_protocol::chain(error), may_pass: false }
    }
}

/// A cloud, or anything else, that follows the images of a site.
pub trait Publisher: Send + Sync + fmt::Debug {
    /// Names it in the store and in listings: `opennebula`. Letters, digits, `-`; never changed.
    fn name(&self) -> &str;

    /// Makes the cloud follow a change; returns when it has. Cut off by `cancellation` when the daemon ends.
    fn publish<'a>(
        &'a self,
        change: &'a ImageChange,
        cancellation: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), PublishError>>;
}

/// A change that waits for its publisher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unpublished {
    /// Sorts by the time it was queued.
    pub id: Uuid,
    pub publisher: String,
    pub change: ImageChange,
    pub queued: Timestamp,
    #[serde(flatten)]
    pub tries: Tries,
}

impl Waiting for Unpublished {
    const PREFIX: &'static str = "imagelist/publish/";

    fn key(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.publisher, self.id)
    }

    fn tries(&mut self) -> &mut Tries {
        &mut self.tries
    }
}
