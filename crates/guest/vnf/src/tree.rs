//! Private copies of a package's files.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use rustix::fs::{MemfdFlags, Mode, OFlags};

/// Copies the tree `from`, which is ours and holds files, folders and links that stay inside, to `to`, which must not
/// exist. Files become writable and belong to `owner`. Durable on return. Blocks.
pub(crate) fn copy(from: &Path, to: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut files = 0;
    below(from, to, owner, &mut files)?;
    let folder = File::open(to)?;
    if files > 32 {
        rustix::fs::syncfs(&folder)?;
    } else {
        folder.sync_all()?;
    }
    match to.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn below(from: &Path, to: &Path, owner: Option<(u32, u32)>, files: &mut usize) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, Permissions::from_mode(0o755))?;
    let own = |path: &Path| match owner {
        Some((uid, gid)) => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    };
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            below(&source, &target, owner, files)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            own(&target)?;
        } else {
            let mut read = File::open(&source)?;
            let mode =
                if read.metadata()?.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            let mut written = File::options().write(true).create_new(true).open(&target)?;
            io::copy(&mut read, &mut written)?;
            written.set_permissions(Permissions::from_mode(mode))?;
            own(&target)?;
            *files += 1;
            if *files <= 32 {
                written.sync_data()?;
            }
        }
    }
    if let Some((uid, gid)) = owner {
        chown(to, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// Removes a tree of ours; nothing there is success.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A file without a name, in `folder` or, on file systems that have no such files, in memory: nothing is left of it,
/// whatever happens.
pub(crate) fn nameless(folder: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            Ok(File::from(rustix::fs::memfd_create("package", MemfdFlags::CLOEXEC)?))
        }
        made => Ok(File::from(made?)),
    }
}
