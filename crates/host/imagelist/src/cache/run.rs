//! One run of the cache: expire, check, fetch; with the original's events in the original's order.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use vnode_operation::fault;
use vnode_store::{Change, record};

use super::{CACHED, Cache, CacheError, Cached, MAX_TRIES, TRIES, folder, index};
use crate::{
    disk::Format,
    download::{Job, Progress, Unpack, Verified},
    event::{Event, Handler, Kind, Session, enqueue},
    lists::{CachedFile, Wanted},
    publish::ImageChange,
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

/// How often an image was tried for one list message.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
struct Tries {
    message_sha512: String,
    count: u32,
}

impl Cache {
    /// The images in the cache folder, by identifier.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn cached(&self) -> Result<BTreeMap<String, Cached>, CacheError> {
        let entries = self.store.list(CACHED).await.map_err(read)?;
        let each = entries.iter().map(|(_, entry)| {
            let cached: Cached = record::decode(&entry.value, &[]).map_err(read)?;
            Ok((cached.image.identifier.clone(), cached))
        });
        each.collect()
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
        let mut cached = self.cached().await?;
        let wanted = self.choose(&cached, &mut report).await?;
        let before = cached.clone();
        self.look_after(options, &mut cached, &wanted, &mut report).await?;
        // What nobody wants any more, in order of identifiers.
        let unwanted: Vec<Cached> = cached
            .values()
            .filter(|c| !wanted.contains_key(&c.image.identifier))
            .cloned()
            .collect();
        for old in unwanted {
            let file = self.expire(options, &old, &mut report, true, cancellation).await?;
            tracing::info!(identifier = old.image.identifier, file = %file.display(), "withdrawn");
            cached.remove(&old.image.identifier);
        }
        if options.download {
            let missing: Vec<Wanted> = wanted
                .values()
                .filter(|w| options.only.as_ref().is_none_or(|o| o.contains(&w.image.identifier)))
                .filter(|w| {
                    let here = cached.get(&w.image.identifier);
                    here.is_none_or(|c| !c.image.is_same_file(&w.image))
                })
                .cloned()
                .collect();
            let sum = Sum { to: progress, parts: Mutex::default() };
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
                        let old = cached.remove(&identifier);
                        self.place(options, &wanted, verified, old, &mut report, cancellation).await
                    }
                    Err(error) => Err(error),
                };
                match result {
                    Ok(new) => {
                        cached.insert(identifier, new);
                    }
                    Err(error) => {
                        tracing::warn!(identifier, %error, "an image is not in the cache");
                        report.failed.push(Failure { list: wanted.list, identifier, error });
                    }
                }
            }
        }
        self.shelve_missing(options.check, &mut cached, &mut report, cancellation).await?;
        if let Some(age) = options.keep_expired {
            let (folder, now) = (self.folders.expired.clone(), self.lists.now());
            report.purged = blocking(move || folder::purge(&folder, age, now)).await?;
        }
        if cached != before || !self.folders.cache.join("cache.index").exists() {
            let path = self.folders.cache.clone();
            let all = cached;
            blocking(move || index::write(&path, all.values())).await?;
        }
        self.tell(options, [Event::of_run(Kind::ProcessPostfix)], Vec::new(), cancellation).await?;
        Ok(report)
    }

    /// Takes over a file of an old cache folder, without an event: its image is told of already.
    ///
    /// # Errors
    /// False when the file is not what a list in force wants; an error when it cannot be moved or recorded.
    pub async fn adopt(&self, file: &CachedFile) -> Result<bool, CacheError> {
        let _running = self.running.try_lock().map_err(|_| CacheError::Busy)?;
        let fits = |w: &Wanted| {
            w.image.identifier == file.identifier
                && w.image.sha512 == file.sha512
                && w.image.size == file.size
                && file.list.as_ref().is_none_or(|list| *list == w.list)
        };
        let Some(wanted) = self.lists.wanted().await?.into_iter().find(fits) else {
            return Ok(false);
        };
        let to = self.folders.cache.join(&wanted.image.identifier);
        let (path, sha512) = (file.path.clone(), file.sha512.clone());
        let taken = blocking(move || {
            if !folder::has_hash(&path, &sha512) {
                return Ok(false);
            }
            if path == to { Ok(true) } else { folder::rename(&path, &to) }
        })
        .await?;
        if taken {
            let mut record = record_of(&wanted, None);
            // A failure is told by the next run, which tries again.
            self.shelve(&mut record, None, &CancellationToken::new()).await;
            self.commit(vec![put(&record)?]).await?;
        }
        Ok(taken)
    }

    /// Queues for publishers that were attached of late what they missed; gives how much that is.
    ///
    /// # Errors
    /// When the records cannot be read or written, or a run goes on.
    pub async fn catch_up(&self) -> Result<usize, CacheError> {
        let _running = self.running.try_lock().map_err(|_| CacheError::Busy)?;
        let here = self.cached().await?.into_iter().map(|(identifier, cached)| {
            let file = self.folders.cache.join(&identifier);
            (identifier, cached.published(file))
        });
        self.publishers.catch_up(&here.collect(), self.lists.now()).await.map_err(write)
    }

    /// What is wanted, by identifier; of two lists that want one identifier the one that is cached keeps it (W-25).
    async fn choose(
        &self,
        cached: &BTreeMap<String, Cached>,
        report: &mut RunReport,
    ) -> Result<BTreeMap<String, Wanted>, CacheError> {
        let mut chosen: BTreeMap<String, Wanted> = BTreeMap::new();
        for wanted in self.lists.wanted().await? {
            let identifier = wanted.image.identifier.clone();
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

    /// Sees which cached files are gone or wrong, and moves strangers aside.
    async fn look_after(
        &self,
        options: &RunOptions,
        cached: &mut BTreeMap<String, Cached>,
        wanted: &BTreeMap<String, Wanted>,
        report: &mut RunReport,
    ) -> Result<(), CacheError> {
        let files: Vec<(String, u64, String)> = cached
            .values()
            .map(|c| (c.image.identifier.clone(), c.image.size, c.image.sha512.clone()))
            .collect();
        // Moved into place by a run that was killed before it could write that down: verified again, not fetched.
        let arrived: Vec<(String, u64)> = wanted
            .values()
            .filter(|w| !cached.contains_key(&w.image.identifier))
            .map(|w| (w.image.identifier.clone(), w.image.size))
            .collect();
        let (folders, check, now) = (self.folders.clone(), options.check, self.lists.now());
        let (lost, strays) = blocking(move || {
            let mut lost = Vec::new();
            for (name, size, sha512) in &files {
                let path = folders.cache.join(name);
                let there = folder::is_there(&path, *size);
                if !there || (check && !folder::has_hash(&path, sha512)) {
                    folder::remove(&path)?;
                    lost.push(name.clone());
                }
            }
            for (name, size) in &arrived {
                let (path, back) = (folders.cache.join(name), folders.partial.join(name));
                if folder::is_there(&path, *size) {
                    folder::rename(&path, &back)?;
                }
            }
            let known =
                |name: &str| name == "cache.index" || files.iter().any(|(file, ..)| file == name);
            Ok((lost, folder::put_strays_aside(&folders, known, now)?))
        })
        .await?;
        report.strays = strays.len();
        for identifier in lost {
            tracing::warn!(identifier, "a cached file is gone or wrong; it is fetched again");
            // One that is to be replaced or withdrawn anyhow keeps its record, and its events (E-17).
            let same = |c: &Cached| {
                wanted.get(&identifier).is_some_and(|w| w.image.is_same_file(&c.image))
            };
            if cached.get(&identifier).is_some_and(same) {
                cached.remove(&identifier);
                self.commit(vec![Change::delete(format!("{CACHED}{identifier}"))]).await?;
            }
            report.lost.push(identifier);
        }
        Ok(())
    }

    /// Withdraws an image; gives where its file is now. `ends`: nothing takes its place.
    async fn expire(
        &self,
        options: &RunOptions,
        old: &Cached,
        report: &mut RunReport,
        ends: bool,
        cancellation: &CancellationToken,
    ) -> Result<PathBuf, CacheError> {
        let name = &old.image.identifier;
        self.tell(options, [of(old, Kind::ExpirePrefix, name)], Vec::new(), cancellation).await?;
        let new = folder::expired_name(name, self.lists.now());
        let (from, to) = (self.folders.cache.join(name), self.folders.expired.join(&new));
        let file = to.clone();
        if !blocking(move || folder::rename(&from, &to)).await? {
            tracing::warn!(identifier = name, "the file of an image that ends was gone already");
        }
        fault::point("imagelist.expire.moved")?;
        let mut changes = vec![Change::delete(format!("{CACHED}{name}"))];
        if ends {
            if let Some(shelf) = &self.shelf {
                shelf.remove(name).await;
            }
            let change = ImageChange::Expired { image: old.published(file.clone()) };
            changes.extend(self.publishers.enqueue(&change, self.lists.now()).map_err(write)?);
        }
        self.tell(options, [of(old, Kind::ExpirePostfix, &new)], changes, cancellation).await?;
        fault::point("imagelist.expire.after")?;
        report.expired.push(name.clone());
        Ok(file)
    }

    async fn download(
        &self,
        wanted: &Wanted,
        progress: &Sum<'_>,
        cancellation: &CancellationToken,
    ) -> Result<Verified, CacheError> {
        fault::point("imagelist.download.before")?;
        let key = format!("{TRIES}{}/{}", wanted.list, wanted.image.identifier);
        let entry = self.store.get(&key).await.map_err(read)?;
        let mut tries = match entry {
            Some(entry) => record::decode::<Tries>(&entry.value, &[]).map_err(read)?,
            None => Tries::default(),
        };
        if tries.message_sha512 != wanted.message_sha512 {
            tries = Tries { message_sha512: wanted.message_sha512.clone(), count: 0 };
        }
        if tries.count >= MAX_TRIES {
            return Err(CacheError::GivenUp { tries: tries.count });
        }
        tries.count += 1;
        self.commit(vec![Change::put(&key, record::encode(SCHEMA, &tries).map_err(write)?)])
            .await?;
        let subscription = self.lists.subscription(&wanted.list).await?;
        // A registry's image is known by its digest there, and asked for by it.
        let (sources, blobs) = match &wanted.image.sha256 {
            Some(_) => (Vec::new(), self.lists.blobs(&wanted.image, &subscription.settings)?),
            None => (self.sources(&wanted.image.uri), Vec::new()),
        };
        let job = Job {
            name: wanted.image.identifier.clone(),
            sources,
            blobs,
            // The site's password for the list is for the host of the list only.
            credential: subscription.settings.credential.map(|c| (subscription.uri, c)),
            size: wanted.image.size,
            sha512: wanted.image.sha512.clone(),
            sha256: wanted.image.sha256.clone(),
            unpack: self.shelf.as_ref().map(|_| Unpack {
                path: self.folders.partial.join(format!("{}.unpacked", wanted.image.identifier)),
                max_bytes: self.max_virtual_size,
            }),
        };
        let progress = Part { sum: progress, identifier: &wanted.image.identifier };
        let verified =
            self.downloader.fetch(&job, &self.folders.partial, &progress, cancellation).await?;
        fault::point("imagelist.download.after")?;
        self.commit(vec![Change::delete(key)]).await?;
        Ok(verified)
    }

    /// The mirrors of an address, then the address.
    fn sources(&self, uri: &str) -> Vec<String> {
        let mirrored = self.mirrors.iter().filter_map(|mirror| {
            Some(format!("{}{}", mirror.to, uri.strip_prefix(mirror.from.as_str())?))
        });
        mirrored.chain([uri.to_owned()]).collect()
    }

    /// Puts a verified file in its place; the one it replaces is withdrawn first.
    async fn place(
        &self,
        options: &RunOptions,
        wanted: &Wanted,
        verified: Verified,
        old: Option<Cached>,
        report: &mut RunReport,
        cancellation: &CancellationToken,
    ) -> Result<Cached, CacheError> {
        let before = match old {
            Some(old) => {
                let file = self.expire(options, &old, report, false, cancellation).await?;
                Some(old.published(file))
            }
            None => None,
        };
        let mut wanted = wanted.clone();
        wanted.image.sha512.clone_from(&verified.sha512);
        let wanted = &wanted;
        let name = &wanted.image.identifier;
        let event =
            |kind| Event::of_image(kind, &wanted.image, &wanted.list, wanted.vo.as_deref(), name);
        self.tell(options, [event(Kind::AvailablePrefix)], Vec::new(), cancellation).await?;
        let to = self.folders.cache.join(name);
        let (from, file) = (verified.path, to.clone());
        if !blocking(move || folder::rename(&from, &to)).await? {
            return Err(CacheError::Stopped);
        }
        fault::point("imagelist.place.moved")?;
        let mut new = record_of(wanted, Some(verified.disk));
        let unpacked = verified.unpacked.map(|(path, _, disk)| (path, disk.format));
        self.shelve(&mut new, unpacked, cancellation).await;
        fault::point("imagelist.place.shelved")?;
        let mut changes = vec![put(&new)?];
        let image = new.published(file);
        let change = match before {
            Some(old) => ImageChange::Replaced { old: Box::new(old), new: Box::new(image) },
            None => ImageChange::Available { image },
        };
        changes.extend(self.publishers.enqueue(&change, self.lists.now()).map_err(write)?);
        self.tell(options, [event(Kind::AvailablePostfix)], changes, cancellation).await?;
        fault::point("imagelist.place.after")?;
        report.available.push(name.clone());
        Ok(new)
    }

    /// Puts a cached image on the shelf, and notes how that went.
    async fn shelve(
        &self,
        cached: &mut Cached,
        unpacked: Option<(PathBuf, Format)>,
        cancellation: &CancellationToken,
    ) {
        let Some(shelf) = &self.shelf else { return };
        let file = self.folders.cache.join(&cached.image.identifier);
        let scratch = &self.folders.partial;
        match shelf.put(&cached.image, &file, unpacked, scratch, cancellation).await {
            Ok(id) => {
                cached.image_id = Some(id);
                cached.unusable = None;
            }
            Err(why) => {
                let identifier = &cached.image.identifier;
                tracing::warn!(identifier, why, "no node can be made from a cached image");
                cached.image_id = None;
                cached.unusable = Some(why);
            }
        }
    }

    /// Puts back what is not on the shelf because it was collected there; what could not be taken before, when `again`.
    async fn shelve_missing(
        &self,
        again: bool,
        cached: &mut BTreeMap<String, Cached>,
        report: &mut RunReport,
        cancellation: &CancellationToken,
    ) -> Result<(), CacheError> {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        let held = shelf.held();
        for cached in cached.values_mut() {
            if !held.contains(&cached.image.identifier) && (again || cached.unusable.is_none()) {
                self.shelve(cached, None, cancellation).await;
                self.commit(vec![put(cached)?]).await?;
            }
            if let Some(why) = &cached.unusable {
                report.unusable.push((cached.image.identifier.clone(), why.clone()));
            }
        }
        Ok(())
    }

    /// Stores events with the changes that go with them, and gives them to the handler, if there is one.
    async fn tell(
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

    async fn commit(&self, changes: Vec<Change>) -> Result<(), CacheError> {
        self.store.commit(changes).await.map(|_| ()).map_err(write)
    }
}

fn record_of(wanted: &Wanted, disk: Option<crate::disk::Disk>) -> Cached {
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

/// How far all downloads of a run are, as one.
struct Sum<'a> {
    to: &'a dyn Progress,
    parts: Mutex<BTreeMap<String, (u64, u64)>>,
}

struct Part<'a> {
    sum: &'a Sum<'a>,
    identifier: &'a str,
}

impl Progress for Part<'_> {
    fn at(&self, here: u64, of: u64) {
        let mut parts = self.sum.parts.lock().unwrap_or_else(PoisonError::into_inner);
        match parts.get_mut(self.identifier) {
            Some(part) => *part = (here, of),
            None => drop(parts.insert(self.identifier.to_owned(), (here, of))),
        }
        let (here, of) = parts.values().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        drop(parts);
        self.sum.to.at(here, of);
    }
}

/// An event of a cached image.
fn of(cached: &Cached, kind: Kind, file: &str) -> Event {
    Event::of_image(kind, &cached.image, &cached.list, cached.vo.as_deref(), file)
}

fn put(cached: &Cached) -> Result<Change, CacheError> {
    let value = record::encode(SCHEMA, cached).map_err(write)?;
    Ok(Change::put(format!("{CACHED}{}", cached.image.identifier), value))
}

fn read(source: vnode_store::Error) -> CacheError {
    CacheError::Store { doing: "read", source }
}

fn write(source: vnode_store::Error) -> CacheError {
    CacheError::Store { doing: "written", source }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CacheError::Stopped)?
}
