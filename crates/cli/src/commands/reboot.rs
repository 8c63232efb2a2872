//! `vnode reboot`

use hyper::Method;

use super::node_path;
use crate::client::query;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE
    node: String,
    /// Kill instead of asking
    #[arg(long)]
    hard: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let query = query(&[("hard", args.hard.then(|| "true".into()))]);
    super::operate(context, Method::POST, &node_path(&args.node, &format!("/reboot{query}"))).await
}
