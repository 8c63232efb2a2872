//! The tree being unpacked: one call for each member.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode as Permissions, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

mod whiteout;

use self::whiteout::make_opaque;
use super::path::{from_root, link_stays_inside, plain};
use super::{Devices, Error, Limits, Mode, Report, RootFileSystem};
use crate::archive::{Kind, Member};
use crate::{Dir, DirError, Scope};

/// Latest time ext4 can store; larger ones are cut to it.
const LATEST: u64 = 15_032_385_535;

/// Writes the member's data into its new file.
type Fill<'a> = &'a mut dyn FnMut(&mut File) -> Result<(), Error>;

pub(super) struct Tree<'a> {
    root: Dir,
    limits: &'a Limits,
    mode: Mode,
    report: Report,
    implied: BTreeSet<PathBuf>,
    /// Mode and time of folders, set at the end: what is made in a folder changes its time, and a folder may be closed
    /// to its owner.
    folders: BTreeMap<PathBuf, (u32, u64)>,
    /// Bytes of the paths in both.
    kept: u64,
}

impl<'a> Tree<'a> {
    pub(super) fn new(dir: &Dir, limits: &'a Limits, mode: Mode) -> Result<Self, Error> {
        let scope = match mode {
            Mode::RootFileSystem(_) => Scope::InRoot,
            Mode::Files => Scope::Beneath,
        };
        let root = dir.open_dir(".").map_err(at(Path::new(".")))?;
        Ok(Self {
            root: root.with_scope(scope),
            limits,
            mode,
            report: Report::default(),
            implied: BTreeSet::new(),
            folders: BTreeMap::new(),
            kept: 0,
        })
    }

    fn root_file_system(&self) -> Option<RootFileSystem> {
        match self.mode {
            Mode::RootFileSystem(choices) => Some(choices),
            Mode::Files => None,
        }
    }

    fn count_entry(&mut self) -> Result<(), Error> {
        self.report.entries += 1;
        if self.report.entries > self.limits.entries {
            return Err(Error::TooMuch { what: "entries", limit: self.limits.entries });
        }
        Ok(())
    }

    fn keep_path(&mut self, path: &Path) -> Result<(), Error> {
        self.kept += path.as_os_str().len() as u64;
        let limit = self.limits.folder_paths;
        if self.kept > limit {
            return Err(Error::TooMuch { what: "bytes of folders' paths", limit });
        }
        Ok(())
    }

    pub(super) fn add(&mut self, member: &Member, fill: Fill<'_>) -> Result<(), Error> {
        self.count_entry()?;
        let path = match self.mode {
            Mode::RootFileSystem(_) => from_root(&member.path, self.limits)?,
            Mode::Files => plain(&member.path, self.limits)?,
        };
        let refused = |why| Error::Refused { path: member.path.clone(), why };
        if path.as_os_str().is_empty() {
            // The root itself.
            return match member.kind {
                Kind::Folder => {
                    self.describe_folder(&self.root.try_clone().map_err(at(&path))?, path, member)
                }
                _ => Err(refused("it would replace the root")),
            };
        }
        if self.whiteout(&path)? {
            return Ok(());
        }
        self.report.bytes = self.report.bytes.saturating_add(member.size);
        if self.report.bytes > self.limits.bytes {
            return Err(Error::TooMuch { what: "bytes", limit: self.limits.bytes });
        }
        match member.kind {
            Kind::File => self.file(&path, member, fill),
            Kind::Folder => self.folder(&path, member),
            Kind::Symlink => self.symlink(&path, member),
            Kind::HardLink => self.hard_link(&path, member),
            Kind::CharacterDevice | Kind::BlockDevice | Kind::Fifo => self.special(&path, member),
        }
    }

    /// Folder and last name of `path`; folders on the way that are missing are made.
    fn parent(&mut self, path: &Path) -> Result<(Dir, OsString), Error> {
        match self.root.parent(path) {
            Err(e) if is(&e, &[Errno::NOENT, Errno::NOTDIR]) => {}
            other => return other.map_err(at(path)),
        }
        let mut so_far = PathBuf::new();
        for part in path.parent().into_iter().flat_map(Path::components) {
            so_far.push(part);
            match self.root.open_dir(&so_far) {
                Ok(_) => continue,
                Err(e) if is(&e, &[Errno::NOENT]) => {}
                // A whiteout of ours, then something below the same name: the name is a new folder that hides the old.
                Err(e) if is(&e, &[Errno::NOTDIR]) && self.is_whiteout(&so_far) => {
                    self.root.remove_file(&so_far).map_err(at(path))?;
                    self.imply(&so_far)?;
                    let folder = self.root.open_dir(&so_far).map_err(at(path))?;
                    make_opaque(&folder, &so_far)?;
                    continue;
                }
                Err(e) => return Err(at(path)(e)),
            }
            self.imply(&so_far)?;
        }
        self.root.parent(path).map_err(at(path))
    }

    fn imply(&mut self, path: &Path) -> Result<(), Error> {
        self.count_entry()?;
        self.keep_path(path)?;
        self.root.mkdir(path, 0o700).map_err(at(path))?;
        // Not by mkdir, which the process's umask would have a say in.
        let folder = self.root.open_dir(path).map_err(at(path))?;
        rustix::fs::fchmod(&folder, Permissions::from_raw_mode(0o755))
            .map_err(failed(path, "chmod"))?;
        self.implied.insert(path.to_owned());
        Ok(())
    }

    /// Makes room for a member: a later one of the same path wins, as with every archiver.
    fn clear(&mut self, path: &Path) -> Result<(), Error> {
        if self.mode == Mode::Files {
            return Err(Error::Refused {
                path: path.to_owned(),
                why: "another member has the same path",
            });
        }
        // Paths compare name by name, so what is below `path` follows it.
        let gone: Vec<PathBuf> = self
            .implied
            .range(path.to_owned()..)
            .take_while(|p| p.starts_with(path))
            .cloned()
            .collect();
        for folder in gone {
            self.implied.remove(&folder);
        }
        self.root.remove_tree(path).map_err(at(path))
    }

    /// Runs `make` on the folder and name of `path`, once more after clearing when something is there already.
    fn make<T>(
        &mut self,
        path: &Path,
        action: &'static str,
        mut make: impl FnMut(&Dir, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<(Dir, OsString, T), Error> {
        let (parent, name) = self.parent(path)?;
        let made = match make(&parent, &name) {
            Err(Errno::EXIST) => {
                self.clear(path)?;
                make(&parent, &name)
            }
            other => other,
        };
        match made {
            Ok(made) => Ok((parent, name, made)),
            Err(errno) => Err(failed(path, action)(errno)),
        }
    }

    fn file(&mut self, path: &Path, member: &Member, fill: Fill<'_>) -> Result<(), Error> {
        let (_, _, fd) = self.make(path, "create", |parent, name| {
            rustix::fs::openat(
                parent,
                name,
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Permissions::from_raw_mode(0o600),
            )
        })?;
        let mut file = File::from(fd);
        fill(&mut file)?;
        match self.root_file_system() {
            Some(choices) => {
                if choices.owners {
                    let (uid, gid) = owner(path, member)?;
                    rustix::fs::fchown(&file, Some(uid), Some(gid))
                        .map_err(failed(path, "chown"))?;
                }
                // After the owner: a change of owner clears setuid bits and capabilities.
                self.permissions(&file, path, member.mode)?;
                self.attributes(&file, path, member)?;
                rustix::fs::futimens(&file, &times(member.mtime)).map_err(failed(path, "utimens"))
            }
            None => {
                self.permissions(&file, path, member.mode & 0o777)?;
                rustix::fs::futimens(&file, &times(member.mtime)).map_err(failed(path, "utimens"))
            }
        }
    }

    fn permissions(&self, file: &File, path: &Path, mode: u32) -> Result<(), Error> {
        rustix::fs::fchmod(file, Permissions::from_raw_mode(mode)).map_err(failed(path, "chmod"))
    }

    fn folder(&mut self, path: &Path, member: &Member) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        let folder = match self.open_folder(&parent, &name) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => self.new_folder(&parent, &name, path)?,
            // A file, a link (even to a folder) or a whiteout is replaced.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let hides = self.is_whiteout(path);
                self.clear(path)?;
                let folder = self.new_folder(&parent, &name, path)?;
                if hides {
                    make_opaque(&folder, path)?;
                }
                folder
            }
            Err(errno) => return Err(failed(path, "open")(errno)),
        };
        self.implied.remove(path);
        self.describe_folder(&folder, path.to_owned(), member)
    }

    fn open_folder(&self, parent: &Dir, name: &OsStr) -> rustix::io::Result<Dir> {
        rustix::fs::openat(
            parent,
            name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Permissions::empty(),
        )
        .map(|fd| Dir::from_fd(fd, self.root.scope()))
    }

    fn new_folder(&self, parent: &Dir, name: &OsStr, path: &Path) -> Result<Dir, Error> {
        rustix::fs::mkdirat(parent, name, Permissions::from_raw_mode(0o700))
            .and_then(|()| self.open_folder(parent, name))
            .map_err(failed(path, "mkdir"))
    }

    fn describe_folder(
        &mut self,
        folder: &Dir,
        path: PathBuf,
        member: &Member,
    ) -> Result<(), Error> {
        let mode = match self.root_file_system() {
            Some(choices) => {
                if choices.owners {
                    let (uid, gid) = owner(&path, member)?;
                    rustix::fs::fchown(folder, Some(uid), Some(gid))
                        .map_err(failed(&path, "chown"))?;
                }
                self.attributes(folder, &path, member)?;
                member.mode
            }
            None => (member.mode & 0o777) | 0o700,
        };
        if !self.folders.contains_key(&path) {
            self.keep_path(&path)?;
        }
        self.folders.insert(path, (mode, member.mtime));
        Ok(())
    }

    fn symlink(&mut self, path: &Path, member: &Member) -> Result<(), Error> {
        let refused = |why| Error::Refused { path: path.to_owned(), why };
        let target = member.link.as_deref().ok_or_else(|| refused("a link without a target"))?;
        if target.as_os_str().len() > self.limits.path_length {
            return Err(Error::PathTooLong {
                path: path.to_owned(),
                what: "bytes in a link's target",
                limit: self.limits.path_length,
            });
        }
        if self.mode == Mode::Files && !link_stays_inside(path, target) {
            return Err(refused("a link that leads out of the archive"));
        }
        let (parent, name, ()) =
            self.make(path, "symlink", |parent, name| rustix::fs::symlinkat(target, parent, name))?;
        self.describe_special(&parent, &name, path, member, None)
    }

    fn hard_link(&mut self, path: &Path, member: &Member) -> Result<(), Error> {
        let target = member.link.as_deref().ok_or_else(|| Error::Refused {
            path: path.to_owned(),
            why: "a link without a target",
        })?;
        let from = match self.mode {
            Mode::RootFileSystem(_) => from_root(target, self.limits)?,
            Mode::Files => plain(target, self.limits)?,
        };
        if from == path {
            return Ok(());
        }
        let dangling =
            || Error::DanglingHardLink { path: path.to_owned(), target: target.to_owned() };
        let (old, old_name) = self.root.parent(&from).map_err(|e| match &e {
            DirError::NoName { .. } => dangling(),
            e if is(e, &[Errno::NOENT, Errno::NOTDIR]) => dangling(),
            _ => at(path)(e),
        })?;
        // Looked at before anything is cleared away; a link to a folder is nothing an archiver writes.
        let found = rustix::fs::statat(&old, &old_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| dangling())?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Err(Error::Refused { path: path.to_owned(), why: "a hard link to a folder" });
        }
        self.make(path, "link", |parent, name| {
            rustix::fs::linkat(&old, &old_name, parent, name, AtFlags::empty())
        })?;
        Ok(())
    }

    fn special(&mut self, path: &Path, member: &Member) -> Result<(), Error> {
        let refused = |why| Error::Refused { path: path.to_owned(), why };
        let Some(choices) = self.root_file_system() else {
            return Err(refused("a device or FIFO among plain files"));
        };
        let (major, minor) = member.device;
        let kind = match member.kind {
            Kind::Fifo => FileType::Fifo,
            Kind::CharacterDevice if (major, minor) == (0, 0) => {
                return Err(refused("a device 0/0, which an overlay takes for a deletion"));
            }
            Kind::CharacterDevice => FileType::CharacterDevice,
            _ => FileType::BlockDevice,
        };
        if kind != FileType::Fifo {
            match choices.devices {
                Devices::Refuse => return Err(refused("a device")),
                Devices::Skip => {
                    self.report.devices_skipped += 1;
                    return Ok(());
                }
                Devices::Create => {}
            }
        }
        let number: Dev = match kind {
            FileType::Fifo => 0,
            _ => rustix::fs::makedev(major, minor),
        };
        let (parent, name, ()) = self.make(path, "mknod", |parent, name| {
            rustix::fs::mknodat(parent, name, kind, Permissions::from_raw_mode(0o600), number)
        })?;
        self.describe_special(&parent, &name, path, member, Some(member.mode))
    }

    /// Owner, mode and time of what cannot be opened. The name was made by us, in a folder held open.
    fn describe_special(
        &self,
        parent: &Dir,
        name: &OsStr,
        path: &Path,
        member: &Member,
        mode: Option<u32>,
    ) -> Result<(), Error> {
        let follow_not = AtFlags::SYMLINK_NOFOLLOW;
        if self.root_file_system().is_some_and(|c| c.owners) {
            let (uid, gid) = owner(path, member)?;
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), follow_not)
                .map_err(failed(path, "chown"))?;
        }
        if let Some(mode) = mode {
            rustix::fs::chmodat(parent, name, Permissions::from_raw_mode(mode), AtFlags::empty())
                .map_err(failed(path, "chmod"))?;
        }
        rustix::fs::utimensat(parent, name, &times(member.mtime), follow_not)
            .map_err(failed(path, "utimens"))
    }

    /// Keeps `security.capability` and `user.*`; what steers an overlay is refused, the rest counted.
    fn attributes(
        &mut self,
        file: impl std::os::fd::AsFd,
        path: &Path,
        member: &Member,
    ) -> Result<(), Error> {
        for (name, value) in &member.attributes {
            let bytes = name.as_bytes();
            if bytes.starts_with(b"trusted.") || bytes.starts_with(b"user.overlay.") {
                return Err(Error::Refused {
                    path: path.to_owned(),
                    why: "an extended attribute that only the host may set",
                });
            }
            let kept = bytes == b"security.capability" || bytes.starts_with(b"user.");
            if !kept || bytes.contains(&0) {
                self.report.attributes_skipped += 1;
                continue;
            }
            match rustix::fs::fsetxattr(&file, name.as_os_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // Not on this file system; or, for a capability, not by this user.
                Err(Errno::NOTSUP | Errno::PERM) => self.report.attributes_skipped += 1,
                Err(errno) => return Err(failed(path, "setxattr")(errno)),
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Report, Error> {
        for (path, (mode, mtime)) in self.folders.iter().rev() {
            let folder = match self.root.open_with(
                path,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
                0,
            ) {
                Ok(folder) => folder,
                // Replaced by something else further on in the archive.
                Err(e) if is(&e, &[Errno::NOENT, Errno::NOTDIR, Errno::LOOP]) => continue,
                Err(e) => return Err(at(path)(e)),
            };
            self.permissions(&folder, path, *mode)?;
            rustix::fs::futimens(&folder, &times(*mtime)).map_err(failed(path, "utimens"))?;
        }
        self.report.implied_folders = self.implied.into_iter().collect();
        Ok(self.report)
    }
}

fn owner(path: &Path, member: &Member) -> Result<(Uid, Gid), Error> {
    // The largest number means "leave it" to the kernel.
    let number = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    match (number(member.uid), number(member.gid)) {
        (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
        _ => Err(Error::Refused { path: path.to_owned(), why: "its owner is not a user number" }),
    }
}

fn times(mtime: u64) -> Timestamps {
    let at = Timespec { tv_sec: mtime.min(LATEST) as i64, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

fn is(error: &DirError, numbers: &[Errno]) -> bool {
    numbers.iter().any(|n| error.raw_os_error() == Some(n.raw_os_error()))
}

fn at(path: &Path) -> impl Fn(DirError) -> Error {
    let path = path.to_owned();
    move |source| Error::Dir { path: path.clone(), source }
}

fn failed(path: &Path, action: &'static str) -> impl Fn(Errno) -> Error {
    let path = path.to_owned();
    move |errno| Error::Io { path: path.clone(), action, source: errno.into() }
}
