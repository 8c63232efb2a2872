//! A netlink socket: sends batches, collects refusals, reads answers. Blocking, but the kernel answers within the send, so
//! it never sleeps in practice.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Refused;
use super::message::Batch;
use super::read::{self, Header, Messages};

/// Bytes of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// One send is cut at the first message past this: the kernel copies a send into one buffer.
const SEND_TARGET: usize = 60_000;
/// Answers arrive in pieces of at most 32 KiB (`NLMSG_GOODSIZE` and dumps).
const RECEIVE: usize = 64 * 1024;
/// Kernel-side queue of answers: room for a refusal of each message of a send.
const QUEUE: i32 = 4 << 20;
/// Longest wait for an answer that should be there already.
const PATIENCE: Duration = Duration::from_secs(10);

/// One message that the kernel refused.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Its number in the batch; `None` when the refusal cannot be laid to one message.
    pub(crate) index: Option<usize>,
    pub(crate) what: String,
    pub(crate) refused: Refused,
}

/// A netlink socket, in the namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket of `protocol` (`NETLINK_ROUTE`, `NETLINK_NETFILTER`) subscribed to the multicast groups of the bit mask.
    pub(crate) fn open(protocol: i32, groups: u32) -> io::Result<Socket> {
        let protocol = u32::try_from(protocol).ok().and_then(std::num::NonZeroU32::new);
        let fd = net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol.map(net::Protocol::from_raw),
        )?;
        net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        Socket::of(fd)
    }

    /// Takes over a socket that somebody else has opened, whose answers have all been read.
    pub(crate) fn of(fd: OwnedFd) -> io::Result<Socket> {
        for option in [libc::NETLINK_CAP_ACK, libc::NETLINK_EXT_ACK] {
            set_option(&fd, libc::SOL_NETLINK, option, 1)?;
        }
        for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
            set_option(&fd, libc::SOL_SOCKET, option, QUEUE)?;
        }
        Ok(Socket { fd, sequence: 0 })
    }

    /// Sends a batch, in as few sends as its size asks for, and returns what was refused. Messages after a refused one are
    /// tried all the same.
    ///
    /// # Errors
    /// When the conversation itself fails; how far the batch got is then unknown.
    pub(crate) fn run(&mut self, batch: &Batch) -> io::Result<Vec<Failure>> {
        let mut failures = Vec::new();
        let mut first = 0;
        while first < batch.entries.len() {
            let begin = batch.entries[first].start;
            let end = (first + 1..batch.entries.len())
                .find(|at| {
                    let entry = &batch.entries[*at];
                    entry.start - begin >= SEND_TARGET && !entry.joined
                })
                .unwrap_or(batch.entries.len());
            self.run_range(batch, first, end, &mut failures)?;
            first = end;
        }
        Ok(failures)
    }

    /// As [`Socket::run`] but in one send, whatever its size: nftables takes a transaction whole. The batch is framed by the
    /// begin and end messages of a transaction.
    pub(crate) fn run_transaction(&mut self, batch: &Batch) -> io::Result<Vec<Failure>> {
        let mut failures = Vec::new();
        if !batch.is_empty() {
            self.run_range(batch, 0, batch.entries.len(), &mut failures)?;
        }
        Ok(failures)
    }

    fn run_range(
        &mut self,
        batch: &Batch,
        first: usize,
        end: usize,
        failures: &mut Vec<Failure>,
    ) -> io::Result<()> {
        let base = self.sequence.wrapping_add(1);
        self.send(batch, first, end)?;
        let framed = batch.transaction;
        // The last message asks for an answer in any case; in a transaction that is the one before its end.
        let last = (end - first - 1 - usize::from(framed)) as u32;
        let mut finished = false;
        while !finished {
            self.receive(|header, body| {
                if i32::from(header.kind) != libc::NLMSG_ERROR {
                    return;
                }
                let offset = header.sequence.wrapping_sub(base);
                if offset as usize >= end - first {
                    return; // an answer to an earlier request that was given up
                }
                finished |= offset == last || (framed && offset == 0);
                let Some(refused) = read::refusal(header, body) else { return };
                let index = first + offset as usize;
                let entry = &batch.entries[index];
                if !entry.tolerated.contains(&refused.errno) {
                    let index = (!framed || offset > 0).then_some(index);
                    failures.push(Failure { index, what: entry.what.clone(), refused });
                }
            })?;
        }
        Ok(())
    }

    /// Sends one request and hands every message of its answer to `each`; ends at the end of a dump or at the first answer.
    pub(crate) fn ask(
        &mut self,
        batch: &Batch,
        mut each: impl FnMut(u16, &[u8]),
    ) -> io::Result<Result<(), Refused>> {
        let sequence = self.sequence.wrapping_add(1);
        self.send(batch, 0, 1)?;
        let mut outcome = None;
        while outcome.is_none() {
            self.receive(|header, body| {
                if header.sequence != sequence || outcome.is_some() {
                    return;
                }
                match i32::from(header.kind) {
                    libc::NLMSG_ERROR => {
                        outcome = Some(read::refusal(header, body).map_or(Ok(()), Err));
                    }
                    // The end of a dump carries an error number of its own.
                    libc::NLMSG_DONE => {
                        outcome = Some(match read::parse_u32(body).unwrap_or(0) as i32 {
                            0 => Ok(()),
                            number => Err(Refused { errno: number.wrapping_neg(), text: None }),
                        });
                    }
                    _ => {
                        each(header.kind, body);
                        if header.flags & libc::NLM_F_MULTI as u16 == 0 {
                            outcome = Some(Ok(()));
                        }
                    }
                }
            })?;
        }
        Ok(outcome.expect("the loop ends with an outcome"))
    }

    /// Waits for the next notification and hands its messages to `each`. `false` when `deadline` passed first.
    ///
    /// # Errors
    /// `ENOBUFS` when notifications were lost: look at the state itself.
    pub(crate) fn wait(
        &mut self,
        deadline: Instant,
        each: impl FnMut(Header, &[u8]),
    ) -> io::Result<bool> {
        if !self.poll(deadline)? {
            return Ok(false);
        }
        self.receive(each)?;
        Ok(true)
    }

    fn send(&mut self, batch: &Batch, first: usize, end: usize) -> io::Result<()> {
        if batch.overflow {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a value is too long for a netlink attribute",
            ));
        }
        let begin = batch.entries[first].start;
        let stop = batch.entries.get(end).map_or(batch.bytes.len(), |entry| entry.start);
        let mut bytes = batch.bytes[begin..stop].to_vec();
        let last = end - 1 - usize::from(batch.transaction);
        for (index, entry) in batch.entries[first..end].iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let at = entry.start - begin;
            bytes[at + 8..at + 12].copy_from_slice(&self.sequence.to_ne_bytes());
            // A question answers by itself; asking for an acknowledgement as well would leave one behind.
            if first + index == last && !batch.question {
                let flags = u16::from_ne_bytes([bytes[at + 6], bytes[at + 7]]);
                let flags = flags | libc::NLM_F_ACK as u16;
                bytes[at + 6..at + 8].copy_from_slice(&flags.to_ne_bytes());
            }
        }
        let to = SocketAddrNetlink::new(0, 0);
        let sent = net::sendto(&self.fd, &bytes, SendFlags::empty(), &to)?;
        match sent == bytes.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Receives one datagram.
    fn receive(&mut self, mut each: impl FnMut(Header, &[u8])) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(RECEIVE);
        loop {
            let space = rustix::buffer::spare_capacity(&mut buffer);
            match net::recv(&self.fd, space, RecvFlags::DONTWAIT) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    if !self.poll(Instant::now() + PATIENCE)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (header, body) in Messages::new(&buffer) {
            each(header, body);
        }
        Ok(())
    }

    fn poll(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sets a socket option that is a number.
pub(crate) fn set_option(fd: &OwnedFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: `value` lives through the call and its size is what is said.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const _: () = assert!(RECEIVE <= 128 * 1024, "larger buffers would be mapped anew each time");
