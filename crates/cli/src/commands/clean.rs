//! `vnode clean`

use hyper::Method;
use vnode_lifecycle::view::Cleaned;

use crate::client::query;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only print what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Give up this lab's records that cannot be read, and all that they may speak of: disks too
    #[arg(long, value_name = "LAB")]
    lab: Option<String>,
}

/// Ends with 3 when something could not be removed.
pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let dry_run = args.dry_run.then(|| "true".into());
    let path = format!("/v1/clean{}", query(&[("dry_run", dry_run), ("lab", args.lab)]));
    let Some(cleaned): Option<Cleaned> = client.act(Method::POST, &path).await? else {
        return Ok(0);
    };
    let code = if cleaned.left.is_empty() { 0 } else { 3 };
    if context.output.json {
        context.output.json(&cleaned)?;
        return Ok(code);
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    for removed in &cleaned.removed {
        context.output.line(&format!("{verb} {removed}"))?;
    }
    for left in &cleaned.left {
        context.output.line(&format!("left {left}"))?;
    }
    if cleaned.removed.is_empty() && cleaned.left.is_empty() {
        context.output.note("nothing to clean");
    }
    Ok(code)
}
