//! guest-get-memory-blocks, guest-set-memory-blocks, guest-get-memory-block-info.

use serde_json::{Value, json};

use super::{
    Args, CommandError, Guest, dir_reason, read_text,
    vcpus::{first_byte, numbered, write_word},
};
use crate::context::Context;

const MEMORY: &str = "/sys/devices/system/memory";

pub(super) fn commands() -> Vec<Guest> {
    vec![
        Guest::now("guest-get-memory-blocks", get),
        Guest::now("guest-set-memory-blocks", set),
        Guest::now("guest-get-memory-block-info", info),
    ]
}

fn is_online(context: &Context, index: u64) -> Option<bool> {
    let state = read_text(context, &format!("{MEMORY}/memory{index}/state"))?;
    Some(state.trim_start().starts_with("online"))
}

fn get(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let indices = match numbered(context, MEMORY, "memory") {
        Ok(indices) => indices,
        // Memory that cannot be plugged has no blocks.
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => {
            return Err(CommandError::failed(format!(
                "Can't open directory \"{MEMORY}\": {}",
                dir_reason(&error)
            )));
        }
    };
    let describe = |index: u64| {
        let online = is_online(context, index)?;
        // Since Linux 5.9 the file says 1 always; whether it works is seen when it is tried.
        let removable = first_byte(context, &format!("{MEMORY}/memory{index}/removable"));
        let can_offline = removable.ok().flatten().is_some_and(|byte| byte != b'0');
        Some(json!({ "phys-index": index, "online": online, "can-offline": can_offline }))
    };
    Ok(indices.into_iter().filter_map(describe).collect())
}

fn set(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let mut wanted = Vec::new();
    for mut entry in args.objects("mem-blks")? {
        let pair = (entry.int("phys-index")?, entry.boolean("online")?);
        entry.opt_bool("can-offline")?;
        entry.finish()?;
        wanted.push(pair);
    }
    args.finish()?;
    Ok(wanted.into_iter().map(|(index, online)| set_one(context, index, online)).collect())
}

fn set_one(context: &Context, index: i64, online: bool) -> Value {
    let response = |word: &str| json!({ "phys-index": index, "response": word });
    let Ok(number) = u64::try_from(index) else { return response("not-found") };
    let Some(is) = is_online(context, number) else { return response("not-found") };
    if is == online {
        return response("success");
    }
    let word = if online { "online" } else { "offline" };
    match write_word(context, &format!("{MEMORY}/memory{number}/state"), word) {
        Ok(()) => response("success"),
        Err(error) => {
            let source = std::error::Error::source(&error);
            let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
            let code = io.and_then(std::io::Error::raw_os_error);
            json!({ "phys-index": index, "response": "operation-failed", "error-code": code.unwrap_or(0) })
        }
    }
}

fn info(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let path = format!("{MEMORY}/block_size_bytes");
    let text = read_text(context, &path).ok_or_else(|| {
        CommandError::unsupported(format!("cannot read {path}; memory cannot be plugged here"))
    })?;
    // The kernel prints hexadecimal without a mark.
    let size = u64::from_str_radix(text.trim(), 16)
        .map_err(|error| CommandError::failed(format!("{path} is no number")).with_source(error))?;
    Ok(json!({ "size": size }))
}
