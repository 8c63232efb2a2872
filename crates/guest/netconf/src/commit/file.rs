//! Single files below a root: written whole and synced, with mode, owner and label.

use std::io::{self, Write};

use rustix::fs::{AtFlags, Gid, Mode, Uid, XattrFlags};
use vnode_beneath::{Dir, DirError};

use super::absent_is_fine;

/// Where SELinux keeps a file's label.
const LABEL: &str = "security.selinux";

/// Mode and owner of a new file; no owner means ours.
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) owner: Option<(u32, u32)>,
}

/// For our own copies.
pub(super) const PRIVATE: Attributes = Attributes { mode: 0o600, owner: None };

/// The folder of a path.
pub(super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((folder, _)) => folder,
    }
}

/// Where the new content of a file waits: beside it, under a name no network service reads.
pub(super) fn staged(path: &str, agent: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    format!("{}/.{name}.{agent}-new", parent(path).trim_end_matches('/'))
}

/// A path as one name.
pub(super) fn flat_name(path: &str) -> String {
    path.trim_start_matches('/').replace('%', "%25").replace('/', "%2F")
}

/// Makes a file with this content, replacing what is there, and syncs it. Its name is not synced.
pub(super) fn write(
    root: &Dir,
    path: &str,
    bytes: &[u8],
    attributes: &Attributes,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    remove(root, path)?;
    // Nobody else reads it before it has its owner.
    let mut file = root.create(path, 0o600)?;
    file.write_all(bytes)?;
    if let Some((uid, gid)) = attributes.owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(io::Error::from)?;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode)).map_err(io::Error::from)?;
    file.sync_all()?;
    Ok(())
}

/// Removes a file or link; none there is success.
pub(super) fn remove(root: &Dir, path: &str) -> Result<(), DirError> {
    absent_is_fine(root.remove_file(path))
}

/// Makes a rename or removal durable. A folder that is gone needs nothing.
pub(super) fn sync_parent(root: &Dir, path: &str) -> Result<(), DirError> {
    match root.open_dir(parent(path)) {
        Ok(dir) => dir.sync(),
        Err(error) => absent_is_fine(Err(error)),
    }
}

/// Removes a folder that is empty; one that is not, or is not there, stays as it is.
pub(super) fn remove_empty_folder(root: &Dir, path: &str) -> Result<(), io::Error> {
    let Ok(dir) = root.open_dir(parent(path)) else { return Ok(()) };
    let name = path.rsplit('/').next().unwrap_or(path);
    match rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTEMPTY) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives the new file the SELinux label of the one it replaces; a service may not read it otherwise.
pub(super) fn copy_label(root: &Dir, from: &str, to: &str) -> Result<(), io::Error> {
    let Ok(old) = root.open(from) else { return Ok(()) };
    let mut label = [0; 1024];
    let length = match rustix::fs::fgetxattr(&old, LABEL, &mut label[..]) {
        Ok(length) => length,
        // No label, or a file system without labels.
        Err(_) => return Ok(()),
    };
    let new = root.open(to).map_err(io::Error::other)?;
    match rustix::fs::fsetxattr(&new, LABEL, &label[..length], XattrFlags::empty()) {
        // The policy says who may give which label; without the right the default one has to do.
        Ok(())
        | Err(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS | rustix::io::Errno::NOTSUP) => {
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}
