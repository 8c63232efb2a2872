//! Images as the host sees them: the catalogue, and who uses what.

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
        let labs = self.inner.registry.read();
        let users: Vec<(String, String)> = labs
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

    /// Removes an image's name, and the image with its last name.
    ///
    /// # Errors
    /// It is in use, or there is none.
    pub async fn image_remove(&self, image: &str) -> Result<()> {
        let (catalogue, used, image) =
            (self.inner.catalogue.clone(), self.inner.images_in_use(), image.to_owned());
        tokio::task::spawn_blocking(move || catalogue.remove(&image, &used))
            .await
            .map_err(|source| Error::failed("removing ended early").because(source))?
            .map(drop)
            .map_err(|source| Error::failed("cannot remove the image").because(source))
    }

    /// Removes images nobody used for `unused`; their ids.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub async fn image_gc(&self, unused: Duration) -> Result<Vec<String>> {
        let (catalogue, used) = (self.inner.catalogue.clone(), self.inner.images_in_use());
        let policy = GcPolicy { unused_for: unused, keep_bytes: None };
        let report = tokio::task::spawn_blocking(move || catalogue.gc(&used, policy))
            .await
            .map_err(|source| Error::failed("collecting ended early").because(source))?
            .map_err(|source| Error::failed("cannot collect images").because(source))?;
        Ok(report.images)
    }
}
