//! What is asked of the kernel.

use std::io::{self, Write};
use std::os::fd::RawFd;

/// Says what went wrong, as the whole program does; gives the exit code of a failure.
pub(crate) fn fail(text: &str) -> i32 {
    // There is nowhere left to say that saying it failed.
    drop(io::stderr().write_all(format!("error: {text}\n").as_bytes()));
    1
}

/// Repeats a call that a signal has interrupted.
pub(crate) fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(done) => return Ok(done),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

pub(crate) fn read(fd: RawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer lives through the call and is as long as said.
    retry(|| unsafe { libc::read(fd, into.as_mut_ptr().cast(), into.len()) })
}

/// Writes all to a descriptor that blocks.
pub(crate) fn write_all(fd: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: as in `read`.
        let done = retry(|| unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })?;
        bytes = &bytes[done..];
    }
    Ok(())
}

pub(crate) fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: asks about a descriptor.
    unsafe { libc::isatty(fd) == 1 }
}

/// Whether a descriptor is `/dev/null`, which nothing comes from.
pub(crate) fn is_null(fd: RawFd) -> bool {
    // SAFETY: an all-zero `stat` is one, and it lives through the call.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        libc::fstat(fd, &raw mut found) == 0
            && found.st_mode & libc::S_IFMT == libc::S_IFCHR
            && found.st_rdev == libc::makedev(1, 3)
    }
}

/// Waits until one of them is ready.
pub(crate) fn poll(fds: &mut [libc::pollfd]) -> io::Result<()> {
    // SAFETY: the list lives through the call and is as long as said.
    retry(|| unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, -1) as isize })
        .map(drop)
}

/// Has signals come as messages of a descriptor instead of doing what they do.
pub(crate) fn signals(which: &[i32]) -> io::Result<RawFd> {
    // SAFETY: the set is filled before it is used, and lives through the calls.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in which {
            libc::sigaddset(&raw mut set, *signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC)
    };
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// The next signal of such a descriptor.
pub(crate) fn signal(fd: RawFd) -> io::Result<i32> {
    let mut message = [0_u8; size_of::<libc::signalfd_siginfo>()];
    read(fd, &mut message)?;
    // Its first field is the number.
    let [a, b, c, d, ..] = message;
    Ok(u32::from_ne_bytes([a, b, c, d]).cast_signed())
}

/// A writer that has gone is an error to be told of, not the end of this program.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: ignoring a signal needs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
