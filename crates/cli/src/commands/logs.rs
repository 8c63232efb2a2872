//! `vnode logs`

use hyper::Method;

use super::node_path;
use crate::client::{empty, query};
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE
    node: String,
    /// Go on with what it prints from now on
    #[arg(long, short)]
    follow: bool,
    /// Only the last bytes
    #[arg(long, value_name = "BYTES")]
    tail: Option<u64>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let query = query(&[
        ("follow", args.follow.then(|| "true".into())),
        ("tail_bytes", args.tail.map(|tail| tail.to_string())),
    ]);
    let path = node_path(&args.node, &format!("/logs{query}"));
    let response = client.send(Method::GET, &path, None, empty()).await?;
    if context.output.json {
        crate::stream::json_lines(response.into_body(), context).await?;
    } else {
        crate::stream::to_stdout(response.into_body()).await?;
    }
    Ok(0)
}
