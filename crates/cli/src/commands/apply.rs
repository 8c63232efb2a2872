//! `vnode apply`

use std::path::PathBuf;

use hyper::Method;
use vnode_api::message::{Accepted, Applied};

use crate::client::query;
use crate::output::table::Rows;
use crate::{Context, Result, topology};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topology file; `-` is standard input
    file: PathBuf,
    /// Only print what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let message = topology::read(&args.file)?;
    let mut client = context.client().await?;
    let query = query(&[("dry_run", args.dry_run.then(|| "true".into()))]);
    let path = format!("/v1/labs{query}");
    let applied: Option<Applied> = client.call(Method::PUT, &path, &message).await?;
    let Some(applied) = applied else { return super::nothing("unchanged", context) };
    if let Some(operation) = applied.operation {
        if !context.output.json {
            print(&applied.changes, context)?;
        }
        let accepted = Accepted { operation, warnings: applied.warnings };
        return super::follow(client, &accepted, context).await;
    }
    if context.output.json {
        context.output.json(&applied)?;
        return Ok(0);
    }
    for warning in &applied.warnings {
        context.output.note(warning);
    }
    if applied.changes.is_empty() {
        context.output.note("nothing differs");
        return Ok(0);
    }
    print(&applied.changes, context)?;
    Ok(0)
}

fn print(changes: &[vnode_lifecycle::view::ChangeView], context: &Context) -> Result<()> {
    let mut rows = Rows::new(&["CHANGE", "WHAT", "BECAUSE"]);
    for change in changes {
        rows.add(vec![change.change.clone(), change.subject.clone(), change.because.clone()]);
    }
    rows.print(&context.output)
}
