//! `vnode destroy`

use hyper::Method;

use super::node_path;
use crate::client::query;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE; one that is not there is no error
    node: String,
    /// Also a node whose record cannot be read
    #[arg(long, short)]
    force: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let query = query(&[("force", args.force.then(|| "true".into()))]);
    super::operate(context, Method::DELETE, &node_path(&args.node, &query)).await
}
