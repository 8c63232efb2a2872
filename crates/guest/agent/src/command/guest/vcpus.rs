//! guest-get-vcpus and guest-set-vcpus.

use std::io::{Read, Write};

use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::{Args, CommandError, Guest, dir_reason, reason};
use crate::context::Context;

const CPUS: &str = "/sys/devices/system/cpu";

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::now("guest-get-vcpus", get), Guest::now("guest-set-vcpus", set)]
}

/// Names in a sysfs folder that are a word and a number.
pub(super) fn numbered(
    context: &Context,
    folder: &str,
    word: &str,
) -> Result<Vec<u64>, vnode_beneath::DirError> {
    let names = context.root().open_dir(folder)?.list(1 << 20)?;
    let number = |name: &std::ffi::OsString| name.to_str()?.strip_prefix(word)?.parse().ok();
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The first byte of a sysfs file; `None` when there is no such file.
pub(super) fn first_byte(context: &Context, path: &str) -> Result<Option<u8>, CommandError> {
    let mut file = match context.root().open(path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => {
            return Err(CommandError::failed(format!("open(\"{path}\"): {}", dir_reason(&error))));
        }
    };
    let mut byte = [0];
    match file.read(&mut byte) {
        Ok(0) => Err(CommandError::failed(format!("pread(\"{path}\"): unexpected EOF"))),
        Ok(_) => Ok(Some(byte[0])),
        Err(error) => Err(CommandError::failed(format!("pread(\"{path}\"): {}", reason(&error)))),
    }
}

/// Writes a word into a sysfs file.
pub(super) fn write_word(context: &Context, path: &str, word: &str) -> Result<(), CommandError> {
    let mut file = context.root().open_with(path, OFlags::WRONLY, 0).map_err(|error| {
        CommandError::failed(format!("open(\"{path}\"): {}", dir_reason(&error)))
    })?;
    file.write_all(word.as_bytes()).map_err(|error| {
        CommandError::failed(format!("pwrite(\"{path}\"): {}", reason(&error))).with_source(error)
    })
}

fn get(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let ids = numbered(context, CPUS, "cpu").map_err(|error| {
        CommandError::failed(format!("failed to list entries: {CPUS}: {}", dir_reason(&error)))
    })?;
    let describe = |id: u64| {
        let online = first_byte(context, &format!("{CPUS}/cpu{id}/online"))?;
        Ok(json!({
            "logical-id": id,
            "online": online.is_none_or(|byte| byte != b'0'),
            "can-offline": online.is_some(),
        }))
    };
    ids.into_iter().map(describe).collect()
}

fn set(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let mut wanted = Vec::new();
    for mut entry in args.objects("vcpus")? {
        let pair = (entry.int("logical-id")?, entry.boolean("online")?);
        // QEMU's type has it; it is told, not set.
        entry.opt_bool("can-offline")?;
        entry.finish()?;
        wanted.push(pair);
    }
    args.finish()?;
    let mut done = 0;
    for (id, online) in wanted {
        match set_one(context, id, online) {
            Ok(()) => done += 1,
            // A later failure: what was done is told.
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done.into())
}

fn set_one(context: &Context, id: i64, online: bool) -> Result<(), CommandError> {
    let folder = format!("{CPUS}/cpu{id}/");
    context.root().open_dir(&folder).map_err(|error| {
        CommandError::failed(format!("open(\"{folder}\"): {}", dir_reason(&error)))
    })?;
    let path = format!("{folder}online");
    match first_byte(context, &path)? {
        None if online => Ok(()),
        None => {
            Err(CommandError::unsupported(format!("logical processor #{id} can't be offlined")))
        }
        Some(byte) if (byte != b'0') == online => Ok(()),
        Some(_) => write_word(context, &path, if online { "1" } else { "0" }),
    }
}
