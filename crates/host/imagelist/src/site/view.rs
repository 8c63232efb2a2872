//! Images of lists as they are shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Site, SiteError};
use crate::{
    list::Image,
    record::{ImageRecord, Subscription},
};

/// An image of a followed list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageView {
    pub list: String,
    pub identifier: String,
    /// 1 for subscribed, and 2 for available.
    pub state: u8,
    pub subscribed: bool,
    pub available: bool,
    /// Whether this version of it is in the cache.
    pub cached: bool,
    /// Whether a cached older version is in its place.
    pub outdated: bool,
    /// Id of the image in the catalogue.
    pub image_id: Option<String>,
    /// Why no node can be made from it.
    pub unusable: Option<String>,
    /// What the last list that had it says.
    pub image: Option<Image>,
}

impl Site {
    /// All images of all followed lists, by list and identifier.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn views(&self) -> Result<Vec<ImageView>, SiteError> {
        let now = self.lists.now();
        let subscriptions: BTreeMap<String, Subscription> = self
            .lists
            .subscriptions()
            .await?
            .into_iter()
            .map(|s| (s.identifier.clone(), s))
            .collect();
        let cached = self.cache(None)?.cached().await?;
        let held = self.shelf.held();
        let view = |record: ImageRecord| {
            let subscription = subscriptions.get(&record.list)?;
            let here = cached.get(&record.identifier).filter(|c| c.list == record.list);
            let same = here
                .is_some_and(|c| record.latest.as_ref().is_some_and(|i| i.is_same_file(&c.image)));
            Some(ImageView {
                state: record.state(subscription, now),
                subscribed: record.subscribed,
                available: record.is_available(subscription, now),
                cached: same,
                outdated: here.is_some() && !same,
                image_id: here
                    .and_then(|c| c.image_id.clone())
                    .filter(|_| held.contains(&record.identifier)),
                unusable: here.and_then(|c| c.unusable.clone()),
                list: record.list,
                identifier: record.identifier,
                image: record.latest,
            })
        };
        Ok(self.lists.images(None).await?.into_iter().filter_map(view).collect())
    }
}
