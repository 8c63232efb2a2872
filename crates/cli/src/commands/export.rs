//! `vnode export`: writes a topology back, without a daemon.

use std::path::PathBuf;

use crate::{Context, Result, topology};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topology file; `-` is standard input
    file: PathBuf,
    /// Only what containerlab accepts; a comment at the head says what was left out
    #[arg(long)]
    clab: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result {
    let lab = vnode_api::topology::parse(&topology::read(&args.file)?)?.lab;
    if context.output.json {
        context.output.json(&lab)?;
        return Ok(0);
    }
    let text =
        if args.clab { vnode_topology::export_clab(&lab) } else { vnode_topology::export(&lab) };
    context.output.text(&text)?;
    Ok(0)
}
