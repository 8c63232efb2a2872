//! Set-up of a program run beside the node's first process.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use vnode_monitor::wire::Exec;

use super::beneath::Root;
use super::{confine, run, setns, tty};
use crate::fail::{Doing, Result};

pub(super) fn run(
    request: &Exec,
    init: &OwnedFd,
    user_namespace: bool,
    status: &OwnedFd,
    streams: Vec<OwnedFd>,
) -> Result<Infallible> {
    run::become_session_leader()?;
    confine::join_cgroups(&request.cgroup_procs)?;
    confine::forgo_favour()?;
    let mut kinds =
        libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    if user_namespace {
        kinds |= libc::CLONE_NEWUSER;
    }
    setns(init.as_fd(), kinds).doing(|| "enter the node's namespaces")?;
    if user_namespace {
        confine::become_root_inside()?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let root = Root::of_this_process().doing(|| "open the root")?;
    let user = run::prepare_user(&root, &request.process)?;
    match (request.process.tty, streams.as_slice()) {
        (Some(size), _) => {
            let terminal = tty::make(&root, size, status)?;
            run::use_terminal(&terminal, &user)?;
        }
        (None, [stdin, stdout, stderr]) => run::use_streams([stdin, stdout, stderr], &user)?,
        (None, _) => {
            let null = root.open("/dev/null", OFlags::RDWR).doing(|| "open /dev/null")?;
            run::use_streams([&null, &null, &null], &user)?;
        }
    }
    drop((root, streams));
    run::enter_folder(&request.process.cwd)?;
    run::execute(&request.process, &user, status, &[])
}
