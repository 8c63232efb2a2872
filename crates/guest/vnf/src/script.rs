//! One script, from begin to end.
//!
//! It runs in a session of its own without a terminal, with three descriptors and the environment it is given. What it
//! leaves behind is found by variables of that environment that no other run shares, in whatever session it is.
//!
//! It must outlive us unharmed, and be taken up by our next life: its pipes are open for reading in itself, so that a
//! write to them waits and never fails; that life opens them once more through `/proc`. What it leaves behind and keeps
//! printing is read and thrown away as long as we live.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions},
    time::ClockId,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, unix::AsyncFd},
    net::unix::pipe,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use vnode_action::{Confinement, Resource, Session, Spec, Stream, User as RunAs};
use vnode_processes::Moment;
use vnode_vnfpkg::ResourceLimits;

use crate::{
    log::RunLog,
    runs::RunFile,
    user::User,
    watch::{Identity, Ours, pidfd, proc},
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
    /// Control groups that it enters.
    pub(crate) groups: Vec<PathBuf>,
    pub(crate) confinement: Option<Confinement>,
    pub(crate) time_limit: Duration,
    /// Whether what it leaves behind stays.
    pub(crate) keep: bool,
}

impl Script {
    /// Whether what it left behind, when it ended so, is to be killed.
    pub(crate) fn leaves_nothing(&self, outcome: &Outcome) -> bool {
        !self.keep || outcome.timed_out || outcome.cancelled
    }
}

/// How it ended. Neither code nor signal: nobody who was told is there any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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

    pub(crate) fn is_known(&self) -> bool {
        self.code.is_some() || self.signal.is_some()
    }

    /// It ended by itself, and nobody can be asked how.
    pub(crate) fn is_lost(&self) -> bool {
        !self.is_known() && !self.timed_out && !self.cancelled
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
    process: Identity,
    ours: &'a Ours,
    marks: Option<&'a [String]>,
}

impl<'a> Guard<'a> {
    /// Of a child that is not waited for: the number is its.
    fn new(pid: i32, ours: &'a Ours, marks: &'a [String]) -> Self {
        ours.add(pid);
        let start = proc::stat(pid).map_or(0, |stat| stat.start);
        Self { process: Identity { pid, start }, ours, marks: Some(marks) }
    }

    /// It has ended by itself.
    fn over(&mut self) {
        self.ours.over(self.process);
        self.marks = None;
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(marks) = self.marks {
            signal_group(self.process.pid, Signal::KILL);
            kill_marked(marks, Signal::KILL);
            self.ours.over(self.process);
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
    proc::signal_each(proc::all(), |pid| proc::has_variables(pid, marks), &[signal]);
}

/// The same of those that were born since a moment; the marks are not older.
fn kill_marked_since(begun: Option<Moment>, ours: &Ours, marks: &[String], signal: Signal) {
    let born = begun.and_then(|begun| begun.born_until(ours.now()?));
    let Some(born) = born else { return kill_marked(marks, signal) };
    proc::signal_each(born.into_iter(), |pid| proc::has_variables(pid, marks), &[signal]);
}

/// A pipe that is never broken for who writes: its end is open for reading too.
fn pipes() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let again = format!("/proc/self/fd/{}", theirs.as_raw_fd());
    let both = rustix::fs::open(again, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    // Without /proc it ends with us when it prints, as any program does.
    Ok((pipe::Receiver::from_owned_fd(ours)?, both.unwrap_or(theirs)))
}

/// The pipe of [`pipes`] that the process `pid` has as its descriptor `number`, opened for reading, and the pipe's name.
pub(crate) fn pipe_of(pid: i32, number: i32) -> Option<(pipe::Receiver, u64)> {
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
    let flags = OFlags::from_bits_retain(u32::from_str_radix(flags, 8).ok()?);
    // No other pipe is: whoever reads those is not to be robbed.
    if flags & OFlags::RWMODE != OFlags::RDWR {
        return None;
    }
    let path = format!("/proc/{pid}/fd/{number}");
    // One with a name is not of our making.
    if !std::fs::read_link(&path).ok()?.as_os_str().as_encoded_bytes().starts_with(b"pipe:[") {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::empty()).ok()?;
    let name = rustix::fs::fstat(&opened).ok()?.st_ino;
    Some((pipe::Receiver::from_owned_fd(opened).ok()?, name))
}

/// Reads what nobody wants, until nobody can write any more: who writes shall not have to wait.
pub(crate) async fn throw_away(from: pipe::Receiver) {
    loop {
        if from.readable().await.is_err() {
            return;
        }
        let mut bytes = [0; 4096];
        match from.try_read(&mut bytes) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// A script that runs, held.
#[derive(Debug)]
struct Running {
    process: Identity,
    held: AsyncFd<OwnedFd>,
    out: Option<pipe::Receiver>,
    err: Option<pipe::Receiver>,
    /// Whether it is our child; an earlier life's is not.
    child: bool,
    since: Duration,
    /// Before it; nothing that it leaves behind is older.
    begun: Option<Moment>,
}

/// Runs a script to its end; what is learnt of it goes into its file.
///
/// # Errors
/// When it cannot be started; then nothing was.
pub(crate) async fn run(
    script: &Script,
    log: &mut RunLog,
    ours: &Ours,
    cancel: &CancellationToken,
    mut file: Option<RunFile>,
) -> Result<Outcome, String> {
    let cannot = |error: &dyn std::error::Error| {
        let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        format!("cannot start `{}`: {error}{cause}", script.name)
    };
    let (out, theirs_out) = pipes().map_err(|error| cannot(&error))?;
    let (err, theirs_err) = pipes().map_err(|error| cannot(&error))?;
    let spec = Spec::new(&script.argv)
        .envs(script.environment.iter().map(|(name, value)| (name, value)))
        .folder(&script.folder)
        .session(Session::NewSession)
        .stdout(Stream::Fd(theirs_out))
        .stderr(Stream::Fd(theirs_err));
    let spec = script.groups.iter().fold(spec, Spec::enter);
    let spec = script.confinement.iter().cloned().fold(spec, Spec::confine);
    let spec = run_as(limited(spec, &script.limits), script.user.as_ref());
    let begun = ours.moment();
    let pid = vnode_action::spawn_detached(spec).map_err(|error| cannot(&error))?.cast_signed();
    let guard = Guard::new(pid, ours, &script.marks);
    crate::onboard::point("vnf.run.spawned").map_err(|error| error.detail)?;
    let number = Pid::from_raw(pid).ok_or_else(|| "the kernel gave no process id".to_owned())?;
    // Our child, and not waited for: the number is still its.
    let held = rustix::process::pidfd_open(number, PidfdFlags::NONBLOCK)
        .map_err(|error| cannot(&error))?;
    let held = pidfd::watched(held).map_err(|error| cannot(&error))?;
    let process = guard.process;
    if let Some(file) = &mut file {
        file.runs(process).map_err(|error| cannot(&error))?;
    }
    crate::onboard::point("vnf.run.recorded").map_err(|error| error.detail)?;
    let since = Duration::ZERO;
    let running =
        Running { process, held, out: Some(out), err: Some(err), child: true, since, begun };
    follow(script, running, log, guard, cancel, file).await
}

/// Takes up a script that an earlier life of ours has started, and waits for its end.
///
/// # Errors
/// When it cannot be held: it has gone, and nobody knows how.
pub(crate) async fn take_up(
    script: &Script,
    process: Identity,
    log: &mut RunLog,
    ours: &Ours,
    cancel: &CancellationToken,
) -> Result<Outcome, String> {
    let Ok(held) = pidfd::open(process.pid, process.start) else {
        ours.over(process);
        if !script.keep {
            kill_marked(&script.marks, Signal::KILL);
        }
        return Ok(Outcome::default());
    };
    ours.add(process.pid);
    let guard = Guard { process, ours, marks: Some(&script.marks) };
    let held = pidfd::watched(held).map_err(|error| format!("cannot wait for it: {error}"))?;
    let pipe = |number| pipe_of(process.pid, number).map(|(pipe, _)| pipe);
    let (out, err) = (pipe(1), pipe(2));
    let running =
        Running { process, held, out, err, child: false, since: age(process), begun: None };
    follow(script, running, log, guard, cancel, None).await
}

/// How long a process has lived.
fn age(process: Identity) -> Duration {
    let now = rustix::time::clock_gettime(ClockId::Boottime);
    let now = Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32);
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    now.saturating_sub(Duration::from_millis(process.start.saturating_mul(1000) / ticks))
}

/// Reads from a stream that is there.
async fn read(from: &mut Option<pipe::Receiver>, into: &mut [u8]) -> io::Result<usize> {
    match from {
        Some(from) => from.read(into).await,
        None => std::future::pending().await,
    }
}

async fn follow(
    script: &Script,
    running: Running,
    log: &mut RunLog,
    mut guard: Guard<'_>,
    cancel: &CancellationToken,
    mut file: Option<RunFile>,
) -> Result<Outcome, String> {
    let Running { process, held, mut out, mut err, child, since, begun } = running;
    let pid = process.pid;
    let cannot = |error: io::Error| format!("cannot wait for `{}`: {error}", script.name);
    let mut outcome = Outcome::default();
    let mut tail = Vec::new();
    let (mut from_out, mut from_err) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut deadline = Instant::now() + script.time_limit.saturating_sub(since);
    let mut told = false;
    let status = loop {
        tokio::select! {
            ready = held.readable() => {
                let mut ready = ready.map_err(cannot)?;
                if !child {
                    // Another took its exit status, and its number may be given away.
                    let ended = pidfd::ended(held.get_ref(), pid, process.start);
                    break (ended.code, ended.signal);
                }
                if !script.keep {
                    // Not reaped: its number still names its group.
                    signal_group(pid, Signal::KILL);
                }
                match reap(held.get_ref()) {
                    Ok(Some(status)) => break status,
                    Ok(None) => ready.clear_ready(),
                    Err(error) => return Err(cannot(error)),
                }
            }
            got = read(&mut out, &mut from_out), if out.is_some() => {
                take(got, &from_out, &mut out, log, "stdout", &script.name, None);
            }
            got = read(&mut err, &mut from_err), if err.is_some() => {
                take(got, &from_err, &mut err, log, "stderr", &script.name, Some(&mut tail));
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
    (outcome.code, outcome.signal) = status;
    guard.over();
    if let Some(file) = &mut file {
        let ended =
            Outcome { tail: String::from_utf8_lossy(&tail).into_owned(), ..outcome.clone() };
        if let Err(error) = file.ended(&ended) {
            // Only a next life would miss it, and ask.
            tracing::warn!(script = script.name, %error, "how a script ended is not on record");
        }
    }
    crate::onboard::point("vnf.run.ended").map_err(|error| error.detail)?;
    let drained = async {
        while out.is_some() || err.is_some() {
            tokio::select! {
                got = read(&mut out, &mut from_out), if out.is_some() => {
                    take(got, &from_out, &mut out, log, "stdout", &script.name, None);
                }
                got = read(&mut err, &mut from_err), if err.is_some() => {
                    take(got, &from_err, &mut err, log, "stderr", &script.name, Some(&mut tail));
                }
            }
        }
    };
    // What it left behind may keep them open as long as it likes.
    let _ = timeout(DRAIN, drained).await;
    log.flush();
    if script.leaves_nothing(&outcome) {
        kill_marked_since(begun, guard.ours, &script.marks, Signal::KILL);
    }
    for open in [out, err].into_iter().flatten() {
        tokio::spawn(throw_away(open));
    }
    outcome.tail = String::from_utf8_lossy(&tail).into_owned();
    Ok(outcome)
}

/// Takes in what was read; at the end there is nothing more to read from.
fn take(
    got: io::Result<usize>,
    from: &[u8],
    open: &mut Option<pipe::Receiver>,
    log: &mut RunLog,
    stream: &'static str,
    script: &str,
    tail: Option<&mut Vec<u8>>,
) {
    let Ok(got @ 1..) = got else {
        *open = None;
        return;
    };
    let bytes = &from[..got];
    log.write(stream, script, bytes);
    if let Some(tail) = tail {
        tail.extend_from_slice(bytes);
        let over = tail.len().saturating_sub(TAIL);
        tail.drain(..over);
    }
}

type Status = (Option<i32>, Option<i32>);

pub(crate) fn reap(held: &OwnedFd) -> io::Result<Option<Status>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = rustix::process::waitid(WaitId::PidFd(held.as_fd()), options)?;
    Ok(status.map(|status| (status.exit_status(), status.terminating_signal())))
}
