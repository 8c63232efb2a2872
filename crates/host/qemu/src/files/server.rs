//! A program that serves files through FUSE, and needs no right for it: this daemon makes the mount and hands the program
//! the descriptor it answers at.
//!
//! The program outlives the daemon. While it lives it holds the lock of a file in which its process id stands; so whoever
//! comes later knows whether it lives, and whom to end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Resource, Signal, WaitId, WaitIdOptions};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use vnode_action::{Sandbox, Spec, Stream, User};
use vnode_monitor::packet;

/// A program that neither asks nor answers within this has hung.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time a program gets to write back what it has and end when its mount is gone. Asked by a signal meanwhile it would end at
/// once: FUSE's library has let its handlers go by then.
pub(super) const ALONE: Duration = Duration::from_secs(30);
/// Between two looks at a process id that is yet to be written.
const RETRY: Duration = Duration::from_millis(5);
/// Memory of a program that reads what a guest wrote.
pub(super) const MEMORY: u64 = 2 << 30;
/// Bytes of what it printed that an error shows.
const SHOWN: usize = 512;

const DEVICE: &str = "/dev/fuse";

/// Writes the process id down, and becomes the program.
const ENTER: &str = "echo $$ >&3 && exec \"$@\"";
/// What the library executes when it wants to have something mounted.
const HELPER: &str = include_str!("fusermount.sh");
const HELPERS: [&str; 2] = ["fusermount", "fusermount3"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One file; every user that can reach its path may open it.
    File,
    /// A tree, for root alone.
    Tree,
}

/// What to start.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub(super) program: &'static str,
    pub(super) arguments: Vec<String>,
    /// Descriptor 5 of the program, and 6.
    pub(super) passed: Vec<OwnedFd>,
    /// Whom it runs as.
    pub(super) user: u32,
    /// The file it holds the lock of.
    pub(super) lock: &'a Path,
    /// Where it is mounted; what is there is of the same kind.
    pub(super) point: &'a Path,
    pub(super) kind: Kind,
    /// A folder that has been [made ready](make_helpers).
    pub(super) helpers: &'a Path,
    /// Folders of the control group it belongs to.
    pub(super) group: &'a [PathBuf],
}

/// Puts the helpers into a folder of the driver's.
pub(super) fn make_helpers(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    for name in HELPERS {
        let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
        if std::fs::read(&path).is_ok_and(|text| text == HELPER.as_bytes()) {
            continue;
        }
        std::fs::write(&new, HELPER)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&new, &path)?;
    }
    Ok(())
}

impl Server<'_> {
    /// Starts it and mounts what it serves; done when it answers.
    pub(super) async fn start(self) -> io::Result<()> {
        let file = open_lock(self.lock)?;
        if !try_lock(&file)? {
            return Err(io::Error::other(format!("another `{}` has it open", self.program)));
        }
        file.set_len(0)?;
        let errors = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let point = self.point.to_owned();
        let (printed, program, lock) = (File::from(errors.0), self.program, self.lock.to_owned());
        let served = self.serve(file, printed.try_clone()?.into(), errors.1).await;
        let Err(error) = served else { return Ok(()) };
        // Nothing of it stays; that it could not be ended is said by who tries to start it again.
        if let Err(left) = unmount(&point) {
            tracing::warn!(program, error = %left, "unmount {}", point.display());
        }
        if let Err(left) = end(&lock, ALONE).await {
            tracing::warn!(program, error = %left, "end a program that does not serve");
        }
        Err(io::Error::other(format!("`{program}`: {error}{}", said(printed))))
    }

    async fn serve(self, lock: File, printed: OwnedFd, print: OwnedFd) -> io::Result<()> {
        let (told, tell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (wait, hold) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&told, true)?;
        let mut told = pipe::Receiver::from_owned_fd(told)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let helpers = rustix::fs::open(self.helpers, flags, Mode::empty())?;
        // Where Debian's library looks first; only then it looks at the path.
        let covered = HELPERS.iter().filter_map(|name| {
            let there = PathBuf::from("/usr/bin").join(name);
            there.exists().then(|| (self.helpers.join(name), there))
        });
        let argv = ["/bin/sh", "-c", ENTER, "sh", self.program].map(str::to_owned);
        let mut spec = Spec::new(argv.into_iter().chain(self.arguments))
            .env("PATH", "/proc/self/fd/7:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .folder("/")
            .stdout(Stream::Fd(print.try_clone()?))
            .stderr(Stream::Fd(print))
            .user(User { uid: self.user, gid: self.user, groups: Vec::new() })
            .limit(Resource::As, MEMORY)
            .limit(Resource::Nofile, 256)
            .limit(Resource::Core, 0)
            .sandbox(Sandbox {
                writable: Vec::new(),
                covered: covered.collect(),
                devices: device_to_open()?,
                filter: vnode_driver::container::filter_of_helper(),
            })
            .pass(3, lock.into())
            // Its own reading end as well, so that what it prints later, when nobody reads, does not end it.
            .pass(4, printed)
            .pass(7, helpers)
            .pass(8, tell)
            .pass(9, wait);
        for (number, descriptor) in (5..7).zip(self.passed) {
            spec = spec.pass(number, descriptor);
        }
        spec = self.group.iter().fold(spec, Spec::enter);
        reap(vnode_action::spawn_detached(spec).map_err(io::Error::other)?)?;

        let mut line = [0; 64];
        let mut length = 0;
        let asked = async {
            while !line[..length].ends_with(b"\n") {
                match told.read(&mut line[length..]).await? {
                    0 => return Err(io::Error::other("it ended")),
                    more => length += more,
                }
            }
            Ok(())
        };
        in_time(asked).await?;
        let socket = asker(&line[..length], self.user)?;
        let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        mount(&device, self.point, self.kind)?;
        packet::send(&socket, &0, &[device.as_fd()])?;
        drop((device, socket, hold));
        // Asked of the kernel, and so of the program.
        let point = self.point.to_owned();
        in_time(off_thread(move || std::fs::metadata(point).map(drop))).await
    }
}

/// FUSE's device, where the host lets only root open it: its library does so before it asks for a mount.
fn device_to_open() -> io::Result<Vec<PathBuf>> {
    let open = std::fs::metadata(DEVICE)?.mode() & 0o006 == 0o006;
    Ok(if open { Vec::new() } else { vec![PathBuf::from(DEVICE)] })
}

/// Takes note of the end of a child of ours, whose status nobody asks for.
fn reap(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let child = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let child = vnode_processes::watched(child)?;
    tokio::spawn(async move {
        let ended = child.readable().await.map(drop);
        let noted = ended.and_then(|()| {
            let child = WaitId::PidFd(child.as_fd());
            Ok(rustix::process::waitid(child, WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?)
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "a process is left as a zombie");
        }
    });
    Ok(())
}

/// Gives up what a program that serves files may hold up for ever.
pub(super) async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        let text = format!("it does not answer within {} s", PATIENCE.as_secs());
        Err(io::Error::other(text))
    })
}

pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The socket at which the library of the program waits, by what the helper said: only of a process of this user.
fn asker(line: &[u8], user: u32) -> io::Result<OwnedFd> {
    let wrong = || io::Error::other("it asks for a mount in a way that makes no sense");
    let text = std::str::from_utf8(line).map_err(|_| wrong())?;
    let (number, pid) = text.trim_end().split_once(' ').ok_or_else(wrong)?;
    let number = number.parse().map_err(|_| wrong())?;
    let pid: i32 = pid.parse().map_err(|_| wrong())?;
    let held =
        rustix::process::pidfd_open(Pid::from_raw(pid).ok_or_else(wrong)?, PidfdFlags::empty())?;
    // After the descriptor was opened: while that process has not ended, the number is its own.
    if std::fs::metadata(format!("/proc/{pid}"))?.uid() != user {
        return Err(wrong());
    }
    let socket = rustix::process::pidfd_getfd(&held, number, PidfdGetfdFlags::empty())?;
    rustix::net::sockopt::socket_type(&socket)?;
    Ok(socket)
}

fn mount(device: &OwnedFd, point: &Path, kind: Kind) -> io::Result<()> {
    let (mode, others) = match kind {
        Kind::File => ("100000", ",allow_other"),
        Kind::Tree => ("40000", ""),
    };
    let data = format!("fd={},rootmode={mode},user_id=0,group_id=0{others}", device.as_raw_fd());
    let data = std::ffi::CString::new(data).expect("it has no zero byte");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("vnode", point, "fuse", flags, data.as_c_str())?;
    // Where the host shares its mounts with others, this one is not for them.
    rustix::mount::mount_change(point, MountPropagationFlags::PRIVATE)?;
    Ok(())
}

/// Takes every mount at `point` away; true when there was one. Asks nothing of who serves it, whom the kernel tells of the
/// end: at once, also where somebody stands in the tree.
pub(super) fn unmount(point: &Path) -> io::Result<bool> {
    use rustix::io::Errno;
    let take = |how| rustix::mount::unmount(point, how | UnmountFlags::NOFOLLOW);
    // A mount may be stacked on another; sixteen is more than anyone did by mistake.
    for number in 0..16 {
        match take(UnmountFlags::empty()) {
            Ok(()) => {}
            Err(Errno::BUSY) => {
                // Ends what it serves, and is busy all the same.
                if take(UnmountFlags::FORCE).is_err() {
                    take(UnmountFlags::DETACH)?;
                }
            }
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(number > 0),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(format!("too many mounts stacked on {}", point.display())))
}

/// What a program that failed has printed.
fn said(mut printed: File) -> String {
    let mut bytes = [0; 8192];
    // Nothing, or not yet: that is no reason of its own.
    let length = printed.read(&mut bytes).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]);
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: String = words.chars().take(SHOWN).collect();
    if shown.is_empty() { shown } else { format!(": {shown}") }
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes the lock, unless a living program has it.
fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match File::options().read(true).write(true).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the program of this lock lives.
pub(super) fn lives(lock: &Path) -> io::Result<bool> {
    existing(lock)?.map_or(Ok(false), |file| try_lock(&file).map(|free| !free))
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There was none.
    None,
    /// By itself, or asked to.
    Asked,
    /// It had to be killed.
    Killed,
}

/// Waits until the program of this lock has ended, which it does by itself within `alone`, or is asked to, or killed.
pub(super) async fn end(lock: &Path, alone: Duration) -> io::Result<End> {
    let Some(file) = existing(lock)? else { return Ok(End::None) };
    if try_lock(&file)? {
        return Ok(End::None);
    }
    let Some(process) = process(&file).await? else { return Ok(End::None) };
    let signal = |signal| match rustix::process::pidfd_send_signal(&process, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(io::Error::from(error)),
    };
    let freed = off_thread(move || Ok(rustix::fs::flock(&file, FlockOperation::LockExclusive)?));
    tokio::pin!(freed);
    if let Ok(ended) = tokio::time::timeout(alone, &mut freed).await {
        return ended.map(|()| End::Asked);
    }
    signal(Signal::TERM)?;
    if let Ok(ended) = tokio::time::timeout(PATIENCE, &mut freed).await {
        return ended.map(|()| End::Asked);
    }
    signal(Signal::KILL)?;
    let ended = tokio::time::timeout(PATIENCE, freed).await;
    ended.map_err(|_| io::Error::other("a program does not end after SIGKILL"))??;
    Ok(End::Killed)
}

/// The process that holds the lock; `None`: it has ended meanwhile.
async fn process(file: &File) -> io::Result<Option<OwnedFd>> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut text = String::new();
        let mut file = file;
        file.seek(SeekFrom::Start(0))?;
        file.take(32).read_to_string(&mut text)?;
        let written = text.strip_suffix('\n').and_then(|text| Pid::from_raw(text.parse().ok()?));
        let found = written.map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
        // The lock is still held: it was so all the while, and the number is that of who holds it.
        if try_lock(file)? {
            return Ok(None);
        }
        match found {
            Some(Ok(process)) => return Ok(Some(process)),
            Some(Err(rustix::io::Errno::SRCH)) | None if tokio::time::Instant::now() < end => {
                tokio::time::sleep(RETRY).await;
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Err(io::Error::other("a program has not said which process it is")),
        }
    }
}
