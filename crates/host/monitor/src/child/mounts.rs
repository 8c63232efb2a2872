//! The node's mounts: its root, the file systems of its own, binds, masks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, mount_change, move_mount, open_tree, unmount,
};
use vnode_monitor::overlay::{self, Naming, Overlay, Part};
use vnode_monitor::wire::{Boot, Device, Source};

use super::beneath::{Root, split};
use super::dev::{self, DEV};
use super::later::Later;
use super::mapped;
use crate::fail::{Doing, Fail, Result, checked};

const MOUNT_ATTR_RDONLY: u64 = 1;
pub(super) const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// What is taken from the host before its mounts are left behind, attached nowhere yet.
#[derive(Debug)]
pub(super) struct Prepared {
    overlay: Overlay,
    /// One for each overlay over the root, in order.
    over: Vec<Overlay>,
    /// One for each bind among the mounts, in order.
    binds: Vec<OwnedFd>,
    /// `/dev` with what is right in it.
    dev: Option<OwnedFd>,
    /// One for each device, when nodes cannot be made; `None` for one that is in `dev`.
    devices: Vec<Option<OwnedFd>>,
    /// Mounts that the overlay was made of and that nothing needs any more. To close the last descriptor of one takes
    /// as long as the kernel needs to be sure that no processor sees it.
    pub(super) spent: Vec<OwnedFd>,
}

/// Makes this process' mounts its own: nothing done here is seen outside, and nothing outside here.
pub(super) fn leave_propagation() -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing(|| "make the mounts private")
}

pub(super) fn mount_setattr(
    tree: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    user: u64,
) -> io::Result<()> {
    set_attributes(tree, recursive, &MountAttr { set, userns: user, ..MountAttr::default() })
}

/// Has the mounts of a tree that is attached nowhere neither peers nor masters.
fn make_private(tree: &OwnedFd) -> io::Result<()> {
    let propagation = libc::MS_PRIVATE;
    set_attributes(tree.as_fd(), true, &MountAttr { propagation, ..MountAttr::default() })
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn set_attributes(tree: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty string and `attr` lives through the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

pub(super) fn clone_tree(
    at: BorrowedFd<'_>,
    path: &str,
    recursive: bool,
) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    open_tree(at, path, flags)
}

/// For whom a root is made from the host's folders.
#[derive(Debug, Clone, Copy)]
pub(super) struct MappedUser<'a> {
    /// The node's user namespace.
    pub(super) namespace: &'a OwnedFd,
    /// Its root outside.
    pub(super) first: u32,
    /// Path of the node's folder.
    pub(super) folder: &'a Path,
}

/// Takes layers, bind sources and (of a node in a user namespace) devices from the host.
pub(super) fn prepare(
    boot: &Boot,
    dir: &OwnedFd,
    user: Option<MappedUser<'_>>,
) -> Result<Prepared> {
    let dev = match user {
        Some(user) => dev::make(boot, user.first)?,
        None => None,
    };
    let failed = |(step, e): overlay::Failure| Fail(format!("{step}: {e}"));
    // A tree that is attached nowhere lasts as long as its descriptor: until the overlay has taken it.
    let mut spent = Vec::new();
    let mut over = Vec::new();
    for (number, one) in boot.over.iter().enumerate() {
        let made = layered(dir, &one.layers, Part::Over(&one.target, number), user, &mut spent)?;
        over.push(overlay::detached(made, dir.as_fd()).map_err(failed)?);
    }
    let overlay = layered(dir, &boot.layers, Part::Root, user, &mut spent)?;
    let mut devices = Vec::new();
    if user.is_some() {
        for device in &boot.devices {
            devices.push(if dev.is_some() && dev::inside(&device.path).is_some() {
                None
            } else {
                let tree = clone_tree(rustix::fs::CWD, &device.host, false);
                Some(tree.doing(|| format!("device {}", device.host))?)
            });
        }
    }
    let mut binds = Vec::new();
    for mount in &boot.mounts {
        if let Source::Bind { path, recursive } = &mount.what {
            let what = || format!("bind {path} on {}", mount.target);
            let tree = clone_tree(rustix::fs::CWD, path, *recursive).doing(what)?;
            if user.is_some() {
                // Taken among the host's mounts, it would be a peer of one of them: what is mounted below it in the node
                // would show on the host.
                make_private(&tree).doing(what)?;
            }
            if mount.attr != 0 {
                mount_setattr(tree.as_fd(), *recursive, mount.attr, 0).doing(what)?;
            }
            binds.push(tree);
        }
    }
    Ok(Prepared { overlay, over, binds, dev, devices, spent })
}

/// One of the node's overlays.
fn layered(
    dir: &OwnedFd,
    layers: &[String],
    part: Part<'_>,
    user: Option<MappedUser<'_>>,
    spent: &mut Vec<OwnedFd>,
) -> Result<Overlay> {
    let failed = |(step, e): overlay::Failure| Fail(format!("{step}: {e}"));
    let paths = layers;
    let (mut layers, mut upper, mut work) =
        overlay::open_parts(dir.as_fd(), layers, part).map_err(failed)?;
    if let Some(user) = user {
        let what = || "map the ids of the root's layers";
        let mut parts: Vec<(&OwnedFd, &Path)> =
            layers.iter().zip(paths).map(|(layer, path)| (layer, Path::new(path))).collect();
        parts.push((dir, user.folder));
        // Upper and work folder must be seen through one mount: they are opened from the node's mapped folder.
        let mut found = mapped::all(&parts, user.namespace).doing(what)?;
        let folder = found.folders.pop().ok_or_else(|| Fail("no folder was mapped".to_owned()))?;
        layers = found.folders;
        let none: [&str; 0] = [];
        (_, upper, work) = overlay::open_parts(folder.as_fd(), &none, part).map_err(failed)?;
        spent.extend(found.trees);
        spent.push(folder);
    }
    let made = overlay::make(Naming::WorkingFolder, dir.as_fd(), &layers, &upper, &work)
        .map_err(failed)?;
    if user.is_some() {
        // Those that are mounts themselves among them.
        spent.extend([layers, vec![upper, work]].into_iter().flatten());
    }
    Ok(made)
}

/// Changes to the node's root; the host's is out of reach afterwards.
///
/// The node's new file systems are made before: in a user namespace the kernel gives a `/proc` or `/sys` only to
/// one who sees such already, and the host's are left behind here.
pub(super) fn enter_root(prepared: Prepared, boot: &Boot) -> Result<Inside> {
    let Prepared { overlay, over, binds, mut dev, devices, spent } = prepared;
    let has_dev = dev.is_some();
    let mut new = Vec::new();
    for mount in &boot.mounts {
        if let Source::New { kind, source, data } = &mount.what {
            if mount.target == DEV
                && let Some(made) = dev.take()
            {
                new.push(made);
                continue;
            }
            let what = || format!("mount {kind} on {}", mount.target);
            new.push(new_filesystem(kind, source, data, mount.attr).doing(what)?);
        }
    }
    // Any folder will do, since all that is seen here now is left in a moment; this one is there, and can
    // be reached whoever we are.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::open("/proc", flags, Mode::empty()).doing(|| "open /proc")?;
    let root = overlay::attach(overlay, target.as_fd())
        .map_err(|(step, e)| Fail(format!("{step}: {e}")))?;
    rustix::process::fchdir(&root).doing(|| "enter the root")?;
    drop((root, target));
    rustix::process::pivot_root(".", ".").doing(|| "pivot_root")?;
    unmount(".", UnmountFlags::DETACH).doing(|| "leave the host's root")?;
    rustix::process::chdir("/").doing(|| "enter the root")?;
    let root = Root::of_this_process().doing(|| "open the root")?;
    Ok(Inside { root, over, new, binds, has_dev, devices, later: spent.into() })
}

/// The node's root, with what is to be mounted in it.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) root: Root,
    over: Vec<Overlay>,
    new: Vec<OwnedFd>,
    binds: Vec<OwnedFd>,
    /// `/dev` came with what is right in it.
    has_dev: bool,
    devices: Vec<Option<OwnedFd>>,
    later: Later,
}

fn attach(tree: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree.as_fd(), "", target.as_fd(), "", flags)
}

fn is_dir(fd: &OwnedFd) -> rustix::io::Result<bool> {
    let mode = rustix::fs::fstat(fd)?.st_mode;
    Ok(FileType::from_raw_mode(mode) == FileType::Directory)
}

pub(super) fn new_filesystem(
    kind: &str,
    source: &str,
    data: &[(String, String)],
    attr: u64,
) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "source", source)?;
    for (key, value) in data {
        if value.is_empty() {
            fsconfig_set_flag(fs.as_fd(), key.as_str())?;
        } else {
            fsconfig_set_string(fs.as_fd(), key.as_str(), value.as_str())?;
        }
    }
    fsconfig_create(fs.as_fd())?;
    let attr = MountAttrFlags::from_bits_retain(u32::try_from(attr).unwrap_or(0));
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attr)
}

impl Inside {
    pub(super) fn mount_all(&mut self, boot: &Boot) -> Result<()> {
        for (overlay, over) in std::mem::take(&mut self.over).into_iter().zip(&boot.over) {
            let what = || format!("overlay on {}", over.target);
            let target = self.root.ensure_dir(&over.target).doing(what)?;
            let tree = overlay::attach(overlay, target.as_fd())
                .map_err(|(step, e)| Fail(format!("{}: {step}: {e}", what())))?;
            if boot.read_only_root {
                mount_setattr(tree.as_fd(), false, MOUNT_ATTR_RDONLY, 0).doing(what)?;
            }
        }
        let mut binds = std::mem::take(&mut self.binds).into_iter();
        let mut new = std::mem::take(&mut self.new).into_iter();
        for mount in &boot.mounts {
            let what = || match &mount.what {
                Source::New { kind, .. } => format!("mount {kind} on {}", mount.target),
                Source::Bind { path, .. } => format!("bind {path} on {}", mount.target),
            };
            let (tree, is_new) = match &mount.what {
                Source::New { .. } => (new.next(), true),
                Source::Bind { .. } => (binds.next(), false),
            };
            let tree = tree.expect("one was prepared for each");
            let target = if is_new || is_dir(&tree).doing(what)? {
                self.root.ensure_dir(&mount.target)
            } else {
                self.root.ensure_file(&mount.target)
            };
            self.put(tree, target.doing(what)?).doing(what)?;
        }
        Ok(())
    }

    pub(super) fn make_devices(&mut self, devices: &[Device]) -> Result<()> {
        let mut bound = std::mem::take(&mut self.devices).into_iter();
        let mut parent: Option<(&str, OwnedFd)> = None;
        for device in devices {
            let what = || format!("make device {}", device.path);
            if let Some(tree) = bound.next() {
                let Some(tree) = tree else { continue };
                let target = self.root.ensure_file(&device.path).doing(what)?;
                self.put(tree, target).doing(what)?;
                continue;
            }
            let (folder, name) = split(&device.path).doing(what)?;
            let at = match &parent {
                Some((known, at)) if *known == folder => at,
                _ => &parent.insert((folder, self.root.ensure_dir(folder).doing(what)?)).1,
            };
            dev::make_node(at, name, device, 0).doing(what)?;
        }
        Ok(())
    }

    pub(super) fn make_links(&self, links: &[(String, String)]) -> Result<()> {
        for (link, to) in links {
            if self.has_dev && dev::inside(link).is_some() {
                continue;
            }
            let what = || format!("make link {link}");
            let (folder, name) = split(link).doing(what)?;
            let at = self.root.ensure_dir(folder).doing(what)?;
            match rustix::fs::symlinkat(to.as_str(), &at, name) {
                Err(Errno::EXIST) => {}
                other => other.doing(what)?,
            }
        }
        Ok(())
    }

    pub(super) fn write_sysctls(&self, sysctls: &[(String, String)]) -> Result<()> {
        for (path, value) in sysctls {
            let what = || format!("set sysctl {}", path.replace('/', "."));
            let file = self
                .root
                .open(&format!("/proc/sys/{path}"), OFlags::WRONLY | OFlags::NOFOLLOW)
                .doing(what)?;
            rustix::io::write(&file, value.as_bytes()).doing(what)?;
        }
        Ok(())
    }

    /// Hides paths: folders behind an empty read-only one, the rest behind `/dev/null`. Missing ones are none.
    pub(super) fn mask(&self, paths: &[String]) -> Result<()> {
        let mut empty: Option<OwnedFd> = None;
        for path in paths {
            let what = || format!("mask {path}");
            let Some(target) = self.existing(path).doing(what)? else { continue };
            let tree = if !is_dir(&target).doing(what)? {
                clone_tree(self.root.as_fd(), "dev/null", false).doing(what)?
            } else if let Some(first) = &empty {
                clone_tree(first.as_fd(), "", false).doing(what)?
            } else {
                // Attached before it is cloned: kernels before 6.15 clone no mount that stands nowhere.
                let data = [("size".to_owned(), "0k".to_owned())];
                let new = new_filesystem("tmpfs", "tmpfs", &data, MOUNT_ATTR_RDONLY);
                let first = empty.insert(new.doing(what)?);
                attach(first, &target).doing(what)?;
                self.later.close(target);
                continue;
            };
            self.put(tree, target).doing(what)?;
        }
        empty.into_iter().for_each(|first| self.later.close(first));
        Ok(())
    }

    pub(super) fn make_read_only(&self, paths: &[String]) -> Result<()> {
        for path in paths {
            let what = || format!("make {path} read-only");
            let Some(target) = self.existing(path).doing(what)? else { continue };
            let tree = clone_tree(target.as_fd(), "", true).doing(what)?;
            mount_setattr(tree.as_fd(), true, MOUNT_ATTR_RDONLY, 0).doing(what)?;
            self.put(tree, target).doing(what)?;
        }
        Ok(())
    }

    /// Attaches a tree for good.
    fn put(&self, tree: OwnedFd, target: OwnedFd) -> rustix::io::Result<()> {
        attach(&tree, &target)?;
        self.later.close(tree);
        self.later.close(target);
        Ok(())
    }

    fn existing(&self, path: &str) -> rustix::io::Result<Option<OwnedFd>> {
        match self.root.open(path, OFlags::PATH) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Shows the terminal as `/dev/console`.
    pub(super) fn mount_console(&self, terminal: &OwnedFd) -> Result<()> {
        let what = || "mount /dev/console";
        let target = self.root.ensure_file(dev::CONSOLE).doing(what)?;
        let tree = clone_tree(terminal.as_fd(), "", false).doing(what)?;
        self.put(tree, target).doing(what)
    }

    pub(super) fn make_root_read_only(&self) -> Result<()> {
        mount_setattr(self.root.as_fd(), false, MOUNT_ATTR_RDONLY, 0)
            .doing(|| "make the root read-only")
    }
}
