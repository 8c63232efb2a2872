//! The files of a machine that does not run, on this host: its root file system, mounted without the host's kernel ever
//! reading what the guest wrote.
//!
//! ```text
//!  disk0.qcow2 ── qemu-storage-daemon ──FUSE── opened/disk ── fuse2fs ──FUSE── root
//! ```
//!
//! Two programs, each the machine's own user, without capability, network or a file it may write, but for the descriptors it
//! is given, behind a filter of system calls and in a control group beside the machine's: one makes a plain disk of the image,
//! one reads and writes the ext2, ext3 or ext4 file system on it. What a
//! hostile file system can make of the second is that user; what the kernel gets of it are answers to FUSE's questions. Both
//! outlive the daemon, so that nothing is lost with it.

mod server;
mod table;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vnode_driver::{Device, Driver, Error, Limits, NodeSpec, Result};
use vnode_monitor::wire;
use vnode_operation::fault;

use self::server::{End, Kind, Server};
use crate::{disk, memory, shell};

const STORAGE: &str = "qemu-storage-daemon";
const EXT: &str = "fuse2fs";
/// In the node's folder.
const FOLDER: &str = "opened";
/// What the control group of the two programs is called beside the machine's.
const GROUP: &str = "files";
/// Processes and threads of both, which start a thread for each of some reads at once.
const THREADS: u64 = 256;

/// What is missing on this host to open a machine's disk, with the way to get it.
#[must_use]
pub fn missing() -> Option<String> {
    let there = |name: &str| {
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
            .iter()
            .any(|at| Path::new(at).join(name).exists())
    };
    if !Path::new("/dev/fuse").exists() {
        return Some("the kernel has no FUSE: `modprobe fuse`".to_owned());
    }
    [(STORAGE, "qemu-system-common"), (EXT, "fuse2fs")].into_iter().find_map(
        |(program, package)| {
            (!there(program))
                .then(|| format!("`{program}` is not installed: `apt-get install {package}`"))
        },
    )
}

/// Places in a node's folder.
struct Places {
    node: String,
    folder: PathBuf,
    /// The plain disk.
    disk: PathBuf,
    /// The root file system.
    root: PathBuf,
    disk_lock: PathBuf,
    files_lock: PathBuf,
}

impl Places {
    fn new(node: &str, dir: &Path) -> Self {
        let folder = dir.join(FOLDER);
        Self {
            node: node.to_owned(),
            disk: folder.join("disk"),
            root: dir.join(wire::ROOT),
            disk_lock: folder.join("disk.pid"),
            files_lock: folder.join("files.pid"),
            folder,
        }
    }

    fn fail(&self, doing: &str) -> impl FnOnce(io::Error) -> Error {
        let doing = format!("{doing} the disk of `{}`", self.node);
        move |source| Error::Io { doing, source }
    }

    fn lives(&self) -> io::Result<bool> {
        Ok(server::lives(&self.disk_lock)? || server::lives(&self.files_lock)?)
    }

    /// Where the root file system begins on the plain disk, and what it is read by.
    async fn find(&self) -> io::Result<(File, std::result::Result<u64, String>)> {
        let disk = self.disk.clone();
        let work = server::off_thread(move || {
            let file = File::open(&disk)?;
            let length = file.metadata()?.len();
            let found = table::root(&file, length)?;
            Ok((file, found))
        });
        server::in_time(work).await
    }

    async fn is_clean(&self) -> io::Result<bool> {
        let (disk, found) = self.find().await?;
        let Ok(offset) = found else { return Ok(false) };
        server::in_time(server::off_thread(move || table::is_clean(&disk, offset))).await
    }

    /// Ends all that stands; whether the file system was left whole.
    async fn end(&self) -> io::Result<bool> {
        let mounted = server::unmount(&self.root)?;
        fault::point("machine.unmount.files").map_err(io::Error::other)?;
        let files = server::end(&self.files_lock, server::ALONE).await?;
        let mut clean = files != End::Killed;
        let used = mounted || files != End::None;
        if used {
            // A disk that cannot be read any more is no reason to leave it open.
            clean &= server::lives(&self.disk_lock)? && self.is_clean().await.unwrap_or(false);
        }
        server::unmount(&self.disk)?;
        fault::point("machine.unmount.disk").map_err(io::Error::other)?;
        clean &= server::end(&self.disk_lock, Duration::ZERO).await? != End::Killed;
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(clean),
        }
    }
}

/// What the two programs may use: memory of their own, and the processors the machine may.
fn limits(spec: &NodeSpec, container: &dyn Driver) -> Limits {
    let can = container.capabilities().limits;
    let can = |what: &str| can.iter().any(|limit| limit == what);
    Limits {
        memory_bytes: can("memory").then_some(server::MEMORY),
        pids: can("pids").then_some(THREADS),
        cpus: spec.limits.cpus,
        cpu_set: spec.limits.cpu_set.clone(),
        ..Limits::default()
    }
}

/// Refuses what a mounted root is in the way of.
pub(crate) fn refuse(node: &str, dir: &Path) -> Result<()> {
    let places = Places::new(node, dir);
    if places.lives().map_err(places.fail("look at"))? {
        return Err(Error::Mounted { node: node.to_owned(), path: places.root });
    }
    Ok(())
}

/// Mounts the root file system; mounted already, it is where it was. `helpers` is a folder of the driver's; `container` makes
/// the control group.
pub(crate) async fn open(
    spec: &NodeSpec,
    dir: &Path,
    helpers: &Path,
    container: &dyn Driver,
) -> Result<PathBuf> {
    let places = Places::new(&spec.node, dir);
    let unsupported = |what: String| Error::Unsupported { node: spec.node.clone(), what };
    let Some(base) = &shell::machine(spec)?.disk else {
        let what = "it has no disk that could be mounted: it lives in its initial RAM disk";
        return Err(unsupported(what.to_owned()));
    };
    if let Some(why) = missing() {
        return Err(unsupported(format!("the disk of a virtual machine cannot be mounted: {why}")));
    }
    if memory::there(dir) {
        return Err(Error::Invalid {
            node: spec.node.clone(),
            what: "its memory is kept, which goes with the disk as it is: `vnode restore` it, or throw the memory away \
                   with `vnode save --discard`"
                .to_owned(),
        });
    }
    let lives = |lock: &Path| server::lives(lock).map_err(places.fail("look at"));
    if lives(&places.disk_lock)? && lives(&places.files_lock)? {
        return Ok(places.root);
    }
    // What an earlier daemon had half made, or a program that died has left.
    places.end().await.map_err(places.fail("close"))?;
    // FUSE's library opens the device before it asks for a mount; where only root may, one of its own is made for it.
    let fuse = "/dev/fuse".to_owned();
    let fuse =
        Device { source: fuse.clone().into(), target: fuse, access: "rw".to_owned(), mode: None };
    let beside = NodeSpec { devices: vec![fuse], ..spec.clone() };
    let group = container.group_beside(&beside, GROUP, &limits(spec, container)).await?;
    let opened = start(spec, dir, base, &places, helpers, &group).await;
    if opened.is_err()
        && let Err(error) = close(spec, dir, container).await
    {
        tracing::warn!(node = spec.node, %error, "close a disk that could not be opened");
    }
    opened.map(|()| places.root)
}

async fn start(
    spec: &NodeSpec,
    dir: &Path,
    base: &vnode_driver::BaseDisk,
    places: &Places,
    helpers: &Path,
    group: &[PathBuf],
) -> Result<()> {
    let user = shell::user(spec)?;
    let (node, at, image) = (spec.clone(), dir.to_owned(), base.image.clone());
    let ready = server::off_thread({
        let (folder, point, root) =
            (places.folder.clone(), places.disk.clone(), places.root.clone());
        let helpers = helpers.to_owned();
        move || {
            server::make_helpers(&helpers)?;
            for folder in [&folder, &root] {
                match std::fs::DirBuilder::new().mode(0o700).create(folder) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
            File::create(point).map(drop)
        }
    });
    ready.await.map_err(places.fail("prepare to open"))?;
    let (own, image) = crate::blocking(move || {
        disk::ensure(&node, &at)?;
        let own = disk::first(&at);
        let open = |path: &Path, write: bool| {
            let opened = File::options().read(true).write(write).open(path);
            opened.map(OwnedFd::from).map_err(shell::io(format!("open {}", path.display())))
        };
        Ok::<_, Error>((open(&own, true)?, open(&image, false)?))
    })
    .await??;
    fault::point("machine.mount.disk").map_err(io::Error::other).map_err(places.fail("open"))?;
    // As the machine has them, but that the image is given instead of found by its name.
    let storage = Server {
        program: STORAGE,
        arguments: [
            "--blockdev",
            &format!(
                "driver={},node-name=base,read-only=on,file.driver=file,file.filename=/proc/self/fd/6",
                base.format.as_str()
            ),
            "--blockdev",
            "driver=qcow2,node-name=disk,backing=base,file.driver=file,file.filename=/proc/self/fd/5,file.locking=on",
            "--export",
            "type=fuse,id=disk,node-name=disk,mountpoint=/proc/self/fd/3,writable=on",
        ]
        .map(str::to_owned)
        .into(),
        passed: vec![own, image],
        user,
        lock: &places.disk_lock,
        point: &places.disk,
        kind: Kind::File,
        helpers,
        group,
    };
    storage.start().await.map_err(places.fail("open"))?;
    fault::point("machine.mount.table").map_err(io::Error::other).map_err(places.fail("open"))?;
    let (_, found) = places.find().await.map_err(places.fail("read"))?;
    let offset = found.map_err(|found| Error::Unsupported {
        node: spec.node.clone(),
        what: format!(
            "only ext2, ext3 and ext4 can be mounted while a machine does not run, and its disk has {found}: boot it and \
             use `vnode cp`, or bring files in with `user-data`"
        ),
    })?;
    let plain = File::options().read(true).write(true).open(&places.disk);
    let plain = plain.map_err(places.fail("open"))?;
    let files = Server {
        program: EXT,
        arguments: ["/proc/self/fd/5", "/tmp", "-f", "-s", "-o", &format!("offset={offset}")]
            .map(str::to_owned)
            .into(),
        passed: vec![plain.into()],
        user,
        lock: &places.files_lock,
        point: &places.root,
        kind: Kind::Tree,
        helpers,
        group,
    };
    files.start().await.map_err(places.fail("open"))?;
    fault::point("machine.mount.files").map_err(io::Error::other).map_err(places.fail("open"))
}

/// Inverse of [`open`]; idempotent. Done when all is on the disk.
pub(crate) async fn close(spec: &NodeSpec, dir: &Path, container: &dyn Driver) -> Result<()> {
    let places = Places::new(&spec.node, dir);
    let ended = places.end().await.map_err(places.fail("close"));
    // Whatever was said: nobody stays in it.
    let left = container.end_beside(spec, GROUP).await;
    if ended? {
        return left;
    }
    Err(Error::Io {
        doing: format!("write back the disk of `{}`", spec.node),
        source: io::Error::other(
            "the program that had it open ended before it was done: the machine's next boot checks its file system",
        ),
    })
}
