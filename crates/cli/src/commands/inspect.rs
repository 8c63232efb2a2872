//! `vnode inspect`

use vnode_api::Code;

use super::node_path;
use crate::client::segment;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE, LAB/NODE, or a lab
    #[arg(value_name = "NODE|LAB")]
    name: String,
}

/// Always JSON: it is for looking things up, and for `jq`.
pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let node = client.get::<serde_json::Value>(&node_path(&args.name, "/inspect")).await;
    let document = match node {
        Err(problem) if problem.code == Code::NotFound && !args.name.contains('/') => {
            let lab = client.get(&format!("/v1/labs/{}", segment(&args.name))).await;
            // Neither: what is said of the node is the better answer.
            lab.map_err(|lab| if lab.code == Code::NotFound { problem } else { lab })?
        }
        other => other?,
    };
    if context.output.json {
        context.output.json(&document)?;
    } else {
        let text = serde_json::to_string_pretty(&document).expect("a JSON value is JSON");
        context.output.line(&text)?;
    }
    Ok(0)
}
