//! A netlink socket in the calling thread's network namespace. It blocks, but the kernel answers within the send.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::message::{Message, Request, messages, number32};

/// Answers come in pieces of at most 32 KiB.
const RECEIVE: usize = 32 * 1024;
/// Longest wait for an answer that should be there already.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        let fd = net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is protocol 0.
            None,
        )?;
        net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Asks for everything of a kind and hands each message to `each`.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        fixed: &[u8],
        mut each: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        self.exchange(Request::new(kind, libc::NLM_F_DUMP, fixed), &mut each)
    }

    /// Has something done.
    pub(super) fn change(&mut self, request: Request) -> io::Result<()> {
        self.exchange(request, &mut |_| {})
    }

    fn exchange(&mut self, request: Request, each: &mut dyn FnMut(Message<'_>)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let bytes = request.finish(sequence);
        net::sendto(&self.fd, &bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = Vec::with_capacity(RECEIVE);
        loop {
            self.wait(deadline)?;
            buffer.clear();
            let space = rustix::buffer::spare_capacity(&mut buffer);
            match net::recv(&self.fd, space, RecvFlags::DONTWAIT) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                Err(errno) => return Err(errno.into()),
            }
            for message in messages(&buffer) {
                if message.sequence != sequence {
                    continue;
                }
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        let number = number32(message.body, 0).unwrap_or(0) as i32;
                        return match number {
                            0 => Ok(()),
                            number => Err(io::Error::from_raw_os_error(number.wrapping_neg())),
                        };
                    }
                    _ => {
                        each(message);
                        if message.flags & libc::NLM_F_MULTI as u16 == 0 {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    fn wait(&self, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 5, tv_nsec: 0 });
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
