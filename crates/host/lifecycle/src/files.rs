//! A node's files from outside: its root mounted on the host while it does not run, and archives into and out of it
//! whether it runs or not.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use vnode_driver::{NodeSpec, Phase, Reader};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::inner::{Inner, driver_error};
use crate::record::NodeRecord;
use crate::registry::NodeEntry;
use crate::resolve;
use crate::state::{Event, State};

/// Bytes of an archive that wait for its reader.
const BUFFER: usize = 64 * 1024;
/// Time the reader of an archive gets to take some of it: the node stays mounted until all is read.
const PATIENCE: Duration = Duration::from_secs(60);

impl Host {
    /// Mounts a stopped node's root on this host and gives the path.
    ///
    /// # Errors
    /// The node runs, or was never made whole.
    pub async fn mount(&self, node: &str) -> Result<PathBuf> {
        let entry = self.inner.registry.find(node)?;
        Self::refuse_unknown(&entry)?;
        let _slot = entry.slot.lock().await;
        Ok(mount_held(&self.inner, &entry).await?.1)
    }

    /// Inverse of [`mount`](Self::mount); idempotent.
    ///
    /// # Errors
    /// The mount is busy.
    pub async fn unmount(&self, node: &str) -> Result<()> {
        let entry = self.inner.registry.find(node)?;
        Self::refuse_unknown(&entry)?;
        let _slot = entry.slot.lock().await;
        unmount_held(&self.inner, &entry).await
    }

    /// A tar stream of a file or folder of a node. One that does not run is mounted for it; `by_agent` has the node's agent
    /// read it.
    ///
    /// # Errors
    /// The path is not there.
    pub async fn copy_out(&self, node: &str, path: &str, by_agent: bool) -> Result<Reader> {
        let entry = self.inner.registry.find(node)?;
        if by_agent {
            let guest = self.inner.guest(&entry).await?;
            let name = entry.with(|record| record.node.clone());
            return vnode_driver::guest::archive_out(&name, &guest, path)
                .await
                .map_err(driver_error);
        }
        if runs(&entry) {
            return entry.live()?.archive_out(path).await.map_err(driver_error);
        }
        Self::refuse_unknown(&entry)?;
        let (answer, answered) = oneshot::channel();
        let (mut writer, reader) = tokio::io::duplex(BUFFER);
        let (inner, path) = (Arc::clone(&self.inner), path.to_owned());
        // A task of its own: whoever reads may go, the mount goes all the same.
        self.inner.tasks.spawn(async move {
            let _slot = entry.slot.lock().await;
            let borrowed = match Borrowed::mount(&inner, &entry).await {
                Ok(borrowed) => borrowed,
                Err(error) => return drop(answer.send(Err(error))),
            };
            match inner.driver.archive_out(&borrowed.spec, &borrowed.root, &path) {
                Ok(mut archive) => {
                    if answer.send(Ok(())).is_ok() {
                        pass_on(&mut archive, &mut writer).await;
                    }
                    // The task that fills it ends with its pipe; what it has open of the mount goes with it.
                    drop(archive);
                    borrowed.give_back(&inner, &entry).await;
                }
                Err(error) => {
                    borrowed.give_back(&inner, &entry).await;
                    drop(answer.send(Err(driver_error(error))));
                }
            }
        });
        answered.await.map_err(|_| Error::failed("the daemon ends"))??;
        Ok(Box::pin(reader))
    }

    /// Unpacks a tar stream below a folder of the node. One that does not run is mounted for it; `by_agent` has the node's
    /// agent write it, with the node's `tar`.
    ///
    /// # Errors
    /// The folder is not there, or the archive would leave it.
    pub async fn copy_in(&self, node: &str, path: &str, tar: Reader, by_agent: bool) -> Result<()> {
        let entry = self.inner.registry.find(node)?;
        if by_agent {
            let guest = self.inner.guest(&entry).await?;
            let name = entry.with(|record| record.node.clone());
            let done = vnode_driver::guest::archive_in(&name, &guest, path, tar).await;
            return done.map_err(driver_error);
        }
        if runs(&entry) {
            return entry.live()?.archive_in(path, tar).await.map_err(driver_error);
        }
        Self::refuse_unknown(&entry)?;
        let (inner, path) = (Arc::clone(&self.inner), path.to_owned());
        // A task of its own: a client that goes ends the archive, and the mount goes all the same.
        let unpacked = self.inner.tasks.spawn(async move {
            let _slot = entry.slot.lock().await;
            let borrowed = Borrowed::mount(&inner, &entry).await?;
            let result = inner.driver.archive_in(&borrowed.spec, &borrowed.root, &path, tar).await;
            borrowed.give_back(&inner, &entry).await;
            result.map_err(driver_error)
        });
        unpacked.await.map_err(|source| Error::failed("unpacking ended early").because(source))?
    }
}

/// Whether its first process is there.
pub(crate) fn runs(entry: &NodeEntry) -> bool {
    entry
        .instance()
        .is_some_and(|instance| matches!(instance.status().phase, Phase::Running | Phase::Paused))
}

/// Takes what comes to the reader, as long as that one takes it.
async fn pass_on(archive: &mut Reader, writer: &mut tokio::io::DuplexStream) {
    let mut piece = vec![0; BUFFER];
    loop {
        let length = match archive.read(&mut piece).await {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) => return tracing::warn!(%error, "an archive is cut"),
        };
        match tokio::time::timeout(PATIENCE, writer.write_all(&piece[..length])).await {
            Ok(Ok(())) => {}
            // Without its end mark: the reader, if there still is one, sees that it is cut.
            Ok(Err(_)) => return,
            Err(_) => return tracing::warn!("an archive is cut: nobody reads it"),
        }
    }
}

/// A node's root, mounted for as long as an archive takes.
struct Borrowed {
    spec: NodeSpec,
    root: PathBuf,
    /// It was mounted before, by a user, and stays.
    stays: bool,
    /// Why it had failed, which it has not ceased to.
    failed: Option<String>,
}

impl Borrowed {
    async fn mount(inner: &Inner, entry: &NodeEntry) -> Result<Self> {
        let (stays, failed) = entry.with(|record| {
            let failed = record.state == State::Failed;
            (
                record.state == State::Mounted,
                failed.then(|| record.reason.clone().unwrap_or_default()),
            )
        });
        let (spec, root) = mount_held(inner, entry).await?;
        Ok(Self { spec, root, stays, failed })
    }

    /// A mount that cannot be taken away is told, and seen in the node's state; the archive is whole all the same.
    async fn give_back(self, inner: &Inner, entry: &NodeEntry) {
        if self.stays {
            return;
        }
        let given = async {
            unmount_held(inner, entry).await?;
            if let Some(reason) = &self.failed {
                entry.fail(reason);
                inner.save(vec![entry.with(NodeRecord::put)]).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = given.await {
            tracing::warn!(node = self.spec.node, "{}", error.chain());
        }
    }
}

/// [`Host::mount`] for who holds the node's slot.
pub(crate) async fn mount_held(inner: &Inner, entry: &NodeEntry) -> Result<(NodeSpec, PathBuf)> {
    let record = entry.record();
    let spec = record
        .spec
        .ok_or_else(|| Error::state(format!("node `{}` was never made whole", record.node)))?;
    if runs(entry) {
        return Err(
            Error::state(format!("node `{}` is running", record.node)).hint("halt it first")
        );
    }
    let before = (record.state, record.reason);
    // The record first: a daemon that dies now finds the mount by it (T-39).
    entry.step(Event::Mount).map_err(|refused| Error::state(refused.to_string()))?;
    inner.save(vec![entry.with(NodeRecord::put)]).await?;
    let dir = inner.node_dir(&record.lab, &record.node);
    let path = match inner.driver.mount(&spec, &dir).await {
        Ok(path) => path,
        Err(error) => {
            // Not mounted is what it is, and what it failed of before it still does (T-37).
            if before.0 != State::Mounted {
                entry.settle(before.0);
                entry.update(|record| record.reason = before.1);
                inner.save(vec![entry.with(NodeRecord::put)]).await?;
            }
            return Err(driver_error(error));
        }
    };
    inner.tell("node.mounted", &entry.subject(), None, json!({ "path": path }));
    Ok((spec, path))
}

/// [`Host::unmount`] for who holds the node's slot.
pub(crate) async fn unmount_held(inner: &Inner, entry: &NodeEntry) -> Result<()> {
    let record = entry.record();
    let spec = record.spec.clone().unwrap_or_else(|| resolve::skeleton(&record));
    let dir = inner.node_dir(&record.lab, &record.node);
    inner.driver.unmount(&spec, &dir).await.map_err(driver_error)?;
    if record.state == State::Mounted {
        entry.step(Event::Unmount).map_err(|refused| Error::state(refused.to_string()))?;
        inner.save(vec![entry.with(NodeRecord::put)]).await?;
        inner.tell("node.unmounted", &entry.subject(), None, json!({}));
    }
    Ok(())
}
