//! A container's first process: starts a program, reaps what it leaves behind, passes signals on, ends with its
//! exit code. With `serve` the agent runs beside it, and is started again when it ends.

use std::{
    ffi::OsString,
    io,
    mem::MaybeUninit,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use vnode_action::{ExitStatus, Running, Session, Signal, Spec, Stdin, Stream, User, account};

/// What is passed on to the program, beside the real-time signals: what asks a program for something.
const PASSED: &[i32] = &[
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGPWR,
];
/// Real-time signals that the C library leaves to programs: some inits are asked by them to end.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;
/// Largest account file that is read, bytes.
const FILE_BYTES: u64 = 4 << 20;
/// First pause before an agent that has ended is started again; it doubles up to [`SLOWEST`].
const FIRST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_secs(10);

/// What the first process is told.
#[derive(Debug, Default)]
pub struct Settings {
    /// The program and its arguments; empty: there is none, and TERM, INT or PWR is the end.
    pub program: Vec<OsString>,
    /// The agent runs beside it.
    pub serve: bool,
    /// The agent's configuration file.
    pub config: Option<PathBuf>,
    /// Whom the program runs as, `user[:group]` by name or number, as OCI images write it.
    pub user: Option<String>,
}

/// Why there is no exit code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    #[error("cannot start the program")]
    Start(#[source] vnode_action::Error),
    #[error("cannot run the program as `{user}`: {reason}")]
    User { user: String, reason: String },
    #[error("cannot {action}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Runs the program to its end; gives the exit code as a shell has it.
///
/// # Errors
/// When it cannot be started.
pub async fn run(settings: Settings) -> Result<u8, InitError> {
    let failed = |action| move |source| InitError::Io { action, source };
    // Not the first process (a test, another init above us): orphans come to us all the same.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| failed("become the reaper")(error.into()))?;
    let mut child_ends = signal(SignalKind::child()).map_err(failed("take signals"))?;
    let mut passed = Vec::new();
    for number in PASSED.iter().copied().chain(REAL_TIME) {
        let taken = signal(SignalKind::from_raw(number)).map_err(failed("take signals"))?;
        passed.push((taken, number));
    }
    let mut agent = Beside::new(&settings)?;
    agent.start();
    let mut running = match settings.program.is_empty() {
        true => None,
        false => Some(start(&settings)?),
    };
    let status = loop {
        let ours: Vec<i32> = running
            .iter()
            .chain(&agent.running)
            .map(|running| i32::try_from(running.pid()).unwrap_or(i32::MAX))
            .collect();
        tokio::select! {
            status = waited(running.as_mut()) => break status.map_err(InitError::Start)?,
            number = any(&mut passed) => match &running {
                Some(running) => pass(running, number),
                None if matches!(number, libc::SIGTERM | libc::SIGINT | libc::SIGPWR) => {
                    break ExitStatus::Code(0);
                }
                None => {}
            },
            // It is waited for, so that its end hides no other's.
            () = agent.next() => reap(&ours).map_err(failed("reap"))?,
            _ = child_ends.recv() => reap(&ours).map_err(failed("reap"))?,
        }
    };
    agent.end().await;
    Ok(match status {
        ExitStatus::Code(code) => u8::try_from(code & 0xff).unwrap_or(1),
        ExitStatus::Signal(signal) => u8::try_from(128 + signal).unwrap_or(255),
    })
}

fn start(settings: &Settings) -> Result<Running, InitError> {
    let mut spec = Spec::new(&settings.program)
        .envs(std::env::vars_os())
        .stdin(Stdin::Inherit)
        .stdout(Stream::Inherit)
        .stderr(Stream::Inherit)
        // It keeps our terminal, if there is one.
        .session(Session::Inherit);
    if let Some(user) = &settings.user {
        spec = spec.user(user_of(user)?);
    }
    vnode_action::spawn(spec).map_err(InitError::Start)
}

/// `user[:group]` by the files of this system; a number needs no file.
fn user_of(text: &str) -> Result<User, InitError> {
    let wrong = |reason: String| InitError::User { user: text.to_owned(), reason };
    let root = vnode_beneath::Dir::open_ambient("/", vnode_beneath::Scope::InRoot)
        .map_err(|error| wrong(error.to_string()))?;
    let read = |name: &str| match root.read_to_limit(name, FILE_BYTES) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.is_not_found() => Ok(String::new()),
        Err(error) => Err(wrong(error.to_string())),
    };
    let (passwd, groups) = (read("etc/passwd")?, read("etc/group")?);
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let mut user = match (account::account(&passwd, name), name.parse()) {
        (Some(account), _) => account.user(&groups),
        (None, Ok(uid)) => User { uid, gid: 0, groups: Vec::new() },
        (None, Err(_)) => return Err(wrong("there is no such user".to_owned())),
    };
    if let Some(group) = group {
        let known = account::group_id(&groups, group).or_else(|| group.parse().ok());
        user.gid = known.ok_or_else(|| wrong(format!("there is no group `{group}`")))?;
        user.groups = vec![user.gid];
    }
    Ok(user)
}

async fn waited(running: Option<&mut Running>) -> Result<ExitStatus, vnode_action::Error> {
    match running {
        Some(running) => running.wait().await,
        None => std::future::pending().await,
    }
}

/// The agent beside the program: one that ends is started again.
struct Beside {
    /// `None`: it is not wanted.
    program: Option<(PathBuf, Option<PathBuf>)>,
    running: Option<Running>,
    began: Instant,
    pause: Duration,
}

impl Beside {
    fn new(settings: &Settings) -> Result<Self, InitError> {
        let program = match settings.serve {
            true => {
                let ours = std::env::current_exe();
                let failed = |source| InitError::Io { action: "find my own program", source };
                Some((ours.map_err(failed)?, settings.config.clone()))
            }
            false => None,
        };
        Ok(Self { program, running: None, began: Instant::now(), pause: FIRST })
    }

    /// An agent that cannot be started is tried again as one that has ended: the program does not depend on it.
    fn start(&mut self) {
        let Some((program, config)) = &self.program else { return };
        let mut spec = Spec::new([program.as_os_str()])
            .arg("run")
            .arg("--quiet")
            .envs(std::env::vars_os())
            .stderr(Stream::Inherit);
        if let Some(config) = config {
            spec = spec.arg("--config").arg(config);
        }
        self.began = Instant::now();
        self.running = match vnode_action::spawn(spec) {
            Ok(running) => Some(running),
            Err(error) => {
                tracing::warn!(%error, "the agent cannot be started");
                None
            }
        };
    }

    /// Waits for its end, or until it is time to start it again, which it then does. Cancel-safe.
    async fn next(&mut self) {
        match &mut self.running {
            Some(running) => {
                if let Err(error) = running.wait().await {
                    tracing::warn!(%error, "the agent cannot be waited for");
                }
                tracing::warn!("the agent has ended");
                self.running = None;
                self.pause = match self.began.elapsed() > SLOWEST {
                    true => FIRST,
                    false => (self.pause * 2).min(SLOWEST),
                };
                self.began = Instant::now();
            }
            None if self.program.is_some() => {
                tokio::time::sleep_until((self.began + self.pause).into()).await;
                self.start();
            }
            None => std::future::pending().await,
        }
    }

    async fn end(self) {
        let Some(mut agent) = self.running else { return };
        let ended = async {
            agent.signal(Signal::TERM)?;
            agent.wait().await
        };
        match tokio::time::timeout(Duration::from_secs(2), ended).await {
            Ok(Ok(_)) => {}
            // Dropping it kills it.
            Ok(Err(error)) => tracing::warn!(%error, "the agent did not end"),
            Err(_) => tracing::warn!("the agent did not end in time"),
        }
    }
}

async fn any(passed: &mut [(Signals, i32)]) -> i32 {
    let waiting = passed.iter_mut().map(|(signals, number)| {
        let number = *number;
        Box::pin(async move {
            signals.recv().await;
            number
        })
    });
    futures_util::future::select_all(waiting).await.0
}

fn pass(running: &Running, number: i32) {
    // SAFETY: the number is one of `PASSED`, or one of `REAL_TIME`, which the C library does not use itself.
    let signal = unsafe { Signal::from_raw_unchecked(number) };
    if let Err(error) = running.signal(signal) {
        tracing::warn!(%error, "a signal could not be passed on");
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
