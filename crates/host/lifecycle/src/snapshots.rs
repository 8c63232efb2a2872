//! Snapshots of nodes' disks.

use jiff::Timestamp;
use vnode_operation::{OperationId, Plan, Recovery};

use crate::error::{Error, Result};
use crate::host::Host;
use crate::inner::driver_error;
use crate::plan;
use crate::runner;
use crate::view::SnapshotView;
use crate::work::Work;

impl Host {
    /// Starts taking a snapshot of a stopped node's disk.
    ///
    /// # Errors
    /// There is no such node, or the name is taken.
    pub async fn snapshot(&self, node: &str, name: &str) -> Result<OperationId> {
        if self.has_snapshot(node, name).await? {
            return Err(Error::conflict(format!("node `{node}` has a snapshot `{name}`"))
                .hint("take another name, or remove it with `vnode snapshot rm`"));
        }
        let (lab, node, subject) = self.known(node)?;
        let work = Work::NodeSnapshot { lab, node, name: name.to_owned() };
        self.one_step("node.snapshot", subject, &work).await
    }

    /// Starts making a stopped node's disk what it was when the snapshot was taken.
    ///
    /// # Errors
    /// There is no such node, or it has no such snapshot.
    pub async fn restore_snapshot(&self, node: &str, name: &str) -> Result<OperationId> {
        if !self.has_snapshot(node, name).await? {
            return Err(Error::not_found(format!("node `{node}` has no snapshot `{name}`"))
                .hint("`vnode snapshot ls` lists those it has"));
        }
        let (lab, node, subject) = self.known(node)?;
        let work = Work::NodeRestore { lab, node, name: name.to_owned() };
        self.one_step("node.restore", subject, &work).await
    }

    /// Starts removing a snapshot; one that is not there is removed already.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn remove_snapshot(&self, node: &str, name: &str) -> Result<OperationId> {
        let (lab, node, subject) = self.known(node)?;
        let work = Work::SnapshotRemove { lab, node, name: name.to_owned() };
        self.one_step("node.snapshot.remove", subject, &work).await
    }

    /// A node's snapshots, oldest first.
    ///
    /// # Errors
    /// There is no such node, or its folder cannot be read.
    pub async fn snapshots(&self, node: &str) -> Result<Vec<SnapshotView>> {
        let entry = self.inner.registry.find(node)?;
        let dir = runner::folder(&self.inner, &entry);
        let spec = runner::definition(&entry);
        let found = self.inner.driver.snapshots(&spec, &dir).await.map_err(driver_error)?;
        let view = |snapshot: vnode_driver::Snapshot| SnapshotView {
            name: snapshot.name,
            created: i64::try_from(snapshot.created_unix_ms)
                .ok()
                .and_then(|ms| Timestamp::from_millisecond(ms).ok())
                .unwrap_or_default()
                .to_string(),
            bytes: snapshot.bytes,
        };
        Ok(found.into_iter().map(view).collect())
    }

    async fn has_snapshot(&self, node: &str, name: &str) -> Result<bool> {
        Ok(self.snapshots(node).await?.iter().any(|snapshot| snapshot.name == name))
    }

    /// All or nothing: what fails here is not a part of something that went well.
    async fn one_step(&self, kind: &str, subject: String, work: &Work) -> Result<OperationId> {
        let mut plan = Plan::new(kind, subject);
        plan.recovery = Recovery::GoOn;
        plan.push(plan::step(work));
        self.submit(plan).await
    }

    fn known(&self, node: &str) -> Result<(String, String, String)> {
        let entry = self.inner.registry.find(node)?;
        Self::refuse_unknown(&entry)?;
        Ok(Self::subject(&entry))
    }
}
