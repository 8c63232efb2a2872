//! `vnode doctor`

use vnode_lifecycle::view::Check;

use crate::output::table::Rows;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Ends with 1 when something fails; a warning is no failure.
pub(crate) async fn run(_args: Args, context: &Context) -> Result {
    let mut client = context.client().await?;
    let checks: Vec<Check> = client.get("/v1/doctor").await?;
    let failed = checks.iter().any(|check| check.verdict == "fail");
    if context.output.json {
        context.output.json(&checks)?;
    } else {
        let mut rows = Rows::new(&["CHECK", "VERDICT", "FOUND", "MEND"]);
        for check in checks {
            rows.add(vec![check.name, check.verdict, check.found, check.mend]);
        }
        rows.print(&context.output)?;
    }
    Ok(u8::from(failed))
}
