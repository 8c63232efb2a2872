//! A program that runs, held by its pidfd.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, OwnedFd},
};

pub use rustix::process::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus};
use tokio::{io::unix::AsyncFd, net::unix::pipe};

use crate::{
    clone::{self, Child, Image, Lent},
    error::{Error, Result},
    group::Cgroup,
    output::ExitStatus,
    prepare::{Ours, prepare},
    spec::{Session, Spec, Stdin, Stream},
};

/// A program that runs. Dropping it kills the program with all of its group and takes its exit status, so
/// that nothing is left.
#[derive(Debug)]
pub struct Running {
    program: String,
    pid: i32,
    /// `None` once it is reaped.
    pidfd: Option<AsyncFd<OwnedFd>>,
    status: Option<ExitStatus>,
    own_group: bool,
    cgroup: Option<Cgroup>,
    lent: Lent,
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

/// Starts the program. `Stream::Capture` is as `Stream::Pipe` here, and bytes for stdin are not allowed: who
/// starts a program by hand feeds it by hand. Must be called in a tokio runtime.
///
/// # Errors
/// When it cannot be started; then nothing was.
pub fn spawn(spec: Spec) -> Result<Running> {
    if matches!(spec.stdin, Stdin::Bytes(_)) {
        return Err(Error::Spec {
            program: spec.program(),
            reason: "bytes for its input need `run`".to_owned(),
        });
    }
    let program = spec.program();
    let failed = |doing| {
        let program = program.clone();
        move |source| Error::Io { program, doing, source }
    };
    let cgroup = spec.cgroup.as_ref().map(Cgroup::open).transpose()?;
    let own_group = spec.session != Session::Inherit;
    let (image, ours) = prepare(spec)?;
    // Before the program: what fails here must not leave one behind.
    let stdin = ours.stdin.map(pipe::Sender::from_owned_fd).transpose();
    let stdin = stdin.map_err(failed("make the input pipe of"))?;
    let stdout = ours.stdout.map(pipe::Receiver::from_owned_fd).transpose();
    let stdout = stdout.map_err(failed("make the output pipe of"))?;
    let stderr = ours.stderr.map(pipe::Receiver::from_owned_fd).transpose();
    let stderr = stderr.map_err(failed("make the error pipe of"))?;
    let mut running = Running::start(program, image, own_group, cgroup, true)?;
    (running.stdin, running.stdout, running.stderr) = (stdin, stdout, stderr);
    Ok(running)
}

/// Starts a program that outlives us, in a session of its own; gives its process id. Its streams must be
/// descriptors, null or inherited.
///
/// # Errors
/// When it cannot be started, or a stream needs us.
pub fn spawn_detached(spec: Spec) -> Result<u32> {
    let program = spec.program();
    let attached = |stream: &Stream| matches!(stream, Stream::Capture { .. } | Stream::Pipe);
    if attached(&spec.stdout)
        || attached(&spec.stderr)
        || matches!(spec.stdin, Stdin::Bytes(_) | Stdin::Pipe)
    {
        let reason = "a detached program cannot have pipes to us".to_owned();
        return Err(Error::Spec { program, reason });
    }
    let (image, _) = prepare(spec.session(Session::NewSession))?;
    let child = launch(&program, image, true)?;
    Ok(child.pid.unsigned_abs())
}

/// Begins a program whose end is waited for in any case: that it cannot be started is known at once, or when it is
/// waited for. Gives our ends of its pipes.
pub(crate) fn begin(spec: Spec) -> Result<(Running, Ours)> {
    let program = spec.program();
    let cgroup = spec.cgroup.as_ref().map(Cgroup::open).transpose()?;
    let own_group = spec.session != Session::Inherit;
    let (image, ours) = prepare(spec)?;
    Ok((Running::start(program, image, own_group, cgroup, false)?, ours))
}

impl Running {
    fn start(
        program: String,
        image: Image,
        own_group: bool,
        cgroup: Option<Cgroup>,
        stand: bool,
    ) -> Result<Self> {
        let Child { pid, pidfd, lent } = launch(&program, image, stand)?;
        match clone::watch(pidfd) {
            Ok(pidfd) => Ok(Self {
                program,
                pid,
                pidfd: Some(pidfd),
                status: None,
                own_group,
                cgroup,
                lent,
                stdin: None,
                stdout: None,
                stderr: None,
            }),
            Err(error) => {
                let (pidfd, source) = error.into_parts();
                kill_tree(cgroup.as_ref(), own_group, pid);
                // It was running a moment ago and is ours: the signal can only find it dead.
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                reap_in_background(pidfd, lent);
                Err(Error::Io { program, doing: "watch", source })
            }
        }
    }

    /// Its process id, which names it only until [`Running::wait`] has returned.
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// The writing end of its input, once.
    pub fn take_stdin(&mut self) -> Option<pipe::Sender> {
        self.stdin.take()
    }

    /// The reading end of its output, once.
    pub fn take_stdout(&mut self) -> Option<pipe::Receiver> {
        self.stdout.take()
    }

    /// The reading end of its error output, once.
    pub fn take_stderr(&mut self) -> Option<pipe::Receiver> {
        self.stderr.take()
    }

    /// Waits until the program has ended; kills what it left in its group. Cancel-safe; may be called again.
    ///
    /// # Errors
    /// When the kernel does not tell, or it never became the program.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let failed = |program: &String| {
            let program = program.clone();
            move |source| Error::Io { program, doing: "wait for", source }
        };
        loop {
            let Some(pidfd) = &self.pidfd else {
                return Err(failed(&self.program)(ErrorKind::NotFound.into()));
            };
            let mut ready = pidfd.readable().await.map_err(failed(&self.program))?;
            // It has ended and is not reaped, so its number still names its group.
            kill_tree(self.cgroup.as_ref(), self.own_group, self.pid);
            match reap(pidfd.get_ref()).map_err(failed(&self.program))? {
                Some(status) => {
                    drop(ready);
                    self.pidfd = None;
                    if let Some(failed) = std::mem::take(&mut self.lent).ended() {
                        return Err(not_started(&self.program, failed));
                    }
                    self.status = Some(status);
                    return Ok(status);
                }
                None => ready.clear_ready(),
            }
        }
    }

    /// Sends a signal to the program alone. One that has ended is no error.
    ///
    /// # Errors
    /// When we may not.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pidfd) = &self.pidfd else { return Ok(()) };
        match rustix::process::pidfd_send_signal(pidfd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::Io {
                program: self.program.clone(),
                doing: "signal",
                source: error.into(),
            }),
        }
    }

    /// Sends a signal to the program and all of its process group.
    ///
    /// # Errors
    /// When we may not.
    pub fn signal_group(&self, signal: Signal) -> Result<()> {
        if self.pidfd.is_none() {
            return Ok(());
        }
        if self.own_group
            && let Some(group) = Pid::from_raw(self.pid)
        {
            return match rustix::process::kill_process_group(group, signal) {
                Ok(()) => Ok(()),
                // It has ended, or it has not come so far as to make its group.
                Err(rustix::io::Errno::SRCH) => self.signal(signal),
                Err(error) => Err(Error::Io {
                    program: self.program.clone(),
                    doing: "signal the group of",
                    source: error.into(),
                }),
            };
        }
        self.signal(signal)
    }

    /// Kills the program with its cgroup and its process group.
    ///
    /// # Errors
    /// When we may not.
    pub fn kill(&self) -> Result<()> {
        if self.pidfd.is_none() {
            return Ok(());
        }
        kill_tree(self.cgroup.as_ref(), self.own_group, self.pid);
        self.signal(Signal::KILL)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(pidfd) = self.pidfd.take() else { return };
        kill_tree(self.cgroup.as_ref(), self.own_group, self.pid);
        // Not reaped, so it can only be found, alive or dead.
        let _ = rustix::process::pidfd_send_signal(pidfd.get_ref(), Signal::KILL);
        reap_in_background(pidfd.into_inner(), std::mem::take(&mut self.lent));
    }
}

/// Kills all that belongs to a program that is not reaped yet.
fn kill_tree(cgroup: Option<&Cgroup>, own_group: bool, pid: i32) {
    if let Some(cgroup) = cgroup
        && let Err(error) = cgroup.kill()
    {
        tracing::warn!(pid, %error, "falling back to the process group");
    }
    if own_group && let Some(group) = Pid::from_raw(pid) {
        match rustix::process::kill_process_group(group, Signal::KILL) {
            // Nobody left is what is wanted. PERM: only processes that changed their user are left.
            Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => {}
            Err(error) => tracing::warn!(pid, %error, "cannot kill a process group"),
        }
    }
}

/// Takes the exit status, if the process has ended.
fn reap(pidfd: &OwnedFd) -> io::Result<Option<ExitStatus>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    Ok(rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options)?.map(status_of))
}

fn status_of(status: WaitIdStatus) -> ExitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(signal),
        // `EXITED` asks for these two only.
        (None, None) => ExitStatus::Signal(libc::SIGKILL),
    }
}

/// Reaps a killed process without making the caller wait.
fn reap_in_background(pidfd: OwnedFd, lent: Lent) {
    match reap(&pidfd) {
        Ok(Some(_)) => {
            // Nobody asks any more how it ended.
            drop(lent.ended());
            return;
        }
        Ok(None) => {}
        Err(error) => {
            tracing::error!(%error, "a process is left as a zombie");
            return;
        }
    }
    let wait = move || {
        let id = WaitId::PidFd(pidfd.as_fd());
        loop {
            match rustix::process::waitid(id.clone(), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) => {
                    drop(lent.ended());
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "a process is left as a zombie");
                    return;
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("vnode-reaper".to_owned()).stack_size(64 << 10);
    if let Err(error) = thread.spawn(wait) {
        tracing::error!(%error, "a process is left as a zombie");
    }
}

fn launch(program: &str, image: Image, stand: bool) -> Result<Child> {
    clone::start(image, stand).map_err(|failed| not_started(program, failed))
}

fn not_started(program: &str, (stage, source): (clone::Stage, io::Error)) -> Error {
    Error::Start { program: program.to_owned(), stage: stage.text(), source }
}
