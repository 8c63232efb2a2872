//! Programs of the host that are given a node's root before it boots: libvnode's callback of `vnodePreConfig` (T-37).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use vnode_operation::StepContext;
use vnode_topology::{Lab, Node};

use crate::error::{Error, Result};
use crate::files;
use crate::inner::Inner;
use crate::registry::NodeEntry;

/// Time of one command.
const LIMIT: Duration = Duration::from_secs(300);
/// Most of its output that is kept in its event, bytes a stream.
const OUTPUT: usize = 4096;

/// What one node has to run before its boot.
#[derive(Debug)]
pub(super) struct Preconfig {
    commands: Vec<vnode_topology::Preconfig>,
    /// The topology file's, where they are run.
    folder: PathBuf,
}

impl Preconfig {
    /// `None` where there is nothing to run.
    pub(super) fn of(lab: &Lab, node: &Node) -> Option<Self> {
        let commands = node.preconfig.clone();
        (!commands.is_empty()).then(|| Self { commands, folder: lab.folder.clone() })
    }

    /// Runs the commands in order on the root of a node whose slot is held; one that runs is left alone. What became of each
    /// is in an event `node.preconfig`: `done`, `failed`, or `skipped` where the root cannot be mounted.
    ///
    /// # Errors
    /// One that is required could not be run, or failed; the node has failed then. Or the root stays mounted.
    pub(super) async fn run(
        &self,
        inner: &Arc<Inner>,
        context: &StepContext,
        entry: &Arc<NodeEntry>,
    ) -> Result<()> {
        if files::runs(entry) {
            return Ok(());
        }
        let done = self.on_root(inner, context, entry).await;
        if let Err(error) = &done {
            entry.fail(&error.chain());
            let operation = context.operation().to_string();
            let data = json!({ "reason": error.chain() });
            inner.tell("node.failed", &entry.subject(), Some(&operation), data);
        }
        done
    }

    async fn on_root(
        &self,
        inner: &Arc<Inner>,
        context: &StepContext,
        entry: &Arc<NodeEntry>,
    ) -> Result<()> {
        let operation = context.operation().to_string();
        let tell = |command: &str, result: &str, mut data: Value| {
            data["command"] = json!(command);
            data["result"] = json!(result);
            inner.tell("node.preconfig", &entry.subject(), Some(&operation), data);
        };
        let name = entry.with(|record| record.node.clone());
        let root = match files::mount_held(inner, entry).await {
            Ok((_, root)) => root,
            Err(error) => {
                let reason = error.chain();
                for one in &self.commands {
                    tell(&one.command, "skipped", json!({ "reason": reason }));
                }
                if let Some(one) = self.commands.iter().find(|one| one.required) {
                    return Err(Error::failed(format!(
                        "node `{name}`: `{}` is required before its boot, and its root cannot be mounted",
                        one.command
                    ))
                    .because(error));
                }
                let text = format!("`preconfig` was skipped, the root cannot be mounted: {reason}");
                inner.warn(&entry.subject(), &operation, &text);
                return Ok(());
            }
        };
        let mut failed = Ok(());
        for (index, one) in self.commands.iter().enumerate() {
            context.progress(index as u64, self.commands.len() as u64, "preconfig");
            let ran = self.run_one(context, &name, &root, &one.command).await;
            let (reason, data) = match ran {
                Ok((0, output)) => {
                    tell(&one.command, "done", json!({ "status": 0, "output": output }));
                    continue;
                }
                Ok((status, output)) => (
                    format!("`{}` ended with status {status}: {}", one.command, output.trim()),
                    json!({ "status": status, "output": output }),
                ),
                Err(error) => (error.chain(), json!({ "reason": error.chain() })),
            };
            tell(&one.command, "failed", data);
            if one.required || context.cancellation().is_cancelled() {
                failed = Err(Error::failed(format!("node `{name}` is not booted: {reason}")));
                break;
            }
            inner.warn(&entry.subject(), &operation, &reason);
        }
        // Whatever became of them: a mounted root is not booted.
        let unmounted = files::unmount_held(inner, entry).await;
        failed.and(unmounted)
    }

    /// Status, and the beginning of what it printed.
    async fn run_one(
        &self,
        context: &StepContext,
        node: &str,
        root: &Path,
        command: &str,
    ) -> Result<(i32, String)> {
        let argv = shlex::split(command)
            .ok_or_else(|| Error::usage(format!("`preconfig: {command}` has an open quote")))?;
        let spec = super::stage::host_command(argv, OUTPUT, LIMIT)
            .folder(&self.folder)
            .env("VNODE_NODE", node)
            .env("VNODE_ROOT", root);
        super::stage::ran(vnode_action::run(spec, context.cancellation()).await)
    }
}
