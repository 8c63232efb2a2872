//! The last steps of every program in a node: user, streams, folder, exec.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, CWD, Mode, OFlags, ResolveFlags, access, openat2};
use rustix::io::Errno;
use vnode_monitor::packet;
use vnode_monitor::wire::Process;

use super::beneath::Root;
use super::confine;
use super::user::{self, User};
use crate::fail::{Doing, Fail, Result, checked};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Signals as a program expects them, and a session of its own.
pub(super) fn become_session_leader() -> Result<()> {
    // The monitor ignores none, which would stay so through the exec; it holds them back.
    // SAFETY: an empty set is all zeroes.
    let none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives through the call; no old one is asked for.
    let set =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
    checked(set.into()).doing(|| "let signals through")?;
    rustix::process::setsid().map(drop).doing(|| "setsid")
}

/// Finds the user and sees to the working folder while there is still the right to make it.
pub(super) fn prepare_user(root: &Root, process: &Process) -> Result<User> {
    let what = || format!("working folder {}", process.cwd);
    root.ensure_dir(&process.cwd).doing(what)?;
    user::find(root, &process.user)
}

pub(super) fn enter_folder(path: &str) -> Result<()> {
    // Not by the descriptor of before: `.` must be below the root also for one who asks by path. A node may have put a
    // link in its place meanwhile, and through `/proc/self/fd` one would lead to what is still open here.
    let folder = openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    );
    let entered = folder.and_then(|folder| rustix::process::fchdir(&folder));
    entered.doing(|| format!("working folder {path}"))
}

/// Closes all descriptors from 3 on but one. The program is looked up in the node, where a link to `/proc/self/fd/N` would
/// lead to a folder of the host's: to be closed by the exec is too late.
fn close_all_but(kept: &OwnedFd) -> Result<()> {
    let kept = kept.as_raw_fd().cast_unsigned();
    let close = |first: u32, last: u32, flags: u32| {
        if first > last {
            return Ok(());
        }
        // SAFETY: what is closed here is used no more: this process executes a program, or tells by `kept` why it cannot,
        // and ends.
        checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
    };
    close(3, kept.saturating_sub(1), 0)
        .and_then(|()| close(kept + 1, u32::MAX, 0))
        .and_then(|()| close(kept, kept, libc::CLOSE_RANGE_CLOEXEC))
        .doing(|| "close what is not the program's")
}

/// Makes a terminal the program's own.
pub(super) fn use_terminal(terminal: &OwnedFd, user: &User) -> Result<()> {
    let what = || "use the terminal";
    let uid = rustix::fs::Uid::from_raw(user.uid);
    rustix::fs::fchown(terminal, Some(uid), None).doing(what)?;
    rustix::process::ioctl_tiocsctty(terminal).doing(what)?;
    duplicate([terminal, terminal, terminal]).doing(what)
}

/// Makes three streams the program's own, openable again by its user through `/dev/stdout` and its like.
pub(super) fn use_streams(streams: [&OwnedFd; 3], user: &User) -> Result<()> {
    if user.uid != 0 {
        for stream in streams {
            let mode = rustix::fs::fstat(stream).doing(|| "use the streams")?.st_mode;
            if rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Fifo {
                let (uid, gid) =
                    (rustix::fs::Uid::from_raw(user.uid), rustix::fs::Gid::from_raw(user.gid));
                rustix::fs::fchown(stream, Some(uid), Some(gid)).doing(|| "use the streams")?;
            }
        }
    }
    duplicate(streams).doing(|| "use the streams")
}

fn duplicate(streams: [&OwnedFd; 3]) -> io::Result<()> {
    for (number, stream) in streams.into_iter().enumerate() {
        // SAFETY: replaces a standard stream of this process; all three of `streams` are above them, as
        // the standard streams are open throughout.
        checked(unsafe { libc::dup2(stream.as_raw_fd(), number as i32) }.into())?;
    }
    Ok(())
}

/// Confines this process and executes the program. The monitor is given what is in `told`.
pub(super) fn execute(
    process: &Process,
    user: &User,
    status: &OwnedFd,
    told: &[BorrowedFd<'_>],
) -> Result<Infallible> {
    let program = process.argv.first().filter(|p| !p.is_empty());
    let program = program.ok_or_else(|| Fail("exec: no program is given".to_owned()))?;
    let text = |t: &String| {
        CString::new(t.as_str()).map_err(|_| Fail(format!("exec `{program}`: NUL in `{t:?}`")))
    };
    let argv = process.argv.iter().map(text).collect::<Result<Vec<_>>>()?;
    let mut env = process.env.iter().map(text).collect::<Result<Vec<_>>>()?;
    if !process.env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(text(&format!("HOME={}", user.home))?);
    }
    let path = process.env.iter().rev().find_map(|e| e.strip_prefix("PATH="));
    let path = path.unwrap_or(DEFAULT_PATH).to_owned();
    let candidates: Vec<CString> = if program.contains('/') {
        vec![text(program)?]
    } else {
        path.split(':')
            .map(|folder| if folder.is_empty() { "." } else { folder })
            .map(|folder| text(&format!("{folder}/{program}")))
            .collect::<Result<_>>()?
    };
    confine::confine(process, user)?;
    packet::send_text(status, b"R", told).doing(|| "tell the monitor")?;
    let pointers = |texts: &[CString]| {
        texts.iter().map(|t| t.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, env) = (pointers(&argv), pointers(&env));
    // From here on nothing may be dropped that would close what is closed: this process executes, or ends here.
    if let Err(Fail(text)) = close_all_but(status) {
        super::fail(status, &text)
    }
    let mut refused = None;
    let several = candidates.len() > 1;
    for candidate in candidates {
        // To try and fail costs the kernel a new address space each time.
        if several && matches!(access(&*candidate, Access::EXISTS), Err(Errno::NOENT)) {
            continue;
        }
        // SAFETY: NUL-terminated texts in NULL-terminated lists, all of which live through the call.
        unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            // As a shell: one that may not be executed is passed over for a later one that may.
            Some(libc::EACCES) => refused = Some((candidate, error)),
            _ => {
                refused = Some((candidate, error));
                break;
            }
        }
    }
    let text = match refused {
        Some((candidate, error)) => format!("exec `{}`: {error}", candidate.to_string_lossy()),
        None if !program.contains('/') => {
            format!("exec `{program}`: not found in the node's PATH ({path})")
        }
        None => {
            format!("exec `{program}`: not found in the node, or the interpreter it names is not")
        }
    };
    super::fail(status, &text)
}
