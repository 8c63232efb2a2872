//! `vnode snapshot`

use clap::Subcommand;
use hyper::Method;
use vnode_lifecycle::view::SnapshotView;

use super::node_path;
use crate::client::segment;
use crate::output::table::Rows;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// A snapshot of a node.
#[derive(Debug, clap::Args)]
struct Of {
    /// NODE or LAB/NODE
    node: String,
    /// The snapshot's name
    name: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep a copy of a stopped node's disk under a name
    Take(Of),
    /// List a node's snapshots, oldest first
    Ls {
        /// NODE or LAB/NODE
        node: String,
    },
    /// Make a stopped node's disk what it was when the snapshot was taken
    Restore(Of),
    /// Remove a snapshot
    Rm(Of),
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let path = |of: &Of, rest: &str| {
        node_path(&of.node, &format!("/snapshots/{}{rest}", segment(&of.name)))
    };
    match args.command {
        Command::Take(of) => super::operate(context, Method::PUT, &path(&of, "")).await,
        Command::Restore(of) => super::operate(context, Method::POST, &path(&of, "/restore")).await,
        Command::Rm(of) => super::operate(context, Method::DELETE, &path(&of, "")).await,
        Command::Ls { node } => list(&node, context).await,
    }
}

async fn list(node: &str, context: &Context) -> Result {
    let mut client = context.client().await?;
    let found: Vec<SnapshotView> = client.get(&node_path(node, "/snapshots")).await?;
    let table = || {
        let mut rows = Rows::new(&["NAME", "CREATED", "SIZE"]);
        for SnapshotView { name, created, bytes } in &found {
            rows.add(vec![name.clone(), created.clone(), super::image::bytes(*bytes)]);
        }
        rows
    };
    context.output.table(&found, table).map(|()| 0)
}
