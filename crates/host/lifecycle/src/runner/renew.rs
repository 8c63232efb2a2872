//! A node's new definition on a disk of its own, tried while the old disk lies aside (R-13). Namespace and links stay, peers
//! do not notice (T-102).
//!
//! ```text
//!  old runs ──▶ stopped ──▶ disk aside ──▶ new has booted ──▶ written down ──▶ old disk gone
//!     ▲            └────────────┴────────────────┤ an error, a limit, a cancellation
//!     └──── written down ◀──── disk put back ◀───┘
//! ```
//!
//! Every arrow is a fault point. Killed before an end was written down, the step begins anew, from the old disk; killed after,
//! it goes on from there.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use vnode_driver::{NodeSpec, OldDisk, Phase};
use vnode_operation::{StepContext, fault};

use crate::error::{Error, Kind, Result};
use crate::inner::{Inner, driver_error};
use crate::record::{Before, NodeRecord, Renewal};
use crate::registry::{Lab, NodeEntry, lock};
use crate::state::State;

use super::define::{self, Defined};
use super::node;
use super::preconfig::Preconfig;

/// Makes the node what its lab's topology says, or leaves it what it was.
pub(super) async fn renew(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    name: &str,
    before: Before,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    let (lab, name) = (lab.to_owned(), name.to_owned());
    let work =
        Renewing { inner: Arc::clone(inner), context: context.clone(), lab, name, entry, before };
    // A task of its own: whoever waits for the step may give it up, and the way back is gone to its end all the same.
    let ended = inner.tasks.spawn(work.run()).await;
    let ended = ended.unwrap_or_else(|source| {
        Err(Error::failed("the renewal of a node ended early").because(source))
    });
    if ended.is_err() && inner.stop.is_cancelled() {
        // The next daemon takes the step up: an error told now would be written down as its end.
        std::future::pending::<()>().await;
    }
    ended
}

/// Whether the renewal of that operation made the node what it was to become.
pub(super) fn has_succeeded(record: &NodeRecord, operation: &str) -> bool {
    let ended = record.renewal.as_ref().filter(|ended| ended.operation == operation);
    ended.is_some_and(|ended| ended.failed.is_none())
}

/// Gives a node the definition back that it had: the same `apply` tries the new one again.
pub(super) fn put_back_definition(lab: &mut Lab, name: &str, before: &Before) {
    if let Some(node) = lab.record.lab.nodes.iter_mut().find(|node| node.name == name) {
        *node = before.node.clone();
    }
    if let Some(entry) = lab.nodes.get(name) {
        entry.update(|record| {
            record.image.clone_from(&before.record.image);
            record.restart = before.record.restart;
        });
    }
}

struct Renewing {
    inner: Arc<Inner>,
    context: StepContext,
    lab: String,
    name: String,
    entry: Arc<NodeEntry>,
    before: Before,
}

fn point(name: &str) -> Result<()> {
    fault::point_of("node.renew", name).map_err(|error| Error::failed(error.to_string()))
}

impl Renewing {
    async fn run(self) -> Result<()> {
        let _slot = tokio::select! {
            slot = self.entry.slot.lock() => slot,
            () = self.context.cancellation().cancelled() => return Err(self.cancelled()),
        };
        let operation = self.context.operation().to_string();
        let ended = self.entry.with(|record| record.renewal.clone());
        match ended.filter(|ended| ended.operation == operation) {
            Some(Renewal { failed: None, .. }) => {}
            Some(Renewal { failed: Some(why), .. }) => return self.back(Error::failed(why)).await,
            None => {
                if let Err(error) = self.forward(&operation).await {
                    if self.inner.stop.is_cancelled() {
                        return Err(error);
                    }
                    return self.back(error).await;
                }
            }
        }
        let (spec, dir) = self.place();
        if let Err(source) = self.inner.driver.old_disk(&spec, &dir, OldDisk::Drop).await {
            // The node is what it was to be; what is left goes with the next one, or with the node.
            let error = driver_error(source);
            self.inner.warn(&self.entry.subject(), &operation, &error.chain());
        }
        self.inner.tell("node.renewed", &self.entry.subject(), Some(&operation), json!({}));
        Ok(())
    }

    fn cancelled(&self) -> Error {
        Error::state(format!("the renewal of node `{}` was cancelled", self.name))
    }

    /// What finds the node's disks, whatever it is by now.
    fn place(&self) -> (NodeSpec, std::path::PathBuf) {
        (node::definition(&self.entry), self.inner.node_dir(&self.lab, &self.name))
    }

    /// To the new definition, until that is written down.
    async fn forward(&self, operation: &str) -> Result<()> {
        self.put_back_disk().await?;
        let Defined { spec, image_id, image: _held } =
            define::define(&self.inner, &self.lab, &self.entry, operation).await?;
        let (_, dir) = self.place();
        self.inner.driver.check(&spec, &dir).await.map_err(driver_error)?;
        let instance = self.entry.live()?;
        node::stop(&self.inner, &self.entry, None, operation).await?;
        point("stopped")?;
        if self.entry.with(|record| record.state) == State::Mounted {
            self.inner.driver.unmount(&spec, &dir).await.map_err(driver_error)?;
        }
        self.inner.driver.old_disk(&spec, &dir, OldDisk::SetAside).await.map_err(driver_error)?;
        point("aside")?;
        instance.set_limits(&spec.limits).await.map_err(driver_error)?;
        // A container's boot takes no time, and is better not left half done.
        let waits = spec.machine.is_some() || spec.domain.is_some();
        self.entry.update(|record| record.spec = Some(spec));
        let before = self.inner.registry.lab(&self.lab, |lab| {
            let node = lab.record.lab.node(&self.name);
            node.and_then(|node| Preconfig::of(&lab.record.lab, node))
        })?;
        if let Some(before) = before {
            before.run(&self.inner, &self.context, &self.entry).await?;
        }
        let mut starting = pin!(node::start(&self.inner, &self.entry, operation));
        tokio::select! {
            started = &mut starting => started?,
            () = self.inner.stop.cancelled(), if waits => return Err(self.cancelled()),
            () = self.context.cancellation().cancelled(), if waits => {
                node::end_boot(&*instance, starting).await?;
                return Err(self.cancelled());
            }
        }
        point("booted")?;
        self.write_down(operation, None, |record| record.image_id = Some(image_id)).await?;
        point("written")
    }

    /// The end of the renewal, durably.
    async fn write_down(
        &self,
        operation: &str,
        failed: Option<String>,
        change: impl FnOnce(&mut NodeRecord),
    ) -> Result<()> {
        let record = self.entry.update(|record| {
            change(record);
            record.renewal = Some(Renewal { operation: operation.to_owned(), failed });
            record.put()
        });
        self.inner.save(vec![record]).await
    }

    /// A disk that lies aside is the node's again; what runs on another one is ended.
    async fn put_back_disk(&self) -> Result<()> {
        let (spec, dir) = self.place();
        if !self.inner.driver.has_old_disk(&spec, &dir) {
            return Ok(());
        }
        let operation = self.context.operation().to_string();
        node::stop(&self.inner, &self.entry, Some(Duration::ZERO), &operation).await?;
        if self.entry.with(|record| record.state) == State::Mounted {
            // A daemon died while a `preconfig` was run on the new one.
            self.inner.driver.unmount(&spec, &dir).await.map_err(driver_error)?;
            self.entry.settle(State::Stopped);
        }
        self.inner.driver.old_disk(&spec, &dir, OldDisk::PutBack).await.map_err(driver_error)
    }

    /// The way back from `error`, and what is told of it.
    async fn back(&self, mut error: Error) -> Result<()> {
        let (kind, hints) = (error.kind, std::mem::take(&mut error.hints));
        let back = self.return_to_before(&error.chain()).await;
        if back.is_err() && self.inner.stop.is_cancelled() {
            return Err(error);
        }
        let name = &self.name;
        let told = match back {
            Ok(()) => Error::new(
                kind,
                format!(
                    "node `{name}` is what it was before, with its old disk: its new definition did not come up"
                ),
            ),
            Err(second) => {
                let text = format!(
                    "node `{name}` came up neither with its new definition nor as it was before ({})",
                    second.chain()
                );
                self.entry.fail(&text);
                Error::new(Kind::Failed, text)
            }
        };
        Err(hints.into_iter().fold(told.because(error), Error::hint))
    }

    async fn return_to_before(&self, why: &str) -> Result<()> {
        point("failed")?;
        self.put_back_disk().await?;
        point("put-back")?;
        let operation = self.context.operation().to_string();
        let old = &self.before.record;
        let kept = |record: &mut NodeRecord| {
            record.spec.clone_from(&old.spec);
            record.image_id.clone_from(&old.image_id);
            record.wanted = old.wanted;
        };
        self.write_down(&operation, Some(why.to_owned()), kept).await?;
        point("returned")?;
        define::write_own_files(&self.inner, &self.lab, &self.before.node)?;
        let subject = self.entry.subject();
        let told = json!({ "reason": why });
        self.inner.tell("node.renewal-failed", &subject, Some(&operation), told);
        // One that is lost is made anew by whoever boots it.
        let Some(instance) = self.entry.instance() else { return Ok(()) };
        if let Some(spec) = &old.spec {
            instance.set_limits(&spec.limits).await.map_err(driver_error)?;
        }
        let ran = matches!(old.state, State::Running | State::Paused | State::Booting);
        if !ran || instance.status().phase == Phase::Running {
            // The end of the new one is nothing that a restart policy is for.
            self.entry.set_asked(!ran);
            if self.entry.with(|record| record.state) != State::Mounted {
                self.entry.settle(State::from(instance.status().phase));
            }
            return Ok(());
        }
        // Cancelled when the node is to be destroyed, or the daemon stops.
        let followed = lock(&self.entry.tasks).clone();
        tokio::select! {
            started = node::start(&self.inner, &self.entry, &operation) => started,
            () = followed.cancelled() => Err(self.cancelled()),
        }
    }
}
