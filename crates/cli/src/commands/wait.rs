//! `vnode wait`: how far a node has come, and no further than it was asked to wait.

use std::time::Duration;

use vnode_api::message::Reached;
use vnode_api::{Code, Problem};

use super::node_path;
use crate::client::query;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE
    node: String,
    /// Level to wait for: its record is there, its disk and namespace, its first process runs, it answers (its health
    /// check, or a machine's agent or address), its startup commands have run
    #[arg(
        long = "for",
        value_name = "LEVEL",
        default_value = "ready",
        value_parser = ["accepted", "created", "started", "reachable", "ready"]
    )]
    level: String,
    /// Seconds until the wait is over and ends with 4; without it there is no deadline
    #[arg(long, short, value_name = "SECONDS", value_parser = super::seconds)]
    time: Option<Duration>,
}

/// Prints each level as it is reached. Ends with 1 at once when the node fails, and with 4 when the time is over.
pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let query = query(&[
        ("until", Some(args.level.clone())),
        ("time_ms", args.time.map(|time| time.as_millis().to_string())),
    ]);
    let mut messages = client.events(&node_path(&args.node, &format!("/readiness{query}"))).await?;
    while let Some(message) = messages.next().await? {
        let unreadable = |error: serde_json::Error| {
            Problem::from_error(Code::Failed, &error).in_front("cannot read the daemon's message")
        };
        match message.event.as_str() {
            "level" => {
                let reached: Reached = serde_json::from_str(&message.data).map_err(unreadable)?;
                if context.output.json {
                    context.output.line(&message.data)?;
                } else if !context.output.quiet {
                    context.output.line(&reached.level)?;
                }
                if reached.level == args.level {
                    return Ok(0);
                }
            }
            "problem" => return Err(serde_json::from_str(&message.data).map_err(unreadable)?),
            _ => {}
        }
    }
    Err(Problem::new(Code::Unavailable, "the daemon stopped before the end")
        .hint("wait again: the next command starts the next daemon, which finds the node"))
}
