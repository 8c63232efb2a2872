//! Children of a monitor: the node's first process and the programs run beside it.
//!
//! Each is made by one clone3(2) with the descriptor of the process in the same call, does its own set-up,
//! and executes. While it sets itself up it speaks to the monitor over a status socket:
//! `P` and a descriptor (the master end of its terminal), `R` (about to execute; the first process with a descriptor of
//! its root), `E` and a text (failed); its helper
//! sends `K` and descriptors (to be kept until it has executed, as their end takes time).
//! The end of the connection after `R` is the successful exec, as the socket is closed by it.

mod beneath;
mod beside;
mod confine;
mod dev;
mod exec;
mod init;
mod later;
mod mapped;
mod mounts;
mod reaper;
mod run;
mod sweep;
mod tty;
mod user;
mod userns;

use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use vnode_monitor::packet;
use vnode_monitor::wire::{Boot, Exec, Net, Pid, Pids, Spawn, start_time};

use crate::fail::{Doing, Fail, Result, checked};

pub(crate) use beside::reserve;
pub(crate) use confine::learn_favour;
pub(crate) use sweep::sweep;

/// A process being set up or running.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) id: Pid,
    pub(crate) pidfd: OwnedFd,
    /// Open until it has executed.
    pub(crate) status: Option<OwnedFd>,
    ready: bool,
    pub(crate) failure: Option<String>,
    /// Connection and request to be answered when it has executed.
    pub(crate) asked: Option<(u64, u64)>,
    /// Mounts that nothing needs any more.
    pub(crate) kept: Vec<OwnedFd>,
    /// Of a first process that is ready: holds its root for as long as it is open.
    pub(crate) root: Option<OwnedFd>,
}

/// What a child told.
pub(crate) enum Told {
    /// It has told nothing new.
    Nothing,
    /// Something that is kept here.
    Noted,
    Tty(OwnedFd),
    Failed,
    Started,
}

impl Child {
    /// Reads one message of the child's, if there is one.
    pub(crate) fn listen(&mut self) -> Told {
        let Some(status) = &self.status else { return Told::Nothing };
        match packet::receive(status) {
            Ok(Some(mut packet)) => match packet.text.split_first() {
                Some((b'P', _)) => packet.fds.pop().map_or(Told::Noted, Told::Tty),
                Some((b'R', _)) => {
                    self.ready = true;
                    self.root = packet.fds.pop();
                    Told::Noted
                }
                Some((b'K', _)) => {
                    self.kept = packet.fds;
                    Told::Noted
                }
                Some((b'E', text)) => {
                    self.failure = Some(String::from_utf8_lossy(text).into_owned());
                    Told::Failed
                }
                _ => Told::Noted,
            },
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Told::Nothing,
            Ok(None) | Err(_) => {
                self.status = None;
                if self.ready && self.failure.is_none() { Told::Started } else { Told::Failed }
            }
        }
    }
}

/// Namespaces of the monitor itself that its children need.
#[derive(Debug)]
pub(crate) struct Own {
    /// To come back to after a program was made in the node's process namespace; opened for the first one.
    pid: OnceCell<OwnedFd>,
    /// The node's user namespace, and its root's id outside.
    user: Option<(OwnedFd, u32)>,
    /// The helper that made it, on its way out.
    pub(crate) helper: Option<Aside>,
    /// A first process has been set up in the monitor's memory.
    lent: bool,
}

impl Own {
    /// Enters the node's network namespace, made anew where it is to be the node's own.
    pub(crate) fn enter(spawn: &Spawn, join: Option<OwnedFd>) -> Result<Self> {
        let made = match (spawn.net, spawn.id_map) {
            (Net::Own, Some(map)) => Some((userns::enter_network_of(map)?, map.0)),
            (Net::Host | Net::Join, Some(map)) => Some((userns::make(map)?, map.0)),
            (Net::Own, None) => {
                // SAFETY: gives this process, which has one thread, a new network namespace.
                checked(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into())
                    .doing(|| "make the network namespace")?;
                None
            }
            (Net::Host | Net::Join, None) => None,
        };
        match (spawn.net, join) {
            (Net::Join, Some(join)) => setns(join.as_fd(), libc::CLONE_NEWNET)
                .doing(|| "join the other node's network namespace")?,
            (Net::Join, None) => {
                return Err(Fail("the request lacks the namespace to join".to_owned()));
            }
            (Net::Own | Net::Host, _) => {}
        }
        let (user, helper) = match made {
            Some(((user, helper), first)) => (Some((user, first)), Some(Aside(helper))),
            None => (None, None),
        };
        Ok(Self { pid: OnceCell::new(), user, helper, lent: false })
    }

    fn processes(&self) -> Result<BorrowedFd<'_>> {
        if let Some(pid) = self.pid.get() {
            return Ok(pid.as_fd());
        }
        let pid = pidfd_open(std::process::id()).doing(|| "pidfd of the monitor")?;
        Ok(self.pid.get_or_init(|| pid).as_fd())
    }
}

/// `struct clone_args` of clone3(2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const NODE_NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Forks; `None` in the child.
fn fork(flags: i32, cgroup: Option<&OwnedFd>) -> io::Result<Option<(u32, OwnedFd)>> {
    let mut pidfd: i32 = -1;
    let parent = flags & libc::CLONE_PARENT != 0;
    let mut args = CloneArgs {
        flags: u64::from((flags | libc::CLONE_PIDFD).cast_unsigned()),
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: if parent { 0 } else { u64::from(libc::SIGCHLD.cast_unsigned()) },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM and a stack of its own this is fork(2). The process has one thread, so the
    // child's copy of every lock is free and it may go on as an ordinary program. `args` and `pidfd` live
    // through the call.
    let pid = checked(unsafe {
        libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>())
    })?;
    if pid == 0 {
        return Ok(None);
    }
    let pid = u32::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: the kernel has just put a new descriptor there.
    Ok(Some((pid, unsafe { OwnedFd::from_raw_fd(pidfd) })))
}

/// Where a child sets itself up.
#[derive(Debug, Clone, Copy)]
enum Memory {
    /// In the monitor's, which stands still until the child executes.
    Lent,
    /// In a copy of it.
    Copied,
}

/// Starts a child whose whole life is `body`.
fn start_child(
    memory: Memory,
    flags: i32,
    cgroup: Option<&OwnedFd>,
    status: &OwnedFd,
    body: impl FnOnce() -> Result<std::convert::Infallible>,
) -> io::Result<(u32, OwnedFd)> {
    match memory {
        Memory::Lent => beside::until_exec(flags, cgroup, || in_child(status, body)),
        Memory::Copied => match fork(flags, cgroup)? {
            Some(made) => Ok(made),
            None => in_child(status, body),
        },
    }
}

fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed())
        .ok_or_else(|| io::Error::other("not a process id"))?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// Joins the namespaces of a descriptor.
fn setns(fd: BorrowedFd<'_>, kinds: i32) -> io::Result<()> {
    // SAFETY: changes the namespaces of this process, which has one thread; `fd` is open.
    checked(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), kinds) }).map(drop)
}

fn status_pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .doing(|| "make the status socket")?;
    rustix::io::ioctl_fionbio(&ours, true).doing(|| "make the status socket")?;
    Ok((ours, theirs))
}

/// Closes a child's copy of the monitor's end of its status socket: without the monitor the child then has nobody to tell
/// that it is ready, and ends instead of running a node that nobody follows.
fn close_copy(ours: &OwnedFd) {
    // SAFETY: in this process, a child with descriptors of its own, nothing uses it; the monitor's stays open.
    unsafe { libc::close(ours.as_raw_fd()) };
}

fn new_child((pid, pidfd): (u32, OwnedFd), status: OwnedFd, asked: (u64, u64)) -> Child {
    // It is not reaped before its descriptor says so: the number is its own. A record without a start time
    // never matches a process.
    let start = start_time(pid).unwrap_or(0);
    Child {
        id: Pid { pid, start },
        pidfd,
        status: Some(status),
        ready: false,
        failure: None,
        asked: Some(asked),
        kept: Vec::new(),
        root: None,
    }
}

/// Starts the first process; with it the readable end of its output, unless it has a terminal.
pub(crate) fn start_init(
    boot: &Boot,
    dir: &OwnedFd,
    own: &mut Own,
    (cgroup, processes): (Option<OwnedFd>, Option<OwnedFd>),
    asked: (u64, u64),
) -> Result<(Child, Option<OwnedFd>)> {
    // Once in a monitor's life: what the child leaves on the heap would grow with each restart. The built-in first
    // process executes nothing, and would keep the monitor standing.
    let memory = match boot.process.argv.is_empty() || std::mem::replace(&mut own.lent, true) {
        true => Memory::Copied,
        false => Memory::Lent,
    };
    let (ours, theirs) = status_pair()?;
    let output = match boot.process.tty {
        Some(_) => None,
        None => {
            let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                .doing(|| "make the output pipe")?;
            rustix::io::ioctl_fionbio(&pipe.0, true).doing(|| "make the output pipe")?;
            if let Some((_, first)) = own.user {
                // The node's root gives it to the node's user, and may of what is its own only.
                let (uid, gid) =
                    (rustix::fs::Uid::from_raw(first), rustix::fs::Gid::from_raw(first));
                rustix::fs::fchown(&pipe.1, Some(uid), Some(gid))
                    .doing(|| "make the output pipe")?;
            }
            Some(pipe)
        }
    };
    let (read, write) = output.unzip();
    if let Some((user, first)) = &own.user {
        let user = (user, *first);
        let how = (cgroup.as_ref(), memory);
        let status = (&ours, &theirs);
        let made = userns::start_init(boot, dir, user, how, status, write.as_ref())?;
        return Ok((new_child(made, ours, asked), read));
    }
    // Its control group's namespace is rooted where it stands when it makes that one: once it is in the node's groups.
    let mut kinds = NODE_NAMESPACES & !libc::CLONE_NEWCGROUP;
    match (&boot.pids, &processes) {
        (Pids::Own, _) => {}
        (Pids::Host { .. }, _) => kinds &= !libc::CLONE_NEWPID,
        (Pids::Join { .. }, Some(processes)) => {
            kinds &= !libc::CLONE_NEWPID;
            // What is needed for the way back comes first.
            own.processes()?;
            // The first process is born in the namespace set here; the monitor itself stays in its own.
            setns(processes.as_fd(), libc::CLONE_NEWPID)
                .doing(|| "join the other node's process namespace")?;
        }
        (Pids::Join { .. }, None) => {
            return Err(Fail("the request lacks the process namespace to join".to_owned()));
        }
    }
    let made = start_child(memory, kinds, cgroup.as_ref(), &theirs, || {
        close_copy(&ours);
        init::run(boot, dir, &theirs, write.as_ref(), None)
    });
    drop(theirs);
    if processes.is_some() {
        setns(own.processes()?, libc::CLONE_NEWPID)
            .doing(|| "leave the other node's process namespace")?;
    }
    let made = made.doing(|| "clone the first process")?;
    Ok((new_child(made, ours, asked), read))
}

/// Runs a program beside the first process.
pub(crate) fn start_exec(
    request: &Exec,
    init: &Child,
    own: &Own,
    fds: Vec<OwnedFd>,
    asked: (u64, u64),
) -> Result<Child> {
    let mut fds = fds.into_iter();
    let cgroup = if request.cgroup { fds.next() } else { None };
    let streams: Vec<OwnedFd> = fds.collect();
    if request.process.tty.is_none() && streams.len() != 3 {
        return Err(Fail("the request lacks the program's streams".to_owned()));
    }
    let (ours, theirs) = status_pair()?;
    let back = own.processes()?;
    // Children are born in the process namespace set here; the monitor itself stays in its own.
    setns(init.pidfd.as_fd(), libc::CLONE_NEWPID).doing(|| "enter the node's process namespace")?;
    // In a copy: what it does depends on what runs in the node, for which the monitor may not stand still.
    let made = start_child(Memory::Copied, 0, cgroup.as_ref(), &theirs, || {
        close_copy(&ours);
        exec::run(request, &init.pidfd, own.user.is_some(), &theirs, streams)
    });
    setns(back, libc::CLONE_NEWPID).doing(|| "leave the node's process namespace")?;
    Ok(new_child(made.doing(|| "clone the program")?, ours, asked))
}

/// Runs `body` as the whole rest of a child's life.
fn in_child(status: &OwnedFd, body: impl FnOnce() -> Result<std::convert::Infallible>) -> ! {
    let Err(Fail(text)) = body();
    fail(status, &text)
}

/// Ends a child that cannot go on.
fn fail(status: &OwnedFd, text: &str) -> ! {
    tell_failure(status, text);
    // SAFETY: ends this process without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn tell_failure(status: &OwnedFd, text: &str) {
    let text = format!("E{text}");
    let text = text.get(..text.len().min(8192)).unwrap_or("Efailed");
    // Nobody left to tell means that the monitor is gone, and this process ends all the same.
    let _ = rustix::net::send(status, text.as_bytes(), SendFlags::NOSIGNAL);
}

/// Sends a signal by descriptor: never to another process that got the number.
pub(crate) fn signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: plain system call on an open descriptor.
    let result = checked(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    });
    match result {
        // It has ended: there is nobody to be signalled.
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map(drop),
    }
}

/// Sends a signal to the process group of session leader `pid` (a child not reaped yet), or to its session.
pub(crate) fn signal_group(pid: u32, signal: i32, session: bool) -> io::Result<()> {
    // SAFETY: plain system call; the number is held by our unreaped child.
    match checked(unsafe { libc::kill(-pid.cast_signed(), signal) }.into()) {
        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(e),
        _ => {}
    }
    if !session {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(other) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        // SAFETY: plain system calls; a number that was reused meanwhile has another session.
        if unsafe { libc::getsid(other) } == pid.cast_signed() {
            // SAFETY: as above. It may have ended by itself.
            unsafe { libc::kill(other, signal) };
        }
    }
    Ok(())
}

/// A process in this one's memory whose end is waited for beside everything else.
#[derive(Debug)]
pub(crate) struct Aside(beside::Waiting);

impl Aside {
    /// Lets go of a root: the end of an overlay syncs the file system of its upper layer, which may take longer than all
    /// the rest of a node's life. The node's disk is free when this process has ended.
    pub(crate) fn release(root: OwnedFd) -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let child = beside::Waiting::holding(&root, &read)?;
        // It waits until this process has closed its own: who closes last waits.
        drop((root, write));
        Ok(Self(child))
    }

    /// Tells of its end.
    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.0.pidfd
    }

    pub(crate) fn wait(self) -> io::Result<()> {
        self.0.wait()
    }

    /// Reaps it when it has ended; gives it back while it has not.
    pub(crate) fn reap(self) -> Option<Self> {
        self.0.reap().map(Self)
    }
}

/// Waits for the end of a child and reaps it.
pub(crate) fn wait(pidfd: &OwnedFd) -> io::Result<()> {
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
    reap(pidfd).map(drop)
}

/// How a child ended: status and signal.
pub(crate) type End = (Option<i32>, Option<i32>);

/// Reaps a child; `None` while it runs.
pub(crate) fn reap(pidfd: &OwnedFd) -> io::Result<Option<End>> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let ended = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), options))?;
    Ok(ended.map(|e| (e.exit_status(), e.terminating_signal())))
}
