//! `vnode up`

use std::path::PathBuf;

use hyper::Method;
use vnode_api::message::Accepted;

use crate::operation::Stop;
use crate::{Context, Result, topology};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topology file; `-` is standard input
    file: PathBuf,
    /// Create and wire the nodes, but do not boot them
    #[arg(long)]
    no_boot: bool,
    /// Do not wait for the end: print the operation's id
    #[arg(long, short)]
    detach: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut message = topology::read(&args.file)?;
    message.boot = !args.no_boot;
    let mut client = context.client().await?;
    if !args.detach {
        Stop::early()?;
    }
    let accepted: Option<Accepted> = client.call(Method::POST, "/v1/labs", &message).await?;
    let Some(accepted) = accepted else { return super::nothing("unchanged", context) };
    if args.detach {
        return super::detached(&accepted, context);
    }
    super::follow(client, &accepted, context).await
}
