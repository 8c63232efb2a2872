//! How a wanted image comes into its place: fetched, verified, told of, put where the old one was.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;
use vnode_operation::fault;
use vnode_store::{Change, record};

use super::{
    Cache, CacheError, Cached, MAX_TRIES, TRIES, folder,
    run::{RunOptions, RunReport, blocking, put, read, record_of, write},
};
use crate::{
    download::{Job, Progress, Unpack, Verified},
    event::{Event, Kind},
    lists::Wanted,
    publish::ImageChange,
    record::SCHEMA,
};

/// How often an image was tried for one list message.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
struct Tries {
    message_sha512: String,
    count: u32,
}

impl Cache {
    /// Fetches the file of an image, as often as is sensible for one message of its list.
    pub(super) async fn download(
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
    pub(super) async fn place(
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
}

/// How far all downloads of a run are, as one.
pub(super) struct Sum<'a> {
    to: &'a dyn Progress,
    parts: Mutex<BTreeMap<String, (u64, u64)>>,
}

struct Part<'a> {
    sum: &'a Sum<'a>,
    identifier: &'a str,
}

impl<'a> Sum<'a> {
    pub(super) fn new(to: &'a dyn Progress) -> Self {
        Self { to, parts: Mutex::default() }
    }
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
