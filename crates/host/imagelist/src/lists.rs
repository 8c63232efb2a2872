//! Subscriptions: endorsers, lists that are followed, the images a site wants of them.
//!
//! A library over the daemon's store. One process changes the records at a time; every change is one commit, so that a
//! crash leaves the last good list in force. A refresh that fails leaves everything but [`Subscription::last`].

mod apply;
mod endorsers;
mod images;
mod import;
mod refresh;

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::Mutex;
use uuid::Uuid;
use vnode_image::artefact::Blob;
use vnode_store::{Change, Expect, Store, record};

pub use import::{CachedFile, ImportError, Imported};
pub use refresh::{Refreshed, Report};

use crate::{
    error::Refusal,
    event,
    fetch::{self, Fetch, FetchError, Fetched},
    judge::{Accepted, Expected, Outcome, Stored, judge},
    kept::Kept,
    list::{Brief, Image},
    name::Principal,
    oci,
    record::{
        Attempt, Current, IMAGES, ImageRecord, LATEST, Latest, SCHEMA, SUBSCRIPTIONS, Settings,
        Subscription, Validators, image_key,
    },
    trust::{TrustError, TrustFolder},
};

/// Longest id of an endorser, bytes.
const MAX_ENDORSER_ID: usize = 256;

/// Text of [`Error::Fetch`]: programs that know only texts tell it from a list that is refused.
pub const NOT_FETCHED: &str = "the list cannot be fetched";

/// Why something about subscriptions was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{NOT_FETCHED}")]
    Fetch(#[from] FetchError),
    #[error("the list of {uri} is refused")]
    Refused {
        uri: String,
        #[source]
        source: Refusal,
    },
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("there is no {what} `{name}`; see what there is with `vnode image subscriptions`")]
    Unknown { what: &'static str, name: String },
    #[error("there is a {what} `{name}` already")]
    Exists { what: &'static str, name: String },
    #[error("the subject `{subject}` belongs to the endorser `{endorser}` already")]
    SubjectTaken { subject: String, endorser: String },
    #[error("`{name}` cannot name an endorser: 1 to 256 printable characters, no slash")]
    EndorserId { name: String },
    #[error("the records of subscriptions cannot be {doing}")]
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

impl Error {
    /// The exit code of `vmcatcher_subscribe` for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Fetch(_) => 10,
            Self::Refused { source, .. } => source.exit_code(),
            Self::Exists { .. } | Self::SubjectTaken { .. } => 15,
            _ => 1,
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where the time comes from; tests give their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// All subscriptions of a host.
pub struct Lists {
    store: Arc<dyn Store>,
    briefs: Kept<ImageRecord<Brief>>,
    trust: RwLock<Arc<TrustFolder>>,
    fetch: RwLock<Arc<dyn Fetch>>,
    clock: Clock,
    /// Whether new images become events for a handler.
    announce: AtomicBool,
    /// One change at a time: a change is a read, a decision and a commit.
    changing: Mutex<()>,
    /// Lists fetched at a time.
    at_once: usize,
}

impl std::fmt::Debug for Lists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lists").field("trust", &self.trust).finish_non_exhaustive()
    }
}

/// A new subscription.
#[derive(Debug, Clone, Default)]
pub struct Subscribe {
    pub uri: String,
    pub settings: Settings,
    /// Make an endorser of whoever signed it, when there is none with that certificate.
    pub auto_endorse: bool,
}

/// An image that shall be in the cache: subscribed, and offered by a list in force; in full, or in [`Brief`].
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted<I = Image> {
    pub list: String,
    pub identifier: String,
    pub vo: Option<String>,
    pub image: I,
    /// SHA-512 of the message that offers it, hexadecimal.
    pub message_sha512: String,
}

impl Lists {
    pub fn new(store: Arc<dyn Store>, trust: Arc<TrustFolder>, fetch: Arc<dyn Fetch>) -> Self {
        let clock: Clock = Arc::new(Timestamp::now);
        Self {
            briefs: Kept::of(store.as_ref(), IMAGES),
            store,
            trust: RwLock::new(trust),
            fetch: RwLock::new(fetch),
            clock,
            announce: AtomicBool::new(true),
            changing: Mutex::new(()),
            at_once: 4,
        }
    }

    /// From now on certificates are looked for elsewhere, and messages fetched another way.
    pub fn use_settings(&self, trust: Arc<TrustFolder>, fetch: Arc<dyn Fetch>, announce: bool) {
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = trust;
        *self.fetch.write().unwrap_or_else(PoisonError::into_inner) = fetch;
        self.announce.store(announce, Ordering::Relaxed);
    }

    fn trust(&self) -> Arc<TrustFolder> {
        Arc::clone(&self.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where the bytes of a registry's image are.
    pub(crate) fn blobs(&self, image: &Image, settings: &Settings) -> Result<Vec<Blob>> {
        Ok(self.fetcher().blobs(image, settings.credential.as_ref())?)
    }

    fn fetcher(&self) -> Arc<dyn Fetch> {
        Arc::clone(&self.fetch.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// With another source of time.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The time now, as this value counts it.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// All subscriptions, by the list's identifier.
    pub async fn subscriptions(&self) -> Result<Vec<Subscription>> {
        self.all(SUBSCRIPTIONS).await
    }

    pub async fn subscription(&self, list: &str) -> Result<Subscription> {
        self.one(&format!("{SUBSCRIPTIONS}{list}"))
            .await?
            .ok_or_else(|| Error::Unknown { what: "subscription", name: list.to_owned() })
    }

    /// The last accepted message of a list.
    pub async fn latest(&self, list: &str) -> Result<Option<Latest>> {
        self.one(&format!("{LATEST}{list}")).await
    }

    /// Fetches a list, checks it, and follows it from now on; no image of it is wanted yet.
    ///
    /// # Errors
    /// When it cannot be fetched, is refused, or is followed already. Nothing is kept then.
    pub async fn subscribe(&self, wanted: &Subscribe) -> Result<Subscription> {
        if !oci::is_address(&wanted.uri) {
            fetch::address(&wanted.uri)?;
        }
        let request = fetch::Request {
            uri: wanted.uri.clone(),
            credential: wanted.settings.credential.clone(),
            key: wanted.settings.key.clone(),
            validators: Validators::default(),
        };
        let refused = |source| Error::Refused { uri: fetch::without_password(&wanted.uri), source };
        let (message, validators, accepted) = match self.fetcher().fetch(&request).await? {
            Fetched::Message { bytes, validators } => {
                let accepted = self
                    .judge(bytes.clone(), None, None, None, wanted.settings.rules)
                    .await?
                    .map_err(refused)?;
                (bytes, validators, accepted)
            }
            Fetched::Offer(offer) => {
                let accepted = offered(&offer, None);
                (offer.message, Validators::default(), accepted)
            }
            Fetched::Refused(refusal) => return Err(refused(refusal)),
            // Nothing was asked that could be unchanged.
            Fetched::Unchanged => {
                return Err(FetchError::Status { uri: wanted.uri.clone(), status: 304 }.into());
            }
        };
        let _changing = self.changing.lock().await;
        let list = &accepted.list.identifier;
        for known in self.subscriptions().await? {
            if known.identifier == *list || known.uri == wanted.uri {
                return Err(Error::Exists { what: "subscription", name: known.identifier });
            }
        }
        let mut changes = Vec::new();
        let known = self.endorsers().await?;
        let endorser = known.iter().find(|e| e.principals.iter().any(|p| p.is(&accepted.signer)));
        let endorsers = match endorser {
            // A registry's signer is a key that the site named.
            _ if oci::is_address(&wanted.uri) => Vec::new(),
            Some(endorser) => vec![endorser.id.clone()],
            None if wanted.auto_endorse => {
                let id = Uuid::now_v7().to_string();
                changes.push(self.endorser_change(&id, vec![accepted.signer.clone()]).await?);
                vec![id]
            }
            None => {
                let Principal { subject, issuer } = accepted.signer;
                return Err(refused(Refusal::NotEndorsed { subject, issuer }));
            }
        };
        let subscription = Subscription {
            identifier: list.clone(),
            title: accepted.list.title.clone(),
            description: accepted.list.description.clone(),
            uri: wanted.uri.clone(),
            list_uri: accepted.list.uri.clone(),
            endorsers,
            settings: wanted.settings.clone(),
            stored: Some(stored(&accepted)),
            current: Some(self.current(&accepted)),
            validators,
            last: Some(Attempt { at: self.now(), exit_code: 0, error: None }),
        };
        changes.push(create(&format!("{SUBSCRIPTIONS}{list}"), &subscription)?);
        for image in &accepted.list.images {
            let record = ImageRecord {
                list: list.clone(),
                identifier: image.identifier.clone(),
                subscribed: false,
                latest: Some(image.clone()),
                in_list: true,
            };
            changes.push(create(&image_key(list, &image.identifier), &record)?);
        }
        let latest = Latest { message, list: accepted.list.clone() };
        changes.push(Change::put(format!("{LATEST}{list}"), encode(&latest)?));
        self.commit(changes).await?;
        Ok(subscription)
    }

    /// Changes what a site chose. A new policy for new images is applied to the list in force at once; the report
    /// tells of the images it brought.
    pub async fn configure(&self, list: &str, settings: Settings) -> Result<Report> {
        let _changing = self.changing.lock().await;
        let mut subscription = self.subscription(list).await?;
        let again = settings.new_images != subscription.settings.new_images;
        subscription.settings = settings;
        let mut report = Report::default();
        let mut changes = Vec::new();
        if again && let Some(latest) = self.latest(list).await? {
            let known = self.known_images(list).await?;
            changes = apply::apply(&subscription, &latest.list, known, &mut report)?;
            changes.extend(self.new_image_events(&report)?);
        }
        changes.push(put_subscription(&subscription)?);
        self.commit(changes).await?;
        Ok(report)
    }

    /// Stops following a list and forgets its images; false when it was not followed. Cached files of it expire at
    /// the next run of the cache.
    pub async fn remove(&self, list: &str) -> Result<bool> {
        let _changing = self.changing.lock().await;
        let key = format!("{SUBSCRIPTIONS}{list}");
        if self.store.get(&key).await.map_err(read)?.is_none() {
            return Ok(false);
        }
        let mut changes = vec![Change::delete(key), Change::delete(format!("{LATEST}{list}"))];
        for image in self.known_images(list).await?.into_keys() {
            changes.push(Change::delete(image_key(list, &image)));
        }
        self.commit(changes).await?;
        Ok(true)
    }

    fn current(&self, accepted: &Accepted) -> Current {
        Current {
            version: accepted.list.version.clone(),
            created: accepted.list.created,
            expires: accepted.list.expires,
            imported: self.now(),
            vo: accepted.list.vo.clone(),
            signer: accepted.signer.clone(),
        }
    }

    /// Judges on a thread that may block.
    async fn judge(
        &self,
        message: Vec<u8>,
        identifier: Option<String>,
        endorsers: Option<Vec<Principal>>,
        stored: Option<Stored>,
        rules: crate::cms::Rules,
    ) -> Result<std::result::Result<Accepted, Refusal>> {
        let trust = self.trust();
        let now = self.now();
        let work = move || {
            let anchors = trust.anchors()?;
            let expected = Expected {
                identifier: identifier.as_deref(),
                endorsers: endorsers.as_deref(),
                stored: stored.as_ref(),
                rules,
            };
            Ok(judge(&message, &anchors, &expected, now))
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?
    }

    /// Events for the images a report tells of, for the same commit as the images.
    fn new_image_events(&self, report: &Report) -> Result<Vec<Change>> {
        if !self.announce.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let events: Vec<_> = report
            .new_images
            .iter()
            .map(|image| event::Event::new_image(&image.attributes))
            .collect();
        event::enqueue(&event::Session::default(), events, self.now()).map_err(read)
    }

    async fn all<T: serde::de::DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>> {
        let entries = self.store.list(prefix).await.map_err(read)?;
        entries.iter().map(|(_, entry)| record::decode(&entry.value, &[]).map_err(read)).collect()
    }

    async fn one<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let entry = self.store.get(key).await.map_err(read)?;
        entry.map(|entry| record::decode(&entry.value, &[]).map_err(read)).transpose()
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<()> {
        let written = self.store.commit(changes).await;
        written.map(|_| ()).map_err(|source| Error::Store { doing: "written", source })
    }
}

fn read(source: vnode_store::Error) -> Error {
    Error::Store { doing: "read", source }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    record::encode(SCHEMA, value).map_err(|source| Error::Store { doing: "encoded", source })
}

fn create<T: serde::Serialize>(key: &str, value: &T) -> Result<Change> {
    Ok(Change::Put { key: key.to_owned(), value: encode(value)?, expect: Expect::Absent })
}

fn put_subscription(subscription: &Subscription) -> Result<Change> {
    let key = format!("{SUBSCRIPTIONS}{}", subscription.identifier);
    Ok(Change::put(key, encode(subscription)?))
}

/// What a registry offers, beside what is stored.
fn offered(offer: &oci::Offer, stored: Option<&Stored>) -> Accepted {
    let message_sha512 = offer.message_sha512();
    let unchanged = stored.is_some_and(|stored| stored.message_sha512 == message_sha512);
    Accepted {
        list: offer.list.clone(),
        signer: offer.signer.clone(),
        message_sha512,
        outcome: if unchanged { Outcome::Unchanged } else { Outcome::Newer },
    }
}

fn stored(accepted: &Accepted) -> Stored {
    Stored {
        version: accepted.list.version.clone(),
        message_sha512: accepted.message_sha512.clone(),
    }
}
