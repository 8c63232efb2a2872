//! guest-sync, guest-sync-delimited, guest-ping, guest-info.

use serde_json::{Map, Value, json};

use super::{Args, CommandError, Guest};
use crate::context::Context;

/// What `guest-info` says it is: the release of QEMU's schema that is served, since clients compare it.
pub const VERSION: &str = "10.1.0";

pub(super) fn commands() -> Vec<Guest> {
    vec![
        Guest::now("guest-sync", sync).while_frozen(),
        // The parser puts the delimiter before the answer.
        Guest::now("guest-sync-delimited", sync).while_frozen(),
        Guest::now("guest-ping", ping).while_frozen(),
        Guest::now("guest-info", info).while_frozen(),
    ]
}

fn sync(_: &Context, mut args: Args) -> Result<Value, CommandError> {
    let id = args.int("id")?;
    args.finish()?;
    Ok(id.into())
}

fn ping(_: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    Ok(Value::Object(Map::new()))
}

fn info(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let set = context.commands();
    let commands = set.iter().map(|(command, _)| {
        json!({
            "name": command.name(),
            "enabled": set.enabled_now(command.name(), context),
            "success-response": command.answers_success(),
        })
    });
    Ok(json!({ "version": VERSION, "supported_commands": commands.collect::<Vec<_>>() }))
}
