//! Nodes whose root is nobody outside.
//!
//! The monitor keeps the host's ids. The node's user namespace is made by a helper that ends at once; the
//! namespace lives on by its descriptor. The first process is made by a second helper: it takes from the host
//! what needs the host's rights, enters the user namespace, and clones the first process *beside* itself
//! (`CLONE_PARENT`), so that the monitor is its parent and every namespace of the node belongs to its users.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use vnode_monitor::packet;
use vnode_monitor::wire::Boot;

use super::{NODE_NAMESPACES, confine, fork, in_child, init, mounts, pidfd_open, wait};
use crate::fail::{Doing, Fail, Result};
use crate::monitor::setns;

/// Makes a user namespace with `inside 0..size` being `outside first..first+size`.
pub(super) fn make(map: (u32, u32)) -> Result<OwnedFd> {
    helper(map, libc::CLONE_NEWUSER, |_| Ok(()))
}

/// Makes a user namespace and enters a network namespace that belongs to it.
pub(super) fn enter_network_of(map: (u32, u32)) -> Result<OwnedFd> {
    helper(map, libc::CLONE_NEWUSER | libc::CLONE_NEWNET, |pidfd| {
        setns(pidfd.as_fd(), libc::CLONE_NEWNET).doing(|| "enter the network namespace")
    })
}

fn helper(
    (first, size): (u32, u32),
    kinds: i32,
    with: impl FnOnce(&OwnedFd) -> Result<()>,
) -> Result<OwnedFd> {
    let what = || "make the user namespace";
    let made = fork(kinds, None).doing(what)?;
    let Some((pid, pidfd)) = made else {
        loop {
            // SAFETY: waits for the signal that ends this helper.
            unsafe { libc::pause() };
        }
    };
    let result = (|| {
        let map = format!("0 {first} {size}");
        std::fs::write(format!("/proc/{pid}/uid_map"), &map).doing(what)?;
        std::fs::write(format!("/proc/{pid}/gid_map"), &map).doing(what)?;
        let user = std::fs::File::open(format!("/proc/{pid}/ns/user")).doing(what)?;
        with(&pidfd)?;
        Ok(OwnedFd::from(user))
    })();
    super::signal(&pidfd, libc::SIGKILL).doing(what)?;
    wait(&pidfd).doing(what)?;
    result
}

/// Makes the first process; gives its id and descriptor.
pub(super) fn start_init(
    boot: &Boot,
    dir: &OwnedFd,
    (user, first): (&OwnedFd, u32),
    cgroup: Option<&OwnedFd>,
    status: OwnedFd,
    output: Option<OwnedFd>,
) -> Result<(u32, OwnedFd)> {
    // Apart from the first process' own, whose words may come before the helper's.
    let (answers, ours) = super::status_pair()?;
    // Born in the node's group, as in the user namespace nobody may enter it any more.
    let made = fork(0, cgroup).doing(|| "clone the helper")?;
    let Some((_, helper)) = made else {
        in_child(&ours, || {
            confine::join_cgroups(&boot.cgroup_procs)?;
            confine::become_mapped_root(first)?;
            let prepared = mounts::prepare(boot, dir, Some(user))?;
            setns(user.as_fd(), libc::CLONE_NEWUSER).doing(|| "enter the user namespace")?;
            let flags = NODE_NAMESPACES | libc::CLONE_PARENT;
            match fork(flags, None).doing(|| "clone the first process")? {
                None => in_child(&status, || {
                    init::run(boot, dir, &status, output.as_ref(), Some(prepared))
                }),
                Some((pid, pidfd)) => {
                    tell(&ours, pid, &pidfd).doing(|| "tell the monitor")?;
                    // SAFETY: ends this helper without running anything of the parent's.
                    unsafe { libc::_exit(0) }
                }
            }
        });
    };
    drop((status, output, ours));
    wait(&helper).doing(|| "wait for the helper")?;
    // Everything it had to say has been said.
    let told = packet::receive(&answers).doing(|| "hear of the first process")?;
    let mut told = told.ok_or_else(|| Fail("the helper ended without a word".to_owned()))?;
    let not_understood = || Fail("the helper is not understood".to_owned());
    match told.text.split_first() {
        Some((b'I', pid)) => {
            let pid = std::str::from_utf8(pid).ok().and_then(|p| p.parse().ok());
            let pid: u32 = pid.ok_or_else(not_understood)?;
            let pidfd = match told.fds.pop() {
                Some(pidfd) => pidfd,
                None => pidfd_open(pid).doing(|| "descriptor of the first process")?,
            };
            Ok((pid, pidfd))
        }
        Some((b'E', text)) => Err(Fail(String::from_utf8_lossy(text).into_owned())),
        _ => Err(not_understood()),
    }
}

fn tell(status: &OwnedFd, pid: u32, pidfd: &OwnedFd) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [pidfd.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no room for the descriptor"));
    }
    let text = format!("I{pid}");
    let text = [io::IoSlice::new(text.as_bytes())];
    rustix::net::sendmsg(status, &text, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
