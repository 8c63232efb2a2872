//! `vnode down`

use hyper::Method;

use crate::client::{query, segment};
use crate::{Context, Result, topology};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topology file, or the lab's name
    #[arg(value_name = "FILE|LAB")]
    lab: String,
    /// Ask the nodes to end and wait, instead of killing them
    #[arg(long, short)]
    graceful: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let lab = topology::lab_name(&args.lab)?;
    let query = query(&[("graceful", args.graceful.then(|| "true".into()))]);
    super::operate(context, Method::DELETE, &format!("/v1/labs/{}{query}", segment(&lab))).await
}
