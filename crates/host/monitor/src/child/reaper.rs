//! The built-in first process: takes in orphans, ends when asked, and does nothing else.

use std::convert::Infallible;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::process::{WaitOptions, wait};
use vnode_monitor::packet;

use crate::fail::{Doing, Result};

pub(super) fn run(status: &OwnedFd, root: BorrowedFd<'_>) -> Result<Infallible> {
    // SAFETY: an all-zero set is a valid value, filled in by sigemptyset at once.
    let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `signals` lives through the calls. Blocked signals are kept for sigwait, also those whose
    // default a first process would not be given.
    unsafe {
        libc::sigemptyset(&raw mut signals);
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGPWR] {
            libc::sigaddset(&raw mut signals, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
    }
    packet::send_text(status, b"R", &[root]).doing(|| "tell the monitor")?;
    // Nothing of the monitor's stays open: from here on the node may do to this process what it likes.
    // SAFETY: no value that owns a descriptor is used again; `status` among them, whose end tells the monitor.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    loop {
        let mut signal = 0;
        // SAFETY: both live through the call.
        unsafe { libc::sigwait(&raw const signals, &raw mut signal) };
        if signal != libc::SIGCHLD {
            // SAFETY: ends this process, and with it the node's process namespace.
            unsafe { libc::_exit(0) }
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}
