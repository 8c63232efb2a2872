//! What an accepted list changes about the images a site knows.

use std::collections::BTreeMap;

use vnode_store::Change;

use super::{Report, Result, encode};
use crate::{
    list::ImageList,
    record::{ImageRecord, NewImages, Subscription, image_key},
};

/// Changes to the records of images; new images and what becomes of them go into the report.
pub(super) fn apply(
    subscription: &Subscription,
    list: &ImageList,
    mut known: BTreeMap<String, ImageRecord>,
    report: &mut Report,
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut put = |record: &ImageRecord| -> Result<()> {
        let key = image_key(&record.list, &record.identifier);
        changes.push(Change::put(key, encode(record)?));
        Ok(())
    };
    for image in &list.images {
        if let Some(mut record) = known.remove(&image.identifier) {
            if !record.in_list || record.latest.as_ref() != Some(image) {
                record.in_list = true;
                record.latest = Some(image.clone());
                put(&record)?;
            }
            continue;
        }
        report.new_images.push(image.clone());
        let subscribed = match subscription.settings.new_images {
            NewImages::Refuse => {
                report.refused.push(image.identifier.clone());
                continue;
            }
            NewImages::Accept => false,
            NewImages::Subscribe => true,
        };
        put(&ImageRecord {
            list: subscription.identifier.clone(),
            identifier: image.identifier.clone(),
            subscribed,
            latest: Some(image.clone()),
            in_list: true,
        })?;
    }
    for mut gone in known.into_values().filter(|record| record.in_list) {
        gone.in_list = false;
        put(&gone)?;
    }
    report.dropped = list.dropped.clone();
    Ok(changes)
}
