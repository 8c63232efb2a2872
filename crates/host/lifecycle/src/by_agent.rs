//! Programs that a node's agent runs: for a client, or detached from all of them.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use vnode_driver::{Exec, ExecSpec, WindowSize};
use vnode_guest::{Form, Guest};

use crate::agent::{IN_MACHINES, PROGRAM};
use crate::error::{Error, Result};
use crate::functions;
use crate::host::Host;
use crate::inner::driver_error;
use crate::registry::NodeEntry;
use crate::request::{self, AgentCommand, Through};
use crate::signal;

impl Host {
    /// Runs a program by a node's agent: as root, with the environment and folder of the node's own program where the
    /// request names no other.
    pub(crate) async fn exec_by_agent(
        &self,
        entry: &Arc<NodeEntry>,
        request: request::Exec,
    ) -> Result<Exec> {
        let guest = self.inner.guest(entry).await?;
        let name = entry.with(|record| record.node.clone());
        if let Some(id) = &request.attach {
            let size = request.terminal.map(|(rows, cols)| WindowSize { rows, cols });
            let attached = vnode_driver::guest::attach(&name, &guest, id, size).await;
            return attached.map_err(driver_error);
        }
        let through = request.through;
        let mut wanted = wanted(entry, request)?;
        // The tools of the agent are its own program's: this is the one place that says where it is.
        let tool = match through {
            Through::Node | Through::Agent => None,
            Through::Component => Some("component"),
            Through::Vnf => Some("vnf"),
        };
        if let Some(tool) = tool {
            let machine = is_machine(entry);
            if guest.form() == Form::Qga && !machine {
                return Err(Error::state(format!("node `{name}` has no agent of ours")));
            }
            let program = if machine { IN_MACHINES } else { PROGRAM };
            wanted.argv.splice(0..0, [program.to_owned(), tool.to_owned()]);
        }
        let exec = vnode_driver::guest::exec(&name, &guest, &wanted).await.map_err(driver_error)?;
        // Its service may have begun by this, and is followed from then on.
        let may_begin = through == Through::Vnf && !functions::attends(&wanted.argv);
        Ok(if may_begin { functions::poked_after(exec, entry) } else { exec })
    }
}

fn is_machine(entry: &NodeEntry) -> bool {
    entry.with(|record| {
        let spec = record.spec.as_ref();
        spec.is_none_or(|spec| spec.machine.is_some() || spec.domain.is_some())
    })
}

/// What an agent is to run: with the environment and folder of the node's own program where the request names no other.
fn wanted(entry: &NodeEntry, request: request::Exec) -> Result<ExecSpec> {
    if request.privileged {
        return Err(Error::usage("an agent gives no program more rights than it has itself"));
    }
    let mut env = Vec::new();
    let mut cwd = request.cwd;
    let spec = entry.with(|record| record.spec.clone());
    if let Some(spec) = spec.filter(|_| !is_machine(entry)) {
        env = spec.process.env;
        cwd = cwd.or(Some(spec.process.cwd));
    }
    env.extend(request.env);
    Ok(ExecSpec {
        argv: request.argv,
        env,
        cwd,
        user: request.user,
        tty: request.terminal.map(|(rows, cols)| WindowSize { rows, cols }),
        privileged: false,
    })
}

/// What the agent's own program is asked for a command that is about detached programs: its command and value.
pub(crate) fn detached(
    node: &str,
    entry: &NodeEntry,
    guest: &Guest,
    command: AgentCommand,
) -> Result<(&'static str, Value)> {
    if guest.form() == Form::Qga {
        return Err(Error::state(format!(
            "node `{node}` has no agent of ours: no other keeps programs"
        )));
    }
    let named = |command, id: String| Ok((command, json!({ "id": id })));
    match command {
        AgentCommand::ExecDetach { program, stdin } => {
            let wanted = wanted(entry, program)?;
            let env: Map<String, Value> = wanted
                .env
                .iter()
                .map(|variable| {
                    let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
                    (name.to_owned(), value.into())
                })
                .collect();
            let terminal = wanted.tty.map(|size| json!({"rows": size.rows, "columns": size.cols}));
            let value = json!({
                "argv": wanted.argv, "env": env, "folder": wanted.cwd, "user": wanted.user,
                "terminal": terminal, "stdin": stdin, "detach": true,
            });
            Ok(("exec", value))
        }
        AgentCommand::ExecShow { id } => named("exec-show", id),
        AgentCommand::ExecSignal { id, signal } => {
            let number = signal::number(&signal)
                .ok_or_else(|| Error::usage(format!("there is no signal `{signal}`")))?;
            Ok(("exec-signal", json!({ "id": id, "signal": number })))
        }
        AgentCommand::ExecEnd { id } => named("exec-end", id),
        AgentCommand::ExecRemove { id } => named("exec-remove", id),
        _ => Ok(("exec-list", json!({}))),
    }
}
