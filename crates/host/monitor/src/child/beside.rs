//! Processes that live in this process' memory instead of a copy of it.
//!
//! A fork copies the page tables, and then every page that either side writes to: a tenth of a millisecond or two for
//! each, where a node needs several. What only prepares something for the monitor, or only waits, is cloned with
//! `CLONE_VM` instead: 15 µs. The invariants:
//!
//! * the child has a stack of its own, and its own descriptors, credentials, namespaces and working folder;
//! * of the children of [`run`] and [`until_exec`], which may do anything, this process stands still until they have
//!   ended or executed a program (`CLONE_VFORK`); the kernel's out-of-memory killer passes such a child over, so it
//!   never takes the monitor with it;
//! * [`Waiting`]'s children run beside this process, and so do nothing but raw system calls: they use neither the heap
//!   nor `errno`, which belong to the monitor.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;

use vnode_raw::call;

use super::{CLONE_INTO_CGROUP, CloneArgs, reap, signal, wait};

/// [`Waiting`]'s children run beside this process.
const _: () = assert!(vnode_raw::BESIDE, "no system calls of our own for this processor");

/// Stack of a child: the deepest formats an error text.
const STACK: usize = 256 * 1024;

/// A stack, with a page below it that nobody may touch.
#[derive(Debug)]
struct Stack(*mut c_void);

// SAFETY: an address; whoever has it owns the mapping.
unsafe impl Send for Stack {}

/// Stacks that nobody uses. One that is given back is unmapped on every processor, which costs more than to map it.
static FREE: Mutex<Vec<Stack>> = Mutex::new(Vec::new());
/// As many are kept: that of the helper, and that of the first process, which it starts.
const KEPT: usize = 2;

/// Makes stacks that every monitor which is forked from here on finds in its memory.
pub(crate) fn reserve() -> io::Result<()> {
    let stacks = (0..KEPT).map(|_| Stack::map()).collect::<io::Result<Vec<_>>>()?;
    // Their ends put them there.
    drop(stacks);
    Ok(())
}

impl Stack {
    fn new() -> io::Result<Self> {
        // A child that was killed may have left it locked for ever.
        let free = FREE.try_lock().ok().and_then(|mut free| free.pop());
        free.map_or_else(Self::map, Ok)
    }

    fn map() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), STACK, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let both = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the upper part of the mapping just made.
        if unsafe { libc::mprotect(base.byte_add(4096), STACK - 4096, both) } < 0 {
            let error = io::Error::last_os_error();
            // SAFETY: as above.
            unsafe { libc::munmap(base, STACK) };
            return Err(error);
        }
        Ok(Self(base))
    }

    fn args(&self, flags: i32) -> CloneArgs {
        CloneArgs {
            flags: u64::from((flags | libc::CLONE_VM | libc::CLONE_PIDFD).cast_unsigned()),
            // Of a sibling the kernel takes this process' own, and wants none.
            exit_signal: match flags & libc::CLONE_PARENT {
                0 => u64::from(libc::SIGCHLD.cast_unsigned()),
                _ => 0,
            },
            stack: self.0 as u64,
            stack_size: STACK as u64,
            ..CloneArgs::default()
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Ok(mut free) = FREE.try_lock()
            && free.len() < KEPT
        {
            return free.push(Self(self.0));
        }
        // SAFETY: our own mapping; whoever ran on it has been reaped.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

/// What a child of [`run`] or [`until_exec`] does, and what came of it.
struct Work<T, F> {
    body: Option<F>,
    result: Option<T>,
}

extern "C" fn enter<T, F: FnOnce() -> T>(work: *mut c_void) -> ! {
    // SAFETY: `stand_still` gave a pointer to a `Work` and stands still until this process has ended.
    let work = unsafe { &mut *work.cast::<Work<T, F>>() };
    work.result = work.body.take().map(|body| body());
    // SAFETY: ends this process without running anything of the parent's.
    unsafe { libc::_exit(0) }
}

/// Clones a child that runs `body`, and stands still until it has ended or executed a program. Gives its id, its
/// descriptor and what the body came to.
fn stand_still<T, F: FnOnce() -> T>(
    flags: i32,
    cgroup: Option<&OwnedFd>,
    body: F,
) -> io::Result<(u32, OwnedFd, Option<T>)> {
    let stack = Stack::new()?;
    let mut pidfd: i32 = -1;
    let mut args = stack.args(flags | libc::CLONE_VFORK);
    args.pidfd = &raw mut pidfd as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let mut work = Work { body: Some(body), result: None };
    // SAFETY: the stack, `args` and `work` live through the call, and with CLONE_VFORK the child no longer uses this
    // memory when it comes back. This process has one thread, so nobody else uses what the child uses.
    let pid = unsafe { clone3(&raw const args, enter::<T, F>, (&raw mut work).cast()) }?;
    // SAFETY: the kernel has just put a new descriptor there.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // Who may look into a process is said of its memory, and a change of the child's ids says it anew
    // (`fs.suid_dumpable`).
    // SAFETY: changes an attribute of this process only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    Ok((pid, pidfd, work.result))
}

/// Runs `body` in a child and waits for its end; `None` when something ended it before it was done. Descriptors that it
/// opens are its own and end with it.
pub(super) fn run<T, F: FnOnce() -> T>(cgroup: Option<&OwnedFd>, body: F) -> io::Result<Option<T>> {
    let (_, pidfd, result) = stand_still(0, cgroup, body)?;
    // It has let go of our memory, which it does a moment before its end can be seen.
    wait(&pidfd)?;
    Ok(result)
}

/// Runs `body`, which executes a program or ends its process, in a child with these flags; gives its id and descriptor.
/// What it has on the heap when it executes stays there for ever: a few kilobytes.
pub(super) fn until_exec(
    flags: i32,
    cgroup: Option<&OwnedFd>,
    body: impl FnOnce() -> std::convert::Infallible,
) -> io::Result<(u32, OwnedFd)> {
    stand_still(flags, cgroup, body).map(|(pid, pidfd, _)| (pid, pidfd))
}

/// A child that waits beside this process.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    /// `None` once it has been reaped, or can be no more.
    stack: Option<Stack>,
}

/// Descriptors for [`Waiting::holding`]'s child, at the top of its stack.
struct Held {
    kept: i32,
    until: i32,
}

impl Waiting {
    /// A child with namespaces of these kinds that does nothing until it is ended.
    pub(super) fn idle(kinds: i32) -> io::Result<Self> {
        extern "C" fn idle(_: *mut c_void) -> ! {
            loop {
                // SAFETY: waits for the signal that ends this process.
                let _interrupted = unsafe { call!(libc::SYS_ppoll) };
            }
        }
        Self::start(kinds, idle, Held { kept: -1, until: -1 })
    }

    /// A child that keeps only `kept`, until `until` is at its end.
    pub(super) fn holding(kept: &OwnedFd, until: &OwnedFd) -> io::Result<Self> {
        extern "C" fn hold(held: *mut c_void) -> ! {
            // SAFETY: `start` has put it where nothing else of this stack comes.
            let Held { kept, until } = unsafe { held.cast::<Held>().read() };
            let (low, high) = (kept.min(until), kept.max(until));
            // SAFETY: this process' own descriptors; those between the two kept are used by nothing in it. That none
            // can be closed has no remedy here, and no harm but a descriptor kept open.
            unsafe {
                if low > 3 {
                    let _closed = call!(libc::SYS_close_range, 3, low - 1);
                }
                if high > low + 1 {
                    let _closed = call!(libc::SYS_close_range, low + 1, high - 1);
                }
                let _closed = call!(libc::SYS_close_range, high + 1, u32::MAX);
            }
            let mut byte = 0_u8;
            // SAFETY: `byte` is this function's own; interrupted by a signal that does not end it, it waits on.
            while unsafe { call!(libc::SYS_read, until, &raw mut byte, 1_usize) }
                == Err(libc::EINTR)
            {}
            // SAFETY: ends this process without running anything of the monitor's.
            let _never = unsafe { call!(libc::SYS_exit_group) };
            unreachable!("exit_group does not come back")
        }
        Self::start(0, hold, Held { kept: kept.as_raw_fd(), until: until.as_raw_fd() })
    }

    fn start(kinds: i32, body: extern "C" fn(*mut c_void) -> !, held: Held) -> io::Result<Self> {
        let stack = Stack::new()?;
        let mut pidfd: i32 = -1;
        let mut args = stack.args(kinds);
        args.pidfd = &raw mut pidfd as u64;
        args.stack_size -= 64;
        // SAFETY: the uppermost bytes of the stack, which the child's own begins below.
        let place = unsafe { stack.0.byte_add(STACK - 64) };
        // SAFETY: as above; 64 bytes are enough for two numbers, and aligned.
        unsafe { place.cast::<Held>().write(held) };
        // SAFETY: the stack lives until the child is reaped; `body` keeps to raw system calls.
        let pid = unsafe { clone3(&raw const args, body, place) }?;
        // SAFETY: the kernel has just put a new descriptor there.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Self { pid, pidfd, stack: Some(stack) })
    }

    /// Ends and reaps it.
    pub(super) fn end(self) -> io::Result<()> {
        signal(&self.pidfd, libc::SIGKILL)?;
        self.wait()
    }

    /// Waits for its end and reaps it.
    pub(super) fn wait(mut self) -> io::Result<()> {
        let result = wait(&self.pidfd);
        if result.is_err() {
            // Perhaps it runs still: its stack stays.
            std::mem::forget(self.stack.take());
        }
        result
    }

    /// Reaps it when it has ended already; otherwise gives it back.
    pub(super) fn reap(mut self) -> Option<Self> {
        match reap(&self.pidfd) {
            Ok(Some(_)) => None,
            Ok(None) => Some(self),
            Err(_) => {
                std::mem::forget(self.stack.take());
                None
            }
        }
    }
}

/// `clone3` whose child runs `body` on the stack of `args`; gives the child's id.
///
/// # Safety
/// `args`, its stack and `data` must be good until the child has ended; see the module for what `body` may do.
unsafe fn clone3(
    args: *const CloneArgs,
    body: extern "C" fn(*mut c_void) -> !,
    data: *mut c_void,
) -> io::Result<u32> {
    let result: isize;
    // SAFETY: the system call changes what is named here and what `args` points to. The child comes back with nothing
    // on its stack and never leaves `body`.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") data,
            in("r13") body,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            inlateout("x0") args => result,
            in("x1") size_of::<CloneArgs>(),
            in("x8") libc::SYS_clone3,
            in("x20") data,
            in("x21") body,
        );
    }
    if result < 0 {
        return Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL)));
    }
    u32::try_from(result).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The monitor has one thread, and so have these tests' children: nothing of theirs is used by another test.
    #[test]
    fn a_child_works_in_our_memory_and_its_descriptors_are_its_own() {
        let mut seen = Vec::new();
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let pid = run(None, || {
            seen.push(format!("{:?}", std::fs::File::open("/dev/null").map(std::mem::forget)));
            std::process::id()
        });
        let pid = pid.unwrap().unwrap();
        assert_ne!(pid, std::process::id());
        assert_eq!(seen, ["Ok(())"]);
        assert_eq!(std::fs::read_dir("/proc/self/fd").unwrap().count(), before);
    }

    #[test]
    fn a_child_that_is_killed_has_no_result() {
        let none = run(None, || {
            // SAFETY: ends the calling process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        });
        assert!(none.unwrap().is_none());
    }

    #[test]
    fn a_program_is_executed_from_our_memory_and_ends_by_itself() {
        let argv = [c"sh".as_ptr(), c"-c".as_ptr(), c"exit 7".as_ptr(), std::ptr::null()];
        let mut begun = 0;
        let (pid, pidfd) = until_exec(0, None, || {
            begun = std::process::id();
            // SAFETY: NUL-terminated texts in a NULL-terminated list, which live through the call.
            unsafe { libc::execv(c"/bin/sh".as_ptr(), argv.as_ptr()) };
            // SAFETY: ends this process without running anything of the parent's.
            unsafe { libc::_exit(127) }
        })
        .unwrap();
        assert_eq!(begun, pid);
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        assert_eq!(reap(&pidfd).unwrap(), Some((Some(7), None)));
    }

    #[test]
    fn waiting_ones_wait_until_they_are_ended_or_let_go() {
        let idle = Waiting::idle(0).unwrap();
        assert_ne!(idle.pid, 0);
        let idle = idle.reap().expect("it waits");
        idle.end().unwrap();
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (kept, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let holding = Waiting::holding(&held, &read).unwrap();
        drop(held);
        let mut fds = [rustix::event::PollFd::new(&kept, rustix::event::PollFlags::IN)];
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&zero)).unwrap(), 0, "the child holds it");
        drop(write);
        holding.wait().unwrap();
        assert_eq!(rustix::event::poll(&mut fds, Some(&zero)).unwrap(), 1, "let go by its end");
    }
}
