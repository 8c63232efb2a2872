//! Events followed in a cloud: which image is meant, what is to be done, and what of it can be told at once.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    client::CallError,
    cloud::Cloud,
    event::{Event, EventError, Kind},
    image::{Image, SHA512, State},
    names::{self, NameError, Standing},
    operation::{
        self, Ended, Job, PUBLISH, Registration, WITHDRAW,
        journal::{JournalError, Lock, Work},
        steps::{FILE, FILE_LATER, disable_if_free},
    },
    prepare::{self, PrepareError},
    settings::Settings,
    subscription::{self, SubscriptionError},
};

/// Time that an image of another identifier must have been withdrawn for, before it is looked at: its own run may
/// still be at it.
const SETTLED: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// Why an event was not followed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    #[error("there is no {what} `{name}` in the cloud; see the settings")]
    NotThere { what: &'static str, name: String },
    #[error("the name `{name}` has image {id}, which is of no list; rename or delete it")]
    Taken { name: String, id: i64 },
    #[error("the cache folder cannot be told")]
    Folder(#[source] std::io::Error),
    /// A step failed and everything is as it was.
    #[error("`{identifier}` is not published, all is as it was: {text}")]
    Undone { identifier: String, text: String, file: bool, may_pass: bool },
    /// A step failed, and something of it is left until the next run.
    #[error("`{identifier}` is not published: {text}; the next run undoes what is left: {left}")]
    Left { identifier: String, text: String, left: String },
}

impl Error {
    /// The exit code of the event program: 2 for files, 3 for variables, 4 for the cloud.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Event(_) => 3,
            Self::Prepare(_) | Self::Name(_) | Self::Undone { file: true, .. } => 2,
            _ => 4,
        }
    }

    /// Whether trying again may help.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Event(_) | Self::Name(_) => false,
            Self::Prepare(error) => error.may_pass(),
            Self::Undone { may_pass, .. } => *may_pass,
            _ => true,
        }
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing was asked for, or it is so already.
    Nothing,
    /// The image is registered; where there was one before, it was replaced.
    Published,
    /// Its words were brought up to date; its file is the same.
    Described,
    /// It was withdrawn.
    Withdrawn,
}

/// Why an image is withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The event says only that it left the cache: whether it is being replaced is asked of vmcatcher.
    Database,
    /// It has ended: whoever tells of it knows.
    Ended,
}

/// A cloud, and how images are published in it.
#[derive(Debug, Clone)]
pub struct OpenNebula {
    cloud: Cloud,
    settings: Arc<Settings>,
    /// Of this machine and program: marks what it registers.
    host: String,
    zone: TimeZone,
    /// For the program that is asked whether an image is subscribed.
    environment: Vec<(String, String)>,
}

impl OpenNebula {
    /// Publishes by `settings` in `cloud`; `environment` is for `vmcatcher_image`, should it have to be asked.
    pub fn new(cloud: Cloud, settings: Settings, environment: Vec<(String, String)>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let zone = TimeZone::system();
        Self { cloud, settings: Arc::new(settings), host, zone, environment }
    }

    /// Follows an event of vmcatcher's.
    ///
    /// # Errors
    /// When it is not followed; the cloud is then as it was, but for [`Error::Left`].
    pub async fn follow(
        &self,
        event: &Event,
        cancellation: &CancellationToken,
    ) -> Result<Done, Error> {
        match event.kind() {
            Kind::Available => self.available(event, cancellation).await,
            Kind::Expired => self.expired(event, Ask::Database, cancellation).await,
            Kind::Other => {
                self.undo_unfinished(event, cancellation).await;
                Ok(Done::Nothing)
            }
        }
    }

    /// Registers an image that is in the cache folder; the present one is replaced when the new one is ready.
    ///
    /// # Errors
    /// As [`OpenNebula::follow`].
    pub async fn available(
        &self,
        event: &Event,
        cancellation: &CancellationToken,
    ) -> Result<Done, Error> {
        let identifier = event.identifier()?;
        let cache = std::path::absolute(event.cache_folder()?).map_err(Error::Folder)?;
        let file = cache.join(event.own("FILENAME").filter(|n| is_plain(n)).unwrap_or(identifier));
        self.available_at(event, &file, &self.work_folder(&cache), cancellation).await
    }

    /// As [`OpenNebula::available`], with the file's place given.
    ///
    /// # Errors
    /// As [`OpenNebula::follow`].
    pub async fn available_at(
        &self,
        event: &Event,
        file: &Path,
        work: &Path,
        cancellation: &CancellationToken,
    ) -> Result<Done, Error> {
        let identifier = event.identifier()?;
        let format = event.own("HV_FORMAT");
        names::check(identifier)?;
        let at = Timestamp::now();
        names::check(&names::expired(identifier, at, &self.zone))?;
        let (path, declared) = (file.to_owned(), format.map(str::to_owned));
        let limit = self.settings.max_virtual_size;
        tokio::task::spawn_blocking(move || prepare::inspect(&path, declared.as_deref(), limit))
            .await
            .map_err(|_| PrepareError::Stopped)??;

        let work = Work::open(work)?;
        let lock = self.begin(&work, identifier, cancellation).await?;
        let images = self.cloud.images().await?;
        let present = names::current(&images, identifier).cloned();
        self.remove_orphans(&images, identifier, &work).await;

        let same = |image: &Image| {
            let sha512 = event.own("SL_CHECKSUM_SHA512");
            // An image the server could not copy is no image.
            sha512.is_some() && image.attribute(SHA512) == sha512 && image.state != State::Error
        };
        if let Some(image) = present.as_ref().filter(|image| same(image)) {
            self.cloud.update(image.id, &names::metadata(event), true).await?;
            lock.finish()?;
            self.sweep(&images, identifier).await;
            return Ok(Done::Described);
        }

        let memory = match present {
            Some(_) => None,
            None => Standing::remembered(&images, identifier),
        };
        self.check_name(&images, identifier, present.as_ref(), memory.as_ref())?;
        let new = self.registration(event, file, &work, memory).await?;
        let mut job = self.job(PUBLISH, identifier, &images, present.as_ref(), &work);
        job.new = Some(new);
        self.perform(lock, &job, cancellation).await?;
        self.sweep_again(identifier).await;
        Ok(Done::Published)
    }

    /// Withdraws an image: renamed, the administrator's, 700, disabled. In this order nothing is changed when it
    /// is being replaced: its successor will do that.
    ///
    /// # Errors
    /// As [`OpenNebula::follow`].
    pub async fn expired(
        &self,
        event: &Event,
        ask: Ask,
        cancellation: &CancellationToken,
    ) -> Result<Done, Error> {
        let identifier = event.identifier()?;
        let cache = std::path::absolute(event.cache_folder()?).map_err(Error::Folder)?;
        self.expired_at(event, identifier, &self.work_folder(&cache), ask, cancellation).await
    }

    /// As [`OpenNebula::expired`], with the work folder given.
    ///
    /// # Errors
    /// As [`OpenNebula::follow`].
    pub async fn expired_at(
        &self,
        event: &Event,
        identifier: &str,
        work: &Path,
        ask: Ask,
        cancellation: &CancellationToken,
    ) -> Result<Done, Error> {
        let work = Work::open(work)?;
        let lock = self.begin(&work, identifier, cancellation).await?;
        let images = self.cloud.images().await?;
        self.remove_orphans(&images, identifier, &work).await;
        let Some(present) = names::current(&images, identifier) else {
            lock.finish()?;
            self.sweep(&images, identifier).await;
            return Ok(Done::Nothing);
        };
        let asked = match ask {
            Ask::Ended => Ok(0),
            Ask::Database => {
                subscription::state(event, identifier, &self.environment, cancellation).await
            }
        };
        let state = asked?;
        if state == 3 {
            tracing::info!(identifier, "still subscribed: its successor will take its place");
            lock.finish()?;
            self.sweep(&images, identifier).await;
            return Ok(Done::Nothing);
        }
        let job = self.job(WITHDRAW, identifier, &images, Some(present), &work);
        names::check(&job.expired)?;
        self.perform(lock, &job, cancellation).await?;
        self.sweep_again(identifier).await;
        Ok(Done::Withdrawn)
    }

    /// Where disks are prepared and journals are kept.
    pub fn work_folder(&self, cache: &Path) -> PathBuf {
        self.settings.work.clone().unwrap_or_else(|| cache.join("templates"))
    }

    /// The work folder of the settings, else `default`.
    pub(crate) fn work_or(&self, default: PathBuf) -> PathBuf {
        self.settings.work.clone().unwrap_or(default)
    }

    /// Takes the lock of an image and undoes what an earlier run left of it.
    async fn begin(
        &self,
        work: &Work,
        identifier: &str,
        cancellation: &CancellationToken,
    ) -> Result<Lock, Error> {
        let limit = Duration::from_secs(self.settings.lock_limit);
        let lock = work.lock(identifier, limit, cancellation).await?;
        let (lock, ended) =
            operation::undo(lock, &self.cloud, &self.settings, cancellation).await?;
        match ended {
            Ended::Left(error, left) => Err(Error::Left {
                identifier: identifier.to_owned(),
                text: error.text,
                left: left.join(", "),
            }),
            _ => Ok(lock),
        }
    }

    /// At an event of no image: what earlier runs left, of any image, is undone. Failures are told and kept.
    async fn undo_unfinished(&self, event: &Event, cancellation: &CancellationToken) {
        let Ok(cache) = event.cache_folder() else { return };
        let Ok(cache) = std::path::absolute(cache) else { return };
        let folder = self.work_folder(&cache);
        if !folder.join(".journal").is_dir() {
            return;
        }
        if let Err(error) = self.undo_all(&folder, cancellation).await {
            tracing::error!(error = vnode_protocol::chain(&error), "not all is undone");
        }
    }

    /// Undoes what earlier runs left in the work folder `folder`; images that another run works on are left to it.
    ///
    /// # Errors
    /// The last failure; the others are told.
    pub async fn undo_all(
        &self,
        folder: &Path,
        cancellation: &CancellationToken,
    ) -> Result<(), Error> {
        let work = Work::open(folder)?;
        let mut last = Ok(());
        for identifier in work.unfinished()? {
            let Some(lock) = work.try_lock(&identifier)? else { continue };
            let undone = operation::undo(lock, &self.cloud, &self.settings, cancellation).await?;
            match undone {
                (_, Ended::Left(error, left)) => {
                    let left = left.join(", ");
                    last = Err(Error::Left { identifier, text: error.text, left });
                }
                (lock, _) => lock.finish()?,
            }
        }
        last
    }

    async fn perform(
        &self,
        lock: Lock,
        job: &Job,
        cancellation: &CancellationToken,
    ) -> Result<(), Error> {
        let identifier = job.identifier.clone();
        match operation::perform(lock, job, &self.cloud, &self.settings, cancellation).await? {
            Ended::Done => {
                tracing::info!(identifier, name = job.name, "{} done", job.kind);
                Ok(())
            }
            Ended::Undone(error) => {
                let file = matches!(error.code.as_deref(), Some(FILE | FILE_LATER));
                let may_pass = error.code.as_deref() != Some(FILE);
                let hints: String = error.hints.iter().map(|hint| format!("; {hint}")).collect();
                let text = format!("{}{hints}", error.text);
                Err(Error::Undone { identifier, text, file, may_pass })
            }
            Ended::Left(error, left) => {
                Err(Error::Left { identifier, text: error.text, left: left.join(", ") })
            }
        }
    }

    /// Names are fixed before anything begins, and none of them is in use.
    fn job(
        &self,
        kind: &str,
        identifier: &str,
        images: &[Image],
        present: Option<&Image>,
        work: &Work,
    ) -> Job {
        let mut at = Timestamp::now();
        let names_at =
            |at| (names::expired(identifier, at, &self.zone), names::staged(identifier, at));
        let (mut expired, mut staged) = names_at(at);
        // Two versions within a second.
        while images.iter().any(|image| image.name == expired || image.name == staged) {
            at = at.checked_add(jiff::SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
            (expired, staged) = names_at(at);
        }
        Job {
            kind: kind.to_owned(),
            identifier: identifier.to_owned(),
            run: format!("{}{}", self.own_runs(work), Uuid::now_v7()),
            at,
            name: identifier.to_owned(),
            staged,
            expired,
            present: present.map(|image| image.id),
            new: None,
        }
    }

    /// What the mark of everything registered from this work folder begins with.
    fn own_runs(&self, work: &Work) -> String {
        format!("{}:{}:", self.host, work.folder().display())
    }

    /// The name must be free for whom the image will belong to: better told before hours of copying.
    fn check_name(
        &self,
        images: &[Image],
        identifier: &str,
        present: Option<&Image>,
        memory: Option<&Standing>,
    ) -> Result<(), Error> {
        let owner = present.map(|image| image.uid).or(memory.map(|standing| standing.uid));
        let Some(owner) = owner else {
            // A first image belongs to whoever this program is there, which the server knows and will check.
            return Ok(());
        };
        let taken = images.iter().find(|image| {
            image.name == identifier
                && image.uid == owner
                && Some(image.id) != present.map(|present| present.id)
        });
        match taken {
            Some(image) => Err(Error::Taken { name: identifier.to_owned(), id: image.id }),
            None => Ok(()),
        }
    }

    async fn registration(
        &self,
        event: &Event,
        file: &Path,
        work: &Work,
        memory: Option<Standing>,
    ) -> Result<Registration, Error> {
        let identifier = event.identifier()?;
        let vo = event.own("VO");
        let wanted = self.settings.datastore_of(vo);
        let stores = self.cloud.datastores().await?;
        let named = |id: i64, name: &str| name == wanted || wanted.parse() == Ok(id);
        let store =
            stores.iter().find(|s| s.of_images && named(s.id, &s.name)).ok_or_else(|| {
                Error::NotThere { what: "datastore of images", name: wanted.to_owned() }
            })?;
        let own = vo.and_then(|vo| self.settings.vo.get(vo)).cloned().unwrap_or_default();
        let group = match own.group {
            Some(wanted) => {
                let groups = self.cloud.groups().await?;
                let found = groups
                    .iter()
                    .find(|(id, name)| *name == wanted || wanted.parse() == Ok(*id))
                    .map(|(id, _)| *id);
                Some(found.ok_or(Error::NotThere { what: "group", name: wanted })?)
            }
            None => None,
        };
        Ok(Registration {
            file: file.to_owned(),
            format: event.own("HV_FORMAT").map(str::to_owned),
            disk_folder: work.disk_folder(identifier),
            datastore: store.id,
            event: event.into_iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
            memory,
            group,
            permissions: own.permissions,
        })
    }

    /// Registrations of this work folder whose journal is gone: we hold the lock, so nobody is at them.
    async fn remove_orphans(&self, images: &[Image], identifier: &str, work: &Work) {
        let own = self.own_runs(work);
        let ours = |image: &&Image| {
            image.is_of(identifier)
                && names::is_staged(image, identifier)
                && image.attribute(names::STAGED).is_some_and(|run| run.starts_with(&own))
        };
        for image in images.iter().filter(ours) {
            tracing::warn!(id = image.id, name = image.name, "left by an earlier run; deleted");
            if let Err(error) = self.cloud.delete(image.id, image.state == State::Locked).await {
                tracing::warn!(error = vnode_protocol::chain(&error), "not deleted");
            }
        }
    }

    async fn sweep_again(&self, identifier: &str) {
        if self.settings.keep_expired.is_none() && self.settings.keep_versions.is_none() {
            return;
        }
        match self.cloud.images().await {
            Ok(images) => self.sweep(&images, identifier).await,
            Err(error) => {
                tracing::warn!(error = vnode_protocol::chain(&error), "old versions not looked at");
            }
        }
    }

    /// Withdrawn images that have become free are disabled, and deleted when they are no longer kept. A failure here
    /// is no failure of the event: the next one looks again.
    async fn sweep(&self, images: &[Image], identifier: &str) {
        let now = Timestamp::now();
        let mut versions = 0;
        let mut newest_first: Vec<&Image> = images.iter().collect();
        newest_first.sort_by_key(|image| std::cmp::Reverse(image.id));
        for image in newest_first {
            let Some(own) = image.attribute(crate::image::IDENTIFIER) else { continue };
            if !names::is_expired(image, own) {
                continue;
            }
            let Some(since) = names::expired_at(image, own) else { continue };
            // The second version within a second has a name, and so a time, a little ahead.
            let age = now.duration_since(since).max(jiff::SignedDuration::ZERO);
            if own == identifier {
                versions += 1;
            } else if age < SETTLED {
                continue;
            }
            let too_old = self.settings.keep_expired().is_some_and(|keep| age >= keep);
            let too_many =
                own == identifier && self.settings.keep_versions.is_some_and(|k| versions > k);
            let done = if (too_old || too_many) && image.is_free() {
                tracing::info!(id = image.id, name = image.name, "no longer kept; deleted");
                self.cloud.delete(image.id, false).await
            } else if image.state == State::Ready && image.is_free() {
                disable_if_free(&self.cloud, image).await
            } else {
                Ok(())
            };
            if let Err(error) = done {
                let error = vnode_protocol::chain(&error);
                tracing::warn!(id = image.id, error, "an old version is left as it is");
            }
        }
    }
}

/// A file's name without a folder.
fn is_plain(name: &str) -> bool {
    vnode_imagelist::list::is_identifier(name)
}
