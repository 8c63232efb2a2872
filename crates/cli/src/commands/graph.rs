//! `vnode graph`: draws a topology, without a daemon.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::{Context, Result, topology};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topology file; `-` is standard input
    file: PathBuf,
    /// Form of the drawing
    #[arg(long, short, value_enum, default_value_t = Format::Svg)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A picture for browsers
    Svg,
    /// Text that Markdown viewers draw
    Mermaid,
    /// Text for Graphviz
    Dot,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result {
    let lab = vnode_api::topology::parse(&topology::read(&args.file)?)?.lab;
    let drawing = match args.format {
        Format::Svg => vnode_topology::graph::svg(&lab),
        Format::Mermaid => vnode_topology::graph::mermaid(&lab),
        Format::Dot => vnode_topology::graph::dot(&lab),
    };
    if context.output.json {
        context.output.json(&serde_json::json!({ "lab": lab.name, "drawing": drawing }))?;
    } else {
        context.output.text(&drawing)?;
    }
    Ok(0)
}
