//! Where on the disk folders are made.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Parts of the disk that folders are spread over. Each is used again soon, and so the kernel has it in memory.
const PLACES: u64 = 32;

/// Makes a folder, where it is not there, in one of several parts of the disk.
///
/// ext4 looks at each inode deleted in the last minutes before it takes one of the same group. With all labs in one
/// group, that was a fifth of the time of an `up` after a few others, and then half of it. A group that nobody has used
/// for long has to be read in first, up to a millisecond. So beside the parent there is a hidden folder with one empty
/// folder in each of several groups, in which the folders are born in turn: their names are no matter to the disk.
///
/// # Errors
/// As of mkdir(2) and rename(2).
pub fn make_apart(folder: &Path, mode: u32) -> std::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    let (false, Some(parent)) = (folder.is_dir(), folder.parent()) else { return Ok(()) };
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
    let plain = || std::fs::DirBuilder::new().mode(mode).recursive(true).create(folder);
    // Two at once, by a clock that ticks slowly, are two all the same.
    static MADE: AtomicU64 = AtomicU64::new(0);
    let count = MADE.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let random = now.map_or(0, |since| since.subsec_nanos());
    let place = u64::from(std::process::id()).wrapping_add(count) % PLACES;
    let Some(place) = places(parent)?.map(|all| all.join(place.to_string())) else {
        return plain();
    };
    let born = place.join(format!("{}-{count}-{random:08x}", std::process::id()));
    match std::fs::DirBuilder::new().mode(mode).create(&born) {
        // Somebody tidied up: what is there no more is only slower.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return plain(),
        other => other?,
    }
    match renameat_with(CWD, &born, CWD, folder, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Another was faster, which is as good; or the file system cannot do this, and has no such groups.
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::INVAL | Errno::NOSYS | Errno::XDEV) => {
            std::fs::remove_dir(&born)?;
            plain()
        }
        Err(e) => {
            // What stopped the renaming is what is told.
            let _ = std::fs::remove_dir(&born);
            Err(e.into())
        }
    }
}

/// The hidden folder with the places for what is below `parent`, made with all of them when it is not there; `None`
/// where the file system has no groups, or the parent is a root.
fn places(parent: &Path) -> std::io::Result<Option<PathBuf>> {
    let (Some(above), Some(name)) = (parent.parent(), parent.file_name()) else { return Ok(None) };
    let all = above.join(format!(".{}-places", name.to_string_lossy()));
    match std::fs::DirBuilder::new().mode(0o700).create(&all) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(Some(all)),
        // Not ours to write to; without places it is only slower.
        Err(_) => return Ok(None),
    }
    if !spread(&all) {
        std::fs::remove_dir(&all)?;
        return Ok(None);
    }
    for place in 0..PLACES {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(all.join(place.to_string()))?;
    }
    Ok(Some(all))
}

/// Has the file system keep the folders of this one apart: ext4's flag `T`. False where there is no such thing.
fn spread(folder: &Path) -> bool {
    use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, open};
    let set = || {
        let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(folder, how, Mode::empty())?;
        let flags = ioctl_getflags(&folder)?;
        ioctl_setflags(&folder, flags | IFlags::TOPDIR)?;
        Ok::<_, rustix::io::Errno>(ioctl_getflags(&folder)?.contains(IFlags::TOPDIR))
    };
    set().unwrap_or(false)
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
