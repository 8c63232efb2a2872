//! What to run.

use std::{
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::PathBuf,
    time::Duration,
};

pub use rustix::process::Resource;

/// What the program reads.
#[derive(Debug, Default)]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    #[default]
    Null,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// What the descriptor gives.
    Fd(OwnedFd),
    /// A pipe that [`Running::take_stdin`](crate::Running::take_stdin) writes.
    Pipe,
    /// Our own.
    Inherit,
}

/// Where the program prints.
#[derive(Debug, Default)]
pub enum Stream {
    /// Nowhere: `/dev/null`.
    #[default]
    Null,
    /// Into memory, at most so many bytes; the rest is read and thrown away.
    Capture { max_bytes: usize },
    /// To the descriptor.
    Fd(OwnedFd),
    /// A pipe that [`Running`](crate::Running) gives out; [`run`](crate::run) treats it as `Null`.
    Pipe,
    /// Ours.
    Inherit,
}

/// To whose group of processes the program belongs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Session {
    /// A process group of its own, killed whole.
    #[default]
    NewGroup,
    /// A session of its own (and so a group): no terminal.
    NewSession,
    /// A session of its own, whose terminal is the program's input.
    Terminal,
    /// Our own group: a signal reaches the program alone.
    Inherit,
}

/// Whom the program runs as. Needs root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups; none is inherited.
    pub groups: Vec<u32>,
}

/// A resource limit, soft and hard, in the unit of the resource.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub resource: Resource,
    pub value: u64,
}

/// A place in which a program can do little but answer: see [`Spec::sandbox`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Folders that can be written all the same, without what is mounted below them; none below `/tmp` or `/var/tmp`.
    pub writable: Vec<PathBuf>,
    /// Files that stand in the place of others: what is seen, and where, which must be there.
    pub covered: Vec<(PathBuf, PathBuf)>,
    /// Device files that whoever the program runs as may open, whatever rights they have outside. Needs CAP_MKNOD, and in a
    /// control group that lists devices the right to make them.
    pub devices: Vec<PathBuf>,
    /// A filter of system calls, which holds from before the program is executed: instructions of seccomp(2), each the eight
    /// bytes of a `struct sock_filter`. Empty: none. It has to let chdir, rt_sigprocmask and execve pass.
    pub filter: Vec<u64>,
}

/// What a program may not, beside what its user may not: see [`Spec::confine`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// No program that it executes can have more rights than it has: setuid and the like mean nothing.
    pub no_new_privileges: bool,
    /// Capabilities that it has and can have, as bits, whatever its user.
    pub capabilities: u64,
    /// Absolute paths below which nothing can be written, which must be there.
    pub read_only: Vec<PathBuf>,
    /// Folders that can be written all the same, without what is mounted below them.
    pub writable: Vec<PathBuf>,
    /// `/tmp` and `/var/tmp` are empty and its own, in memory, and end with it. None of the other folders may lie there.
    pub private_tmp: bool,
    /// Whether it has the network; else one without any interface.
    pub network: bool,
}

/// One program for one request.
#[derive(Debug)]
#[must_use = "a specification starts nothing by itself"]
pub struct Spec {
    pub(crate) argv: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) stdin: Stdin,
    pub(crate) stdout: Stream,
    pub(crate) stderr: Stream,
    pub(crate) passed: Vec<(i32, OwnedFd)>,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) session: Session,
    pub(crate) user: Option<User>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) entered: Vec<PathBuf>,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) confinement: Option<Confinement>,
}

impl Spec {
    /// A program with its arguments; `argv[0]` is a path, or a name that is looked up in the `PATH` of the
    /// environment given with [`Spec::env`] (by default `/usr/sbin:/usr/bin:/sbin:/bin`).
    ///
    /// By default: empty environment, our working directory, no input, output nowhere, no time limit, five
    /// seconds between TERM and KILL, a process group of its own.
    pub fn new<I, A>(argv: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: AsRef<OsStr>,
    {
        Self {
            argv: argv.into_iter().map(|argument| argument.as_ref().to_owned()).collect(),
            environment: Vec::new(),
            folder: None,
            stdin: Stdin::Null,
            stdout: Stream::Null,
            stderr: Stream::Null,
            passed: Vec::new(),
            time_limit: None,
            grace: Duration::from_secs(5),
            session: Session::NewGroup,
            user: None,
            limits: Vec::new(),
            cgroup: None,
            entered: Vec::new(),
            sandbox: None,
            confinement: None,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.argv.push(argument.as_ref().to_owned());
        self
    }

    /// Sets a variable; the last one wins.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.retain(|(other, _)| other != name.as_ref());
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets many variables.
    pub fn envs<I, N, V>(self, variables: I) -> Self
    where
        I: IntoIterator<Item = (N, V)>,
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        variables.into_iter().fold(self, |spec, (name, value)| spec.env(name, value))
    }

    /// The working directory.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    pub fn stdout(mut self, stream: Stream) -> Self {
        self.stdout = stream;
        self
    }

    pub fn stderr(mut self, stream: Stream) -> Self {
        self.stderr = stream;
        self
    }

    /// Captures both streams, each up to `max_bytes`.
    pub fn capture(self, max_bytes: usize) -> Self {
        self.stdout(Stream::Capture { max_bytes }).stderr(Stream::Capture { max_bytes })
    }

    /// Gives the program a descriptor under the number `number` (3 or more).
    pub fn pass(mut self, number: i32, descriptor: OwnedFd) -> Self {
        self.passed.retain(|(other, _)| *other != number);
        self.passed.push((number, descriptor));
        self
    }

    /// Ends the program after this time: TERM, the grace, KILL.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Time between TERM and KILL.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    pub fn session(mut self, session: Session) -> Self {
        self.session = session;
        self
    }

    pub fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// Limits a resource, soft and hard alike.
    pub fn limit(mut self, resource: Resource, value: u64) -> Self {
        self.limits.push(Limit { resource, value });
        self
    }

    /// Puts the program into this cgroup v2 folder, which is killed with it. The folder exists, and holds
    /// nothing else; see [`Cgroup`](crate::Cgroup).
    pub fn cgroup(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cgroup = Some(folder.into());
        self
    }

    /// Puts the program into this control group, of either version, as one among others: nobody is killed with it.
    pub fn enter(mut self, folder: impl Into<PathBuf>) -> Self {
        self.entered.push(folder.into());
        self
    }

    /// Runs the program in a sandbox: every file read-only but those of the folders named there, `/tmp`, `/var/tmp` and
    /// `/dev/shm` empty and its own, a network without any interface, System V's and POSIX' shared memory and queues its
    /// own, no capability, no way to another (`no_new_privs`). Needs CAP_SYS_ADMIN: without it the program is not started.
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.sandbox = Some(sandbox);
        self
    }

    /// Takes rights from the program. Needs CAP_SYS_ADMIN for what changes files or network, and CAP_SETPCAP where
    /// programs may have new privileges: without them the program is not started. A sandbox comes before it.
    pub fn confine(mut self, confinement: Confinement) -> Self {
        self.confinement = Some(confinement);
        self
    }

    /// The program as error texts name it.
    pub(crate) fn program(&self) -> String {
        self.argv.first().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
}
