//! Events followed in a cloud: which image is meant, what is to be done, and what of it can be told at once.

mod job;
mod sweep;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{
    client::CallError,
    cloud::Cloud,
    event::{Event, EventError, Kind},
    image::{Image, SHA512, State},
    names::{self, NameError, Standing},
    operation::{
        self, Ended, Job, PUBLISH, WITHDRAW,
        journal::{JournalError, Lock, Work},
        steps::{FILE, FILE_LATER},
    },
    prepare::{self, PrepareError},
    settings::Settings,
    subscription::{self, SubscriptionError},
};

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
}

/// A file's name without a folder.
fn is_plain(name: &str) -> bool {
    vnode_imagelist::list::is_identifier(name)
}
