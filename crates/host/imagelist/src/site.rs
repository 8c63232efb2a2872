//! Signed lists on one host: settings, subscriptions, the cache, and the catalogue that nodes are made from.
//!
//! What the daemon holds of this crate. A [`Request`] is one piece of work as an operation carries it (refresh, then a
//! run of the cache); its end is a [`Summary`]. Only one runs at a time; others wait.

mod request;
mod settings;
mod tree;
mod view;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use vnode_store::{Change, Store, record};

pub use request::{Failed, ListResult, Request, Summary, Unusable};
pub use settings::{HandlerSettings, Settings};
pub use tree::serve_tree;
pub use view::ImageView;

use crate::{
    cache::{Briefs, CACHED, Cache, CacheError, Folders, RunOptions, Shelf},
    download::{DownloadOptions, Downloader, Progress},
    event::{self, Queue},
    fetch::{Fetch, FetchError, HttpFetch},
    lists::{self, ImportError, Imported, Lists},
    oci::{RegistryFetch, Sources},
    publish::{PublishQueue, Publisher},
    record::SCHEMA,
    trust::TrustFolder,
};

const SETTINGS: &str = "imagelist/settings";
const SUMMARY: &str = "imagelist/summary";
/// Longest time between two looks at what waits to be told.
const LOOK: Duration = Duration::from_secs(60);

/// Why something about signed lists was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SiteError {
    #[error(transparent)]
    Lists(#[from] lists::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("these settings are of no use")]
    Settings(#[source] FetchError),
    #[error("cannot read {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the settings of signed lists cannot be {doing}")]
    Store {
        doing: &'static str,
        #[source]
        source: vnode_store::Error,
    },
    #[error(
        "no list that is followed offers the image `{identifier}`; `vnode image listed` shows what they offer"
    )]
    NotOffered { identifier: String },
    #[error("the image `{identifier}` cannot be had: {why}")]
    NotHere { identifier: String, why: String },
    #[error("the work was cancelled")]
    Cancelled,
}

/// What the settings say, made ready.
#[derive(Debug)]
struct Parts {
    settings: Settings,
    downloader: Arc<Downloader>,
}

/// Signed lists on one host. Shared by `Arc`.
#[derive(Debug)]
pub struct Site {
    store: Arc<dyn Store>,
    /// Below it lies the cache, when the settings name no other.
    folder: PathBuf,
    shelf: Shelf,
    registry: Arc<RegistryFetch>,
    lists: Arc<Lists>,
    parts: RwLock<Arc<Parts>>,
    queue: Arc<Queue>,
    publishers: Arc<PublishQueue>,
    /// One run at a time.
    turn: Mutex<()>,
    running: Arc<Mutex<()>>,
    cached: Arc<Briefs>,
    told: Notify,
}

impl Site {
    /// Reads the settings; nothing is fetched, no folder is made yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(
        store: Arc<dyn Store>,
        folder: PathBuf,
        shelf: Shelf,
    ) -> Result<Arc<Self>, SiteError> {
        let settings = match store.get(SETTINGS).await.map_err(read)? {
            Some(entry) => record::decode(&entry.value, &[]).map_err(read)?,
            None => Settings::default(),
        };
        let options = match settings.download_options() {
            Ok(options) => options,
            Err(error) => {
                tracing::error!(
                    error = vnode_protocol::chain(&error),
                    "settings of signed lists are of no use; their servers are asked without them"
                );
                DownloadOptions::default()
            }
        };
        let registry = Arc::new(RegistryFetch::new(shelf.catalogue.options().clone()));
        let fetch: Arc<dyn Fetch> =
            Arc::new(Sources::new(HttpFetch::lazy(&options.client), Arc::clone(&registry)));
        let downloader = Arc::new(Downloader::lazy(options));
        let trust = Arc::new(TrustFolder::new(&settings.trust_folder));
        let lists = Lists::new(Arc::clone(&store), Arc::clone(&trust), Arc::clone(&fetch));
        lists.use_settings(trust, fetch, settings.subscription_handler.is_some());
        Ok(Arc::new(Self {
            folder,
            shelf,
            registry,
            lists: Arc::new(lists),
            parts: RwLock::new(Arc::new(Parts { settings, downloader })),
            queue: Arc::new(Queue::new(Arc::clone(&store))),
            publishers: Arc::new(PublishQueue::new(Arc::clone(&store))),
            turn: Mutex::new(()),
            running: Arc::default(),
            cached: Arc::new(Briefs::of(store.as_ref(), CACHED)),
            told: Notify::new(),
            store,
        }))
    }

    /// Subscriptions, endorsers, selections.
    pub fn lists(&self) -> &Arc<Lists> {
        &self.lists
    }

    /// Events that wait for the site's handler.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Those that are told in this process, and what waits for them.
    pub fn publishers(&self) -> &PublishQueue {
        &self.publishers
    }

    /// From now on this one is told of every change of an image, and first of what it missed.
    pub fn attach(&self, publisher: Arc<dyn Publisher>) {
        self.publishers.attach(publisher);
        self.told.notify_one();
    }

    fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.parts.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn settings(&self) -> Settings {
        self.parts().settings.clone()
    }

    /// Puts other settings in force, from the next piece of work on.
    ///
    /// # Errors
    /// When they are of no use, or cannot be written; then those before stay.
    pub async fn set_settings(&self, settings: Settings) -> Result<(), SiteError> {
        let (downloader, http) = ready(&settings)?;
        let fetch = Arc::new(Sources::new(http, Arc::clone(&self.registry)));
        let value = record::encode(SCHEMA, &settings).map_err(write)?;
        self.store.commit(vec![Change::put(SETTINGS, value)]).await.map_err(write)?;
        let trust = Arc::new(TrustFolder::new(&settings.trust_folder));
        self.lists.use_settings(trust, fetch, settings.subscription_handler.is_some());
        let parts = Arc::new(Parts { settings, downloader });
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = parts;
        self.told.notify_one();
        Ok(())
    }

    /// Where the cached files are.
    pub fn folders(&self) -> Folders {
        let settings = self.settings();
        let below = Folders::below(settings.cache.unwrap_or_else(|| self.folder.join("cache")));
        Folders {
            partial: settings.partial.unwrap_or(below.partial),
            expired: settings.expired.unwrap_or(below.expired),
            cache: below.cache,
        }
    }

    /// The cache, as the settings say.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub fn cache(&self, folders: Option<Folders>) -> Result<Cache, SiteError> {
        let parts = self.parts();
        let cache = Cache::new(
            Arc::clone(&self.store),
            Arc::clone(&self.lists),
            Arc::clone(&parts.downloader),
            folders.unwrap_or_else(|| self.folders()),
        )?;
        Ok(cache
            .mirrors(parts.settings.mirrors.clone())
            .shelf(self.shelf.clone())
            .max_virtual_size(parts.settings.max_virtual_size)
            .shared(
                Arc::clone(&self.queue),
                Arc::clone(&self.publishers),
                Arc::clone(&self.running),
                Arc::clone(&self.cached),
            ))
    }

    /// Does a piece of work: refresh, then a run of the cache. Waits while another is done.
    ///
    /// # Errors
    /// When records or folders are of no use. What is wrong with one list or image is in the summary, which is also
    /// kept as the [`last`](Self::last).
    pub async fn work(
        &self,
        request: &Request,
        progress: &dyn Progress,
        cancellation: &CancellationToken,
    ) -> Result<Summary, SiteError> {
        let _turn = tokio::select! {
            biased;
            () = cancellation.cancelled() => return Err(SiteError::Cancelled),
            turn = self.turn.lock() => turn,
        };
        let mut summary = Summary { begun: Some(self.lists.now()), ..Summary::default() };
        let settings = self.settings();
        if request.refresh {
            let all = tokio::select! {
                () = cancellation.cancelled() => return Err(SiteError::Cancelled),
                all = self.lists.refresh(request.list.as_deref()) => all?,
            };
            summary.lists = all.into_iter().map(ListResult::from).collect();
            let own = request.subscription_handler.as_ref();
            if let Some(handler) = own.or(settings.subscription_handler.as_ref()) {
                let now = || self.lists.now();
                let handler = handler.handler();
                self.queue
                    .deliver_only(event::Kind::is_of_subscription, &handler, now, cancellation)
                    .await
                    .map_err(write)?;
            }
        }
        if request.cache {
            let handler = request.handler.as_ref().or(settings.handler.as_ref());
            let folders = request.folders.clone();
            let cache = self.cache(folders)?;
            let mut session = event::Session::default();
            session.cache = Some(request.session.clone().unwrap_or_else(|| {
                let text = |path: &Path| path.display().to_string();
                let folders = cache.folders();
                event::CacheFolders {
                    database: String::new(),
                    cache: text(&folders.cache),
                    download: text(&folders.partial),
                    expire: text(&folders.expired),
                }
            }));
            let options = RunOptions {
                check: request.check,
                download: request.download,
                session,
                events: handler.is_some(),
                handler: handler.map(HandlerSettings::handler),
                only: request.only.clone(),
                keep_expired: settings
                    .keep_expired_days
                    .map(|days| Duration::from_secs(u64::from(days) * 86_400)),
            };
            let report = cache.run_with(&options, progress, cancellation).await?;
            summary.add(report);
            self.told.notify_one();
        }
        if let Some(folder) = &settings.serve_tree {
            serve_tree(&self.lists, &self.cache(None)?, folder.clone()).await?;
        }
        summary.ended = Some(self.lists.now());
        let value = record::encode(SCHEMA, &summary).map_err(write)?;
        // An idle run is not worth a write of its own.
        if !summary.is_idle() {
            self.store.commit(vec![Change::put(SUMMARY, value)]).await.map_err(write)?;
        }
        if cancellation.is_cancelled() {
            return Err(SiteError::Cancelled);
        }
        Ok(summary)
    }

    /// How the last work ended that was not idle.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last(&self) -> Result<Option<Summary>, SiteError> {
        let entry = self.store.get(SUMMARY).await.map_err(read)?;
        entry.map(|entry| record::decode(&entry.value, &[]).map_err(read)).transpose()
    }

    /// Makes sure that the image `list:IDENTIFIER` is in the catalogue: fetches it when a list in force offers it, and
    /// keeps it up to date from then on.
    ///
    /// # Errors
    /// When no list offers it, or it cannot be fetched or used.
    pub async fn bring(
        &self,
        identifier: &str,
        progress: &dyn Progress,
        cancellation: &CancellationToken,
    ) -> Result<(), SiteError> {
        let offered = self.views().await?;
        let mut offered = offered.iter().filter(|v| v.identifier == identifier && v.available);
        let Some(view) = offered.clone().find(|v| v.cached).or_else(|| offered.next()) else {
            return Err(SiteError::NotOffered { identifier: identifier.to_owned() });
        };
        if !view.subscribed {
            self.lists.select(&view.list, identifier, true).await?;
        }
        let request = Request {
            refresh: false,
            only: Some(BTreeSet::from([identifier.to_owned()])),
            // What could not be used before is looked at again.
            check: view.unusable.is_some(),
            ..Request::default()
        };
        let summary = self.work(&request, progress, cancellation).await?;
        let not_here = |why: String| SiteError::NotHere { identifier: identifier.to_owned(), why };
        if let Some(failed) = summary.failed.iter().find(|f| f.identifier == identifier) {
            return Err(not_here(failed.error.clone()));
        }
        match summary.unusable.iter().find(|u| u.identifier == identifier) {
            Some(unusable) => Err(not_here(unusable.why.clone())),
            None => Ok(()),
        }
    }

    /// Takes over a vmcatcher installation: database, and the files of its cache folder that can be believed. The
    /// files are moved; nothing else of the old installation is changed. Gives how many files came along too.
    ///
    /// # Errors
    /// When database or index cannot be read.
    pub async fn migrate(
        &self,
        database: &Path,
        cache: Option<&Path>,
    ) -> Result<(Imported, Vec<String>), SiteError> {
        let _turn = self.turn.lock().await;
        let mut imported = self.lists.import_vmcatcher(database, cache).await?;
        let mut adopted = Vec::new();
        let own = self.cache(None)?;
        for file in &imported.cached {
            match own.adopt(file).await {
                Ok(true) => adopted.push(file.identifier.clone()),
                Ok(false) => imported.notes.push(format!(
                    "`{}` is not what a list in force wants; it is left where it is",
                    file.path.display()
                )),
                Err(error) => imported.notes.push(vnode_protocol::chain(&error)),
            }
        }
        Ok((imported, adopted))
    }

    /// Offers what was given up again, to handler and publishers; gives how much that is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retry(&self) -> Result<usize, SiteError> {
        let now = self.lists.now();
        let events = self.queue.retry_given_up(now).await.map_err(write)?;
        let changes = self.publishers.retry_given_up(now).await.map_err(write)?;
        self.told.notify_one();
        Ok(events + changes)
    }

    /// Tells handler and publishers what is due.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tell(&self, cancellation: &CancellationToken) -> Result<(), SiteError> {
        let now = || self.lists.now();
        let settings = self.settings();
        // The queue's own lock keeps this and a run apart: events are given one at a time.
        for (handler, subscription) in
            [(&settings.handler, false), (&settings.subscription_handler, true)]
        {
            if let Some(handler) = handler {
                let ours = |kind: event::Kind| kind.is_of_subscription() == subscription;
                self.queue
                    .deliver_only(ours, &handler.handler(), now, cancellation)
                    .await
                    .map_err(write)?;
            }
        }
        // A run of the cache that goes on tells of its end.
        if self.publishers.is_behind()
            && let Ok(_turn) = self.turn.try_lock()
        {
            self.cache(None)?.catch_up().await?;
        }
        self.publishers.deliver(now, cancellation).await.map_err(write)?;
        Ok(())
    }

    /// Tells what is due whenever there may be something, and calls `refresh` whenever the lists are to be asked
    /// again; until `stop`.
    pub async fn serve<F>(self: Arc<Self>, stop: CancellationToken, refresh: impl Fn() -> F + Send)
    where
        F: Future<Output = ()> + Send,
    {
        let mut refreshed = Timestamp::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.told.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Err(error) = self.tell(&stop).await {
                tracing::error!(error = vnode_protocol::chain(&error), "what waits cannot be told");
            }
            let every = i64::try_from(self.settings().refresh_every_s).unwrap_or(i64::MAX);
            let waited = Timestamp::now().duration_since(refreshed).as_secs();
            if every > 0 && waited >= every {
                refreshed = Timestamp::now();
                match self.lists.subscriptions().await {
                    Ok(all) if all.iter().any(|s| !s.settings.paused) => refresh().await,
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "the lists cannot be refreshed"),
                }
            }
        }
    }
}

/// What goes out to servers, as the settings say.
fn ready(settings: &Settings) -> Result<(Arc<Downloader>, HttpFetch), SiteError> {
    let options = settings.download_options()?;
    let fetch = HttpFetch::new(&options.client).map_err(SiteError::Settings)?;
    let downloader = Downloader::new(options).map_err(SiteError::Settings)?;
    Ok((Arc::new(downloader), fetch))
}

fn read(source: vnode_store::Error) -> SiteError {
    SiteError::Store { doing: "read", source }
}

fn write(source: vnode_store::Error) -> SiteError {
    SiteError::Store { doing: "written", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operations move their futures between threads.
    #[test]
    fn work_may_move_between_threads() {
        fn send<T: Send>(
            _: impl Fn(&'static Site, &'static Request, &'static CancellationToken) -> T,
        ) {
        }
        send(|site, request, cancellation| site.work(request, &(), cancellation));
        send(|site, _, cancellation| site.bring("x", &(), cancellation));
    }
}
