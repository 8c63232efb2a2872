//! What is in the cache folder already: looked after, put on the shelf, withdrawn, taken over from an old cache.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};

use tokio_util::sync::CancellationToken;
use vnode_operation::fault;
use vnode_store::Change;

use super::{
    CACHED, Cache, CacheError, Cached, folder,
    run::{RunOptions, RunReport, blocking, of, put, record_of, write},
};
use crate::{
    disk::Format,
    event::Kind,
    list::Brief,
    lists::{CachedFile, Wanted},
    publish::ImageChange,
};

impl Cache {
    /// Takes over a file of an old cache folder, without an event: its image is told of already.
    ///
    /// # Errors
    /// False when the file is not what a list in force wants; an error when it cannot be moved or recorded.
    pub async fn adopt(&self, file: &CachedFile) -> Result<bool, CacheError> {
        let _running = self.running.try_lock().map_err(|_| CacheError::Busy)?;
        let fits = |w: &Wanted<Brief>| {
            w.identifier == file.identifier
                && w.image.sha512 == file.sha512
                && w.image.size == file.size
                && file.list.as_ref().is_none_or(|list| *list == w.list)
        };
        let Some(brief) = self.lists.wanted().await?.into_iter().find(fits) else {
            return Ok(false);
        };
        let Some(wanted) = self.lists.wanted_in_full(&brief).await? else { return Ok(false) };
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

    /// Sees which cached files are gone or wrong, and moves strangers aside.
    pub(super) async fn look_after(
        &self,
        options: &RunOptions,
        cached: &mut BTreeMap<String, Cached<Brief>>,
        wanted: &BTreeMap<String, Wanted<Brief>>,
        report: &mut RunReport,
    ) -> Result<(), CacheError> {
        let files: Vec<(String, u64, String)> = cached
            .iter()
            .map(|(identifier, c)| (identifier.clone(), c.image.size, c.image.sha512.clone()))
            .collect();
        // Moved into place by a run that was killed before it could write that down: verified again, not fetched.
        let arrived: Vec<(String, u64)> = wanted
            .values()
            .filter(|w| !cached.contains_key(&w.identifier))
            .map(|w| (w.identifier.clone(), w.image.size))
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
            let mut known: HashSet<&str> = files.iter().map(|(file, ..)| file.as_str()).collect();
            known.insert("cache.index");
            let strays = folder::put_strays_aside(&folders, |name| known.contains(name), now)?;
            Ok((lost, strays))
        })
        .await?;
        report.strays = strays.len();
        for identifier in lost {
            tracing::warn!(identifier, "a cached file is gone or wrong; it is fetched again");
            // One that is to be replaced or withdrawn anyhow keeps its record, and its events (E-17).
            let same = |c: &Cached<Brief>| {
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
    pub(super) async fn expire(
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

    /// Puts a cached image on the shelf, and notes how that went.
    pub(super) async fn shelve(
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
    pub(super) async fn shelve_missing(
        &self,
        again: bool,
        cached: &BTreeMap<String, Cached<Brief>>,
        report: &mut RunReport,
        cancellation: &CancellationToken,
    ) -> Result<(), CacheError> {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        let held = shelf.held();
        for (identifier, cached) in cached {
            let mut unusable = cached.unusable.clone();
            if !held.contains(identifier)
                && (again || unusable.is_none())
                && let Some(mut cached) = self.cached_in_full(identifier).await?
            {
                self.shelve(&mut cached, None, cancellation).await;
                self.commit(vec![put(&cached)?]).await?;
                unusable = cached.unusable;
            }
            report.unusable.extend(unusable.map(|why| (identifier.clone(), why)));
        }
        Ok(())
    }
}
