//! Starting a process without copying our memory: `clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD)`.
//!
//! The child borrows our memory until it has become the program, as `posix_spawn` does it; unlike
//! `posix_spawn` it can also change user, session, limits and cgroup, and we get a pidfd. A fork would copy
//! the page tables of the daemon: 30 ms for 512 MiB.
//!
//! All unsafe code of this crate is here. The invariants:
//!
//! * the child runs on a stack of its own, in our address space, while the calling thread stands still
//!   (`CLONE_VFORK`); other threads go on;
//! * so the child allocates nothing, takes no lock, unwinds nothing and calls only plain system calls (glibc's
//!   `setuid` and the like signal all threads, so those go by `syscall`); all it needs is made ready before;
//! * all signals are blocked from before the clone until the child has set every handler to its default: no
//!   handler of ours runs in the child;
//! * the child has its own descriptor table and signal handlers (no `CLONE_FILES`, no `CLONE_SIGHAND`);
//! * `errno` of the calling thread is overwritten, which nothing relies on.
#![allow(unsafe_code)]

use std::{
    ffi::{CString, c_char, c_int, c_void},
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use tokio::io::{
    Interest,
    unix::{AsyncFd, AsyncFdRegisterError},
};

use crate::spec::{Limit, User};

/// Everything the child needs, ready to be used without allocation.
pub(crate) struct Image {
    pub(crate) path: CString,
    pub(crate) argv: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    pub(crate) folder: Option<CString>,
    /// Descriptor and number it gets. All descriptors are greater than all numbers; sorted by number.
    pub(crate) descriptors: Vec<(OwnedFd, RawFd)>,
    /// `cgroup.procs` of the folder to enter.
    pub(crate) cgroup: Option<OwnedFd>,
    pub(crate) own_session: bool,
    /// Descriptor 0 becomes the session's terminal.
    pub(crate) terminal: bool,
    pub(crate) own_group: bool,
    pub(crate) user: Option<User>,
    pub(crate) limits: Vec<Limit>,
}

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// Watches a pidfd for the end of its process.
pub(crate) fn watch(pidfd: OwnedFd) -> Result<AsyncFd<OwnedFd>, AsyncFdRegisterError<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor as long as it lives, and `AsyncFd` owns it from here.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }
}

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Stage {
    Clone,
    Session,
    Cgroup,
    Descriptors,
    Terminal,
    Limits,
    User,
    Folder,
    Exec,
}

impl Stage {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Clone => "make a process",
            Self::Session => "make a session or process group",
            Self::Cgroup => "enter the cgroup",
            Self::Descriptors => "hand over the descriptors",
            Self::Terminal => "take the terminal",
            Self::Limits => "set the resource limits",
            Self::User => "change the user",
            Self::Folder => "enter the working directory",
            Self::Exec => "execute the file",
        }
    }
}

/// What parent and child share while the child borrows our memory.
struct Shared<'a> {
    image: &'a Image,
    argv: *const *const c_char,
    environment: *const *const c_char,
    /// Written by the child before it ends without having become the program.
    failed: Option<(Stage, c_int)>,
}

/// Stack of the child: it calls a few functions deep and keeps no arrays.
const STACK_BYTES: usize = 64 << 10;

/// Starts the program. Blocks until it has become the program or failed, about half a millisecond.
pub(crate) fn start(image: &Image) -> Result<Child, (Stage, io::Error)> {
    let argv = pointers(&image.argv);
    let environment = pointers(&image.environment);
    let mut shared =
        Shared { image, argv: argv.as_ptr(), environment: environment.as_ptr(), failed: None };
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;

    let before = block_signals();
    // SAFETY: the stack is 16-aligned, lives to the end of this function and is used by the child alone, which
    // has left our memory when `clone` returns (CLONE_VFORK). `child` never returns and gets a pointer to
    // `shared`, which lives as long. The one variable argument is where CLONE_PIDFD puts the descriptor.
    let (pid, error) = unsafe {
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        let shared = (&raw mut shared).cast::<c_void>();
        let pid = libc::clone(child, top, flags, shared, &raw mut pidfd);
        (pid, io::Error::last_os_error())
    };
    restore_signals(&before);
    drop(stack);
    if pid < 0 {
        return Err((Stage::Clone, error));
    }
    // SAFETY: the kernel made this descriptor for us; nobody else knows of it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: `shared` is alive and the child has gone; volatile, since the compiler saw no write to it.
    let failed = unsafe { ptr::read_volatile(&raw const shared.failed) };
    if let Some((stage, errno)) = failed {
        reap(&pidfd);
        return Err((stage, io::Error::from_raw_os_error(errno)));
    }
    Ok(Child { pid, pidfd })
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// Takes away the process that failed to become the program; it has ended or is about to.
fn reap(pidfd: &OwnedFd) {
    let options = rustix::process::WaitIdOptions::EXITED;
    let id = rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(pidfd));
    while let Err(rustix::io::Errno::INTR) = rustix::process::waitid(id.clone(), options) {}
}

fn block_signals() -> libc::sigset_t {
    // SAFETY: both sets are plain memory that the calls fill; the calls cannot fail with these arguments.
    unsafe {
        let mut all = mem::zeroed();
        let mut before = mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        before
    }
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: the set was filled by `block_signals`.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, before, ptr::null_mut());
    }
}

/// The child's whole life in our memory.
extern "C" fn child(shared: *mut c_void) -> c_int {
    // SAFETY: `start` gave a pointer to its `Shared`, stands still, and keeps it alive.
    let shared = unsafe { &mut *shared.cast::<Shared<'_>>() };
    let failed = become_program(shared);
    // SAFETY: as above; volatile, since nothing in this function reads it.
    unsafe { ptr::write_volatile(&raw mut shared.failed, Some(failed)) };
    // SAFETY: ends this process at once, without the exit handlers that are not ours.
    unsafe { libc::_exit(127) }
}

/// Returns only when something failed. Nothing here may allocate, lock or panic.
fn become_program(shared: &Shared<'_>) -> (Stage, c_int) {
    let image = shared.image;
    macro_rules! check {
        ($stage:expr, $call:expr) => {
            // SAFETY: a system call with valid pointers, made by the child for itself alone; see the module.
            if unsafe { $call } < 0 {
                return ($stage, errno());
            }
        };
    }
    reset_handlers();
    if image.own_session {
        check!(Stage::Session, libc::setsid());
    } else if image.own_group {
        check!(Stage::Session, libc::setpgid(0, 0));
    }
    if let Some(procs) = &image.cgroup {
        check!(Stage::Cgroup, libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1));
    }
    let mut next = 0;
    for (descriptor, number) in &image.descriptors {
        // Whatever lies between two given numbers is closed too.
        if *number > next {
            check!(Stage::Descriptors, close_range(next, *number - 1));
        }
        check!(Stage::Descriptors, libc::dup2(descriptor.as_raw_fd(), *number));
        next = *number + 1;
    }
    check!(Stage::Descriptors, close_range(next, c_int::MAX));
    if image.terminal {
        check!(Stage::Terminal, libc::ioctl(0, libc::TIOCSCTTY, 0));
    }
    for limit in &image.limits {
        let value = libc::rlimit64 { rlim_cur: limit.value, rlim_max: limit.value };
        check!(
            Stage::Limits,
            libc::syscall(
                libc::SYS_prlimit64,
                0,
                limit.resource as c_int,
                &raw const value,
                ptr::null_mut::<c_void>()
            )
        );
    }
    if let Some(user) = &image.user {
        check!(
            Stage::User,
            libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr())
        );
        check!(Stage::User, libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid));
        check!(Stage::User, libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid));
    }
    if let Some(folder) = &image.folder {
        check!(Stage::Folder, libc::chdir(folder.as_ptr()));
    }
    // SAFETY: an empty set is a valid one.
    unsafe {
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
    // SAFETY: path, argv and environment are null-terminated and alive in the parent.
    unsafe { libc::execve(image.path.as_ptr(), shared.argv, shared.environment) };
    (Stage::Exec, errno())
}

/// Handlers of ours must not run in the child, and what we ignore (SIGPIPE) the program does not.
fn reset_handlers() {
    // The kernel's `struct sigaction` all zero is the default handler. By system call, for glibc does not let us
    // at signals 32 and 33.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        // SAFETY: plain memory of the right size; KILL and STOP are refused, which is right.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<c_void>(),
                size_of::<u64>(),
            );
        }
    }
}

/// Closes the descriptors from `first` to `last`; needs Linux 5.9.
unsafe fn close_range(first: c_int, last: c_int) -> libc::c_long {
    // SAFETY: the child's own descriptor table; what is closed is used no more.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }
}

fn errno() -> c_int {
    // SAFETY: the address of the calling thread's errno, which the child shares while that thread waits.
    unsafe { *libc::__errno_location() }
}
