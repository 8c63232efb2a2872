//! One script, from begin to end.
//!
//! It runs in a session of its own without a terminal, with three descriptors and the environment it is given. What it
//! leaves behind is found by three variables of that environment that no other run shares, in whatever session it is.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use vnode_action::{Resource, Session, Spec, Stream, User as RunAs};
use vnode_vnfpkg::ResourceLimits;

use crate::{
    log::RunLog,
    user::User,
    watch::{Ours, pidfd, proc},
};

/// Between TERM and KILL.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How long we read on after a script has ended: only what it left behind can still hold the pipes.
const DRAIN: Duration = Duration::from_millis(200);
/// Bytes of its errors that are told.
const TAIL: usize = 2048;
const CHUNK: usize = 16 << 10;

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Script {
    /// For people: as the descriptor names it.
    pub(crate) name: String,
    pub(crate) argv: Vec<String>,
    pub(crate) folder: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    /// Those of its variables, `NAME=VALUE`, that only this run has.
    pub(crate) marks: Vec<String>,
    pub(crate) user: Option<User>,
    pub(crate) limits: ResourceLimits,
    pub(crate) time_limit: Duration,
    /// Whether what it leaves behind stays.
    pub(crate) keep: bool,
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) timed_out: bool,
    pub(crate) cancelled: bool,
    /// The end of what it printed as errors.
    pub(crate) tail: String,
}

impl Outcome {
    pub(crate) fn ok(&self) -> bool {
        self.code == Some(0) && !self.timed_out && !self.cancelled
    }
}

pub(crate) fn limited(mut spec: Spec, limits: &ResourceLimits) -> Spec {
    for (resource, value) in [
        (Resource::As, limits.memory_max),
        (Resource::Nproc, limits.pids_max),
        (Resource::Nofile, limits.files_max),
    ] {
        if let Some(value) = value {
            spec = spec.limit(resource, value);
        }
    }
    spec
}

pub(crate) fn run_as(spec: Spec, user: Option<&User>) -> Spec {
    match user {
        Some(user) if user.uid != rustix::process::geteuid().as_raw() => {
            spec.user(RunAs { uid: user.uid, gid: user.gid, groups: user.groups.clone() })
        }
        _ => spec,
    }
}

/// Kills the run if the one who waits for it goes away.
struct Guard<'a> {
    pid: i32,
    ours: &'a Ours,
    marks: Option<&'a [String]>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.ours.remove(self.pid);
        if let Some(marks) = self.marks {
            signal_group(self.pid, Signal::KILL);
            kill_marked(marks, Signal::KILL);
        }
    }
}

fn signal_group(pid: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(pid) {
        // Nobody left is what is wanted.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

/// Signals every process whose environment has all the marks.
pub(crate) fn kill_marked(marks: &[String], signal: Signal) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    let own = std::process::id().cast_signed();
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(pid) = pid.filter(|pid| *pid != own)
            && proc::has_variables(pid, marks)
            && let Some(pid) = Pid::from_raw(pid)
        {
            // It may be gone by now.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

fn pipes() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((pipe::Receiver::from_owned_fd(ours)?, theirs))
}

/// Runs a script to its end.
///
/// # Errors
/// When it cannot be started; then nothing was.
pub(crate) async fn run(
    script: &Script,
    log: &mut RunLog,
    ours: &Ours,
    cancel: &CancellationToken,
) -> Result<Outcome, String> {
    let cannot = |error: &dyn std::error::Error| {
        let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        format!("cannot start `{}`: {error}{cause}", script.name)
    };
    let (mut out, theirs_out) = pipes().map_err(|error| cannot(&error))?;
    let (mut err, theirs_err) = pipes().map_err(|error| cannot(&error))?;
    let spec = Spec::new(&script.argv)
        .envs(script.environment.iter().map(|(name, value)| (name, value)))
        .folder(&script.folder)
        .session(Session::NewSession)
        .stdout(Stream::Fd(theirs_out))
        .stderr(Stream::Fd(theirs_err));
    let spec = run_as(limited(spec, &script.limits), script.user.as_ref());
    let pid = vnode_action::spawn_detached(spec).map_err(|error| cannot(&error))?.cast_signed();
    ours.add(pid);
    let mut guard = Guard { pid, ours, marks: Some(&script.marks) };
    let number = Pid::from_raw(pid).ok_or_else(|| "the kernel gave no process id".to_owned())?;
    // Our child, and not waited for: the number is still its.
    let held = rustix::process::pidfd_open(number, PidfdFlags::NONBLOCK)
        .map_err(|error| cannot(&error))?;
    let held = pidfd::watched(held).map_err(|error| cannot(&error))?;

    let mut outcome = Outcome::default();
    let mut tail = Vec::new();
    let (mut out_open, mut err_open) = (true, true);
    let (mut from_out, mut from_err) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut deadline = Instant::now() + script.time_limit;
    let mut told = false;
    let status = loop {
        tokio::select! {
            ready = held.readable() => {
                let mut ready = ready.map_err(|error| cannot(&error))?;
                if !script.keep {
                    // Not reaped: its number still names its group.
                    signal_group(pid, Signal::KILL);
                }
                match reap(held.get_ref()) {
                    Ok(Some(status)) => break status,
                    Ok(None) => ready.clear_ready(),
                    Err(error) => return Err(cannot(&error)),
                }
            }
            read = out.read(&mut from_out), if out_open => {
                out_open = take(read, &from_out, log, "stdout", &script.name, None);
            }
            read = err.read(&mut from_err), if err_open => {
                err_open = take(read, &from_err, log, "stderr", &script.name, Some(&mut tail));
            }
            () = cancel.cancelled(), if !outcome.cancelled => {
                outcome.cancelled = true;
                told = true;
                deadline = Instant::now();
            }
            () = sleep_until(deadline) => {
                if told {
                    signal_group(pid, Signal::KILL);
                    kill_marked(&script.marks, Signal::KILL);
                    deadline = Instant::now() + Duration::from_secs(3600);
                } else {
                    outcome.timed_out = true;
                    told = true;
                    signal_group(pid, Signal::TERM);
                    kill_marked(&script.marks, Signal::TERM);
                    deadline = Instant::now() + GRACE;
                }
            }
        }
    };
    ours.remove(pid);
    guard.marks = None;
    let drained = async {
        while out_open || err_open {
            tokio::select! {
                read = out.read(&mut from_out), if out_open => {
                    out_open = take(read, &from_out, log, "stdout", &script.name, None);
                }
                read = err.read(&mut from_err), if err_open => {
                    err_open = take(read, &from_err, log, "stderr", &script.name, Some(&mut tail));
                }
            }
        }
    };
    // What it left behind may keep them open as long as it likes.
    let _ = timeout(DRAIN, drained).await;
    log.flush();
    if !script.keep || outcome.timed_out || outcome.cancelled {
        kill_marked(&script.marks, Signal::KILL);
    }
    (outcome.code, outcome.signal) = status;
    outcome.tail = String::from_utf8_lossy(&tail).into_owned();
    Ok(outcome)
}

/// Takes in what was read; false at the end.
fn take(
    read: io::Result<usize>,
    from: &[u8],
    log: &mut RunLog,
    stream: &'static str,
    script: &str,
    tail: Option<&mut Vec<u8>>,
) -> bool {
    let Ok(read @ 1..) = read else { return false };
    let bytes = &from[..read];
    log.write(stream, script, bytes);
    if let Some(tail) = tail {
        tail.extend_from_slice(bytes);
        let over = tail.len().saturating_sub(TAIL);
        tail.drain(..over);
    }
    true
}

type Status = (Option<i32>, Option<i32>);

pub(crate) fn reap(held: &OwnedFd) -> io::Result<Option<Status>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = rustix::process::waitid(WaitId::PidFd(held.as_fd()), options)?;
    Ok(status.map(|status| (status.exit_status(), status.terminating_signal())))
}
