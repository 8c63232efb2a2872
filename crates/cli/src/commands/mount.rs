//! `vnode mount` and `vnode unmount`

use hyper::Method;
use vnode_api::message::Mounted;

use super::node_path;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE; it must be stopped
    node: String,
}

pub(crate) async fn mount(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let path = node_path(&args.node, "/mount");
    if let Some(mounted) = client.act::<Mounted>(Method::POST, &path).await? {
        if context.output.json {
            context.output.json(&mounted)?;
        } else {
            context.output.line(&mounted.path)?;
        }
    }
    Ok(0)
}

pub(crate) async fn unmount(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    client.done(Method::POST, &node_path(&args.node, "/unmount")).await?;
    super::done(&args.node, "unmount", context)
}
