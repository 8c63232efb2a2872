//! `vnode create`

use hyper::Method;
use vnode_api::message::Accepted;
use vnode_lifecycle::request::Create;

use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the node, or LAB/NODE
    node: String,
    /// Image it is made from
    #[arg(long, short, default_value = "host")]
    image: String,
    /// Variable of its first process
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = super::assignment)]
    env: Vec<(String, String)>,
    /// All capabilities and devices, no filter of system calls
    #[arg(long)]
    privileged: bool,
    /// Boot it as well
    #[arg(long, short)]
    boot: bool,
    /// Its first process; the image's own when absent
    #[arg(last = true, value_name = "PROGRAM")]
    command: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let (lab, node) = match args.node.split_once('/') {
        Some((lab, node)) => (Some(lab.to_owned()), node.to_owned()),
        None => (None, args.node),
    };
    let request = Create {
        node,
        lab,
        image: Some(args.image),
        command: args.command,
        env: args.env.into_iter().collect(),
        privileged: args.privileged,
        boot: args.boot,
    };
    let mut client = context.client().await?;
    let accepted: Option<Accepted> = client.call(Method::POST, "/v1/nodes", &request).await?;
    match accepted {
        Some(accepted) => super::follow(client, &accepted, context).await,
        None => super::nothing("unchanged", context),
    }
}
