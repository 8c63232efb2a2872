//! `vnode check`: reads a file as the daemon would, without one.

use std::path::PathBuf;

use crate::{Context, Result, topology};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topology file; `-` is standard input
    file: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result {
    let parsed = vnode_api::topology::parse(&topology::read(&args.file)?)?;
    let lab = &parsed.lab;
    if context.output.json {
        let document = serde_json::json!({
            "lab": lab.name,
            "nodes": lab.nodes.len(),
            "links": lab.links.len(),
            "warnings": parsed.warnings,
        });
        context.output.json(&document)?;
        return Ok(0);
    }
    for warning in &parsed.warnings {
        context.output.note(&warning.to_string());
    }
    let (nodes, links) = (lab.nodes.len(), lab.links.len());
    context.output.line(&format!("lab `{}` is good: {nodes} nodes, {links} links", lab.name))?;
    Ok(0)
}
