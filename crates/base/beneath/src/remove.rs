//! Removal of a whole tree by descriptors.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::dir::{Dir, Error, failed};

/// Folders held open at once. A deeper folder is first renamed up to the top of the tree.
const OPEN_AT_MOST: usize = 64;

pub(crate) fn remove_tree(dir: &Dir, path: &Path) -> Result<(), Error> {
    let (parent, name) = match dir.parent(path) {
        Ok(found) => found,
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e),
    };
    match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(failed("remove", path, errno)),
    }
    empty(&parent, &name, path)?;
    match rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) => Err(Error::MountPoint { path: path.to_owned() }),
        Err(errno) => Err(failed("remove folder", path, errno)),
    }
}

/// A folder on the way down, with the subfolders still to be removed.
struct Level {
    dir: Dir,
    name: OsString,
    folders: Vec<OsString>,
}

fn empty(parent: &Dir, name: &OsStr, path: &Path) -> Result<(), Error> {
    let mut moved_up: u64 = 0;
    let mut levels = vec![enter(parent, name, path)?];
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else { return Ok(()) };
        if let Some(child) = level.folders.pop() {
            if depth < OPEN_AT_MOST {
                let next = enter(&level.dir, &child, path)?;
                levels.push(next);
                continue;
            }
            // Too deep: hang it under the top folder, where it is met again with all descriptors free.
            let up = OsString::from(format!(".vnode-removing-{moved_up}"));
            moved_up += 1;
            let (from, top) = (&levels[depth - 1].dir, &levels[0].dir);
            match rustix::fs::renameat(from, &child, top, &up) {
                Ok(()) => levels[0].folders.push(up),
                // A name left by an earlier, interrupted removal: take the next number.
                Err(Errno::NOTEMPTY | Errno::EXIST) => levels[depth - 1].folders.push(child),
                Err(Errno::BUSY | Errno::XDEV) => {
                    return Err(Error::MountPoint { path: path.join(&child) });
                }
                Err(errno) => return Err(failed("remove", &path.join(&child), errno)),
            }
            continue;
        }
        let done = levels.pop().expect("the loop holds at least one level here");
        let Some(above) = levels.last() else { return Ok(()) };
        match rustix::fs::unlinkat(&above.dir, &done.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::BUSY) => return Err(Error::MountPoint { path: path.join(&done.name) }),
            Err(errno) => return Err(failed("remove folder", &path.join(&done.name), errno)),
        }
    }
}

/// Opens a folder without following a link and without crossing into another mount, and removes all in it that is
/// not a folder.
fn enter(parent: &Dir, name: &OsStr, path: &Path) -> Result<Level, Error> {
    let fd = rustix::fs::openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
    )
    .map_err(|errno| match errno {
        Errno::XDEV => Error::MountPoint { path: path.join(name) },
        errno => failed("open folder", &path.join(name), errno),
    })?;
    let dir = Dir::from_fd(fd, parent.scope());
    let mut folders = Vec::new();
    let entries = rustix::fs::Dir::read_from(&dir)
        .map_err(|errno| failed("list", &path.join(name), errno))?;
    for entry in entries {
        let entry = entry.map_err(|errno| failed("list", &path.join(name), errno))?;
        let child = entry.file_name().to_bytes();
        if child == b"." || child == b".." {
            continue;
        }
        let child = OsStr::from_bytes(child);
        if entry.file_type() == FileType::Directory {
            folders.push(child.to_owned());
            continue;
        }
        match rustix::fs::unlinkat(&dir, child, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => folders.push(child.to_owned()),
            Err(Errno::BUSY) => return Err(Error::MountPoint { path: path.join(child) }),
            Err(errno) => return Err(failed("remove", &path.join(child), errno)),
        }
    }
    Ok(Level { dir, name: name.to_owned(), folders })
}
