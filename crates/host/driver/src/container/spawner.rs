//! The spawner of monitors: one small process, started once, that forks a monitor for each node.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vnode_monitor::packet;
use vnode_monitor::wire::Spawn;

use crate::{Error, Result};

/// A running spawner; ended by dropping it, which leaves the monitors running.
#[derive(Debug)]
pub(super) struct Spawner {
    program: PathBuf,
    /// A sealed copy: nodes run it as their built-in first process, and none of them can write to it; and
    /// replacing the program on disk changes nothing for a running daemon.
    copy: OwnedFd,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    pid: libc::pid_t,
    socket: Option<OwnedFd>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its end of file first, or it would be waited for in vain.
        self.socket = None;
        let mut status = 0;
        // SAFETY: `status` lives through the call; the process is our own child, waited for nowhere else. It
        // ends at once at the end of file.
        unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
    }
}

impl Spawner {
    /// Copies the program and starts it.
    pub(super) fn start(program: &Path) -> Result<Self> {
        let fail = |what: String| Error::Spawner { program: program.to_owned(), what };
        let copy = sealed_copy(program)
            .map_err(|e| fail(format!("{e}; it belongs beside the vnode program")))?;
        let running = run(&copy).map_err(|e| fail(format!("cannot be started: {e}")))?;
        Ok(Self { program: program.to_owned(), copy, running: Mutex::new(Some(running)) })
    }

    /// Asks for a monitor. It speaks on the other end of `first`, whose end is also the sign of any failure.
    pub(super) fn spawn(
        &self,
        spawn: &Spawn,
        dir: BorrowedFd<'_>,
        first: BorrowedFd<'_>,
        join: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let fail = |what: String| Error::Spawner { program: self.program.clone(), what };
        let fds: Vec<BorrowedFd<'_>> =
            [Some(dir), Some(first), join].into_iter().flatten().collect();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = running.as_ref().and_then(|r| r.socket.as_ref()) {
            match packet::send(socket, spawn, &fds) {
                Ok(()) => return Ok(()),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ) => {}
                Err(e) => return Err(fail(e.to_string())),
            }
        }
        // Somebody ended it: monitors do not need it, only new ones do.
        *running = None;
        let new = run(&self.copy).map_err(|e| fail(format!("cannot be started again: {e}")))?;
        let sent = match &new.socket {
            Some(socket) => packet::send(socket, spawn, &fds),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        *running = Some(new);
        sent.map_err(|e| fail(e.to_string()))
    }
}

/// Before a copy that cannot be sealed is given up.
const SEAL_TRIES: usize = 20;

fn sealed_copy(program: &Path) -> io::Result<OwnedFd> {
    let mut from = std::fs::File::open(program)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("vnode-monitor", flags | MemfdFlags::EXEC)
        // Kernels before 6.3 have no such flag, and make it executable anyway.
        .or_else(|_| rustix::fs::memfd_create("vnode-monitor", flags))?;
    let mut copy = std::fs::File::from(copy);
    io::copy(&mut from, &mut copy)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    seal(&copy, seals)?;
    // Out of the way of the numbers that the new process is given.
    Ok(rustix::io::fcntl_dupfd_cloexec(&copy, 10)?)
}

/// The kernel looks at pages for a tenth of a second, and refuses when somebody (reclaim, migration) still holds one.
fn seal(copy: &std::fs::File, seals: SealFlags) -> io::Result<()> {
    for _ in 0..SEAL_TRIES {
        match rustix::fs::fcntl_add_seals(copy, seals) {
            Err(Errno::BUSY) => {}
            other => return Ok(other?),
        }
    }
    Ok(rustix::fs::fcntl_add_seals(copy, seals)?)
}

/// Starts the copy with its socket as descriptor 3, without copying this process' memory.
fn run(copy: &OwnedFd) -> io::Result<Running> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let theirs = rustix::io::fcntl_dupfd_cloexec(&theirs, 10)?;
    let path = CString::new(format!("/proc/self/fd/{}", copy.as_raw_fd()))?;
    let name = c"vnode-monitor";
    let null = c"/dev/null";
    let argv = [name.as_ptr().cast_mut(), std::ptr::null_mut()];
    let env = [std::ptr::null_mut()];
    let check = |result: i32| {
        if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
    };
    let mut pid = 0;
    // SAFETY: both structures are initialised before any other use and destroyed after the last; every
    // pointer lives through its call. posix_spawn shares our memory with the child only until its exec.
    let spawned = unsafe {
        let mut actions = std::mem::zeroed();
        let mut attributes = std::mem::zeroed();
        check(libc::posix_spawn_file_actions_init(&raw mut actions))?;
        check(libc::posix_spawnattr_init(&raw mut attributes))?;
        let result = (|| {
            for number in 0..3 {
                check(libc::posix_spawn_file_actions_addopen(
                    &raw mut actions,
                    number,
                    null.as_ptr(),
                    libc::O_RDWR,
                    0,
                ))?;
            }
            check(libc::posix_spawn_file_actions_adddup2(&raw mut actions, theirs.as_raw_fd(), 3))?;
            let flags = i32::from(libc::POSIX_SPAWN_SETSID) | libc::POSIX_SPAWN_SETSIGMASK;
            check(libc::posix_spawnattr_setflags(&raw mut attributes, flags as libc::c_short))?;
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            check(libc::posix_spawnattr_setsigmask(&raw mut attributes, &raw const none))?;
            check(libc::posix_spawn(
                &raw mut pid,
                path.as_ptr(),
                &raw const actions,
                &raw const attributes,
                argv.as_ptr(),
                env.as_ptr(),
            ))
        })();
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        libc::posix_spawnattr_destroy(&raw mut attributes);
        result
    };
    spawned?;
    Ok(Running { pid, socket: Some(ours) })
}

/// A connection's two ends: ours, not blocking, and the one to give away.
pub(super) fn connection() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// Opens the namespace of a kind that a process lives in.
pub(super) fn namespace_of(pid: u32, kind: &str) -> io::Result<OwnedFd> {
    Ok(std::fs::File::open(format!("/proc/{pid}/ns/{kind}"))?.into())
}

/// A process by its number, held so that the number cannot become another's.
pub(super) fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: plain system call; the kernel gives a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) })
}

/// Kills a process by descriptor; one that has ended is no error.
pub(super) fn kill(pidfd: impl AsFd) -> io::Result<()> {
    // SAFETY: plain system call on an open descriptor.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ESRCH) {
            return Err(error);
        }
    }
    Ok(())
}
