//! Images as the host sees them: the catalogue, and who uses what.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use vnode_image::{GcPolicy, PullPolicy};
use vnode_operation::OperationId;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::work::Work;

impl Host {
    /// This machine's own root and the images in the catalogue, with the nodes that use each.
    ///
    /// # Errors
    /// None now; the catalogue may come to be elsewhere.
    pub async fn images(&self) -> Result<serde_json::Value> {
        let users: Vec<(String, String)> = self
            .inner
            .registry
            .read()
            .values()
            .flat_map(|lab| lab.nodes.values())
            .filter_map(|node| {
                node.with(|record| {
                    Some((record.image_id.clone()?, format!("{}/{}", record.lab, record.node)))
                })
            })
            .collect();
        // This machine's own root is always there, and costs nothing.
        let on_host = |(id, _): &&(String, String)| id.starts_with("host-");
        let host: Vec<&str> = users.iter().filter(on_host).map(|(_, node)| node.as_str()).collect();
        let host = json!({ "id": "host", "references": ["host"], "size_bytes": 0, "nodes": host });
        let images: Vec<serde_json::Value> = self
            .inner
            .catalogue
            .list()
            .into_iter()
            .map(|image| {
                let nodes: Vec<&str> = users
                    .iter()
                    .filter(|(id, _)| *id == image.id)
                    .map(|(_, node)| node.as_str())
                    .collect();
                json!({
                    "id": image.id,
                    "references": image.references,
                    "size_bytes": image.size_bytes,
                    "created": image.created.to_string(),
                    "last_used": image.last_used.to_string(),
                    "nodes": nodes,
                })
            })
            .collect();
        Ok(std::iter::once(host).chain(images).collect())
    }

    /// Starts fetching an image, asking its source even when the catalogue has one.
    ///
    /// # Errors
    /// The operation cannot begin.
    pub async fn image_pull(&self, reference: &str) -> Result<OperationId> {
        let work = Work::ImageEnsure {
            lab: String::new(),
            image: reference.to_owned(),
            policy: PullPolicy::Always,
            nodes: Vec::new(),
        };
        self.submit_steps("image.pull", format!("image/{reference}"), &[work]).await
    }

    /// Starts importing an archive of this machine under a name.
    ///
    /// # Errors
    /// The operation cannot begin.
    pub async fn image_import(&self, reference: &str, name: &str) -> Result<OperationId> {
        let work = Work::ImageImport { reference: reference.to_owned(), name: name.to_owned() };
        self.submit_steps("image.import", format!("image/{name}"), &[work]).await
    }

    /// Refuses while a record cannot be read: what its node stands on is not known.
    async fn know_all_images(&self) -> Result<()> {
        let damaged = self.inner.damaged.now(&*self.inner.store).await?;
        match damaged.values().flatten().next() {
            None => Ok(()),
            Some(key) => Err(Error::state(format!(
                "record `{key}` cannot be read: nobody knows what images its nodes stand on"
            ))
            .hint("`vnode doctor` names all such records and the way out")),
        }
    }

    /// Removes an image's name, and the image with its last name.
    ///
    /// # Errors
    /// It is in use, or may be, or there is none.
    pub async fn image_remove(&self, image: &str) -> Result<()> {
        self.know_all_images().await?;
        let (inner, image) = (Arc::clone(&self.inner), image.to_owned());
        let work = move || inner.catalogue.remove(&image, &|| inner.images_in_use());
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::failed("removing ended early").because(source))?
            .map(drop)
            .map_err(|source| Error::failed("cannot remove the image").because(source))
    }

    /// Removes images nobody used for `unused`; their ids.
    ///
    /// # Errors
    /// It is not known what is in use; a folder cannot be removed.
    pub async fn image_gc(&self, unused: Duration) -> Result<Vec<String>> {
        self.know_all_images().await?;
        let inner = Arc::clone(&self.inner);
        let policy = GcPolicy { unused_for: unused, keep_bytes: None };
        let work = move || inner.catalogue.gc(&|| inner.images_in_use(), policy);
        let report = tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::failed("collecting ended early").because(source))?
            .map_err(|source| Error::failed("cannot collect images").because(source))?;
        Ok(report.images)
    }
}
