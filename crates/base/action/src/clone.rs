//! Starting a process without copying our memory: `clone(CLONE_VM | CLONE_PIDFD)`.
//!
//! The child borrows our memory until it has become the program, as `posix_spawn` does it; unlike
//! `posix_spawn` it can also change user, session, limits and cgroup, and we get a pidfd. A fork would copy
//! the page tables of the daemon: 30 ms for 512 MiB.
//!
//! Who wants to know at once whether it became the program stands still until then (`CLONE_VFORK`): half a millisecond,
//! or, when more programs run than there are processors, as long as the child waits for one. Who waits for the program's
//! end in any case goes on beside it, and is told of a failure with that end.
//!
//! All unsafe code of this crate is here, in `child` and in `sandbox`; the system calls are `vnode-raw`'s. The invariants:
//!
//! * the child runs on a stack of its own, in our address space; all it needs is made ready before, in one [`Borrowed`],
//!   which nobody changes and which is freed only when the child is known to have left our memory;
//! * so the child allocates nothing, takes no lock, unwinds nothing, and makes system calls of its own (`vnode-raw`), for the C
//!   library's write our `errno`, and its `setuid` and the like signal all threads;
//! * all signals are blocked from before the clone until the child has set every handler to its default: no
//!   handler of ours runs in the child;
//! * the child has its own descriptor table and signal handlers (no `CLONE_FILES`, no `CLONE_SIGHAND`).
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    io,
    mem::{self, ManuallyDrop, MaybeUninit},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::io::{
    Interest,
    unix::{AsyncFd, AsyncFdRegisterError},
};

use crate::{
    child,
    spec::{Limit, User},
};

/// Everything the child needs, ready to be used without allocation.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) path: CString,
    pub(crate) argv: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    pub(crate) folder: Option<CString>,
    /// Descriptor and number it gets. All descriptors are greater than all numbers; sorted by number.
    pub(crate) descriptors: Vec<(OwnedFd, RawFd)>,
    /// `cgroup.procs` of the folders to enter.
    pub(crate) groups: Vec<OwnedFd>,
    pub(crate) own_session: bool,
    /// Descriptor 0 becomes the session's terminal.
    pub(crate) terminal: bool,
    pub(crate) own_group: bool,
    pub(crate) user: Option<User>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) confined: Option<Confined>,
}

/// What a program may not, as the child makes it so.
#[derive(Debug)]
pub(crate) struct Confined {
    /// `CLONE_NEW...`: namespaces of its own.
    pub(crate) spaces: c_int,
    /// Where nothing can be written.
    pub(crate) read_only: Vec<CString>,
    /// Folders that can be written.
    pub(crate) writable: Vec<CString>,
    /// Files in the place of others, as [`Sandbox::covered`](crate::Sandbox::covered).
    pub(crate) covered: Vec<(CString, CString)>,
    /// Device files to be made open, and their numbers.
    pub(crate) devices: Vec<(CString, u32)>,
    /// Folders that are empty and the program's own; what is in them ends with it.
    pub(crate) private: &'static [&'static CStr],
    /// Bits of those that it has and can have.
    pub(crate) capabilities: u64,
    pub(crate) no_new_privileges: bool,
    /// As [`Sandbox::filter`](crate::Sandbox::filter).
    pub(crate) filter: Vec<u64>,
}

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) lent: Lent,
}

/// What a child may still use. Kept for ever, unless the child is known to have ended.
#[derive(Debug, Default)]
pub(crate) struct Lent(ManuallyDrop<Option<Box<Borrowed>>>);

impl Lent {
    /// The child has ended. Gives why it did so without having become the program.
    pub(crate) fn ended(self) -> Option<(Stage, io::Error)> {
        ManuallyDrop::into_inner(self.0)?.failure()
    }
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
    Clone = 1,
    Session,
    Cgroup,
    Descriptors,
    Terminal,
    Limits,
    Sandbox,
    User,
    Folder,
    Exec,
}

impl Stage {
    const ALL: [Self; 10] = [
        Self::Clone,
        Self::Session,
        Self::Cgroup,
        Self::Descriptors,
        Self::Terminal,
        Self::Limits,
        Self::Sandbox,
        Self::User,
        Self::Folder,
        Self::Exec,
    ];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Clone => "make a process",
            Self::Session => "make a session or process group",
            Self::Cgroup => "enter the cgroup",
            Self::Descriptors => "hand over the descriptors",
            Self::Terminal => "take the terminal",
            Self::Limits => "set the resource limits",
            Self::Sandbox => {
                "make the sandbox (which needs CAP_SYS_ADMIN, and the folders it names)"
            }
            Self::User => "change the user",
            Self::Folder => "enter the working directory",
            Self::Exec => "execute the file",
        }
    }
}

/// Our copies of the child's descriptors, and of its cgroups.
type Held = (Vec<(OwnedFd, RawFd)>, Vec<OwnedFd>);

/// What the child uses of our memory.
#[derive(Debug)]
pub(crate) struct Borrowed {
    pub(crate) image: Image,
    /// Numbers of the descriptors, of which the child has copies of its own, and what they become.
    pub(crate) descriptors: Vec<(RawFd, RawFd)>,
    pub(crate) groups: Vec<RawFd>,
    pub(crate) argv: Vec<*const c_char>,
    pub(crate) environment: Vec<*const c_char>,
    stack: Vec<MaybeUninit<u128>>,
    /// Written by the child before it ends without having become the program: the stage, and below it the error.
    failed: AtomicU64,
}

// SAFETY: the pointers lead to the strings of the same value's image, which nobody changes.
unsafe impl Send for Borrowed {}
// SAFETY: as above.
unsafe impl Sync for Borrowed {}

impl Borrowed {
    fn new(image: Image, held: &Held) -> Box<Self> {
        Box::new(Self {
            descriptors: held.0.iter().map(|(fd, number)| (fd.as_raw_fd(), *number)).collect(),
            groups: held.1.iter().map(AsRawFd::as_raw_fd).collect(),
            argv: pointers(&image.argv),
            environment: pointers(&image.environment),
            stack: Vec::with_capacity(STACK_BYTES / size_of::<u128>()),
            failed: AtomicU64::new(0),
            image,
        })
    }

    /// Why the child did not become the program. To be asked when it has ended.
    fn failure(&self) -> Option<(Stage, io::Error)> {
        let failed = self.failed.load(Ordering::Acquire);
        let stage = Stage::ALL.into_iter().find(|stage| *stage as u64 == failed >> 32)?;
        Some((stage, io::Error::from_raw_os_error((failed & 0xffff_ffff) as i32)))
    }

    /// By the child.
    pub(crate) fn fail(&self, stage: Stage, errno: c_int) {
        let failed = (stage as u64) << 32 | u64::from(errno.unsigned_abs());
        self.failed.store(failed, Ordering::Release);
    }
}

/// Stack of the child: it calls a few functions deep and keeps no arrays.
const STACK_BYTES: usize = 16 << 10;

/// Starts the program. `stand`: and stands still until it has become the program or failed; else a failure is known when
/// the child has ended.
pub(crate) fn start(mut image: Image, stand: bool) -> Result<Child, (Stage, io::Error)> {
    let stand = stand || !vnode_raw::BESIDE;
    let mut flags = libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD;
    if stand {
        flags |= libc::CLONE_VFORK;
    }
    let spaces = image.confined.as_ref().map_or(0, |confined| confined.spaces);
    flags |= spaces;
    let stage = if spaces == 0 { Stage::Clone } else { Stage::Sandbox };
    // Closed when the child has its own: else its pipes never end.
    let held: Held = (mem::take(&mut image.descriptors), mem::take(&mut image.groups));
    let mut borrowed = Borrowed::new(image, &held);
    let mut pidfd: c_int = -1;

    let before = block_signals();
    // SAFETY: the stack is 16-aligned and used by the child alone; it lives in the same box as all that the child is given,
    // which outlives the child's stay in our memory: see below. `child::main` never returns. The one variable argument is
    // where CLONE_PIDFD puts the descriptor.
    let (pid, error) = unsafe {
        let top = borrowed.stack.as_mut_ptr().add(borrowed.stack.capacity()).cast::<c_void>();
        let given = (&raw const *borrowed).cast_mut().cast::<c_void>();
        let pid = libc::clone(child::main, top, flags, given, &raw mut pidfd);
        (pid, io::Error::last_os_error())
    };
    restore_signals(&before);
    drop(held);
    if pid < 0 {
        return Err((stage, error));
    }
    // SAFETY: the kernel made this descriptor for us; nobody else knows of it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if !stand {
        return Ok(Child { pid, pidfd, lent: Lent(ManuallyDrop::new(Some(borrowed))) });
    }
    // It has become the program or ended (CLONE_VFORK).
    if let Some(failed) = borrowed.failure() {
        reap(&pidfd);
        return Err(failed);
    }
    Ok(Child { pid, pidfd, lent: Lent::default() })
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
