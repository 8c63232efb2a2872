//! A program that runs, held by its pidfd.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, OwnedFd},
};

pub use rustix::process::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus};
use tokio::{io::unix::AsyncFd, net::unix::pipe};

use crate::{
    clone::{self, Child, Image},
    error::{Error, Result},
    group::Cgroup,
    output::ExitStatus,
    prepare::prepare,
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
    start(spec)
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
    let child = launch(&program, &image)?;
    Ok(child.pid.unsigned_abs())
}

pub(crate) fn start(spec: Spec) -> Result<Running> {
    let program = spec.program();
    let own_group = spec.session != Session::Inherit;
    let cgroup = spec.cgroup.as_ref().map(Cgroup::open).transpose()?;
    let (image, ours) = prepare(spec)?;
    let watch = |doing| {
        let program = program.clone();
        move |source| Error::Io { program, doing, source }
    };
    // Before the program: what fails here must not leave one behind.
    let stdin = ours.stdin.map(pipe::Sender::from_owned_fd).transpose();
    let stdin = stdin.map_err(watch("make the input pipe of"))?;
    let stdout = ours.stdout.map(pipe::Receiver::from_owned_fd).transpose();
    let stdout = stdout.map_err(watch("make the output pipe of"))?;
    let stderr = ours.stderr.map(pipe::Receiver::from_owned_fd).transpose();
    let stderr = stderr.map_err(watch("make the error pipe of"))?;
    let child = launch(&program, &image)?;
    // Closes our copies of the program's ends: else its pipes never end.
    drop(image);
    match clone::watch(child.pidfd) {
        Ok(pidfd) => Ok(Running {
            program,
            pid: child.pid,
            pidfd: Some(pidfd),
            status: None,
            own_group,
            cgroup,
            stdin,
            stdout,
            stderr,
        }),
        Err(error) => {
            let (pidfd, source) = error.into_parts();
            kill_tree(cgroup.as_ref(), own_group, child.pid);
            // It was running a moment ago and is ours: the signal can only find it dead.
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            reap_in_background(pidfd);
            Err(Error::Io { program, doing: "watch", source })
        }
    }
}

impl Running {
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
    /// When the kernel does not tell.
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
                    self.status = Some(status);
                    drop(ready);
                    self.pidfd = None;
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
                Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
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
        reap_in_background(pidfd.into_inner());
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
fn reap_in_background(pidfd: OwnedFd) {
    match reap(&pidfd) {
        Ok(Some(_)) => return,
        Ok(None) => {}
        Err(error) => {
            tracing::error!(%error, "a process is left as a zombie");
            return;
        }
    }
    let wait = move || {
        let id = WaitId::PidFd(pidfd.as_fd());
        while let Err(rustix::io::Errno::INTR) =
            rustix::process::waitid(id.clone(), WaitIdOptions::EXITED)
        {}
    };
    let thread = std::thread::Builder::new().name("vnode-reaper".to_owned()).stack_size(64 << 10);
    if let Err(error) = thread.spawn(wait) {
        tracing::error!(%error, "a process is left as a zombie");
    }
}

fn launch(program: &str, image: &Image) -> Result<Child> {
    clone::start(image).map_err(|(stage, source)| Error::Start {
        program: program.to_owned(),
        stage: stage.text(),
        source,
    })
}
