//! Private copies of a package's files.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use rustix::fs::{MemfdFlags, Mode, OFlags};

/// Files that are synced one by one, all at the same time: with more of them the whole file system is asked once.
const ONE_BY_ONE: usize = 32;
/// Of a thread that only syncs.
const STACK: usize = 64 << 10;

/// Copies the tree `from`, which is ours and holds files, folders and links that stay inside, to `to`, which must not
/// exist. Files become writable and belong to `owner`. Durable on return. Blocks.
pub(crate) fn copy(from: &Path, to: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut written = Written::default();
    written.below(from, to, owner)?;
    if let Some(parent) = to.parent() {
        written.made.push(File::open(parent)?);
    }
    if written.all { written.sync() } else { Ok(rustix::fs::syncfs(File::open(to)?)?) }
}

/// What a copy has made, as long as that is little.
struct Written {
    made: Vec<File>,
    all: bool,
}

impl Default for Written {
    fn default() -> Self {
        Self { made: Vec::new(), all: true }
    }
}

impl Written {
    fn add(&mut self, made: File) {
        self.all &= self.made.len() < ONE_BY_ONE;
        if self.all {
            self.made.push(made);
        }
    }

    /// Syncs each from a thread of its own: a disk answers many that ask together in little more than the time of one.
    fn sync(&self) -> io::Result<()> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .made
                .iter()
                .map(|made| {
                    std::thread::Builder::new()
                        .stack_size(STACK)
                        .spawn_scoped(scope, || made.sync_all())
                })
                .collect();
            let mut result = Ok(());
            for (thread, made) in threads.into_iter().zip(&self.made) {
                let synced = match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|_| made.sync_all()),
                    // No thread to be had.
                    Err(_) => made.sync_all(),
                };
                result = result.and(synced);
            }
            result
        })
    }

    fn below(&mut self, from: &Path, to: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
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
                self.below(&source, &target, owner)?;
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
                self.add(written);
            }
        }
        if let Some((uid, gid)) = owner {
            chown(to, Some(uid), Some(gid))?;
        }
        self.add(File::open(to)?);
        Ok(())
    }
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
