//! The images a site knows and wants.

use std::collections::BTreeMap;

use vnode_store::Change;

use super::{Error, Lists, Result, Wanted, create, encode, read};
use crate::{
    list::{Brief, is_identifier},
    record::{IMAGES, ImageRecord, Subscription, image_key},
};

impl Lists {
    /// The images a site knows, of one list or of all, by list and identifier.
    pub async fn images(&self, list: Option<&str>) -> Result<Vec<ImageRecord>> {
        match list {
            Some(list) => self.all(&format!("{IMAGES}{list}/")).await,
            None => self.all(IMAGES).await,
        }
    }

    pub(super) async fn known_images(&self, list: &str) -> Result<BTreeMap<String, ImageRecord>> {
        let images = self.images(Some(list)).await?;
        Ok(images.into_iter().map(|image| (image.identifier.clone(), image)).collect())
    }

    /// Wants an image in the cache, or no longer; false when the list has no such image.
    pub async fn select(&self, list: &str, image: &str, subscribed: bool) -> Result<bool> {
        let _changing = self.changing.lock().await;
        let key = image_key(list, image);
        let Some(mut record) = self.one::<ImageRecord>(&key).await? else { return Ok(false) };
        record.subscribed = subscribed;
        self.commit(vec![Change::put(key, encode(&record)?)]).await?;
        Ok(true)
    }

    /// Lists an image that a new-image policy refused, or forgets one that is listed; false when nothing changed.
    pub async fn admit(&self, list: &str, image: &str, admitted: bool) -> Result<bool> {
        if !is_identifier(image) {
            return Err(Error::Unknown { what: "image", name: image.to_owned() });
        }
        let _changing = self.changing.lock().await;
        self.subscription(list).await?;
        let key = image_key(list, image);
        let known = self.store.get(&key).await.map_err(read)?.is_some();
        if known == admitted {
            return Ok(false);
        }
        if !admitted {
            self.commit(vec![Change::delete(key)]).await?;
            return Ok(true);
        }
        let latest = self.latest(list).await?;
        let found = latest.and_then(|l| l.list.images.into_iter().find(|i| i.identifier == image));
        let record = ImageRecord {
            list: list.to_owned(),
            identifier: image.to_owned(),
            subscribed: false,
            in_list: found.is_some(),
            latest: found,
        };
        self.commit(vec![create(&key, &record)?]).await?;
        Ok(true)
    }

    /// Every image that shall be in the cache, by list and identifier (state 3).
    pub async fn wanted(&self) -> Result<Vec<Wanted<Brief>>> {
        let now = self.now();
        let subscriptions: BTreeMap<String, Subscription> =
            self.subscriptions().await?.into_iter().map(|s| (s.identifier.clone(), s)).collect();
        let images = self.briefs.get(self.all(IMAGES)).await?;
        let wanted = images.iter().filter_map(|record| {
            let subscription = subscriptions.get(&record.list)?;
            (record.state(subscription, now) == 3).then(|| of(record.clone(), subscription))?
        });
        Ok(wanted.collect())
    }

    /// One of them in full; `None` when it has gone meanwhile.
    pub async fn wanted_in_full(&self, brief: &Wanted<Brief>) -> Result<Option<Wanted>> {
        let subscription = self.subscription(&brief.list).await?;
        let record = self.one::<ImageRecord>(&image_key(&brief.list, &brief.identifier)).await?;
        Ok(record.and_then(|record| of(record, &subscription)))
    }
}

fn of<I>(record: ImageRecord<I>, subscription: &Subscription) -> Option<Wanted<I>> {
    Some(Wanted {
        list: record.list,
        identifier: record.identifier,
        vo: subscription.current.as_ref().and_then(|c| c.vo.clone()),
        image: record.latest?,
        message_sha512: subscription.stored.as_ref()?.message_sha512.clone(),
    })
}
