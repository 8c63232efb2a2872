//! `vnode op`

use clap::Subcommand;
use vnode_operation::{Status, Summary};

use crate::client::segment;
use crate::output::table::Rows;
use crate::{Context, Result, operation};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List operations that run and that ended lately
    Ls,
    /// Show one operation with its steps
    Show {
        /// Id of the operation
        id: String,
    },
    /// Wait for the end of an operation
    Follow {
        /// Id of the operation
        id: String,
    },
    /// Stop an operation; it undoes what it did
    Cancel {
        /// Id of the operation
        id: String,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    match args.command {
        Command::Ls => list(context).await,
        Command::Show { id } => show(&id, context).await,
        Command::Follow { id } => operation::follow(context.client().await?, &id, context).await,
        Command::Cancel { id } => {
            operation::cancel(&id, context).await?;
            operation::follow(context.client().await?, &id, context).await.or_else(|problem| {
                // That it was cancelled is what was wanted.
                if problem.code == vnode_api::Code::Cancelled { Ok(0) } else { Err(problem) }
            })
        }
    }
}

async fn list(context: &Context) -> Result {
    let mut client = context.client().await?;
    if context.output.json {
        context.output.json(&client.get::<serde_json::Value>("/v1/operations").await?)?;
        return Ok(0);
    }
    let operations: Vec<Summary> = client.get("/v1/operations").await?;
    let mut rows = Rows::new(&["ID", "KIND", "SUBJECT", "STATE", "DONE", "STARTED"]);
    for operation in operations {
        rows.add(vec![
            operation.id.to_string(),
            operation.kind,
            operation.subject,
            word(&operation.state),
            format!("{}/{}", operation.progress.done, operation.progress.total),
            format!("{:.0}", operation.started),
        ]);
    }
    rows.print(&context.output)?;
    Ok(0)
}

async fn show(id: &str, context: &Context) -> Result {
    let mut client = context.client().await?;
    let path = format!("/v1/operations/{}", segment(id));
    if context.output.json {
        context.output.json(&client.get::<serde_json::Value>(&path).await?)?;
        return Ok(0);
    }
    let status: Status = client.get(&path).await?;
    let summary = &status.summary;
    let state = word(&summary.state);
    context.output.line(&format!("{} {}: {state}", summary.kind, summary.subject))?;
    let mut rows = Rows::new(&["STEP", "STATE", "NAME", "TOOK"]);
    for step in &status.steps {
        let took = step.started.zip(step.ended).map(|(started, ended)| {
            format!("{:.1} ms", ended.duration_since(started).as_secs_f64() * 1000.0)
        });
        rows.add(vec![
            step.id.to_string(),
            word(&step.state),
            step.name.clone(),
            took.unwrap_or_default(),
        ]);
    }
    rows.print(&context.output)?;
    for error in &status.errors {
        context.output.line(&format!("error: {error}"))?;
    }
    Ok(0)
}

/// The word an enum has in JSON.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
