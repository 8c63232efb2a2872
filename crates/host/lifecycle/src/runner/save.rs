//! The step that keeps a machine's memory.

use std::sync::Arc;

use serde_json::json;
use vnode_operation::StepContext;

use crate::error::{Error, Kind, Result};
use crate::follow;
use crate::inner::{Inner, driver_error};
use crate::state::{Event, State};

/// Keeps a machine's memory with its disk and ends it.
pub(super) async fn save(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    name: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    let _slot = entry.slot.lock().await;
    let instance = entry.live()?;
    let hardware = instance.hardware().ok_or_else(|| no_machine(name))?;
    let wanted = entry.with(|record| record.wanted);
    // Whatever state it is in, a running machine can be saved; of one that was, nothing is asked.
    let _ = entry.step(Event::Halt);
    entry.set_asked(true);
    entry.update(|record| record.wanted = false);
    match hardware.save(context.cancellation()).await {
        Ok(exit) => {
            let operation = context.operation().to_string();
            follow::exited(inner, &entry, &exit, &operation);
            inner.tell("node.saved", &entry.subject(), Some(&operation), json!({}));
            super::node::forward(inner, &entry, false).await
        }
        Err(error) => {
            // It goes on as it was, unless it ended by itself meanwhile.
            entry.set_asked(false);
            entry.update(|record| record.wanted = wanted);
            entry.settle(State::from(instance.status().phase));
            Err(driver_error(error))
        }
    }
}

pub(crate) fn no_machine(node: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!(
            "node `{node}` is no virtual machine: it has neither memory nor a screen of its own"
        ),
    )
}
