//! The cache folder: every wanted image, verified, under its identifier; as vmcatcher lays it out.
//!
//! ```text
//! CACHE/IDENTIFIER                     the image
//! CACHE/partial/IDENTIFIER[.part]      while it arrives, and until the handler was told
//! CACHE/expired/IDENTIFIER.TIME        withdrawn; TIME is UTC, YYYY-MM-DD_hh-mm-ss
//! CACHE/cache.index                    JSON for programs beside us; what counts is in the store
//! ```
//!
//! A run withdraws what is no longer wanted, then fetches what is: the old file of an image stays until the new one is
//! verified. One image's failure stops no other. Folders in the cache folder are left alone.

mod bring;
mod folder;
mod index;
mod keep;
mod run;
mod shelf;

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Mutex;
use vnode_store::Store;

use crate::{
    disk::Disk,
    download::{DownloadError, Downloader},
    event::Queue,
    kept::Kept,
    list::{Brief, Image},
    lists::{self, Lists},
    publish::{PublishQueue, PublishedImage},
};

pub use run::{Failure, RunOptions, RunReport};
pub use shelf::{InUse, Shelf};

pub(crate) const CACHED: &str = "imagelist/cache/";
pub(crate) const TRIES: &str = "imagelist/tries/";

/// How often an image of one list message is tried; then a new list is waited for.
pub const MAX_TRIES: u32 = 5;

/// Why a run of the cache could not be made, or why one image failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CacheError {
    #[error("a run of the cache goes on already; wait for its end")]
    Busy,
    #[error("cannot {doing} {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error("it was tried {tries} times; it is tried again when the list changes")]
    GivenUp { tries: u32 },
    #[error(
        "the list `{other}` has an image of the same identifier in the cache; remove one of the two"
    )]
    Clash { other: String },
    #[error(transparent)]
    Lists(#[from] lists::Error),
    #[error("the records of the cache cannot be {doing}")]
    Store {
        doing: &'static str,
        #[source]
        source: vnode_store::Error,
    },
    #[error("the work was cut off")]
    Stopped,
    #[error(transparent)]
    Injected(#[from] vnode_operation::fault::Injected),
}

/// An image in the cache folder; in full, or in [`Brief`](crate::Brief).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cached<I = Image> {
    /// Identifier of its list.
    pub list: String,
    pub vo: Option<String>,
    pub image: I,
    /// SHA-512 of the message it came by, hexadecimal.
    pub message_sha512: String,
    /// What its header says; `None` for files taken over from an old cache.
    pub disk: Option<Disk>,
    /// Id of the image in the catalogue.
    #[serde(default)]
    pub image_id: Option<String>,
    /// Why no node can be made from it, when none can.
    #[serde(default)]
    pub unusable: Option<String>,
}

impl Cached {
    /// Without what only its events and publishers are told.
    pub(crate) fn brief(self) -> Cached<Brief> {
        let Self { list, vo, image, message_sha512, disk, image_id, unusable } = self;
        Cached { list, vo, image: Brief::from(&image), message_sha512, disk, image_id, unusable }
    }

    /// As publishers are told of it.
    pub fn published(&self, file: PathBuf) -> PublishedImage {
        PublishedImage {
            list: self.list.clone(),
            vo: self.vo.clone(),
            image: self.image.clone(),
            message_sha512: self.message_sha512.clone(),
            file,
            disk: self.disk,
        }
    }
}

/// What is in the cache, by identifier, as far as a run must know it.
pub(crate) type Briefs = Kept<(String, Cached<Brief>)>;

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folders {
    pub cache: PathBuf,
    pub partial: PathBuf,
    pub expired: PathBuf,
}

impl Folders {
    /// `partial` and `expired` below the cache folder, as is usual.
    pub fn below(cache: impl Into<PathBuf>) -> Self {
        let cache = cache.into();
        Self { partial: cache.join("partial"), expired: cache.join("expired"), cache }
    }
}

/// The cache of a host.
#[derive(Debug)]
pub struct Cache {
    store: Arc<dyn Store>,
    lists: Arc<Lists>,
    downloader: Arc<Downloader>,
    queue: Arc<Queue>,
    publishers: Arc<PublishQueue>,
    shelf: Option<Shelf>,
    folders: Folders,
    mirrors: Vec<Mirror>,
    /// Most bytes a packed image may unpack to.
    max_virtual_size: u64,
    running: Arc<Mutex<()>>,
    briefs: Arc<Briefs>,
}

/// Addresses that begin with `from` are asked first where they begin with `to`: for closed networks, and for sites with
/// a server of their own. The hash of the list decides, so a mirror need not be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    pub from: String,
    pub to: String,
}

impl Cache {
    /// Makes the folders that are missing, mode 0755.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn new(
        store: Arc<dyn Store>,
        lists: Arc<Lists>,
        downloader: impl Into<Arc<Downloader>>,
        folders: Folders,
    ) -> Result<Self, CacheError> {
        for path in [&folders.cache, &folders.partial, &folders.expired] {
            std::fs::create_dir_all(path).map_err(|source| CacheError::File {
                doing: "make",
                path: path.clone(),
                source,
            })?;
        }
        Ok(Self {
            queue: Arc::new(Queue::new(Arc::clone(&store))),
            publishers: Arc::new(PublishQueue::new(Arc::clone(&store))),
            briefs: Arc::new(Briefs::of(store.as_ref(), CACHED)),
            store,
            lists,
            downloader: downloader.into(),
            shelf: None,
            folders,
            mirrors: Vec::new(),
            max_virtual_size: 2 << 40,
            running: Arc::default(),
        })
    }

    /// With the catalogue that nodes are made from.
    #[must_use]
    pub fn shelf(mut self, shelf: Shelf) -> Self {
        self.shelf = Some(shelf);
        self
    }

    /// With another bound on what a packed image unpacks to, bytes.
    #[must_use]
    pub fn max_virtual_size(mut self, bytes: u64) -> Self {
        self.max_virtual_size = bytes;
        if let Some(shelf) = &mut self.shelf {
            shelf.max_bytes = bytes;
        }
        self
    }

    /// With what other values of this type share: queues, what is known to be cached, and a lock, for one run at a time
    /// on a host.
    #[must_use]
    pub(crate) fn shared(
        mut self,
        queue: Arc<Queue>,
        publishers: Arc<PublishQueue>,
        running: Arc<Mutex<()>>,
        briefs: Arc<Briefs>,
    ) -> Self {
        self.queue = queue;
        self.publishers = publishers;
        self.running = running;
        self.briefs = briefs;
        self
    }

    /// Those that are told in this process.
    pub fn publishers(&self) -> &PublishQueue {
        &self.publishers
    }

    /// With mirrors, asked in this order before the list's own address.
    #[must_use]
    pub fn mirrors(mut self, mirrors: Vec<Mirror>) -> Self {
        self.mirrors = mirrors;
        self
    }

    /// The queue its events go through.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    pub fn folders(&self) -> &Folders {
        &self.folders
    }
}
