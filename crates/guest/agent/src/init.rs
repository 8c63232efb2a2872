//! A container's first process: starts a program, reaps what it leaves behind, passes signals on, ends with its
//! exit code.

use std::{ffi::OsString, io, mem::MaybeUninit};

use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use vnode_action::{ExitStatus, Running, Session, Signal, Spec, Stdin, Stream};

/// What is passed on to the program.
const PASSED: &[(i32, Signal)] = &[
    (libc::SIGTERM, Signal::TERM),
    (libc::SIGINT, Signal::INT),
    (libc::SIGHUP, Signal::HUP),
    (libc::SIGQUIT, Signal::QUIT),
    (libc::SIGUSR1, Signal::USR1),
    (libc::SIGUSR2, Signal::USR2),
    (libc::SIGWINCH, Signal::WINCH),
];

/// Why there is no exit code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    #[error("cannot start the program")]
    Start(#[source] vnode_action::Error),
    #[error("cannot {action}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Runs `program` to its end, with the agent beside it if `serve`; gives the exit code as a shell has it.
///
/// # Errors
/// When it cannot be started.
pub async fn run(program: Vec<OsString>, serve: bool) -> Result<u8, InitError> {
    let failed = |action| move |source| InitError::Io { action, source };
    // Not the first process (a test, another init above us): orphans come to us all the same.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| failed("become the reaper")(error.into()))?;
    let mut child_ends = signal(SignalKind::child()).map_err(failed("take signals"))?;
    let mut passed = Vec::new();
    for (number, to) in PASSED {
        let taken = signal(SignalKind::from_raw(*number)).map_err(failed("take signals"))?;
        passed.push((taken, *to));
    }
    let environment = || std::env::vars_os();
    let mut agent = if serve {
        let ours = std::env::current_exe().map_err(failed("find my own program"))?;
        let spec = Spec::new([ours.as_os_str()])
            .arg("run")
            .arg("--quiet")
            .envs(environment())
            .stderr(Stream::Inherit);
        Some(vnode_action::spawn(spec).map_err(InitError::Start)?)
    } else {
        None
    };
    let spec = Spec::new(program)
        .envs(environment())
        .stdin(Stdin::Inherit)
        .stdout(Stream::Inherit)
        .stderr(Stream::Inherit)
        // It keeps our terminal, if there is one.
        .session(Session::Inherit);
    let mut running = vnode_action::spawn(spec).map_err(InitError::Start)?;
    let ours: Vec<i32> = std::iter::once(&running)
        .chain(&agent)
        .map(|running| i32::try_from(running.pid()).unwrap_or(i32::MAX))
        .collect();
    let status = loop {
        tokio::select! {
            status = running.wait() => break status.map_err(InitError::Start)?,
            signal = any(&mut passed) => pass(&running, signal),
            // It is waited for, so that its end hides no other's.
            () = ended(agent.as_mut()) => {
                tracing::warn!("the agent has ended");
                agent = None;
                reap(&ours).map_err(failed("reap"))?;
            }
            _ = child_ends.recv() => reap(&ours).map_err(failed("reap"))?,
        }
    };
    if let Some(mut agent) = agent {
        end(&mut agent).await;
    }
    Ok(match status {
        ExitStatus::Code(code) => u8::try_from(code & 0xff).unwrap_or(1),
        ExitStatus::Signal(signal) => u8::try_from(128 + signal).unwrap_or(255),
    })
}

async fn ended(agent: Option<&mut Running>) {
    match agent {
        Some(agent) => {
            if let Err(error) = agent.wait().await {
                tracing::warn!(%error, "the agent cannot be waited for");
            }
        }
        None => std::future::pending().await,
    }
}

async fn any(passed: &mut [(Signals, Signal)]) -> Signal {
    let waiting = passed.iter_mut().map(|(signals, to)| {
        let to = *to;
        Box::pin(async move {
            signals.recv().await;
            to
        })
    });
    futures_util::future::select_all(waiting).await.0
}

fn pass(running: &Running, signal: Signal) {
    if let Err(error) = running.signal(signal) {
        tracing::warn!(%error, "a signal could not be passed on");
    }
}

async fn end(agent: &mut Running) {
    let ended = async {
        agent.signal(Signal::TERM)?;
        agent.wait().await
    };
    match tokio::time::timeout(std::time::Duration::from_secs(2), ended).await {
        Ok(Ok(_)) => {}
        // Dropping it kills it.
        Ok(Err(error)) => tracing::warn!(%error, "the agent did not end"),
        Err(_) => tracing::warn!("the agent did not end in time"),
    }
}

/// Takes the exit status of every process that has ended but those we started, which are waited for elsewhere.
fn reap(ours: &[i32]) -> io::Result<()> {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the kernel fills the zeroed structure, or leaves it.
        let found = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
        if found < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ECHILD) => Ok(()),
                Some(libc::EINTR) => continue,
                _ => Err(error),
            };
        }
        // SAFETY: zeroed or filled, both are valid; the pid's field is valid for SIGCHLD and zero without one.
        let pid = unsafe { info.assume_init().si_pid() };
        // Nothing has ended, or ours has: it hides the others until it is waited for, which is
        // done at once, and the loop comes back here.
        if pid == 0 || ours.contains(&pid) {
            return Ok(());
        }
        let mut status = 0;
        // SAFETY: the status is ours; the process has ended and is our child, so this returns at once.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
    }
}
