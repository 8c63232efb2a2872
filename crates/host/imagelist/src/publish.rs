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
//! By the time a change is told again the file may have moved on: a publisher that finds `file` gone answers `later`
//! when a newer change will come, which it then gets.

use std::{
    collections::BTreeSet,
    fmt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vnode_store::{Change, Store, record};

use crate::{disk::Disk, list::Image, record::SCHEMA};

pub(crate) const PUBLISH: &str = "imagelist/publish/";
/// Pause after the first failure; doubled for each further one.
const PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);

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
    pub attempts: u32,
    /// Not tried again before.
    pub not_before: Timestamp,
    pub error: Option<String>,
    /// It waits for an operator.
    pub given_up: bool,
}

/// The queue of changes in the store, and the publishers.
#[derive(Debug)]
pub struct PublishQueue {
    store: Arc<dyn Store>,
    publishers: RwLock<Vec<Arc<dyn Publisher>>>,
    delivering: Mutex<()>,
}

impl PublishQueue {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, publishers: RwLock::default(), delivering: Mutex::new(()) }
    }

    /// From now on changes are told to this one too; one of the same name is replaced.
    pub fn attach(&self, publisher: Arc<dyn Publisher>) {
        let mut all = self.publishers.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|p| p.name() != publisher.name());
        all.push(publisher);
    }

    /// Takes a publisher away; what waits for it stays for when it comes back.
    pub fn detach(&self, name: &str) {
        let mut all = self.publishers.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|p| p.name() != name);
    }

    fn all(&self) -> Vec<Arc<dyn Publisher>> {
        self.publishers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes to the store that queue `change` for every publisher.
    pub(crate) fn enqueue(
        &self,
        change: &ImageChange,
        now: Timestamp,
    ) -> Result<Vec<Change>, vnode_store::Error> {
        let each = self.all().into_iter().map(|publisher| {
            let waiting = Unpublished {
                id: Uuid::now_v7(),
                publisher: publisher.name().to_owned(),
                change: change.clone(),
                queued: now,
                attempts: 0,
                not_before: now,
                error: None,
                given_up: false,
            };
            put(&waiting)
        });
        each.collect()
    }

    /// Changes that were not published, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn waiting(&self) -> Result<Vec<Unpublished>, vnode_store::Error> {
        let entries = self.store.list(PUBLISH).await?;
        let mut all: Vec<Unpublished> = entries
            .iter()
            .map(|(_, entry)| record::decode(&entry.value, &[]))
            .collect::<Result<_, _>>()?;
        all.sort_by_key(|waiting| waiting.id);
        Ok(all)
    }

    /// Offers given-up changes again; gives their number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retry_given_up(&self, now: Timestamp) -> Result<usize, vnode_store::Error> {
        let _delivering = self.delivering.lock().await;
        let mut changes = Vec::new();
        for mut waiting in self.waiting().await?.into_iter().filter(|w| w.given_up) {
            waiting.given_up = false;
            waiting.attempts = 0;
            waiting.not_before = now;
            changes.push(put(&waiting)?);
        }
        let count = changes.len();
        if count > 0 {
            self.store.commit(changes).await?;
        }
        Ok(count)
    }

    /// Tells every publisher what is due; gives how many changes were published.
    ///
    /// # Errors
    /// When the store fails; what could not be written off is told again.
    pub async fn deliver(
        &self,
        now: impl Fn() -> Timestamp,
        cancellation: &CancellationToken,
    ) -> Result<usize, vnode_store::Error> {
        let _delivering = self.delivering.lock().await;
        let publishers = self.all();
        // Images of which an older change waits still: theirs must not overtake it.
        let mut held = BTreeSet::new();
        let mut done = 0;
        for mut waiting in self.waiting().await? {
            let Some(publisher) = publishers.iter().find(|p| p.name() == waiting.publisher) else {
                continue;
            };
            let image = waiting.change.image();
            let key =
                (waiting.publisher.clone(), image.list.clone(), image.image.identifier.clone());
            if waiting.given_up || cancellation.is_cancelled() || held.contains(&key) {
                continue;
            }
            if waiting.not_before > now() {
                held.insert(key);
                continue;
            }
            waiting.attempts = waiting.attempts.saturating_add(1);
            match publisher.publish(&waiting.change, cancellation).await {
                Ok(()) => {
                    self.store.commit(vec![Change::delete(key_of(&waiting))]).await?;
                    done += 1;
                }
                Err(_) if cancellation.is_cancelled() => {}
                Err(error) => {
                    tracing::error!(
                        publisher = waiting.publisher,
                        image = key.2,
                        change = waiting.change.kind(),
                        %error,
                        "an image is not published"
                    );
                    let doubled = 1_i32 << (waiting.attempts - 1).min(20);
                    let pause = PAUSE.checked_mul(doubled).unwrap_or(LONGEST_PAUSE);
                    waiting.not_before =
                        now().checked_add(pause.min(LONGEST_PAUSE)).unwrap_or(Timestamp::MAX);
                    waiting.given_up = !error.may_pass;
                    waiting.error = Some(error.text);
                    self.store.commit(vec![put(&waiting)?]).await?;
                    held.insert(key);
                }
            }
        }
        Ok(done)
    }
}

fn key_of(waiting: &Unpublished) -> String {
    format!("{PUBLISH}{}/{}", waiting.publisher, waiting.id)
}

fn put(waiting: &Unpublished) -> Result<Change, vnode_store::Error> {
    Ok(Change::put(key_of(waiting), record::encode(SCHEMA, waiting)?))
}
