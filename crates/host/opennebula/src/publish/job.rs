//! What one publication will do, settled before it begins: names, owner's name, datastore, group.

use std::path::Path;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Error, OpenNebula};
use crate::{
    event::Event,
    image::Image,
    names::{self, Standing},
    operation::{Job, Registration, journal::Work},
};

impl OpenNebula {
    /// Names are fixed before anything begins, and none of them is in use.
    pub(super) fn job(
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
    pub(super) fn own_runs(&self, work: &Work) -> String {
        format!("{}:{}:", self.host, work.folder().display())
    }

    /// The name must be free for whom the image will belong to: better told before hours of copying.
    pub(super) fn check_name(
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

    /// How the new image is registered: where, and for whom.
    ///
    /// # Errors
    /// When the settings name what the cloud has not, or it cannot be asked.
    pub(super) async fn registration(
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
}
