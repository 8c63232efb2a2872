//! Steps about the snapshots of one node.

use std::sync::Arc;

use serde_json::json;
use vnode_operation::StepContext;

use super::node::{definition, folder};
use crate::error::Result;
use crate::inner::{Inner, driver_error};

/// Nothing is left of one that was cancelled.
pub(super) async fn take(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    node: &str,
    name: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, node)?;
    let _slot = entry.slot.lock().await;
    let (spec, dir) = (definition(&entry), folder(inner, &entry));
    let operation = context.operation().to_string();
    let cancel = context.cancellation();
    let taken = inner.driver.snapshot(&spec, &dir, name, &operation, cancel).await;
    let taken = taken.map_err(driver_error)?;
    let about = json!({ "snapshot": name, "bytes": taken.bytes });
    inner.tell("node.snapshot", &entry.subject(), Some(&operation), about);
    Ok(())
}

/// Inverse of [`take`]: only what this operation took.
pub(super) async fn untake(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    node: &str,
    name: &str,
) -> Result<()> {
    let Ok(entry) = inner.registry.node(lab, node) else { return Ok(()) };
    let _slot = entry.slot.lock().await;
    let (spec, dir) = (definition(&entry), folder(inner, &entry));
    let operation = context.operation().to_string();
    let removed = inner.driver.remove_snapshot(&spec, &dir, name, Some(&operation));
    removed.await.map_err(driver_error)
}

pub(super) async fn restore(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    node: &str,
    name: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, node)?;
    let _slot = entry.slot.lock().await;
    let (spec, dir) = (definition(&entry), folder(inner, &entry));
    let restored = inner.driver.restore(&spec, &dir, name, context.cancellation());
    restored.await.map_err(driver_error)?;
    let operation = context.operation().to_string();
    inner.tell("node.restored", &entry.subject(), Some(&operation), json!({ "snapshot": name }));
    Ok(())
}

pub(super) async fn remove(inner: &Arc<Inner>, lab: &str, node: &str, name: &str) -> Result<()> {
    let Ok(entry) = inner.registry.node(lab, node) else { return Ok(()) };
    let _slot = entry.slot.lock().await;
    let (spec, dir) = (definition(&entry), folder(inner, &entry));
    inner.driver.remove_snapshot(&spec, &dir, name, None).await.map_err(driver_error)
}
