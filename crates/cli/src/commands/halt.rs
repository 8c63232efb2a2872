//! `vnode halt`

use hyper::Method;

use super::node_path;
use crate::client::query;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE; one that is not there is no error
    node: String,
    /// Seconds between asking and killing; the node's own when absent
    #[arg(long, short, value_name = "SECONDS", value_parser = super::seconds)]
    time: Option<std::time::Duration>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let query = query(&[("grace_ms", args.time.map(|time| time.as_millis().to_string()))]);
    super::operate(context, Method::POST, &node_path(&args.node, &format!("/halt{query}"))).await
}
