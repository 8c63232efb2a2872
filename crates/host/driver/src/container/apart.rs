//! Where on the disk folders are made.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a folder, where it is not there, in a part of the disk of its own, as the file system does with `/home/NAME`.
///
/// ext4 looks at each inode deleted in the last minutes before it takes one of the same group. With all labs in one
/// group, that was a fifth of the time of an `up` after a few others, and then half of it.
///
/// # Errors
/// As of mkdir(2) and rename(2).
pub fn make_apart(folder: &Path, mode: u32) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    let (false, Some(parent)) = (folder.is_dir(), folder.parent()) else { return Ok(()) };
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
    spread(parent);
    // The group is chosen by the name at birth: the same name would come back to where its last life was deleted.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let random = now.map_or(0, |since| since.subsec_nanos());
    // Two at once, by a clock that ticks slowly, are two all the same.
    static MADE: AtomicU64 = AtomicU64::new(0);
    let count = MADE.fetch_add(1, Ordering::Relaxed);
    let born = parent.join(format!(".{}-{count}-{random:08x}", std::process::id()));
    std::fs::DirBuilder::new().mode(mode).create(&born)?;
    match renameat_with(CWD, &born, CWD, folder, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Another was faster, which is as good; or the file system cannot do this, and has no such groups.
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::INVAL | Errno::NOSYS) => {
            std::fs::remove_dir(&born)?;
            std::fs::DirBuilder::new().mode(mode).recursive(true).create(folder)
        }
        Err(e) => {
            // What stopped the renaming is what is told.
            let _ = std::fs::remove_dir(&born);
            Err(e.into())
        }
    }
}

/// Has the file system keep the folders of this one apart: ext4's flag `T`.
fn spread(folder: &Path) {
    use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, open};
    let set = || {
        let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(folder, how, Mode::empty())?;
        let flags = ioctl_getflags(&folder)?;
        if flags.contains(IFlags::TOPDIR) {
            return Ok(());
        }
        ioctl_setflags(&folder, flags | IFlags::TOPDIR)
    };
    // File systems without such a flag have no such groups either.
    let _: rustix::io::Result<()> = set();
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn many_who_make_it_at_once_all_have_it() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("nodes/lab");
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..16).map(|_| scope.spawn(|| make_apart(&folder, 0o700))).collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        assert_eq!(std::fs::read_dir(top.path().join("nodes")).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_made_apart_is_there_once_and_stays_as_it_is() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("nodes/lab");
        make_apart(&folder, 0o700).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(folder.join("kept"), "").unwrap();
        make_apart(&folder, 0o700).unwrap();
        assert!(folder.join("kept").exists());
        let beside = std::fs::read_dir(top.path().join("nodes")).unwrap().count();
        assert_eq!(beside, 1, "nothing of the making is left");
    }
}
