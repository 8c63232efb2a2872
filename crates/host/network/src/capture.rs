//! Frames of an interface as a pcap file.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::{Error, Ns, Result};

/// Most bytes of a frame: as tcpdump keeps.
const SNAPLEN_MAX: u32 = 262_144;
/// Kernel-side buffer: about 5,000 full frames.
const QUEUE: i32 = 16 << 20;
/// Bytes gathered before the reader is given them, while frames keep coming.
const GATHER: usize = 256 * 1024;
/// Header of a classic pcap file with nanosecond times, in this machine's byte order.
const MAGIC: u32 = 0xa1b2_3c4d;
/// `LINKTYPE_ETHERNET`, `LINKTYPE_RAW` of the pcap registry.
const ETHERNET: u32 = 1;
const RAW_IP: u32 = 101;
/// `PACKET_STATISTICS`, `PACKET_AUXDATA` of `linux/if_packet.h`.
const STATISTICS: i32 = 6;
const AUXILIARY: i32 = 8;
/// `TP_STATUS_VLAN_VALID`, `TP_STATUS_VLAN_TPID_VALID`.
const TAG_VALID: u32 = 1 << 4;
const TAG_KIND_VALID: u32 = 1 << 6;

/// What to capture.
#[derive(Debug, Clone)]
pub struct CaptureSpec {
    pub interface: String,
    /// Bytes kept of each frame; 0 is all (262,144).
    pub snaplen: u32,
}

/// A running capture. Reading gives a classic pcap file with nanosecond times, file header first; it blocks until there are
/// frames and ends (0 bytes) when a [`Stopper`] says so or the interface goes.
#[derive(Debug)]
pub struct Capture {
    ns: Ns,
    interface: String,
    socket: OwnedFd,
    stopper: Stopper,
    snaplen: usize,
    frame: Vec<u8>,
    /// Bytes of the file not yet read, from `given` on.
    ready: Vec<u8>,
    given: usize,
    ended: bool,
    counts: CaptureCounts,
}

/// Ends a capture from another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    event: Arc<OwnedFd>,
}

impl Stopper {
    /// Makes the capture's reader return what it has, and then the end.
    pub fn stop(&self) {
        // Fails only when the counter is full, which means that it was stopped before.
        let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
    }
}

/// How many frames were seen and how many were lost because they were not read in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    pub received: u64,
    pub dropped: u64,
}

impl Capture {
    /// Starts to capture in both directions; frames are kept by the kernel from now on.
    ///
    /// # Errors
    /// [`Error::NoInterface`]; [`Error::Socket`].
    pub fn open(ns: &Ns, spec: &CaptureSpec) -> Result<Capture> {
        let index = ns.need(&spec.interface)?;
        let snaplen = match spec.snaplen {
            0 => SNAPLEN_MAX,
            bytes => bytes.min(SNAPLEN_MAX),
        };
        let wrap =
            |source| Error::Socket { what: format!("frames of `{}`", spec.interface), source };
        let socket = ns.visit(move || open_socket(index)).map_err(wrap)?;
        let link_type = link_type(&socket).map_err(wrap)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let event = event.map_err(|error| wrap(error.into()))?;
        let mut ready = Vec::new();
        for number in [MAGIC, 4 << 16 | 2, 0, 0, snaplen, link_type] {
            ready.extend_from_slice(&number.to_ne_bytes());
        }
        if cfg!(target_endian = "big") {
            ready[4..8].copy_from_slice(&[0, 2, 0, 4]);
        }
        Ok(Capture {
            ns: ns.clone(),
            interface: spec.interface.clone(),
            socket,
            stopper: Stopper { event: Arc::new(event) },
            snaplen: snaplen as usize,
            frame: vec![0; snaplen as usize],
            ready,
            given: 0,
            ended: false,
            counts: CaptureCounts::default(),
        })
    }

    /// A handle that ends the capture.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Counts since the start.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn counts(&mut self) -> io::Result<CaptureCounts> {
        // The kernel sets its counters to zero when they are read.
        let mut values = [0u32; 2];
        let mut length = size_of_val(&values) as libc::socklen_t;
        // SAFETY: `values` is as long as `length` says, and is a struct tpacket_stats: packets, drops.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                STATISTICS,
                values.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        self.counts.received += u64::from(values[0]);
        self.counts.dropped += u64::from(values[1]);
        Ok(self.counts)
    }

    /// Waits for frames or the end, and appends what there is.
    fn gather(&mut self) -> io::Result<()> {
        let mut wanted = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::from_borrowed_fd(self.stopper.event.as_fd(), PollFlags::IN),
        ];
        match poll(&mut wanted, None) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other?,
        };
        // What arrived before the stop is still given.
        self.ended |= !wanted[1].revents().is_empty();
        while self.ready.len() < GATHER {
            match self.receive() {
                Ok(true) => {}
                Ok(false) => break,
                // The interface went down; when it is gone too, nothing will come any more.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                    let gone = self.ns.has_interface(&self.interface).map_err(io::Error::other)?;
                    self.ended |= !gone;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends one frame; `false` when there is none.
    fn receive(&mut self) -> io::Result<bool> {
        let mut part =
            libc::iovec { iov_base: self.frame.as_mut_ptr().cast(), iov_len: self.frame.len() };
        let mut control = [0u64; 16];
        // SAFETY: all zero is a valid msghdr.
        let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        // SAFETY: the header points to buffers of the lengths it says, which live through the call.
        let length = unsafe {
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, flags)
        };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => Err(error),
            };
        };
        let (seconds, nanoseconds, tag) = read_control(&header);
        let kept = length.min(self.frame.len());
        let frame = &self.frame[..kept];
        // The kernel takes the outermost VLAN tag out of the frame; the file has it where it was.
        let (before, tag, after) = match &tag {
            Some(tag) if kept >= 12 => (&frame[..12], &tag[..], &frame[12..]),
            _ => (frame, &[][..], &[][..]),
        };
        let included = (kept + tag.len()).min(self.snaplen);
        let length = length + tag.len();
        for number in [seconds, nanoseconds, included as u32, length as u32] {
            self.ready.extend_from_slice(&number.to_ne_bytes());
        }
        let start = self.ready.len();
        for part in [before, tag, after] {
            self.ready.extend_from_slice(part);
        }
        self.ready.truncate(start + included);
        Ok(true)
    }
}

impl Read for Capture {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() {
            if self.ended {
                return Ok(0);
            }
            self.ready.clear();
            self.given = 0;
            self.gather()?;
        }
        let count = buffer.len().min(self.ready.len() - self.given);
        buffer[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

fn open_socket(index: u32) -> io::Result<OwnedFd> {
    // Without a protocol it receives nothing until it is bound to its interface.
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the descriptor is owned from here on.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just made, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    for (level, option, value) in [
        (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, QUEUE),
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1),
        (libc::SOL_PACKET, AUXILIARY, 1),
    ] {
        crate::netlink::set_option(&socket, level, option, value)?;
    }
    // SAFETY: all zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the address is a sockaddr_ll of the length given.
    let done = unsafe {
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// Kind of frames the bound interface has.
fn link_type(socket: &OwnedFd) -> io::Result<u32> {
    // SAFETY: all zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is as long as `length` says.
    let done = unsafe {
        libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length)
    };
    match (done, address.sll_hatype) {
        (0, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK) => Ok(ETHERNET),
        (0, _) => Ok(RAW_IP),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Time (seconds, nanoseconds) and VLAN tag of a received frame.
fn read_control(header: &libc::msghdr) -> (u32, u32, Option<[u8; 4]>) {
    let (mut seconds, mut nanoseconds, mut tag) = (0, 0, None);
    // SAFETY: the kernel has filled the control buffer of this header, and the macros walk it within its length.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            let data = libc::CMSG_DATA(found);
            match (found.cmsg_level, found.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time: libc::timespec = data.cast::<libc::timespec>().read_unaligned();
                    // 32 bits of seconds are what the file format has.
                    seconds = time.tv_sec as u32;
                    nanoseconds = time.tv_nsec as u32;
                }
                (libc::SOL_PACKET, AUXILIARY) => {
                    // struct tpacket_auxdata: status, len, snaplen (32 bits), mac, net, vlan_tci, vlan_tpid (16 bits).
                    let status = data.cast::<u32>().read_unaligned();
                    let tci = data.add(16).cast::<u16>().read_unaligned();
                    let kind = data.add(18).cast::<u16>().read_unaligned();
                    let kind = if status & TAG_KIND_VALID != 0 { kind } else { 0x8100 };
                    if status & TAG_VALID != 0 {
                        let [a, b] = kind.to_be_bytes();
                        let [c, d] = tci.to_be_bytes();
                        tag = Some([a, b, c, d]);
                    }
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, found);
        }
    }
    (seconds, nanoseconds, tag)
}
