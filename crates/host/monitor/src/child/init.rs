//! Set-up of the node's first process, in the order that keeps every step safe: what needs the host first,
//! then the node's root, and what takes privileges away last.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use vnode_monitor::overlay;
use vnode_monitor::wire::{Boot, Pids};

use super::mounts::{self, Prepared};
use super::{confine, reaper, run, tty};
use crate::fail::{Doing, Result, checked};

/// `prepared`: what was taken from the host already, by one who may (user namespaces).
pub(super) fn run(
    boot: &Boot,
    dir: &OwnedFd,
    status: &OwnedFd,
    output: Option<&OwnedFd>,
    prepared: Option<Prepared>,
) -> Result<Infallible> {
    run::become_session_leader()?;
    if boot.pids != Pids::Own {
        // Orphans of the node are its first process' here too, not those of whoever is first in the namespace.
        // SAFETY: changes an attribute of this process only.
        checked(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())
            .doing(|| "take in orphans")?;
    }
    let in_user_namespace = prepared.is_some();
    if !in_user_namespace {
        confine::join_cgroups(&boot.cgroup_procs)?;
        confine::forgo_favour()?;
        // SAFETY: gives this process, which has one thread, a namespace of its own.
        checked(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into())
            .doing(|| "make the namespace of control groups")?;
    }
    if in_user_namespace {
        confine::become_root_inside()?;
    }
    mounts::leave_propagation()?;
    let prepared = match prepared {
        Some(prepared) => prepared,
        None => {
            let dir = overlay::reopen(dir.as_fd()).doing(|| "open the node's folder")?;
            mounts::prepare(boot, &dir, None)?
        }
    };
    let mut inside = mounts::enter_root(prepared, boot)?;
    rustix::process::umask(Mode::empty());
    inside.mount_all(boot)?;
    inside.make_devices(&boot.devices)?;
    inside.make_links(&boot.links)?;
    inside.write_sysctls(&boot.sysctls)?;
    rustix::system::sethostname(boot.hostname.as_bytes())
        .doing(|| format!("set host name `{}`", boot.hostname))?;
    inside.mask(&boot.masked)?;
    inside.make_read_only(&boot.read_only)?;
    let terminal = match boot.process.tty {
        Some(size) => {
            let terminal = tty::make(&inside.root, size, status)?;
            inside.mount_console(&terminal)?;
            Some(terminal)
        }
        None => None,
    };
    let user = run::prepare_user(&inside.root, &boot.process)?;
    if boot.read_only_root {
        inside.make_root_read_only()?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    match (&terminal, output) {
        (Some(terminal), _) => run::use_terminal(terminal, &user)?,
        (None, output) => {
            let null = inside.root.open("/dev/null", OFlags::RDWR).doing(|| "open /dev/null")?;
            let output = output.unwrap_or(&null);
            run::use_streams([&null, output, output], &user)?;
        }
    }
    run::enter_folder(&boot.process.cwd)?;
    let root = inside.root.as_fd();
    if boot.process.argv.is_empty() {
        confine::confine(&boot.process, &user)?;
        return reaper::run(status, root);
    }
    run::execute(&boot.process, &user, status, &[root])
}
