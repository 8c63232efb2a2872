//! guest-file-*: files by handle.

use std::{
    collections::HashMap,
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    sync::Arc,
};

use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::{Args, CommandError, Guest, base64, dir_reason, reason, state};
use crate::context::Context;

/// Bytes read when the request does not say.
const DEFAULT_COUNT: i64 = 4096;
/// Most bytes of one read.
const MOST_COUNT: i64 = 48 << 20;
/// Reads of more than this are streamed from the file to the client, see [`super::bulk`].
pub(super) const AT_ONCE: u64 = 192 << 10;
const FIRST_HANDLE: i64 = 1000;
const STATE_FILE: &str = "qga.state";

pub(super) fn commands() -> Vec<Guest> {
    vec![
        Guest::now("guest-file-open", open),
        Guest::now("guest-file-close", close),
        Guest::now("guest-file-read", read),
        Guest::now("guest-file-write", write),
        Guest::now("guest-file-seek", seek),
        Guest::now("guest-file-flush", flush),
    ]
}

/// The files that are open. Handles are never used twice, also not by the next start (state file).
#[derive(Debug, Default)]
pub(super) struct Files {
    open: HashMap<i64, Arc<File>>,
    /// The next handle; 0 until the state file is read.
    next: i64,
}

impl Files {
    fn get(&self, handle: i64) -> Result<Arc<File>, CommandError> {
        self.open.get(&handle).map(Arc::clone).ok_or_else(|| no_handle(handle))
    }

    fn next_handle(&mut self, context: &Context) -> Result<i64, CommandError> {
        let path = state::path(&state::options(context)?, STATE_FILE);
        if self.next == 0 {
            self.next = stored_counter(context, &path).unwrap_or(FIRST_HANDLE);
        }
        let handle = self.next;
        let text = format!("[global]\nfd_counter={}\n", handle + 1);
        state::write(context, &path, text.as_bytes())?;
        self.next = handle + 1;
        Ok(handle)
    }
}

/// The counter an earlier run left. A file that cannot be read as one starts anew, as QEMU's agent does.
fn stored_counter(context: &Context, path: &std::path::Path) -> Option<i64> {
    let text = context.root().read_to_limit(path, 4096).ok()?;
    let text = String::from_utf8(text).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("fd_counter="))?;
    value.trim().parse().ok().filter(|counter| (FIRST_HANDLE..i64::MAX).contains(counter))
}

fn no_handle(handle: i64) -> CommandError {
    CommandError::not_found(format!("handle '{handle}' has not been found"))
}

/// The open file of a handle.
pub(super) fn of_handle(context: &Context, handle: i64) -> Result<Arc<File>, CommandError> {
    context.state::<state::GuestState>().files().get(handle)
}

fn flags_of(mode: &str) -> Option<OFlags> {
    let plain: String = mode.chars().filter(|c| *c != 'b').collect();
    if mode.matches('b').count() > 1 || mode.starts_with('b') {
        return None;
    }
    Some(match plain.as_str() {
        "r" => OFlags::RDONLY,
        "w" => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
        "a" => OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND,
        "r+" => OFlags::RDWR,
        "w+" => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
        "a+" => OFlags::RDWR | OFlags::CREATE | OFlags::APPEND,
        _ => return None,
    })
}

fn open(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let path = args.text("path")?;
    let mode = args.opt_text("mode")?;
    args.finish()?;
    let mode = mode.as_deref().unwrap_or("r");
    let flags = flags_of(mode)
        .ok_or_else(|| CommandError::invalid(format!("invalid file open mode '{mode}'")))?;
    let guest = context.state::<state::GuestState>();
    let most = state::options(context)?.open_files;
    let mut files = guest.files();
    if files.open.len() >= most {
        return Err(CommandError::failed(format!(
            "{most} files are open already; close one, or raise `open-files`"
        )));
    }
    // Without blocking: a FIFO must not hang the agent.
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let place = context.place_of(&path)?;
    let file = place.folder.open_with(&place.below, flags, 0o666).map_err(|error| {
        let cause = dir_reason(&error);
        CommandError::failed(format!("failed to open file '{path}' (mode: '{mode}'): {cause}"))
            .with_source(error)
    })?;
    let handle = files.next_handle(context)?;
    files.open.insert(handle, Arc::new(file));
    Ok(handle.into())
}

fn close(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let handle = args.int("handle")?;
    args.finish()?;
    let guest = context.state::<state::GuestState>();
    let file = guest.files().open.remove(&handle);
    file.map(|_| json!({})).ok_or_else(|| no_handle(handle))
}

/// Nothing is held back in the agent: it writes at once.
fn flush(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let handle = args.int("handle")?;
    args.finish()?;
    of_handle(context, handle).map(|_| json!({}))
}

/// A read as it is asked for.
pub(super) struct Wanted {
    pub(super) file: Arc<File>,
    pub(super) count: u64,
}

/// Checks the arguments of guest-file-read.
pub(super) fn wanted(context: &Context, mut args: Args) -> Result<Wanted, CommandError> {
    let handle = args.int("handle")?;
    let count = args.opt_int("count")?.unwrap_or(DEFAULT_COUNT);
    args.finish()?;
    let file = of_handle(context, handle)?;
    if !(0..=MOST_COUNT).contains(&count) {
        return Err(CommandError::invalid(format!(
            "value '{count}' is invalid for argument count"
        )));
    }
    Ok(Wanted { file, count: count.unsigned_abs() })
}

/// Reads up to `count` bytes; true when the end was met.
pub(super) fn read_some(file: &File, count: u64) -> std::io::Result<(Vec<u8>, bool)> {
    let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
    let mut filled = 0;
    let mut at_end = false;
    let mut file = file;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => {
                at_end = true;
                break;
            }
            Ok(more) => filled += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // What has been read is given; the next read meets the error again.
            Err(_) if filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok((bytes, at_end))
}

pub(super) fn read_failed(error: &std::io::Error) -> CommandError {
    CommandError::failed(format!("failed to read file: {}", reason(error)))
}

/// Reads at once; never more than [`AT_ONCE`], which only a caller other than the parser meets.
fn read(context: &Context, args: Args) -> Result<Value, CommandError> {
    let Wanted { file, count } = wanted(context, args)?;
    let (bytes, eof) = read_some(&file, count.min(AT_ONCE)).map_err(|e| read_failed(&e))?;
    Ok(json!({ "count": bytes.len(), "buf-b64": base64::encode(&bytes), "eof": eof }))
}

fn write(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let handle = args.int("handle")?;
    let text = args.text("buf-b64")?;
    let count = args.opt_int("count")?;
    args.finish()?;
    let file = of_handle(context, handle)?;
    let bytes = base64::decode(&text)?;
    drop(text);
    let count = match count {
        None => bytes.len(),
        Some(count) => {
            usize::try_from(count).ok().filter(|count| *count <= bytes.len()).ok_or_else(|| {
                CommandError::invalid(format!("value '{count}' is invalid for argument count"))
            })?
        }
    };
    let mut written = 0;
    while written < count {
        match (&*file).write(&bytes[written..count]) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) if written > 0 => break,
            Err(error) => {
                return Err(CommandError::failed(format!(
                    "failed to write to file: {}",
                    reason(&error)
                )));
            }
        }
    }
    Ok(json!({ "count": written, "eof": false }))
}

fn seek(context: &Context, mut args: Args) -> Result<Value, CommandError> {
    let handle = args.int("handle")?;
    let offset = args.int("offset")?;
    let words = [("set", 0), ("cur", 1), ("end", 2)];
    let whence = args.either("whence", "GuestFileWhence", Value::as_i64, &words)?;
    args.finish()?;
    let file = of_handle(context, handle)?;
    let failed = |why: &str| CommandError::failed(format!("failed to seek file: {why}"));
    let to = match whence {
        0 => SeekFrom::Start(u64::try_from(offset).map_err(|_| failed("Invalid argument"))?),
        1 => SeekFrom::Current(offset),
        2 => SeekFrom::End(offset),
        other => return Err(CommandError::invalid(format!("invalid whence code {other}"))),
    };
    let position = (&*file).seek(to).map_err(|error| failed(&reason(&error)))?;
    Ok(json!({ "position": position, "eof": false }))
}
