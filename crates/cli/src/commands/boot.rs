//! `vnode boot`

use hyper::Method;

use super::node_path;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE
    node: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    super::operate(context, Method::POST, &node_path(&args.node, "/boot")).await
}
