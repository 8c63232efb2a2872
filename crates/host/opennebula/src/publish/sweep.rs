//! What earlier runs left: registrations that nobody is at, and old versions that are kept no longer.

use jiff::Timestamp;

use super::OpenNebula;
use crate::{
    image::{Image, State},
    names,
    operation::{journal::Work, steps::disable_if_free},
};

/// Time that an image of another identifier must have been withdrawn for, before it is looked at: its own run may
/// still be at it.
const SETTLED: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

impl OpenNebula {
    /// Registrations of this work folder whose journal is gone: we hold the lock, so nobody is at them.
    pub(super) async fn remove_orphans(&self, images: &[Image], identifier: &str, work: &Work) {
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

    /// As [`sweep`](Self::sweep), with the images as they are now.
    pub(super) async fn sweep_again(&self, identifier: &str) {
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
    pub(super) async fn sweep(&self, images: &[Image], identifier: &str) {
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
