//! guest-get-fsinfo: file systems, how full they are, and the disks they lie on.

use serde_json::{Map, Value, json};

use super::{
    Args, CommandError, Guest,
    disks::{self, Disk},
    mounts::{self, Mount},
};
use crate::context::Context;

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::now("guest-get-fsinfo", fsinfo)]
}

fn fsinfo(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let mounts = mounts::on_devices(context)?;
    // Last mounted first, as QEMU's agent has it.
    Ok(mounts.iter().rev().map(|mount| describe(context, mount)).collect())
}

/// One file system. What cannot be found out is left out: one bad disk does not spoil the answer.
fn describe(context: &Context, mount: &Mount) -> Value {
    let number = format!("{}:{}", mount.major, mount.minor);
    let device = disks::device_folder(context, &number);
    let name = device
        .as_ref()
        .and_then(|d| d.file_name())
        .map_or(number, |n| n.to_string_lossy().into_owned());
    let below: Vec<Disk> = device.map(|d| disks::real_below(context, &d)).unwrap_or_default();
    let mut members = Map::new();
    members.insert("name".to_owned(), name.into());
    members.insert("mountpoint".to_owned(), mount.point.as_str().into());
    members.insert("type".to_owned(), mount.kind.as_str().into());
    members.insert("disk".to_owned(), below.into_iter().map(|disk| json!(disk)).collect());
    if let Some(space) = mount.open(context).ok().and_then(|fd| rustix::fs::fstatvfs(fd).ok()) {
        let used = space.f_blocks.saturating_sub(space.f_bfree);
        let bytes = |blocks: u64| Value::from(blocks.saturating_mul(space.f_frsize));
        members.insert("used-bytes".to_owned(), bytes(used));
        members.insert("total-bytes".to_owned(), bytes(used.saturating_add(space.f_bavail)));
        members.insert("total-bytes-privileged".to_owned(), bytes(space.f_blocks));
    }
    Value::Object(members)
}
