//! `vnode pause` and `vnode resume`

use hyper::Method;

use super::node_path;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE
    node: String,
}

pub(crate) async fn run(args: Args, context: &Context, verb: &str) -> Result {
    let mut client = context.client().await?;
    client.done(Method::POST, &node_path(&args.node, &format!("/{verb}"))).await?;
    super::done(&args.node, verb, context)
}
