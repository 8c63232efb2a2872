//! The mount table, as `/proc/self/mountinfo` has it.

use std::{os::fd::OwnedFd, path::PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{CommandError, read_text};
use crate::context::Context;

/// A mounted file system with a block device behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) point: String,
    pub(super) kind: String,
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Mount {
    /// Opens the mount point.
    pub(super) fn open(&self, context: &Context) -> std::io::Result<OwnedFd> {
        let path = if context.is_live() {
            PathBuf::from(&self.point)
        } else {
            context.root_path().join(self.point.trim_start_matches('/'))
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(rustix::fs::open(path, flags, Mode::empty())?)
    }
}

/// File systems on block devices in the order they were mounted, each device once.
pub(super) fn on_devices(context: &Context) -> Result<Vec<Mount>, CommandError> {
    let table = read_text(context, "/proc/self/mountinfo").ok_or_else(|| {
        CommandError::failed("failed to open mtab file: '/proc/self/mountinfo'; is /proc mounted?")
    })?;
    let device = |path: &str| device_number(context, path);
    Ok(parse(&table, device))
}

fn device_number(context: &Context, path: &str) -> Option<(u32, u32)> {
    let stat = context.root().stat(path).ok()?;
    let is_block = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_block_device();
    is_block.then(|| (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)))
}

fn parse(table: &str, device: impl Fn(&str) -> Option<(u32, u32)>) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in table.lines() {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue (proc(5))
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = mount.split(' ').collect();
        let source: Vec<&str> = source.split(' ').collect();
        let (&[_, _, number, _, point, ..], &[kind, special, ..]) = (&*fields, &*source) else {
            continue;
        };
        let Some((major, minor)) = number.split_once(':') else { continue };
        let (Ok(mut major), Ok(mut minor)) = (major.parse(), minor.parse()) else { continue };
        if major == 0 {
            // btrfs shows a number of its own; its device is looked up.
            let Some(real) = Some(kind).filter(|k| *k == "btrfs").and(device(&unescape(special)))
            else {
                continue;
            };
            (major, minor) = real;
        }
        if mounts.iter().any(|m| (m.major, m.minor) == (major, minor)) {
            continue;
        }
        mounts.push(Mount { point: unescape(point), kind: kind.to_owned(), major, minor });
    }
    mounts
}

/// Undoes the kernel's octal for blanks and backslashes.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten().and_then(|digits| {
            let digits = str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_and_each_once() {
        let table = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                     23 22 0:5 / /proc rw - proc proc rw\n\
                     24 22 254:0 /x /bind rw shared:1 - ext4 /dev/vda rw\n\
                     25 22 0:40 / /b rw - btrfs /dev/vdb rw\n\
                     26 22 7:1 / /mnt/a\\040b rw - ext4 /dev/loop1 rw\nrubbish\n";
        let mounts = parse(table, |path| (path == "/dev/vdb").then_some((254, 16)));
        let points: Vec<_> = mounts.iter().map(|m| (m.point.as_str(), m.major, m.minor)).collect();
        assert_eq!(points, [("/", 254, 0), ("/b", 254, 16), ("/mnt/a b", 7, 1)]);
    }
}
