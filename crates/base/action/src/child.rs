//! The child's whole life in our memory: see `clone` for what it must not do.
#![allow(unsafe_code)]

use std::{
    convert::Infallible,
    ffi::{c_int, c_void},
    ptr,
};

use vnode_raw::{Outcome, call};

use crate::{
    clone::{Borrowed, Stage},
    sandbox,
};

/// What the child does. Never returns.
pub(crate) extern "C" fn main(given: *mut c_void) -> c_int {
    // SAFETY: `start` gave a pointer to its `Borrowed`, which nobody changes and which lives until we are gone.
    let borrowed = unsafe { &*given.cast_const().cast::<Borrowed>() };
    let Err((stage, errno)) = become_program(borrowed);
    borrowed.fail(stage, errno);
    loop {
        // SAFETY: ends this process at once, without the exit handlers that are not ours.
        let _never = unsafe { call!(libc::SYS_exit_group, 127) };
    }
}

/// What was done last, and the kernel's error.
type Failed = (Stage, c_int);

fn at(stage: Stage) -> impl Fn(c_int) -> Failed {
    move |errno| (stage, errno)
}

/// Makes a system call, and gives the stage up when it fails.
macro_rules! must {
    ($stage:ident, $($word:expr),+) => {
        // SAFETY: made by the child for itself alone, with pointers into what it was lent or to what lives through the call.
        unsafe { call!($($word),+) }.map_err(at(Stage::$stage))?
    };
}

/// Returns only when something failed. Nothing here may allocate, lock or panic.
fn become_program(borrowed: &Borrowed) -> Result<Infallible, Failed> {
    let image = &borrowed.image;
    reset_handlers();
    if image.own_session {
        must!(Session, libc::SYS_setsid);
    } else if image.own_group {
        must!(Session, libc::SYS_setpgid, 0, 0);
    }
    for procs in &borrowed.groups {
        must!(Cgroup, libc::SYS_write, *procs, c"0".as_ptr(), 1);
    }
    let mut next = 0;
    for (descriptor, number) in &borrowed.descriptors {
        // Whatever lies between two given numbers is closed too.
        if *number > next {
            close_range(next, *number - 1).map_err(at(Stage::Descriptors))?;
        }
        must!(Descriptors, libc::SYS_dup3, *descriptor, *number, 0);
        next = *number + 1;
    }
    close_range(next, c_int::MAX).map_err(at(Stage::Descriptors))?;
    if image.terminal {
        must!(Terminal, libc::SYS_ioctl, 0, libc::TIOCSCTTY as u32, 0);
    }
    for limit in &image.limits {
        let value = libc::rlimit64 { rlim_cur: limit.value, rlim_max: limit.value };
        let (resource, before) = (limit.resource as u32, ptr::null_mut::<c_void>());
        must!(Limits, libc::SYS_prlimit64, 0, resource, &raw const value, before);
    }
    if let Some(confined) = &image.confined {
        sandbox::confine(confined).map_err(at(Stage::Sandbox))?;
    }
    if let Some(user) = &image.user {
        let (uid, gid) = (user.uid, user.gid);
        must!(User, libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr());
        must!(User, libc::SYS_setresgid, gid, gid, gid);
        must!(User, libc::SYS_setresuid, uid, uid, uid);
    }
    if let Some(confined) = &image.confined {
        sandbox::give_up(confined).map_err(at(Stage::Sandbox))?;
    }
    if let Some(folder) = &image.folder {
        must!(Folder, libc::SYS_chdir, folder.as_ptr());
    }
    let (none, before) = (0_u64, ptr::null_mut::<u64>());
    must!(Exec, libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, before, SIGNAL_SET);
    let (argv, environment) = (borrowed.argv.as_ptr(), borrowed.environment.as_ptr());
    must!(Exec, libc::SYS_execve, image.path.as_ptr(), argv, environment);
    Err((Stage::Exec, libc::EINVAL)) // an execve that succeeds does not return
}

/// Bytes of the kernel's set of signals.
const SIGNAL_SET: usize = 8;

/// Handlers of ours must not run in the child, and what we ignore (SIGPIPE) the program does not.
fn reset_handlers() {
    // The kernel's `struct sigaction` all zero is the default handler.
    let default = [0_u64; 4];
    for signal in 1..=64 {
        let before = ptr::null_mut::<c_void>();
        // SAFETY: plain memory of the right size.
        let set =
            unsafe { call!(libc::SYS_rt_sigaction, signal, default.as_ptr(), before, SIGNAL_SET) };
        // KILL and STOP are refused, which is right.
        let _ = set;
    }
}

/// Closes the descriptors from `first` to `last`; needs Linux 5.9.
fn close_range(first: c_int, last: c_int) -> Outcome {
    // SAFETY: the child's own descriptor table; what is closed is used no more.
    unsafe { call!(libc::SYS_close_range, first, last, 0) }
}
