//! One JSON text and some descriptors in one SEQPACKET message.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::MAX_PACKET;

/// Most descriptors in one message.
pub const MAX_FDS: usize = 6;

/// Of the buffer, bytes that stay used.
const KEPT: usize = 32 * 1024;

thread_local! {
    /// Room for the longest message, of which the kernel gives only the pages that messages have come to: to ask for the
    /// length first would be a second call for each.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A text and its descriptors, as received.
#[derive(Debug)]
pub struct Packet {
    pub text: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

impl Packet {
    /// Reads the text.
    ///
    /// # Errors
    /// It is not what is expected.
    pub fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.text).map_err(io::Error::from)
    }
}

/// Sends one message; does not block on a non-blocking socket.
///
/// # Errors
/// Too long, `WouldBlock`, or the peer is gone.
pub fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    send_text(socket, &text, fds)
}

/// As [`send`], of a text made before.
///
/// # Errors
/// As [`send`].
pub fn send_text(socket: impl AsFd, text: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if text.len() > MAX_PACKET || fds.len() > MAX_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "message of {} bytes is longer than {MAX_PACKET}: shorten the node's environment or arguments",
                text.len()
            ),
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("descriptors do not fit in the message"));
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(&socket, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Receives one message; `None` is the end of the connection.
///
/// # Errors
/// `WouldBlock`, or a message that is too long or cut.
pub fn receive(socket: impl AsFd) -> io::Result<Option<Packet>> {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.is_empty() {
            // Zeroes that are asked for are pages that nobody has touched; `resize` would write them.
            *buffer = vec![0; MAX_PACKET];
        }
        let packet = receive_into(buffer, socket);
        if packet.as_ref().is_ok_and(|p| p.as_ref().is_some_and(|p| p.text.len() > KEPT)) {
            *buffer = Vec::new();
        }
        packet
    })
}

fn receive_into(buffer: &mut [u8], socket: impl AsFd) -> io::Result<Option<Packet>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("message is too long or has too many descriptors"));
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    Ok(Some(Packet { text: buffer[..got.bytes].to_vec(), fds }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn a_text_and_a_descriptor_arrive_together_and_the_end_is_seen() {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        send(&a, &vec![1, 2, 3], &[a.as_fd()]).unwrap();
        let packet = receive(&b).unwrap().unwrap();
        assert_eq!(packet.parse::<Vec<i32>>().unwrap(), [1, 2, 3]);
        assert_eq!(packet.fds.len(), 1);
        drop(packet);
        drop(a);
        assert!(receive(&b).unwrap().is_none());
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_before_it_is_sent() {
        let (a, _b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        let error = send(&a, &"x".repeat(MAX_PACKET), &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
