//! Replacing a file by another at once, with the old one's attributes.

use std::{
    ffi::{CString, OsStr},
    fs::File,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use rustix::{
    fs::{Gid, Mode, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fsetxattr},
    io::Errno,
};
use vnode_beneath::{Dir, DirError};

/// Most bytes of the extended attributes' names, and of one's value: the kernel's own limits.
const XATTR_MAX: usize = 64 << 10;
/// Attributes that speak of the content, not of the file: they must not be carried to another content.
const OF_THE_CONTENT: &[&[u8]] = &[b"security.capability", b"security.ima", b"security.evm"];

/// Mode, owner, and what else hangs on a file: ACL, SELinux label, user's attributes.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    extended: Vec<(CString, Vec<u8>)>,
}

impl Attributes {
    /// Of a new file.
    pub(super) fn new(mode: u32, owner: (u32, u32)) -> Self {
        Self { mode, owner, extended: Vec::new() }
    }

    /// Those of a file.
    pub(super) fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        let owner = (metadata.uid(), metadata.gid());
        let mut attributes = Self::new(metadata.mode() & 0o7777, owner);
        let mut names = vec![0; XATTR_MAX];
        let length = match flistxattr(file, &mut names) {
            Ok(length) => length,
            // A file system without them.
            Err(Errno::NOTSUP) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let mut value = vec![0; XATTR_MAX];
        for name in names[..length].split(|byte| *byte == 0) {
            if name.is_empty() || OF_THE_CONTENT.contains(&name) {
                continue;
            }
            let name = CString::new(name).expect("cut at its NUL");
            match fgetxattr(file, &name, &mut value) {
                Ok(length) => attributes.extended.push((name, value[..length].to_vec())),
                // Removed since it was listed, or not for us.
                Err(Errno::NODATA | Errno::ACCESS | Errno::PERM) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(attributes)
    }

    fn give(&self, file: &File) -> rustix::io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        fchown(file, Some(uid), Some(gid))?;
        // After the owner, whose change takes set-id bits away; the ACL is among the extended ones.
        fchmod(file, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.extended {
            fsetxattr(file, name, value, XattrFlags::empty())?;
        }
        Ok(())
    }
}

/// Writes `content` to the file `temporary` of the folder, whole and durable, with its final attributes. It is
/// never readable by more than those it shall be readable by.
pub(super) fn prepare(
    dir: &Dir,
    temporary: &OsStr,
    content: &[u8],
    attributes: &Attributes,
) -> Result<(), DirError> {
    match dir.remove_file(temporary) {
        Ok(()) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let write = || {
        let mut file = dir.create(temporary, 0o600)?;
        let failed =
            |action, source| DirError::Io { action, path: PathBuf::from(temporary), source };
        file.write_all(content).map_err(|error| failed("write", error))?;
        attributes
            .give(&file)
            .map_err(|errno| failed("give its owner and mode to", errno.into()))?;
        file.sync_all().map_err(|error| failed("sync", error))
    };
    write().inspect_err(|_| {
        // The first error is the one to tell.
        let _ = dir.remove_file(temporary);
    })
}

/// [`prepare`], then the file takes the place of `name`. At every instant the old or the new is there.
pub(super) fn replace(
    dir: &Dir,
    name: &OsStr,
    temporary: &OsStr,
    content: &[u8],
    attributes: &Attributes,
) -> Result<(), DirError> {
    prepare(dir, temporary, content, attributes)?;
    dir.rename(temporary, name)?;
    dir.sync()
}
