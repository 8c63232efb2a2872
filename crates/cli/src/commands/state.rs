//! `vnode state`: one word, for scripts.

use vnode_api::Code;
use vnode_lifecycle::view::NodeView;

use super::node_path;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE; one that is not there is `absent`
    node: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let state = match client.get::<NodeView>(&node_path(&args.node, "")).await {
        Ok(node) => node.state.to_string(),
        Err(problem) if problem.code == Code::NotFound => "absent".into(),
        Err(problem) => return Err(problem),
    };
    if context.output.json {
        context.output.json(&serde_json::json!({ "node": args.node, "state": state }))?;
    } else {
        context.output.line(&state)?;
    }
    Ok(0)
}
