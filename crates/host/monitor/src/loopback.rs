//! The loopback interface of a new network namespace, taken up by who is in it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// A new namespace has no other interface, and Linux gives it this number (`LOOPBACK_IFINDEX`).
const LOOPBACK: i32 = 1;
/// `struct nlmsghdr` and `struct ifinfomsg` (rtnetlink(7)).
const LENGTH: usize = 32;

/// Takes it up; gives the netlink socket that has done it. A socket belongs to the namespace it was made in, whoever uses
/// it: with this one the daemon need not come here.
///
/// # Errors
/// As the kernel refuses it.
pub(crate) fn up() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    // No protocol is that of routes.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let mut request = [0_u8; LENGTH];
    let up = libc::IFF_UP.cast_unsigned();
    request[0..4].copy_from_slice(&(LENGTH as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    let asks = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    request[6..8].copy_from_slice(&asks.to_ne_bytes());
    request[20..24].copy_from_slice(&LOOPBACK.to_ne_bytes());
    request[24..28].copy_from_slice(&up.to_ne_bytes());
    request[28..32].copy_from_slice(&up.to_ne_bytes());
    send(&socket, &request, SendFlags::empty())?;
    // The kernel has answered within the send: `struct nlmsghdr`, the error, and what was asked.
    let mut answer = [0_u8; 20 + LENGTH];
    let (got, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let error = answer[..got].get(16..20).and_then(|bytes| bytes.try_into().ok());
    match error.map(i32::from_ne_bytes) {
        Some(0) => Ok(socket),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
