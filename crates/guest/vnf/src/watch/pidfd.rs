//! Holding a process that is not our child, and learning how it ended.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::process::{Pid, PidfdFlags};
use serde::{Deserialize, Serialize};
pub(crate) use vnode_processes::watched;

use super::proc;

/// How a process ended, as far as the kernel tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

impl Ended {
    fn of(status: u32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 {
            Self { code: Some(((status >> 8) & 0xff).cast_signed()), signal: None }
        } else {
            Self { code: None, signal: Some(signal.cast_signed()) }
        }
    }

    /// Neither is known on kernels before 6.15.
    pub(crate) fn is_known(self) -> bool {
        self.code.is_some() || self.signal.is_some()
    }
}

/// A descriptor of the process `pid`, if it is still the one that started at `start`.
pub(crate) fn open(pid: i32, start: u64) -> io::Result<OwnedFd> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let pid = Pid::from_raw(pid).ok_or_else(gone)?;
    let held = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // From here the number cannot be given away without the descriptor telling.
    match proc::stat(pid.as_raw_nonzero().get()) {
        Some(stat) if stat.start == start => Ok(held),
        _ => Err(gone()),
    }
}

/// `struct pidfd_info` of `linux/pidfd.h`, its first version.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit: i32,
}

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: u64 = 0xC040_FF0B;
const INFO_EXIT: u64 = 1 << 3;

/// How the process ended whose descriptor has become readable.
pub(crate) fn ended(held: &OwnedFd, pid: i32, start: u64) -> Ended {
    // Not reaped yet: its status lies in /proc, for those who may look.
    if let Some(stat) = proc::stat(pid).filter(|stat| stat.start == start && stat.state == b'Z')
        && stat.exit != 0
    {
        return Ended::of(stat.exit);
    }
    let mut info = Info { mask: INFO_EXIT, ..Info::default() };
    // SAFETY: the kernel reads and writes a struct of 64 bytes, which the request's number says and `Info` has.
    let result = unsafe { libc::ioctl(held.as_raw_fd(), GET_INFO, &raw mut info) };
    if result == 0 && info.mask & INFO_EXIT != 0 {
        return Ended::of(info.exit.cast_unsigned());
    }
    // A zombie whose status reads 0 has either exited so, or we may not look.
    let zombie = proc::stat(pid).filter(|stat| stat.start == start && stat.state == b'Z');
    if zombie.is_some() && rustix::process::geteuid().is_root() {
        return Ended { code: Some(0), signal: None };
    }
    Ended::default()
}
