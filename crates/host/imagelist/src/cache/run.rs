//! One run of the cache: expire, check, fetch; with the original's events in the original's order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use vnode_store::{Change, record};

use super::{CACHED, Cache, CacheError, Cached, bring::Sum, folder, index};
use crate::{
    download::Progress,
    event::{Event, Handler, Kind, Session, enqueue},
    list::Brief,
    lists::Wanted,
    record::SCHEMA,
};

/// What a run does.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Read every cached file again and compare its hash (`-s`).
    pub check: bool,
    /// Fetch what is wanted (`-D`); withdrawing is always done.
    pub download: bool,
    pub session: Session,
    /// Given each event at once, before the run goes on; without one events wait in the queue.
    pub handler: Option<Handler>,
    /// Make events for handlers at all: a site without a handler would only fill its queue.
    pub events: bool,
    /// Fetch only these identifiers.
    pub only: Option<BTreeSet<String>>,
    /// Withdrawn files older than this are removed; `None` keeps them for ever, as the original does.
    pub keep_expired: Option<Duration>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            check: false,
            download: true,
            session: Session::default(),
            handler: None,
            events: true,
            only: None,
            keep_expired: None,
        }
    }
}

/// What a run did. Identifiers of images, in the order of events.
#[derive(Debug, Default)]
pub struct RunReport {
    pub expired: Vec<String>,
    pub available: Vec<String>,
    pub failed: Vec<Failure>,
    /// Cached files that were missing or wrong.
    pub lost: Vec<String>,
    /// Files that belonged to no image and were moved aside.
    pub strays: usize,
    /// Images that are cached, but from which no node can be made, and why.
    pub unusable: Vec<(String, String)>,
    /// Withdrawn files that were old enough to be removed.
    pub purged: usize,
}

/// An image that is not in the cache.
#[derive(Debug)]
pub struct Failure {
    pub list: String,
    pub identifier: String,
    pub error: CacheError,
}

impl Cache {
    /// The images in the cache folder, by identifier.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn cached(&self) -> Result<BTreeMap<String, Cached>, CacheError> {
        Ok(self.read_cached().await?.into_iter().collect())
    }

    async fn read_cached<I: DeserializeOwned>(
        &self,
    ) -> Result<Vec<(String, Cached<I>)>, CacheError> {
        let entries = self.store.list(CACHED).await.map_err(read)?;
        let each = entries.iter().map(|(key, entry)| {
            let identifier = key.strip_prefix(CACHED).unwrap_or(key);
            Ok((identifier.to_owned(), record::decode(&entry.value, &[]).map_err(read)?))
        });
        each.collect()
    }

    /// One of them, with all that is known of it.
    pub(super) async fn cached_in_full(
        &self,
        identifier: &str,
    ) -> Result<Option<Cached>, CacheError> {
        let entry = self.store.get(&format!("{CACHED}{identifier}")).await.map_err(read)?;
        entry.map(|entry| record::decode(&entry.value, &[]).map_err(read)).transpose()
    }

    /// Withdraws what is no longer wanted, fetches what is. The old file of an image stays until the new one is
    /// verified (W-13).
    ///
    /// # Errors
    /// When the records or folders are of no use, or another run goes on. What is wrong with one image is in the report.
    pub async fn run(
        &self,
        options: &RunOptions,
        cancellation: &CancellationToken,
    ) -> Result<RunReport, CacheError> {
        self.run_with(options, &(), cancellation).await
    }

    /// As [`run`](Self::run), telling how many bytes are here of all that are fetched.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_with(
        &self,
        options: &RunOptions,
        progress: &dyn Progress,
        cancellation: &CancellationToken,
    ) -> Result<RunReport, CacheError> {
        let _running = self.running.try_lock().map_err(|_| CacheError::Busy)?;
        let mut report = RunReport::default();
        self.tell(options, [Event::of_run(Kind::ProcessPrefix)], Vec::new(), cancellation).await?;
        let here = self.briefs.get(self.read_cached::<Brief>()).await?;
        let mut cached: BTreeMap<String, Cached<Brief>> = here.iter().cloned().collect();
        let wanted = self.choose(&cached, &mut report).await?;
        self.look_after(options, &mut cached, &wanted, &mut report).await?;
        // What nobody wants any more, in order of identifiers.
        let unwanted: Vec<String> =
            cached.keys().filter(|identifier| !wanted.contains_key(*identifier)).cloned().collect();
        for identifier in unwanted {
            cached.remove(&identifier);
            if let Some(old) = self.cached_in_full(&identifier).await? {
                let file = self.expire(options, &old, &mut report, true, cancellation).await?;
                tracing::info!(identifier, file = %file.display(), "withdrawn");
            }
        }
        if options.download {
            let mut missing: Vec<Wanted> = Vec::new();
            for brief in wanted.values() {
                let here = cached.get(&brief.identifier);
                if options.only.as_ref().is_none_or(|only| only.contains(&brief.identifier))
                    && here.is_none_or(|c| !c.image.is_same_file(&brief.image))
                {
                    missing.extend(self.lists.wanted_in_full(brief).await?);
                }
            }
            let sum = Sum::new(progress);
            let sum = &sum;
            // Several arrive at a time, bounded by the downloader; each is put in its place in order of identifiers.
            let mut arriving = stream::iter(missing)
                .map(|wanted| async move {
                    let result = self.download(&wanted, sum, cancellation).await;
                    (wanted, result)
                })
                .buffered(self.downloader.at_once());
            while let Some((wanted, result)) = arriving.next().await {
                let identifier = wanted.image.identifier.clone();
                let result = match result {
                    Ok(verified) => {
                        let old = match cached.remove(&identifier) {
                            Some(_) => self.cached_in_full(&identifier).await?,
                            None => None,
                        };
                        self.place(options, &wanted, verified, old, &mut report, cancellation).await
                    }
                    Err(error) => Err(error),
                };
                match result {
                    Ok(new) => {
                        cached.insert(identifier, new.brief());
                    }
                    Err(error) => {
                        tracing::warn!(identifier, %error, "an image is not in the cache");
                        report.failed.push(Failure { list: wanted.list, identifier, error });
                    }
                }
            }
        }
        self.shelve_missing(options.check, &cached, &mut report, cancellation).await?;
        if let Some(age) = options.keep_expired {
            let (folder, now) = (self.folders.expired.clone(), self.lists.now());
            report.purged = blocking(move || folder::purge(&folder, age, now)).await?;
        }
        let changes = [&report.lost, &report.expired, &report.available];
        let is_changed = changes.iter().any(|images| !images.is_empty());
        if is_changed || !self.folders.cache.join("cache.index").exists() {
            let path = self.folders.cache.clone();
            let all = self.cached().await?;
            blocking(move || index::write(&path, all.values())).await?;
        }
        self.tell(options, [Event::of_run(Kind::ProcessPostfix)], Vec::new(), cancellation).await?;
        Ok(report)
    }

    /// What is wanted, by identifier; of two lists that want one identifier the one that is cached keeps it (W-25).
    async fn choose(
        &self,
        cached: &BTreeMap<String, Cached<Brief>>,
        report: &mut RunReport,
    ) -> Result<BTreeMap<String, Wanted<Brief>>, CacheError> {
        let mut chosen: BTreeMap<String, Wanted<Brief>> = BTreeMap::new();
        for wanted in self.lists.wanted().await? {
            let identifier = wanted.identifier.clone();
            let owns = cached.get(&identifier).is_some_and(|c| c.list == wanted.list);
            let loser = match chosen.remove(&identifier) {
                Some(first) if owns => {
                    chosen.insert(identifier.clone(), wanted);
                    Some(first)
                }
                Some(first) => {
                    chosen.insert(identifier.clone(), first);
                    Some(wanted)
                }
                None => {
                    chosen.insert(identifier.clone(), wanted);
                    None
                }
            };
            if let (Some(loser), Some(winner)) = (loser, chosen.get(&identifier)) {
                let error = CacheError::Clash { other: winner.list.clone() };
                report.failed.push(Failure { list: loser.list, identifier, error });
            }
        }
        Ok(chosen)
    }

    /// Stores events with the changes that go with them, and gives them to the handler, if there is one.
    pub(super) async fn tell(
        &self,
        options: &RunOptions,
        events: [Event; 1],
        mut changes: Vec<Change>,
        cancellation: &CancellationToken,
    ) -> Result<(), CacheError> {
        if options.events {
            changes.extend(enqueue(&options.session, events, self.lists.now()).map_err(write)?);
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.commit(changes).await?;
        if let Some(handler) = &options.handler {
            let now = || self.lists.now();
            let ours = |kind: Kind| !kind.is_of_subscription();
            self.queue.deliver_only(ours, handler, now, cancellation).await.map_err(write)?;
        }
        Ok(())
    }

    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), CacheError> {
        self.store.commit(changes).await.map(|_| ()).map_err(write)
    }
}

pub(super) fn record_of(wanted: &Wanted, disk: Option<crate::disk::Disk>) -> Cached {
    Cached {
        list: wanted.list.clone(),
        vo: wanted.vo.clone(),
        image: wanted.image.clone(),
        message_sha512: wanted.message_sha512.clone(),
        disk,
        image_id: None,
        unusable: None,
    }
}

/// An event of a cached image.
pub(super) fn of(cached: &Cached, kind: Kind, file: &str) -> Event {
    Event::of_image(kind, &cached.image, &cached.list, cached.vo.as_deref(), file)
}

pub(super) fn put(cached: &Cached) -> Result<Change, CacheError> {
    let value = record::encode(SCHEMA, cached).map_err(write)?;
    Ok(Change::put(format!("{CACHED}{}", cached.image.identifier), value))
}

pub(super) fn read(source: vnode_store::Error) -> CacheError {
    CacheError::Store { doing: "read", source }
}

pub(super) fn write(source: vnode_store::Error) -> CacheError {
    CacheError::Store { doing: "written", source }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CacheError::Stopped)?
}
