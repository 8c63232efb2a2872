//! `vnode save`, `vnode restore` and `vnode screenshot`: what only virtual machines can do

use std::path::PathBuf;

use hyper::Method;
use vnode_api::{Code, Problem};

use super::node_path;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Save {
    /// NODE or LAB/NODE, a virtual machine
    node: String,
    /// Throw away what was saved: the next boot is one from the disk
    #[arg(long)]
    discard: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// NODE or LAB/NODE, a virtual machine
    node: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Screenshot {
    /// NODE or LAB/NODE, a virtual machine with a screen
    node: String,
    /// Where the PNG is put; `-`: standard output. NODE.png when absent
    file: Option<PathBuf>,
}

pub(crate) async fn save(args: Save, context: &Context) -> Result {
    let path = node_path(&args.node, "/save");
    if args.discard {
        let mut client = context.client().await?;
        client.done(Method::DELETE, &path).await?;
        return super::done(&args.node, "discard", context);
    }
    super::operate(context, Method::POST, &path).await
}

pub(crate) async fn restore(args: Restore, context: &Context) -> Result {
    super::operate(context, Method::POST, &node_path(&args.node, "/restore")).await
}

pub(crate) async fn screenshot(args: Screenshot, context: &Context) -> Result {
    let name = args.node.rsplit('/').next().unwrap_or(&args.node);
    let file = args.file.unwrap_or_else(|| PathBuf::from(format!("{name}.png")));
    let out = file.as_os_str() == "-";
    if out && context.output.terminal {
        return Err(Problem::new(Code::Usage, "a PNG is no text for a terminal")
            .hint(format!("`vnode screenshot {} FILE`", args.node)));
    }
    let mut client = context.client().await?;
    let picture = client.bytes(&node_path(&args.node, "/screenshot")).await?;
    let failed = |error: std::io::Error| {
        Problem::new(Code::Failed, format!("cannot write {}: {error}", file.display()))
    };
    if out {
        use tokio::io::AsyncWriteExt;
        let mut stdout = tokio::io::stdout();
        stdout.write_all(&picture).await.map_err(failed)?;
        stdout.flush().await.map_err(failed)?;
        return Ok(0);
    }
    tokio::fs::write(&file, &picture).await.map_err(failed)?;
    context.output.line(&file.display().to_string())?;
    Ok(0)
}
