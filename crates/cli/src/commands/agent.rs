//! `vnode agent`

use clap::{Subcommand, ValueEnum};
use hyper::Method;
use serde_json::Value;
use vnode_api::{Code, Problem};
use vnode_lifecycle::request::{AgentCommand, ShutdownMode};

use super::node_path;
use crate::output::table::Rows;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Of {
    /// NODE or LAB/NODE; it must run and have an agent
    node: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find out whether the agent answers, which one it is, and how fast
    Ping(Of),
    /// Show what the agent is and what it can do
    Info(Of),
    /// Show the interfaces and addresses that the node has
    Network(Of),
    /// Show load, memory and file systems of the node
    Metrics(Of),
    /// Show the node's clock, or set it
    Time {
        /// NODE or LAB/NODE; it must run and have an agent
        node: String,
        /// Set it to this host's time first; a container has the host's own clock and is refused
        #[arg(long)]
        set: bool,
    },
    /// Have the node's own system end it
    Shutdown {
        /// NODE or LAB/NODE; it must run and have an agent
        node: String,
        /// How it ends
        #[arg(long, default_value = "poweroff")]
        mode: Mode,
    },
    /// List the programs that `exec --agent --detach` left to the agent
    ExecList(Of),
    /// Show such a program: whether it runs, how it ended, how much it printed
    ExecShow(Program),
    /// Signal such a program, and what it started in its group
    ExecSignal {
        /// NODE or LAB/NODE; it must run and have an agent
        node: String,
        /// As `exec --agent --detach` printed it
        id: String,
        /// Its name or number
        #[arg(long, short, default_value = "TERM")]
        signal: String,
    },
    /// End such a program with all it started: hang-up, TERM, KILL; its output and exit code stay
    ExecEnd(Program),
    /// End such a program, and have the agent forget it
    ExecRemove(Program),
}

#[derive(Debug, clap::Args)]
struct Program {
    /// NODE or LAB/NODE; it must run and have an agent
    node: String,
    /// As `exec --agent --detach` printed it
    id: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Poweroff,
    Reboot,
    Halt,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let (node, command) = match args.command {
        Command::Ping(of) => (of.node, AgentCommand::Ping),
        Command::Info(of) => (of.node, AgentCommand::Info),
        Command::Network(of) => (of.node, AgentCommand::Network),
        Command::Metrics(of) => (of.node, AgentCommand::Metrics),
        Command::Time { node, set } => {
            (node, AgentCommand::Time { set_ns: set.then(now).transpose()? })
        }
        Command::Shutdown { node, mode } => {
            let mode = match mode {
                Mode::Poweroff => ShutdownMode::Poweroff,
                Mode::Reboot => ShutdownMode::Reboot,
                Mode::Halt => ShutdownMode::Halt,
            };
            (node, AgentCommand::Shutdown { mode })
        }
        Command::ExecList(of) => (of.node, AgentCommand::ExecList),
        Command::ExecShow(of) => (of.node, AgentCommand::ExecShow { id: of.id }),
        Command::ExecSignal { node, id, signal } => (node, AgentCommand::ExecSignal { id, signal }),
        Command::ExecEnd(of) => (of.node, AgentCommand::ExecEnd { id: of.id }),
        Command::ExecRemove(of) => (of.node, AgentCommand::ExecRemove { id: of.id }),
    };
    let mut client = context.client().await?;
    let path = node_path(&node, "/agent");
    let answer: Value = client.call(Method::POST, &path, &command).await?.unwrap_or_default();
    if context.output.json {
        return context.output.json(&answer).map(|()| 0);
    }
    show(&command, &answer, context)?;
    Ok(0)
}

fn now() -> Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ns = since.ok().and_then(|since| u64::try_from(since.as_nanos()).ok());
    ns.ok_or_else(|| Problem::new(Code::Failed, "this host's clock stands before 1970"))
}

/// A value of the guest's as one word or sentence, without what a terminal would obey.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn show(command: &AgentCommand, answer: &Value, context: &Context) -> Result<()> {
    let out = &context.output;
    match command {
        AgentCommand::Ping => {
            let us = answer["round_trip_us"].as_f64().unwrap_or(0.0);
            out.line(&format!("{} answers in {:.3} ms", plain(&answer["agent"]), us / 1000.0))
        }
        AgentCommand::Time { .. } => {
            let ns = answer["ns"].as_u64().unwrap_or(0);
            out.line(&format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000))
        }
        AgentCommand::Shutdown { .. } => {
            out.note("the node was asked to end");
            Ok(())
        }
        AgentCommand::Network => {
            let mut rows = Rows::new(&["INTERFACE", "MAC", "ADDRESSES"]);
            for interface in list(answer, "interfaces") {
                let addresses: Vec<String> = list(interface, "addresses")
                    .map(|a| format!("{}/{}", plain(&a["address"]), plain(&a["prefix"])))
                    .collect();
                rows.add(vec![
                    plain(&interface["name"]),
                    plain(&interface["mac"]),
                    addresses.join(" "),
                ]);
            }
            rows.print(out)
        }
        AgentCommand::ExecSignal { .. } | AgentCommand::ExecRemove { .. } => Ok(()),
        AgentCommand::ExecList => {
            let mut rows = Rows::new(&["ID", "STATE", "PID", "STARTED", "PROGRAM"]);
            for program in list(answer, "programs") {
                let words: Vec<String> = list(program, "argv").map(plain).collect();
                let started = plain(&program["started"]);
                let state = match (&program["code"], &program["signal"]) {
                    (Value::Null, Value::Null) => plain(&program["state"]),
                    (Value::Null, signal) => format!("signal {}", plain(signal)),
                    (code, _) => format!("exit {}", plain(code)),
                };
                rows.add(vec![
                    plain(&program["id"]),
                    state,
                    plain(&program["pid"]),
                    started.split('.').next().unwrap_or_default().to_owned(),
                    words.join(" "),
                ]);
            }
            rows.print(out)
        }
        AgentCommand::Info
        | AgentCommand::Metrics
        | AgentCommand::ExecDetach { .. }
        | AgentCommand::ExecShow { .. }
        | AgentCommand::ExecEnd { .. } => {
            let members = answer.as_object().into_iter().flatten();
            for (name, value) in members {
                let name = plain(&Value::String(name.clone()));
                match value {
                    Value::Array(items) => {
                        out.line(&format!("{name}:"))?;
                        for item in items {
                            out.line(&format!("  {}", flat(item)))?;
                        }
                    }
                    value => out.line(&format!("{name}: {}", flat(value)))?,
                }
            }
            Ok(())
        }
    }
}

/// An object's members on one line.
fn flat(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                format!("{}={}", plain(&Value::String(name.clone())), plain(value))
            });
            members.collect::<Vec<_>>().join(" ")
        }
        value => plain(value),
    }
}
