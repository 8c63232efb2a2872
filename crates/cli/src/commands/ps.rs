//! `vnode ps`

use vnode_lifecycle::view::NodeView;

use crate::client::query;
use crate::output::table::Rows;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this lab
    lab: Option<String>,
    /// Also labels and how the last run ended
    #[arg(long, short)]
    wide: bool,
    /// Only names, one LAB/NODE a line
    #[arg(long, short)]
    names: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let path = format!("/v1/nodes{}", query(&[("lab", args.lab)]));
    if context.output.json {
        let nodes: serde_json::Value = client.get(&path).await?;
        context.output.json(&nodes)?;
        return Ok(0);
    }
    let nodes: Vec<NodeView> = client.get(&path).await?;
    if args.names {
        for node in &nodes {
            context.output.line(&format!("{}/{}", node.lab, node.node))?;
        }
        return Ok(0);
    }
    let mut heading =
        vec!["LAB", "NODE", "STATE", "KIND", "IMAGE", "IPV4", "IPV6", "PID", "RESTARTS"];
    if args.wide {
        heading.extend(["SINCE", "HEALTH", "LAST EXIT", "REASON"]);
    }
    let mut rows = Rows::new(&heading);
    for node in nodes {
        rows.add(row(node, args.wide));
    }
    rows.print(&context.output)?;
    Ok(0)
}

fn row(node: NodeView, wide: bool) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_default();
    let mut cells = vec![
        node.lab,
        node.node,
        node.state.to_string(),
        node.kind,
        node.image,
        text(node.ipv4.map(|address| address.to_string())),
        text(node.ipv6.map(|address| address.to_string())),
        text(node.pid.map(|pid| pid.to_string())),
        node.restarts.to_string(),
    ];
    if wide {
        cells.extend([node.since, node.health, text(node.last_exit), text(node.reason)]);
    }
    cells
}
