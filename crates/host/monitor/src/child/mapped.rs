//! Folders seen through mounts whose ids are a node's.
//!
//! A mapped mount is a clone that is attached nowhere, and to let go of such a one the kernel waits until no processor
//! can see it any more: a tenth of a millisecond for each. Most of a node's layers and its own folder lie on one file
//! system, so for those of one mount one clone does, of the folder that all of them are below.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};

use super::mounts::{MOUNT_ATTR_IDMAP, clone_tree, mount_setattr};

/// Folders through mapped mounts, in the order asked for, and the mounts, which last as long as their descriptors.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) folders: Vec<OwnedFd>,
    pub(super) trees: Vec<OwnedFd>,
}

/// Maps the ids of folders, each with the path it was opened by, by a user namespace.
pub(super) fn all(folders: &[(&OwnedFd, &Path)], user: &OwnedFd) -> io::Result<Mapped> {
    let mut mounts = Vec::with_capacity(folders.len());
    for (folder, _) in folders {
        mounts.push(mount_of(folder)?);
    }
    let mut mapped: Vec<Option<OwnedFd>> = folders.iter().map(|_| None).collect();
    let mut trees = Vec::new();
    for (first, mount) in mounts.iter().enumerate() {
        if mapped[first].is_some() {
            continue;
        }
        let same: Vec<usize> = (first..folders.len())
            .filter(|at| *at == first || (mount.is_some() && mounts[*at] == *mount))
            .collect();
        let group: Vec<(&OwnedFd, &Path)> = same.iter().map(|at| folders[*at]).collect();
        match if group.len() > 1 { together(&group, user)? } else { None } {
            Some((tree, inside)) => {
                trees.push(tree);
                for (at, folder) in same.into_iter().zip(inside) {
                    mapped[at] = Some(folder);
                }
            }
            None => {
                for at in same {
                    mapped[at] = Some(map(folders[at].0, user)?);
                }
            }
        }
    }
    Ok(Mapped { folders: mapped.into_iter().flatten().collect(), trees })
}

fn map(folder: &OwnedFd, user: &OwnedFd) -> io::Result<OwnedFd> {
    let tree = clone_tree(folder.as_fd(), "", false)?;
    mount_setattr(tree.as_fd(), false, MOUNT_ATTR_IDMAP, user.as_raw_fd().cast_unsigned().into())?;
    Ok(tree)
}

/// By one clone, of the folder above all of them: the mount, and the folders seen through it. All are of one mount.
fn together(
    folders: &[(&OwnedFd, &Path)],
    user: &OwnedFd,
) -> io::Result<Option<(OwnedFd, Vec<OwnedFd>)>> {
    let paths: Vec<&Path> = folders.iter().map(|(_, path)| *path).collect();
    let top = common(&paths);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(top_folder) = rustix::fs::open(&top, flags, Mode::empty()) else { return Ok(None) };
    // Another mount may lie between.
    if mount_of(&top_folder)? != mount_of(folders[0].0)? {
        return Ok(None);
    }
    let tree = map(&top_folder, user)?;
    let mut inside = Vec::with_capacity(folders.len());
    for (folder, path) in folders {
        let below = path.strip_prefix(&top).unwrap_or(path).as_os_str();
        let below = if below.is_empty() { OsStr::new(".") } else { below };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let Ok(opened) = openat2(&tree, below.as_bytes(), flags, Mode::empty(), resolve) else {
            return Ok(None);
        };
        // A path may lead through a link, something may have been renamed, or another mount lies between.
        let (was, is) = (rustix::fs::fstat(folder)?, rustix::fs::fstat(&opened)?);
        if (was.st_dev, was.st_ino) != (is.st_dev, is.st_ino) {
            return Ok(None);
        }
        inside.push(opened);
    }
    Ok(Some((tree, inside)))
}

/// The number of the mount a folder was opened through; `None` when the kernel does not tell.
fn mount_of(folder: &OwnedFd) -> io::Result<Option<u64>> {
    let found = statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok((found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id))
}

/// The deepest folder that all paths are below.
fn common(paths: &[&Path]) -> PathBuf {
    let Some((first, rest)) = paths.split_first() else { return PathBuf::from("/") };
    let is_above = |top: &Path| rest.iter().all(|path| path.starts_with(top));
    first.ancestors().find(|top| is_above(top)).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_above_all_is_the_deepest() {
        let of = |all: &[&'static str]| {
            common(&all.iter().map(|path| Path::new(*path)).collect::<Vec<_>>())
        };
        assert_eq!(of(&["/a/b/c", "/a/b/d/e"]), Path::new("/a/b"));
        assert_eq!(of(&["/a/b", "/a/b/c"]), Path::new("/a/b"));
        assert_eq!(of(&["/a/bc", "/a/b"]), Path::new("/a"));
        assert_eq!(of(&["/", "/a"]), Path::new("/"));
        assert_eq!(of(&[]), Path::new("/"));
    }
}
