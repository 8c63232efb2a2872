//! `/dev` of a node in a user namespace, made by one who still has the host's rights.
//!
//! Inside the namespace no device can be made, and to show each of the host's takes a mount of its own. A file system in
//! memory that was made outside may hold devices; what is made in it belongs to the node's root by the maker's ids.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use vnode_monitor::wire::{Boot, Device, Source};

use super::beneath::split;
use super::mounts::new_filesystem;
use crate::fail::{Doing, Result};

/// Where it is mounted.
pub(super) const DEV: &str = "/dev";
/// Where the first process' terminal is shown.
pub(super) const CONSOLE: &str = "/dev/console";

/// The file system with the devices, links and mount points that lie right in it, attached nowhere. `first` is the
/// node's root outside. `None`: nothing new is mounted there, something else is as well, or devices cannot be made here.
pub(super) fn make(boot: &Boot, first: u32) -> Result<Option<OwnedFd>> {
    let mut all = boot.mounts.iter().filter(|mount| mount.target == DEV);
    let (Some(mount), None) = (all.next(), all.next()) else { return Ok(None) };
    let Source::New { kind, source, data } = &mount.what else { return Ok(None) };
    if kind != "tmpfs" {
        return Ok(None);
    }
    let tree = new_filesystem(kind, source, data, mount.attr)
        .doing(|| format!("mount {kind} on {DEV}"))?;
    rustix::process::umask(Mode::empty());
    for device in &boot.devices {
        let Some(name) = inside(&device.path) else { continue };
        match make_node(&tree, name, device, first) {
            // This daemon itself may not.
            Err(Errno::PERM) => return Ok(None),
            made => made.doing(|| format!("make device {}", device.path))?,
        }
    }
    for (link, to) in &boot.links {
        let Some(name) = inside(link) else { continue };
        match rustix::fs::symlinkat(to.as_str(), &tree, name) {
            Err(Errno::EXIST) => {}
            made => made.doing(|| format!("make link {link}"))?,
        }
    }
    for mount in &boot.mounts {
        let (Some(name), Source::New { .. }) = (inside(&mount.target), &mount.what) else {
            continue;
        };
        match rustix::fs::mkdirat(&tree, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {}
            made => made.doing(|| format!("make folder {}", mount.target))?,
        }
    }
    if let (Some(name), Some(_)) = (inside(CONSOLE), boot.process.tty) {
        let mode = Mode::from_raw_mode(0o644);
        match rustix::fs::mknodat(&tree, name, FileType::RegularFile, mode, 0) {
            Err(Errno::EXIST) => {}
            made => made.doing(|| format!("make {CONSOLE}"))?,
        }
    }
    Ok(Some(tree))
}

/// The name of what lies right in the folder.
pub(super) fn inside(path: &str) -> Option<&str> {
    split(path).ok().filter(|(folder, _)| *folder == DEV).map(|(_, name)| name)
}

/// Makes a device in a folder; `first` is the node's root as this process sees it.
pub(super) fn make_node(
    folder: &OwnedFd,
    name: &str,
    device: &Device,
    first: u32,
) -> rustix::io::Result<()> {
    let kind = if device.kind == 'b' { FileType::BlockDevice } else { FileType::CharacterDevice };
    let number = rustix::fs::makedev(device.major, device.minor);
    let mode = Mode::from_raw_mode(device.mode);
    match rustix::fs::mknodat(folder, name, kind, mode, number) {
        // Of an earlier boot, outside `/dev`, or asked for twice: the definition may have changed, and the later one counts.
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
            rustix::fs::mknodat(folder, name, kind, mode, number)?;
        }
        made => made?,
    }
    if device.owner != (0, 0) {
        let (user, group) = device.owner;
        // The host's group of `/dev/kvm` is the node's group of that number.
        let (user, group) = (first.saturating_add(user), first.saturating_add(group));
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        rustix::fs::chownat(folder, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
