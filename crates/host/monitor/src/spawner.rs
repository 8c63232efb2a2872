//! The spawner: forks one monitor for each request, and forgets it. The next one is forked already when a request comes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vnode_monitor::packet;
use vnode_monitor::wire::{Net, Spawn};

use crate::fail::{Doing, Fail, Result};
use crate::{child, monitor};

/// Serves until the daemon is gone.
pub(crate) fn run(socket: OwnedFd) -> ! {
    // What ends this process is the end of the daemon's connection; each monitor has signals and file mode mask as
    // they are here.
    monitor::heed_no_signals();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    // SAFETY: ignoring SIGCHLD needs no handler; monitors that end are then reaped by the kernel.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    // A node's programs, once they are in its process namespace but before their exec, are this program:
    // the node must not be able to look into it.
    // SAFETY: changes an attribute of this process only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    // Only for those who list processes; a process without the name works as well.
    let _ = rustix::thread::set_name(c"vnode-spawner");
    child::learn_favour();
    // Without them each monitor makes its own.
    let _ = child::reserve();
    let mut socket = Some(socket);
    let mut spare = None;
    loop {
        let held = socket.as_ref().expect("given away only by a child, which does not come back");
        match packet::receive(held) {
            Ok(Some(packet)) => {
                hand_on(&mut socket, spare.take(), packet);
                spare = fork_spare(&mut socket);
            }
            Ok(None) => std::process::exit(0),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => std::process::exit(0),
            // A message that is not understood has no one to be answered to: its descriptors are closed,
            // which the daemon sees as the end of the connection it passed along.
            Err(_) => {}
        }
    }
}

/// Gives a request to the monitor that waits for one, or to a new one.
fn hand_on(socket: &mut Option<OwnedFd>, spare: Option<OwnedFd>, packet: packet::Packet) {
    if let Some(spare) = spare {
        let fds: Vec<BorrowedFd<'_>> = packet.fds.iter().map(AsFd::as_fd).collect();
        if packet::send_text(&spare, &packet.text, &fds).is_ok() {
            return;
        }
        // Somebody ended it.
    }
    // SAFETY: this process has one thread, so the child may go on as an ordinary program.
    if unsafe { libc::fork() } != 0 {
        // Parent. A failed fork too is seen by the daemon as the end of the connection it passed along.
        return;
    }
    drop(socket.take());
    become_monitor(packet)
}

/// Forks the next monitor before anybody asks for it; gives the socket on which it waits for its request. At its end it
/// ends too. Where this fails the next request forks its own.
fn fork_spare(socket: &mut Option<OwnedFd>) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()?;
    // SAFETY: as above.
    match unsafe { libc::fork() } {
        0 => {}
        -1 => return None,
        _ => return Some(ours),
    }
    drop((socket.take(), ours));
    match packet::receive(&theirs) {
        Ok(Some(packet)) => {
            drop(theirs);
            become_monitor(packet)
        }
        // SAFETY: ends this process without running anything of the parent's.
        Ok(None) | Err(_) => unsafe { libc::_exit(0) },
    }
}

fn become_monitor(packet: packet::Packet) -> ! {
    let code = match start(packet) {
        Ok(()) => 0,
        Err(Fail(_)) => 1,
    };
    // SAFETY: ends this process without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

fn start(packet: packet::Packet) -> Result<()> {
    let spawn: Spawn = packet.parse().doing(|| "read the request")?;
    let mut fds = packet.fds.into_iter();
    let (Some(dir), Some(first)) = (fds.next(), fds.next()) else {
        return Err(Fail("the request lacks descriptors".to_owned()));
    };
    let join = match spawn.net {
        Net::Join => fds.next(),
        Net::Own | Net::Host => None,
    };
    monitor::run(&spawn, dir, first, join)
}

/// Keeps `fds` and the standard streams; closes all else that was inherited.
pub(crate) fn close_all_but(fds: &mut [BorrowedFd<'_>]) {
    use std::os::fd::AsRawFd;
    fds.sort_by_key(AsRawFd::as_raw_fd);
    let mut from = 3_u32;
    for fd in fds.iter() {
        let fd = fd.as_raw_fd().cast_unsigned();
        if fd > from {
            // SAFETY: only descriptors that nothing in this process owns lie between those kept.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd + 1;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, 0) };
}
