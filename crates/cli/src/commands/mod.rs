//! The commands, one file each, and what several of them share.

pub(crate) mod agent;
pub(crate) mod apply;
pub(crate) mod boot;
pub(crate) mod capture;
pub(crate) mod check;
pub(crate) mod clean;
pub(crate) mod completion;
pub(crate) mod console;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod daemon;
pub(crate) mod destroy;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod graph;
pub(crate) mod halt;
pub(crate) mod image;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod link;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod mount;
pub(crate) mod op;
pub(crate) mod pause;
pub(crate) mod ps;
pub(crate) mod reboot;
pub(crate) mod save;
pub(crate) mod shell;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod timeline;
pub(crate) mod token;
pub(crate) mod tool;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod vnf;
pub(crate) mod wait;

use hyper::Method;
use vnode_api::message::Accepted;

use crate::client::{Client, segment};
use crate::{Context, Result};

/// Address of one node.
pub(crate) fn node_path(node: &str, rest: &str) -> String {
    format!("/v1/nodes/{}{rest}", segment(node))
}

/// Asks for long work on something and follows it; nothing to do counts as done.
pub(crate) async fn operate(context: &Context, method: Method, path: &str) -> Result {
    let mut client = context.client().await?;
    match client.act::<Accepted>(method, path).await? {
        Some(accepted) => follow(client, &accepted, context).await,
        None => nothing("absent", context),
    }
}

/// Follows accepted work to its end.
pub(crate) async fn follow(client: Client, accepted: &Accepted, context: &Context) -> Result {
    for warning in &accepted.warnings {
        context.output.note(warning);
    }
    crate::operation::follow(client, &accepted.operation, context).await
}

/// There was nothing to do; `state` says why: `absent`, `unchanged`.
pub(crate) fn nothing(state: &str, context: &Context) -> Result {
    if context.output.json {
        context.output.json(&serde_json::json!({ "state": state }))?;
    }
    context.output.note(&format!("{state}: nothing to do"));
    Ok(0)
}

/// Something small was done; says so in the form asked for.
pub(crate) fn done(subject: &str, verb: &str, context: &Context) -> Result {
    if context.output.json {
        context.output.json(&serde_json::json!({ "subject": subject, "done": verb }))?;
    }
    Ok(0)
}

/// Work goes on without us: its id.
pub(crate) fn detached(accepted: &Accepted, context: &Context) -> Result {
    if context.output.json {
        context.output.json(accepted)?;
        return Ok(0);
    }
    for warning in &accepted.warnings {
        context.output.note(warning);
    }
    context.output.line(&accepted.operation)?;
    Ok(0)
}

/// Seconds as people write them: `10`, `0.5`.
pub(crate) fn seconds(text: &str) -> std::result::Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    std::time::Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| time.as_secs() <= 366 * 86_400)
        .ok_or_else(|| "out of range".to_owned())
}

/// `NAME=VALUE`.
pub(crate) fn assignment(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
