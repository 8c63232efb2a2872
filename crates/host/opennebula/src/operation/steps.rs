//! What each step does with the cloud, and its inverse. Inverses look first and change what differs: they may be run
//! after anything, and again.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vnode_operation::{StepError, fault};

use super::{
    Job, Registration,
    runner::{Old, Publishing},
};
use crate::{
    client::CallError,
    image::{Image, Permissions, State},
    names::{self, Standing},
    prepare,
    rpc::code,
};

/// Who a withdrawn image is given to: `oneadmin` and its group.
const ADMINISTRATOR: (i64, i64) = (0, 0);
/// Pauses between two looks at an image that is being copied.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a registration without an answer is looked for.
const SEARCHES: usize = 4;

/// A [`StepError::code`]: the file is at fault, not the cloud.
pub(crate) const FILE: &str = "file";
/// The same, and it may be better later.
pub(crate) const FILE_LATER: &str = "file-later";

fn failed(error: CallError) -> StepError {
    StepError::from_error(&error)
}

impl Publishing {
    pub(super) async fn apply_step(
        &self,
        job: &Job,
        kind: &str,
        cancellation: &CancellationToken,
    ) -> Result<(), StepError> {
        let new = || job.new.as_ref().ok_or_else(|| StepError::new("the plan registers nothing"));
        match kind {
            "opennebula.prepare" => self.prepare(new()?, cancellation).await,
            "opennebula.allocate" => self.allocate(job, new()?).await,
            "opennebula.ready" => self.ready(cancellation).await,
            "opennebula.remember" => self.remember(job).await,
            "opennebula.dress" => self.dress(new()?).await,
            "opennebula.retire" => match self.old().await? {
                Some(old) => self.cloud.rename(old.id, &job.expired).await.map_err(failed),
                None => Ok(()),
            },
            "opennebula.promote" => {
                let name = self.name_of_new(job).await?;
                self.cloud.rename(self.new_here().await?, &name).await.map_err(failed)
            }
            "opennebula.withdraw" => match self.old().await? {
                Some(old) => self.withdraw(job, &old).await,
                None => Ok(()),
            },
            "opennebula.tidy" => self.tidy(new()?),
            other => Err(StepError::new(format!("no step is named {other}"))),
        }
    }

    pub(super) async fn invert_step(&self, job: &Job, kind: &str) -> Result<(), StepError> {
        match kind {
            "opennebula.prepare" => job.new.as_ref().map_or(Ok(()), |new| self.tidy(new)),
            "opennebula.allocate" => self.discard(job).await,
            "opennebula.retire" => self.name_again(job).await,
            "opennebula.promote" => self.hide(job).await,
            "opennebula.withdraw" => self.give_back().await,
            // These have changed nothing that another inverse does not undo.
            _ => Ok(()),
        }
    }

    async fn prepare(
        &self,
        new: &Registration,
        cancellation: &CancellationToken,
    ) -> Result<(), StepError> {
        let format = new.format.as_deref();
        let made =
            prepare::prepare(&new.file, format, &new.disk_folder, &self.settings, cancellation);
        let shared = match made.await {
            Ok(made) if made.path == new.file => Ok(made.path),
            Ok(made) => prepare::share(&made.path, &new.disk_folder, &self.settings),
            Err(error) => Err(error),
        };
        let path = shared.map_err(|error| {
            let code = if error.may_pass() { FILE_LATER } else { FILE };
            StepError::from_error(&error).code(code)
        })?;
        self.set_disk(path);
        Ok(())
    }

    fn tidy(&self, new: &Registration) -> Result<(), StepError> {
        prepare::remove_folder(&new.disk_folder).map_err(|error| StepError::from_error(&error))
    }

    async fn allocate(&self, job: &Job, new: &Registration) -> Result<(), StepError> {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let disk = disk.unwrap_or_else(|| new.file.clone());
        let path = disk.to_str().ok_or_else(|| {
            StepError::new(format!("{} is no path that can be sent", disk.display())).code(FILE)
        })?;
        let event = new.event.iter().cloned().collect();
        let template = names::registration(&event, &job.staged, path, &job.run);
        // Said before it is asked: dropped in the middle, it may have happened.
        self.unanswered.store(true, Ordering::Relaxed);
        let id = match self.cloud.allocate(&template, new.datastore).await {
            Ok(id) => id,
            Err(error) => {
                self.unanswered.store(error.is_unknown(), Ordering::Relaxed);
                return Err(failed(error));
            }
        };
        tracing::info!(id, name = job.staged, "registered");
        self.set_new_id(id).await?;
        self.unanswered.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn new_here(&self) -> Result<i64, StepError> {
        self.new_id().await?.ok_or_else(|| StepError::new("no image was registered"))
    }

    /// Waits until the server has copied the file.
    async fn ready(&self, cancellation: &CancellationToken) -> Result<(), StepError> {
        let id = self.new_here().await?;
        let limit = self.settings.ready_limit();
        let begin = Instant::now();
        let patience = Duration::from_secs(self.settings.call_limit);
        let mut heard = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.cloud.image(id).await {
                Ok(None) => {
                    return Err(StepError::new(format!("image {id} was deleted meanwhile")));
                }
                Ok(Some(image)) => {
                    heard = Instant::now();
                    match image.state {
                        State::Error => {
                            let reason = image.attribute("ERROR").unwrap_or("it gives no reason");
                            let reason: String = reason
                                .chars()
                                .take(500)
                                .map(|c| if c.is_control() { ' ' } else { c })
                                .collect();
                            return Err(StepError::new(format!(
                                "the server could not copy the disk: {}",
                                reason.trim()
                            ))
                            .hint("the folder must be among SAFE_DIRS of the datastore"));
                        }
                        State::Init | State::Locked => {}
                        State::Delete => {
                            return Err(StepError::new(format!("image {id} is being deleted")));
                        }
                        _ => return Ok(()),
                    }
                }
                // A server that is begun again goes on copying.
                Err(error) if error.is_unknown() && heard.elapsed() < patience => {
                    tracing::warn!(%error, "asking again");
                }
                Err(error) => return Err(failed(error)),
            }
            if begin.elapsed() >= limit {
                return Err(StepError::new(format!(
                    "the server did not copy the disk within {limit:?}; see ready-limit"
                )));
            }
            tokio::select! {
                () = cancellation.cancelled() => return Err(StepError::cancelled()),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// Writes down what the present image is, as it is now: copying may have taken hours.
    async fn remember(&self, job: &Job) -> Result<(), StepError> {
        let Some(id) = job.present else { return Ok(()) };
        let Some(image) = self.cloud.image(id).await.map_err(failed)? else { return Ok(()) };
        if names::is_expired(&image, &job.identifier) {
            // Somebody else withdrew it; there is nothing to restore.
            return Ok(());
        }
        let template = image.template_text();
        self.set_old(&Old { id, standing: Standing::of(&image), template }).await
    }

    async fn name_of_new(&self, job: &Job) -> Result<String, StepError> {
        let site = self.old().await?.filter(|_| self.settings.keep_site_name);
        Ok(site.map_or_else(|| job.name.clone(), |old| old.standing.name))
    }

    /// Owner, group, permissions, disabled: those of the present image, or what the site wants for a first one.
    async fn dress(&self, new: &Registration) -> Result<(), StepError> {
        let id = self.new_here().await?;
        let image = self.present(id).await?;
        let standing = match self.old().await? {
            Some(old) => Some(old.standing),
            None => new.memory.clone(),
        };
        let (uid, gid, permissions, disabled) = match standing {
            Some(s) => (s.uid, s.gid, s.permissions, s.disabled),
            None => (
                image.uid,
                new.group.unwrap_or(image.gid),
                new.permissions.unwrap_or(image.permissions),
                false,
            ),
        };
        // Disabled before anybody may use it.
        if disabled && image.state != State::Disabled {
            self.cloud.enable(id, false).await.map_err(failed)?;
        }
        self.own(&image, uid, gid).await?;
        self.allow(&image, permissions).await
    }

    async fn present(&self, id: i64) -> Result<Image, StepError> {
        let image = self.cloud.image(id).await.map_err(failed)?;
        image.ok_or_else(|| StepError::new(format!("image {id} was deleted meanwhile")))
    }

    async fn own(&self, image: &Image, uid: i64, gid: i64) -> Result<(), StepError> {
        if (image.uid, image.gid) == (uid, gid) {
            return Ok(());
        }
        self.cloud.chown(image.id, uid, gid).await.map_err(failed)
    }

    async fn allow(&self, image: &Image, permissions: Permissions) -> Result<(), StepError> {
        if image.permissions == permissions {
            return Ok(());
        }
        self.cloud.chmod(image.id, permissions).await.map_err(failed)
    }

    async fn withdraw(&self, job: &Job, old: &Old) -> Result<(), StepError> {
        let image = self.present(old.id).await?;
        self.allow(&image, Permissions::WITHDRAWN).await?;
        self.own(&image, ADMINISTRATOR.0, ADMINISTRATOR.1).await?;
        let mark = old.standing.mark(job.at);
        self.cloud.update(old.id, &mark, true).await.map_err(failed)?;
        disable_if_free(&self.cloud, &image).await.map_err(failed)
    }

    /// The inverse of withdrawing, but for the name.
    async fn give_back(&self) -> Result<(), StepError> {
        let Some(old) = self.old().await? else { return Ok(()) };
        let Some(image) = self.cloud.image(old.id).await.map_err(failed)? else {
            return Err(StepError::new(format!("image {} was deleted meanwhile", old.id)));
        };
        if image.attribute(names::EXPIRED).is_some() {
            self.cloud.update(old.id, &old.template, false).await.map_err(failed)?;
        }
        if image.state == State::Disabled && !old.standing.disabled {
            self.cloud.enable(old.id, true).await.map_err(failed)?;
        }
        self.own(&image, old.standing.uid, old.standing.gid).await?;
        self.allow(&image, old.standing.permissions).await
    }

    async fn name_again(&self, job: &Job) -> Result<(), StepError> {
        let Some(old) = self.old().await? else { return Ok(()) };
        let Some(image) = self.cloud.image(old.id).await.map_err(failed)? else { return Ok(()) };
        // A name that is neither is somebody else's choice meanwhile.
        if image.name == job.expired {
            self.cloud.rename(old.id, &old.standing.name).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Takes the new image out of use.
    async fn hide(&self, job: &Job) -> Result<(), StepError> {
        let Some(image) = self.find_new(job).await? else { return Ok(()) };
        if image.name != job.staged {
            self.cloud.rename(image.id, &job.staged).await.map_err(failed)?;
        }
        self.allow(&image, Permissions::WITHDRAWN).await
    }

    /// Deletes the new image.
    async fn discard(&self, job: &Job) -> Result<(), StepError> {
        let Some(image) = self.find_new(job).await? else { return Ok(()) };
        if image.state == State::Delete {
            return Ok(());
        }
        let refused = match self.cloud.delete(image.id, false).await {
            Ok(()) => return Ok(()),
            Err(error) if error.code() == Some(code::NO_EXISTS) => return Ok(()),
            Err(error) if error.code() == Some(code::ACTION) => error,
            Err(error) => return Err(failed(error)),
        };
        let Some(now) = self.cloud.image(image.id).await.map_err(failed)? else { return Ok(()) };
        if matches!(now.state, State::Locked | State::Init) {
            return self.cloud.delete(image.id, true).await.map_err(failed);
        }
        // Somebody began a machine from it while it had its name: it becomes a withdrawn version.
        tracing::warn!(id = image.id, %refused, "in use already; it is withdrawn instead");
        let at = Timestamp::now();
        let name = names::expired(&job.identifier, at, &TimeZone::system());
        self.cloud.rename(now.id, &name).await.map_err(failed)?;
        self.allow(&now, Permissions::WITHDRAWN).await?;
        self.own(&now, ADMINISTRATOR.0, ADMINISTRATOR.1).await?;
        // No mark of what it was: it never was the image of this name.
        let mark = names::template([(names::EXPIRED.to_owned(), at.to_string().as_str())]);
        self.cloud.update(now.id, &mark, true).await.map_err(failed)
    }

    /// The image this operation registered, by its number, or by its mark when the number was never heard.
    async fn find_new(&self, job: &Job) -> Result<Option<Image>, StepError> {
        if job.new.is_none() {
            return Ok(None);
        }
        if let Some(id) = self.new_id().await? {
            return self.cloud.image(id).await.map_err(failed);
        }
        let searches = if self.unanswered.load(Ordering::Relaxed) { SEARCHES } else { 1 };
        for search in 0..searches {
            if search > 0 {
                tokio::time::sleep(FIRST_PAUSE * 2).await;
            }
            let images = self.cloud.images().await.map_err(failed)?;
            let ours = |image: &Image| image.attribute(names::STAGED) == Some(&job.run);
            if let Some(image) = images.into_iter().find(ours) {
                self.set_new_id(image.id).await?;
                return Ok(Some(image));
            }
        }
        fault::point("opennebula.searched").map_err(|error| StepError::from_error(&error))?;
        Ok(None)
    }
}

/// Disables a withdrawn image, unless machines use it: then it is disabled when they have ended.
pub(crate) async fn disable_if_free(
    cloud: &crate::cloud::Cloud,
    image: &Image,
) -> Result<(), CallError> {
    match image.state {
        State::Disabled => return Ok(()),
        State::Ready | State::Error if image.is_free() => {}
        _ => {
            tracing::warn!(id = image.id, "in use: it will be disabled when it is free");
            return Ok(());
        }
    }
    match cloud.enable(image.id, false).await {
        // Somebody was quicker.
        Err(error) if matches!(error.code(), Some(code::ACTION | code::INTERNAL)) => {
            tracing::warn!(id = image.id, %error, "not disabled now");
            Ok(())
        }
        other => other,
    }
}
