//! Being told when links and addresses change, instead of looking again and again.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{self, AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::KernelError;

/// Links, IPv4 and IPv6 addresses. A bit for each group, from `linux/rtnetlink.h`.
const GROUPS: u32 =
    (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;

/// A socket that becomes readable when a link or an address of this namespace was made, changed or removed.
///
/// # Errors
/// When the kernel gives no such socket.
pub fn changes() -> Result<OwnedFd, KernelError> {
    let open = || -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // NETLINK_ROUTE is protocol 0.
        let fd = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        net::bind(&fd, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(fd)
    };
    open().map_err(KernelError::io("watch the network interfaces"))
}

/// Takes what has come to the socket of [`changes`]: when it is readable again, something has changed since. What it
/// was does not matter, nor whether the kernel dropped some of it: the caller looks at all.
///
/// # Errors
/// When the socket is broken.
pub fn take_changes(socket: impl AsFd) -> Result<(), KernelError> {
    let mut buffer = [0; 512];
    loop {
        // A message that is longer is cut, and gone all the same.
        match net::recv(&socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(KernelError::io("read what changed")(errno.into())),
        }
    }
}
