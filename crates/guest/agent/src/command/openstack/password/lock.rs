//! The locks that `passwd`, `useradd` and `vipw` take too: `lckpwdf`'s, and shadow-utils' `/etc/shadow.lock`.

use std::{fs::File, io::Write as _, path::PathBuf, time::Duration};

use rustix::{
    fs::{FlockOperation, OFlags, fcntl_lock},
    io::Errno,
    process::{Pid, test_kill_process},
};
use vnode_beneath::{Dir, DirError};

/// As long as `lckpwdf` waits.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// Why the account files cannot be locked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("another program holds `{0}`; try again later")]
    Held(&'static str),
    #[error("the account files cannot be locked")]
    Dir(#[from] DirError),
    #[error("the account files cannot be locked")]
    Lock(#[from] Errno),
}

const PROCESS_LOCK: &str = "etc/.pwd.lock";

/// Both locks; given back when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    dir: Dir,
    name: &'static str,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.dir.remove_file(self.name) {
            tracing::warn!(%error, "the lock of the account files is left; it counts as stale when we end");
        }
    }
}

impl Lock {
    /// Waits for both, at most 15 s. `name` is the lock file's: `etc/shadow.lock`.
    pub(super) async fn take(root: &Dir, name: &'static str) -> Result<Self, Error> {
        Self::take_within(root, name, PATIENCE).await
    }

    async fn take_within(
        root: &Dir,
        name: &'static str,
        patience: Duration,
    ) -> Result<Self, Error> {
        let end = tokio::time::Instant::now() + patience;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let file = root.open_with(PROCESS_LOCK, flags, 0o600)?;
        while let Err(errno) = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            match errno {
                Errno::ACCESS | Errno::AGAIN => wait(end, PROCESS_LOCK).await?,
                Errno::INTR => {}
                errno => return Err(errno.into()),
            }
        }
        let dir = root.try_clone()?;
        while !link(&dir, name)? {
            wait(end, name).await?;
        }
        Ok(Self { _file: file, dir, name })
    }
}

async fn wait(end: tokio::time::Instant, name: &'static str) -> Result<(), Error> {
    if tokio::time::Instant::now() >= end {
        return Err(Error::Held(name));
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

/// Makes the lock file, as shadow-utils does: a file with our number, linked to the lock's name. One of a process
/// that is gone is taken away. False: somebody holds it.
fn link(dir: &Dir, name: &str) -> Result<bool, Error> {
    let pid = std::process::id();
    let own = format!("{}.{pid}", name.trim_end_matches(".lock"));
    match dir.remove_file(&own) {
        Ok(()) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let mut file = dir.create(&own, 0o600)?;
    let written = file.write_all(format!("{pid}\0").as_bytes());
    let linked = match written {
        Ok(()) => dir.hard_link(&own, name),
        Err(source) => Err(DirError::Io { action: "write", path: PathBuf::from(&own), source }),
    };
    dir.remove_file(&own)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.already_exists() => {
            if is_stale(dir, name)? {
                match dir.remove_file(name) {
                    Ok(()) => {}
                    // Another took it away.
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the process named in the lock file is gone. We hold `lckpwdf`'s lock, so a lock that names us is left
/// by an earlier process of our number.
fn is_stale(dir: &Dir, name: &str) -> Result<bool, Error> {
    let text = match dir.read_to_limit(name, 64) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let digits: Vec<u8> = text.into_iter().take_while(u8::is_ascii_digit).collect();
    let pid = std::str::from_utf8(&digits).ok().and_then(|text| text.parse().ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        // shadow-utils takes a lock without a number for stale, too.
        return Ok(true);
    };
    let ours = u32::try_from(pid.as_raw_nonzero().get()).is_ok_and(|pid| pid == std::process::id());
    Ok(ours || test_kill_process(pid) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use vnode_beneath::Scope;

    use super::*;

    fn root() -> (tempfile::TempDir, Dir) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let root = Dir::open_ambient(dir.path(), Scope::InRoot).unwrap();
        (dir, root)
    }

    #[tokio::test]
    async fn the_lock_is_taken_and_given_back() {
        let (dir, root) = root();
        let path = dir.path().join("etc/shadow.lock");
        let lock = Lock::take(&root, "etc/shadow.lock").await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), format!("{}\0", std::process::id()).as_bytes());
        drop(lock);
        assert!(!path.exists());
        let left: Vec<_> = std::fs::read_dir(dir.path().join("etc"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, [".pwd.lock"]);
    }

    #[tokio::test]
    async fn the_lock_of_a_process_that_is_gone_is_taken_away() {
        let (dir, root) = root();
        // Above the largest number a process can have.
        for stale in ["4194305\0", "", "text"] {
            std::fs::write(dir.path().join("etc/shadow.lock"), stale).unwrap();
            Lock::take(&root, "etc/shadow.lock").await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_held_lock_is_waited_for_and_then_named() {
        let (dir, root) = root();
        // The first process lives as long as the machine.
        std::fs::write(dir.path().join("etc/shadow.lock"), "1\0").unwrap();
        let patience = Duration::from_millis(120);
        let taken = Lock::take_within(&root, "etc/shadow.lock", patience);
        let error = taken.await.unwrap_err();
        assert!(error.to_string().contains("shadow.lock"), "{error}");
        assert!(dir.path().join("etc/shadow.lock").exists());
    }
}
