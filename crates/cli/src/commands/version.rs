//! `vnode version`

use vnode_api::message::Version;

use crate::client::Client;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Asks a daemon that runs; starts none.
pub(crate) async fn run(_args: Args, context: &Context) -> Result {
    let own = env!("CARGO_PKG_VERSION");
    let daemon: Option<Version> = match Client::connect_running(&context.target()?).await? {
        Some(mut client) => Some(client.get("/v1/version").await?),
        None => None,
    };
    if context.output.json {
        context.output.json(&serde_json::json!({ "version": own, "daemon": daemon }))?;
        return Ok(0);
    }
    context.output.line(&format!("vnode {own}"))?;
    match daemon {
        Some(daemon) => context.output.line(&format!(
            "daemon {} (process {}, up {} s, API level {})",
            daemon.version, daemon.pid, daemon.uptime_s, daemon.api
        ))?,
        None => context.output.line("daemon not running")?,
    }
    Ok(0)
}
