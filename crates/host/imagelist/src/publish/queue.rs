//! The queue of changes in the store, and who is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vnode_store::{Change, Store, record};

use super::{ImageChange, PublishedImage, Publisher, Unpublished};
use crate::{
    record::SCHEMA,
    waiting::{self, Tries, Waiting as _},
};

/// What a publisher was told of last, by its name and the image's identifier.
const TOLD: &str = "imagelist/told/";
/// Pause after the first failure; doubled for each further one.
const PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// The queue of changes in the store, and the publishers.
#[derive(Debug)]
pub struct PublishQueue {
    store: Arc<dyn Store>,
    publishers: RwLock<Vec<Attached>>,
    delivering: Mutex<()>,
}

#[derive(Debug, Clone)]
struct Attached {
    publisher: Arc<dyn Publisher>,
    /// Whether it was told what it missed.
    is_up_to_date: bool,
}

impl PublishQueue {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, publishers: RwLock::default(), delivering: Mutex::new(()) }
    }

    /// From now on changes are told to this one too; one of the same name is replaced.
    pub fn attach(&self, publisher: Arc<dyn Publisher>) {
        let mut all = self.publishers.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|a| a.publisher.name() != publisher.name());
        all.push(Attached { publisher, is_up_to_date: false });
    }

    /// Takes a publisher away; what waits for it stays for when it comes back.
    pub fn detach(&self, name: &str) {
        let mut all = self.publishers.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|a| a.publisher.name() != name);
    }

    fn all(&self) -> Vec<Attached> {
        self.publishers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether one was attached that was not told yet what it missed.
    pub(crate) fn is_behind(&self) -> bool {
        self.all().iter().any(|attached| !attached.is_up_to_date)
    }

    /// Queues for those attached of late what they missed: the difference of what they were told, or will be, and
    /// what is `here`, by identifier. No run of the cache may go on meanwhile.
    pub(crate) async fn catch_up(
        &self,
        here: &BTreeMap<String, PublishedImage>,
        now: Timestamp,
    ) -> Result<usize, vnode_store::Error> {
        let _delivering = self.delivering.lock().await;
        let mut changes = Vec::new();
        let behind = self.all().into_iter().filter(|attached| !attached.is_up_to_date);
        let behind: Vec<String> = behind.map(|a| a.publisher.name().to_owned()).collect();
        for name in &behind {
            for change in difference(self.known(name).await?, here) {
                changes.push(waiting::put(&queued(name, change, now))?);
            }
        }
        let count = changes.len();
        if count > 0 {
            self.store.commit(changes).await?;
        }
        let mut all = self.publishers.write().unwrap_or_else(PoisonError::into_inner);
        for attached in all.iter_mut().filter(|a| behind.iter().any(|n| n == a.publisher.name())) {
            attached.is_up_to_date = true;
        }
        Ok(count)
    }

    /// The images a publisher knows of when it was told all that waits for it.
    async fn known(
        &self,
        name: &str,
    ) -> Result<BTreeMap<String, PublishedImage>, vnode_store::Error> {
        let mut known = BTreeMap::new();
        for (_, entry) in self.store.list(&format!("{TOLD}{name}/")).await? {
            let image: PublishedImage = record::decode(&entry.value, &[])?;
            known.insert(image.image.identifier.clone(), image);
        }
        for waiting in self.waiting().await?.into_iter().filter(|w| w.publisher == name) {
            let identifier = waiting.change.image().image.identifier.clone();
            match waiting.change {
                ImageChange::Available { image } => drop(known.insert(identifier, image)),
                ImageChange::Replaced { new, .. } => drop(known.insert(identifier, *new)),
                ImageChange::Expired { .. } => drop(known.remove(&identifier)),
            }
        }
        Ok(known)
    }

    /// Changes to the store that queue `change` for every publisher.
    pub(crate) fn enqueue(
        &self,
        change: &ImageChange,
        now: Timestamp,
    ) -> Result<Vec<Change>, vnode_store::Error> {
        let each = self.all().into_iter();
        each.map(|a| waiting::put(&queued(a.publisher.name(), change.clone(), now))).collect()
    }

    /// Changes that were not published, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn waiting(&self) -> Result<Vec<Unpublished>, vnode_store::Error> {
        let mut all: Vec<Unpublished> = waiting::all(self.store.as_ref()).await?;
        all.sort_by_key(|waiting| waiting.id);
        Ok(all)
    }

    /// Offers given-up changes again; gives their number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retry_given_up(&self, now: Timestamp) -> Result<usize, vnode_store::Error> {
        let _delivering = self.delivering.lock().await;
        waiting::retry_given_up::<Unpublished>(self.store.as_ref(), now).await
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
            let Some(attached) =
                publishers.iter().find(|a| a.publisher.name() == waiting.publisher)
            else {
                continue;
            };
            let image = waiting.change.image();
            let key =
                (waiting.publisher.clone(), image.list.clone(), image.image.identifier.clone());
            if waiting.tries.given_up || cancellation.is_cancelled() || held.contains(&key) {
                continue;
            }
            if !waiting.tries.is_due(now()) {
                held.insert(key);
                continue;
            }
            waiting.tries.begin();
            match attached.publisher.publish(&waiting.change, cancellation).await {
                Ok(()) => {
                    let done_with = Change::delete(waiting.key());
                    self.store.commit(vec![done_with, told(&waiting)?]).await?;
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
                    waiting.tries.given_up = !error.may_pass;
                    waiting.tries.failed(error.text, PAUSE, now());
                    self.store.commit(vec![waiting::put(&waiting)?]).await?;
                    held.insert(key);
                }
            }
        }
        Ok(done)
    }
}

fn queued(publisher: &str, change: ImageChange, now: Timestamp) -> Unpublished {
    Unpublished {
        id: Uuid::now_v7(),
        publisher: publisher.to_owned(),
        change,
        queued: now,
        tries: Tries::new(now),
    }
}

/// What is remembered of a change that was told.
fn told(waiting: &Unpublished) -> Result<Change, vnode_store::Error> {
    let image = waiting.change.image();
    let key = format!("{TOLD}{}/{}", waiting.publisher, image.image.identifier);
    Ok(match waiting.change {
        ImageChange::Expired { .. } => Change::delete(key),
        _ => Change::put(key, record::encode(SCHEMA, image)?),
    })
}

/// What leads from the images that somebody knows of to those that are here.
fn difference(
    mut known: BTreeMap<String, PublishedImage>,
    here: &BTreeMap<String, PublishedImage>,
) -> Vec<ImageChange> {
    let mut changes = Vec::new();
    for (identifier, image) in here {
        match known.remove(identifier) {
            None => changes.push(ImageChange::Available { image: image.clone() }),
            Some(old) if old.list == image.list && old.image.is_same_file(&image.image) => {}
            Some(old) => changes
                .push(ImageChange::Replaced { old: Box::new(old), new: Box::new(image.clone()) }),
        }
    }
    changes.extend(known.into_values().map(|image| ImageChange::Expired { image }));
    changes
}
