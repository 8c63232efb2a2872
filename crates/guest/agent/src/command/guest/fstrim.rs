//! guest-fstrim: tells the devices which blocks are free.

use std::os::fd::{AsRawFd, OwnedFd};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{Args, CommandError, Guest, mounts, reason};
use crate::context::{Context, Resource};

/// From `linux/fs.h`: `_IOWR('X', 121, struct fstrim_range)`.
const FITRIM: u32 = 0xC018_5879;

/// `struct fstrim_range`.
#[repr(C)]
struct Range {
    start: u64,
    len: u64,
    minlen: u64,
}

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::later("guest-fstrim", fstrim).changes(Resource::FileSystems)]
}

fn fstrim(context: &Context, mut args: Args) -> BoxFuture<'_, Result<Value, CommandError>> {
    Box::pin(async move {
        let minimum = args.opt_int("minimum")?;
        args.finish()?;
        let minimum = u64::try_from(minimum.unwrap_or(0)).map_err(|_| {
            CommandError::invalid("Invalid parameter 'minimum': a number of bytes, not negative")
        })?;
        let mounts = mounts::on_devices(context)?;
        let opened: Vec<_> =
            mounts.into_iter().map(|mount| (mount.open(context), mount.point)).collect();
        // It may take minutes: not on the agent's own thread.
        let work = move || -> Vec<Value> {
            opened.into_iter().rev().map(|(fd, path)| trim(fd, &path, minimum)).collect()
        };
        let paths = tokio::task::spawn_blocking(work).await;
        let paths = paths
            .map_err(|error| CommandError::failed("the work was given up").with_source(error))?;
        Ok(json!({ "paths": paths }))
    })
}

fn trim(fd: std::io::Result<OwnedFd>, path: &str, minimum: u64) -> Value {
    let fd = match fd {
        Ok(fd) => fd,
        Err(error) => {
            return json!({ "path": path, "error": format!("failed to open: {}", reason(&error)) });
        }
    };
    let mut range = Range { start: 0, len: u64::MAX, minlen: minimum };
    // SAFETY: the request takes a pointer to this structure, which lives beyond the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), FITRIM as _, &raw mut range) };
    if result == 0 {
        return json!({ "path": path, "minimum": range.minlen, "trimmed": range.len });
    }
    let error = std::io::Error::last_os_error();
    let text = match error.raw_os_error() {
        Some(libc::ENOTTY | libc::EOPNOTSUPP) => "trim not supported".to_owned(),
        _ => format!("failed to trim: {}", reason(&error)),
    };
    json!({ "path": path, "error": text })
}
