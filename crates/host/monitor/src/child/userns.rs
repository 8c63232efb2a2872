//! Nodes whose root is nobody outside.
//!
//! The monitor keeps the host's ids. The node's user namespace is made by a helper that is ended at once; the
//! namespace lives on by its descriptor. The first process is made by a second helper: it takes from the host
//! what needs the host's rights, enters the user namespace, and clones the first process *beside* itself
//! (`CLONE_PARENT`), so that the monitor is its parent and every namespace of the node belongs to its users.
//! All of them live in the monitor's memory ([`beside`]), the first process until its exec.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use vnode_monitor::packet;
use vnode_monitor::wire::Boot;

use super::beside::{self, Waiting};
use super::mounts::MappedUser;
use super::{
    Memory, NODE_NAMESPACES, close_copy, confine, init, mounts, pidfd_open, setns, signal,
    start_child,
};
use crate::fail::{Doing, Fail, Result, checked};

/// Makes a user namespace with `inside 0..size` being `outside first..first+size`. With it the helper, which has been
/// told to end: nobody has to wait until it has.
pub(super) fn make(map: (u32, u32)) -> Result<(OwnedFd, Waiting)> {
    helper(map, libc::CLONE_NEWUSER, |_| Ok(()))
}

/// Makes a user namespace and enters a network namespace that belongs to it.
pub(super) fn enter_network_of(map: (u32, u32)) -> Result<(OwnedFd, Waiting)> {
    helper(map, libc::CLONE_NEWUSER | libc::CLONE_NEWNET, |pidfd| {
        setns(pidfd.as_fd(), libc::CLONE_NEWNET).doing(|| "enter the network namespace")
    })
}

fn helper(
    (first, size): (u32, u32),
    kinds: i32,
    with: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<(OwnedFd, Waiting)> {
    let what = || "make the user namespace";
    let helper = Waiting::idle(kinds).doing(what)?;
    let result = (|| {
        let pid = helper.pid;
        let map = format!("0 {first} {size}");
        write(&format!("/proc/{pid}/uid_map"), &map).doing(what)?;
        write(&format!("/proc/{pid}/gid_map"), &map).doing(what)?;
        let user = user_namespace_of(&helper).doing(what)?;
        with(&helper.pidfd)?;
        Ok(user)
    })();
    match result {
        Ok(user) => {
            signal(&helper.pidfd, libc::SIGKILL).doing(what)?;
            Ok((user, helper))
        }
        Err(failed) => {
            helper.end().doing(what)?;
            Err(failed)
        }
    }
}

/// The user namespace of a helper, by its descriptor where the kernel knows that (6.11).
fn user_namespace_of(helper: &Waiting) -> io::Result<OwnedFd> {
    /// `PIDFD_GET_USER_NAMESPACE` of `linux/pidfd.h`.
    const GET_USER_NAMESPACE: libc::Ioctl = 0xff09;
    // SAFETY: without an argument; gives a new descriptor.
    match checked(unsafe { libc::ioctl(helper.pidfd.as_raw_fd(), GET_USER_NAMESPACE, 0) }.into()) {
        // SAFETY: the kernel has just made it.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) }),
        Err(_) => Ok(std::fs::File::open(format!("/proc/{}/ns/user", helper.pid))?.into()),
    }
}

fn write(path: &str, text: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

/// Gives descriptors to the monitor to keep.
fn keep(status: &OwnedFd, spent: &[OwnedFd]) {
    let fds: Vec<BorrowedFd<'_>> = spent.iter().map(AsFd::as_fd).take(packet::MAX_FDS).collect();
    // Those that it does not get are closed here, which takes longer and is all.
    let _ = packet::send_text(status, b"K", &fds);
}

/// Makes the first process; gives its id and descriptor.
pub(super) fn start_init(
    boot: &Boot,
    dir: &OwnedFd,
    (user, first): (&OwnedFd, u32),
    (cgroup, memory): (Option<&OwnedFd>, Memory),
    (ours, status): (&OwnedFd, &OwnedFd),
    output: Option<&OwnedFd>,
) -> Result<(u32, OwnedFd)> {
    // Asked by this process, which has been there before: the helper would leave entries of its own in `/proc`.
    let folder = rustix::fs::readlink(format!("/proc/self/fd/{}", dir.as_raw_fd()), Vec::new())
        .doing(|| "path of the node's folder")?;
    let folder = Path::new(OsStr::from_bytes(folder.as_bytes()));
    // Born in the node's group, as in the user namespace nobody may enter it any more.
    let told = beside::run(cgroup, || {
        close_copy(ours);
        confine::join_cgroups(&boot.cgroup_procs)?;
        confine::forgo_favour()?;
        confine::become_mapped_root(first)?;
        let prepared =
            mounts::prepare(boot, dir, Some(MappedUser { namespace: user, first, folder }))?;
        // The monitor keeps them until it has time; the copies here and in the first process then end at once.
        keep(status, &prepared.spent);
        setns(user.as_fd(), libc::CLONE_NEWUSER).doing(|| "enter the user namespace")?;
        let flags = NODE_NAMESPACES | libc::CLONE_PARENT;
        let made = start_child(memory, flags, None, status, || {
            init::run(boot, dir, status, output, Some(prepared))
        });
        made.map(|(pid, _)| pid).doing(|| "clone the first process")
    });
    let told = told.doing(|| "clone the helper")?;
    let pid = told.ok_or_else(|| Fail("the helper was ended before it was done".to_owned()))??;
    // It is this process' child and is reaped by nobody else, so the number is its own.
    let pidfd = pidfd_open(pid).doing(|| "descriptor of the first process")?;
    Ok((pid, pidfd))
}
