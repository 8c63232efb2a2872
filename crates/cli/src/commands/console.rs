//! `vnode console`

use super::node_path;
use crate::session::{self, Ends};
use crate::{Context, Result, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE; it must run
    node: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let client = context.client().await?;
    let path = node_path(&args.node, "/console");
    let stream = client.upgrade(&path, &serde_json::json!({})).await?;
    let interactive = terminal::interactive();
    if interactive {
        context.output.note(&format!("console of `{}`; Ctrl-] leaves it", args.node));
    }
    let ends = Ends { terminal: interactive, stdin: true, detach: true, keep: false };
    session::join(stream, ends).await?;
    Ok(0)
}
