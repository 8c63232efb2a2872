//! A terminal made in the node's own devpts.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use vnode_monitor::packet;

use super::beneath::Root;
use crate::console;
use crate::fail::{Doing, Result, checked};

/// Makes a terminal and sends its master end to the monitor; gives the end for the program.
pub(super) fn make(root: &Root, (rows, cols): (u16, u16), status: &OwnedFd) -> Result<OwnedFd> {
    let what = || "make the terminal";
    let master = root.open("/dev/pts/ptmx", OFlags::RDWR | OFlags::NOCTTY).doing(what)?;
    rustix::pty::unlockpt(&master).doing(what)?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: plain ioctl on an open descriptor; by it the other end is had without a path, which the node
    // might have put something else at.
    let slave =
        checked(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())
            .doing(what)?;
    let slave = i32::try_from(slave).doing(what)?;
    // SAFETY: the kernel has just given this descriptor.
    let slave = unsafe { OwnedFd::from_raw_fd(slave) };
    if rows > 0 && cols > 0 {
        console::set_size(&master, rows, cols).doing(what)?;
    }
    packet::send_text(status, b"P", &[master.as_fd()]).doing(what)?;
    Ok(slave)
}
