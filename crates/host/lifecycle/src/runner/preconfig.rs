//! Programs of the host that are given a node's root before it boots: libvnode's callback of `vnodePreConfig` (T-37).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use vnode_operation::StepContext;
use vnode_topology::{Lab, Node};

use crate::error::{Error, Result};
use crate::files;
use crate::inner::Inner;
use crate::registry::NodeEntry;

use super::on_host::{self, Purpose};

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
        let name = entry.with(|record| record.node.clone());
        let (spec, root) = match files::mount_held(inner, entry).await {
            Ok(mounted) => mounted,
            Err(error) => {
                let reason = error.chain();
                for one in &self.commands {
                    let data = json!({ "reason": reason });
                    tell(inner, entry, &operation, &one.command, "skipped", data);
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
        let ran = match on_host::begin(inner, &spec, Purpose::Preconfig).await {
            Ok(group) => self.run_all(inner, context, entry, &root, &group).await,
            Err(error) => Err(error),
        };
        // Whatever became of them: a mounted root is not booted, nor one that somebody writes to from outside.
        let ended = on_host::end(inner, &spec, Purpose::Preconfig).await;
        let unmounted = files::unmount_held(inner, entry).await;
        ran.and(ended).and(unmounted)
    }

    /// Runs the commands in order, to the first that is required and fails.
    async fn run_all(
        &self,
        inner: &Inner,
        context: &StepContext,
        entry: &NodeEntry,
        root: &Path,
        group: &[PathBuf],
    ) -> Result<()> {
        let operation = context.operation().to_string();
        let name = entry.with(|record| record.node.clone());
        for (index, one) in self.commands.iter().enumerate() {
            context.progress(index as u64, self.commands.len() as u64, "preconfig");
            let ran = self.run_one(context, &name, root, group, &one.command).await;
            let (reason, data) = match ran {
                Ok((0, output)) => {
                    let data = json!({ "status": 0, "output": output });
                    tell(inner, entry, &operation, &one.command, "done", data);
                    continue;
                }
                Ok((status, output)) => (
                    format!("`{}` ended with status {status}: {}", one.command, output.trim()),
                    json!({ "status": status, "output": output }),
                ),
                Err(error) => (error.chain(), json!({ "reason": error.chain() })),
            };
            tell(inner, entry, &operation, &one.command, "failed", data);
            if one.required || context.cancellation().is_cancelled() {
                return Err(Error::failed(format!("node `{name}` is not booted: {reason}")));
            }
            inner.warn(&entry.subject(), &operation, &reason);
        }
        Ok(())
    }

    /// Status, and the beginning of what it printed.
    async fn run_one(
        &self,
        context: &StepContext,
        node: &str,
        root: &Path,
        group: &[PathBuf],
        command: &str,
    ) -> Result<(i32, String)> {
        let argv = shlex::split(command)
            .ok_or_else(|| Error::usage(format!("`preconfig: {command}` has an open quote")))?;
        let spec = on_host::command(argv, group)
            .folder(&self.folder)
            .env("VNODE_NODE", node)
            .env("VNODE_ROOT", root);
        on_host::run(spec, context.cancellation()).await
    }
}

fn tell(
    inner: &Inner,
    entry: &NodeEntry,
    operation: &str,
    command: &str,
    result: &str,
    mut data: Value,
) {
    data["command"] = json!(command);
    data["result"] = json!(result);
    inner.tell("node.preconfig", &entry.subject(), Some(operation), data);
}
