//! A terminal made in the node's own devpts.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

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
    send(status, &master).doing(what)?;
    Ok(slave)
}

fn send(status: &OwnedFd, master: &OwnedFd) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [master.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no room for the descriptor"));
    }
    let text = [io::IoSlice::new(b"P")];
    rustix::net::sendmsg(status, &text, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
