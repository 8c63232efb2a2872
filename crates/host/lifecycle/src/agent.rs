//! The agent in a node: how a container comes by the host's, and what is asked of any.
//!
//! A container whose definition wants it has one read-only folder of ours, [`FOLDER`], with the static program and its
//! configurations; nothing of the image is needed or touched. As the container's init the agent serves on a socket in a
//! folder of the node's own; on demand it is started by the monitor and speaks over its standard streams. A virtual
//! machine's agent is reached by its driver.
//!
//! Programs and files of a container stay the monitor's work, unless the agent is asked for by name: the monitor does
//! not depend on a process that the node may kill, and begins a program in half the time.

use std::fs::{File, FileTimes};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use vnode_driver::{Exec, ExecSpec, Instance, Mount, MountKind, NodeSpec, Reader, Writer};
use vnode_guest::{Class, Error as GuestError, Guest, Options, Shutdown};
use vnode_topology::{AgentMode, Node};

use crate::by_agent;
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::inner::{Inner, driver_error};
use crate::registry::{NodeEntry, lock};
use crate::request::{self, AgentCommand};

/// Folder of the agent in a container.
pub const FOLDER: &str = "/.vnode";
/// The program there.
pub(crate) const PROGRAM: &str = "/.vnode/vnode-agent";
/// Where it is in a virtual machine's image, as packages put it.
pub(crate) const IN_MACHINES: &str = "vnode-agent";
const SOCKET: &str = "agent.sock";
/// Of the agent that is a node's init. Only root enters the socket's folder; the daemon, from outside a user namespace,
/// is nobody there.
const INIT: &str = "defaults = false\n\n[log]\nlevel = \"warn\"\n\n[[channel]]\nname = \"native\"\n\
                    exchange = \"unix\"\npath = \"/.vnode/run/agent.sock\"\nusers = [65534]\n\
                    connections = 64\nparser = \"native\"\n";
/// Of the agent that is started when it is asked.
const ON_DEMAND: &str = "defaults = false\n\n[log]\nlevel = \"warn\"\n\n[[channel]]\nname = \"native\"\n\
                         exchange = \"stdio\"\nparser = \"native\"\n";
/// How long an agent that has just been started, or started again, is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// One node at a time looks whether the program is there.
static PROVIDING: Mutex<()> = Mutex::new(());

/// Puts the agent into a container's definition, when the topology wants it. `own` is the node's folder among the lab's.
pub(crate) async fn install(
    inner: &Inner,
    node: &Node,
    own: &Path,
    spec: &mut NodeSpec,
) -> Result<()> {
    if node.agent == AgentMode::None || spec.machine.is_some() || spec.domain.is_some() {
        return Ok(());
    }
    let folder = inner.options.state_dir.join("agent");
    let (program, given) = (find(&inner.options.agent_programs, &node.name)?, folder.clone());
    tokio::task::spawn_blocking(move || provide(&program, &given))
        .await
        .map_err(|source| Error::failed("the agent was not provided").because(source))?
        .map_err(|source| {
            Error::failed(format!("cannot provide the agent in `{}`", folder.display()))
                .because(source)
        })?;
    spec.mounts.push(bind(folder, FOLDER, true));
    if node.agent == AgentMode::Init {
        as_init(&own.join("agent"), spec)?;
    }
    Ok(())
}

/// The program, where it is first found.
fn find(places: &[PathBuf], node: &str) -> Result<PathBuf> {
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        let text = format!("node `{node}` wants the agent, and `vnode-agent` is not there");
        Error::new(Kind::Unsupported, text)
            .because(io::Error::other(format!("looked for {}", places.join(", "))))
            .hint("install it beside `vnode`, or name it with `vnode daemon --agent` or `VNODE_AGENT`")
    })
}

fn bind(source: PathBuf, target: &str, read_only: bool) -> Mount {
    Mount {
        target: target.to_owned(),
        kind: MountKind::Bind { source, recursive: false },
        read_only,
        options: vec!["nosuid".to_owned(), "nodev".to_owned()],
    }
}

/// The agent is the node's first process, as root, and runs the node's own program as whom that would have run.
fn as_init(run: &Path, spec: &mut NodeSpec) -> Result<()> {
    spec.mounts.push(bind(run.to_owned(), "/.vnode/run", false));
    let root = spec.security.user_namespace.map_or(0, |ids| ids.first);
    make_private(run, root).map_err(|source| {
        Error::failed(format!("cannot make `{}`", run.display())).because(source)
    })?;
    let mut argv: Vec<String> = Vec::new();
    argv.extend([PROGRAM, "init", "--serve", "--config", "/.vnode/init.toml"].map(str::to_owned));
    let user = std::mem::take(&mut spec.process.user);
    if !user.is_empty() && !spec.process.argv.is_empty() {
        argv.extend(["--user".to_owned(), user]);
    }
    argv.push("--".to_owned());
    argv.append(&mut spec.process.argv);
    spec.process.argv = argv;
    Ok(())
}

/// A folder that only `owner` enters.
fn make_private(folder: &Path, owner: u32) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700))?;
    std::os::unix::fs::chown(folder, Some(owner), Some(owner))
}

/// Makes the folder that is bound into nodes; a newer program takes the place of the old one, which runs on where it runs.
fn provide(program: &Path, folder: &Path) -> io::Result<()> {
    let _one = lock(&PROVIDING);
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder.join("run"))?;
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755))?;
    let (theirs, ours) = (program.metadata()?, folder.join("vnode-agent"));
    let same = ours.metadata().is_ok_and(|ours| {
        ours.len() == theirs.len() && ours.modified().ok() == theirs.modified().ok()
    });
    if !same {
        let new = folder.join(".vnode-agent");
        std::fs::copy(program, &new)?;
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755))?;
        let times = FileTimes::new().set_modified(theirs.modified()?);
        File::options().write(true).open(&new)?.set_times(times)?;
        std::fs::rename(new, ours)?;
    }
    for (name, text) in [("init.toml", INIT), ("on-demand.toml", ON_DEMAND)] {
        let path = folder.join(name);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text) {
            std::fs::write(&path, text)?;
        }
    }
    Ok(())
}

impl Inner {
    /// The agent in a running node.
    pub(crate) async fn guest(&self, entry: &NodeEntry) -> Result<Guest> {
        let (lab, name) = entry.with(|record| (record.lab.clone(), record.node.clone()));
        let instance = entry.live()?;
        if let Some(guest) = instance.guest().await.map_err(driver_error)? {
            return Ok(guest);
        }
        let mode = self.registry.lab(&lab, |lab| {
            lab.record.lab.node(&name).map_or(AgentMode::None, |node| node.agent)
        })?;
        match mode {
            AgentMode::None => Err(Error::state(format!("node `{name}` has no agent")).hint(
                "write `agent: on-demand` or `agent: init` in its topology, and `vnode apply` it",
            )),
            AgentMode::OnDemand => on_demand(&*instance, &name).await,
            AgentMode::Init => {
                if instance.pid().is_none() {
                    return Err(Error::state(format!("node `{name}` does not run")).hint("boot it"));
                }
                let folder = crate::runner::own_folder(&self.lab_dir(&lab), &name).join("agent");
                by_socket(&folder, &name).await
            }
        }
    }
}

/// Starts the agent in a node; it ends with the connection.
async fn on_demand(instance: &dyn Instance, node: &str) -> Result<Guest> {
    let words = [PROGRAM, "run", "--quiet", "--config", "/.vnode/on-demand.toml"];
    let spec = ExecSpec {
        argv: words.map(str::to_owned).to_vec(),
        user: Some("0:0".to_owned()),
        cwd: Some("/".to_owned()),
        ..ExecSpec::default()
    };
    let mut exec = instance.exec(&spec).await.map_err(|error| {
        driver_error(error).hint("the agent must be the static program of `cargo xtask dist` where a node's image lacks its libraries")
    })?;
    let (Some(stdin), Some(stdout)) = (exec.stdin.take(), exec.stdout.take()) else {
        return Err(Error::failed(format!("the agent in node `{node}` has no streams")));
    };
    if let Some(stderr) = exec.stderr.take() {
        tokio::spawn(log(stderr, node.to_owned()));
    }
    let streams = Streams { stdin, stdout, _program: Mutex::new(exec) };
    let mut options = Options::default();
    options.probe = PATIENCE;
    vnode_guest::probe_with(streams, options).await.map_err(|error| told(node, &error))
}

/// What an agent complains of, a line at a time and not without end.
async fn log(stderr: Reader, node: String) {
    use tokio::io::AsyncBufReadExt;
    let mut lines = tokio::io::BufReader::new(stderr.take(64 << 10)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::warn!(node, "agent: {}", line.escape_debug());
    }
}

/// Connects to the agent that is a node's init. It may just be starting.
async fn by_socket(folder: &Path, node: &str) -> Result<Guest> {
    let until = Instant::now() + PATIENCE;
    loop {
        let error = match connect(folder).await {
            Ok(stream) => match vnode_guest::probe(stream).await {
                Ok(guest) => return Ok(guest),
                Err(error) => told(node, &error),
            },
            Err(source) => Error::state(format!("the agent of node `{node}` does not listen"))
                .because(source)
                .hint("it is started again when it ends; `vnode logs` shows what it says"),
        };
        if Instant::now() > until {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The folder is the node's to write: what lies there under the socket's name is connected to only when it is a socket
/// in this very folder, and no link to one of the host's.
async fn connect(folder: &Path) -> io::Result<UnixStream> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let folder = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty())?;
    let within = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let socket = rustix::fs::openat2(&folder, SOCKET, flags, Mode::empty(), within)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode);
    if kind != FileType::Socket {
        return Err(io::Error::other("what the node has put in the socket's place is none"));
    }
    UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
}

/// A program's streams as one; dropping it ends the program.
struct Streams {
    stdin: Writer,
    stdout: Reader,
    /// Behind a lock only so that it may be shared, which nobody does.
    _program: Mutex<Exec>,
}

impl AsyncRead for Streams {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stdout.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Streams {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stdin.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin.as_mut().poll_shutdown(cx)
    }
}

/// An agent's refusal in the daemon's words.
fn told(node: &str, error: &GuestError) -> Error {
    let kind = match error {
        GuestError::Refused { class, .. } => match class {
            Class::Usage => Kind::Usage,
            Class::NotFound => Kind::NotFound,
            Class::Unsupported => Kind::Unsupported,
            Class::State | Class::Busy => Kind::State,
            Class::Deadline => Kind::Deadline,
            _ => Kind::Failed,
        },
        GuestError::Unsupported { .. } => Kind::Unsupported,
        GuestError::Deadline { .. } | GuestError::Silent { .. } => Kind::Deadline,
        GuestError::Busy => Kind::State,
        GuestError::TooLarge { .. } => Kind::Usage,
        _ => Kind::Failed,
    };
    let mut text = format!("node `{node}`: {}", vnode_protocol::chain(error));
    if let GuestError::Refused { causes, .. } = error {
        for cause in causes {
            text = format!("{text}: {cause}");
        }
    }
    Error::new(kind, text)
}

impl Host {
    /// Asks a node's agent, and gives its answer.
    ///
    /// # Errors
    /// The node does not run or has no agent; the agent refuses or does not answer.
    pub async fn agent(&self, node: &str, command: AgentCommand) -> Result<Value> {
        let entry = self.inner.registry.find(node)?;
        let guest = self.inner.guest(&entry).await?;
        let answer = match command {
            AgentCommand::Ping => {
                let before = Instant::now();
                guest.ping().await.map(|()| {
                    let round_trip = u64::try_from(before.elapsed().as_micros());
                    let round_trip = round_trip.unwrap_or(u64::MAX);
                    json!({"agent": guest.form().to_string(), "round_trip_us": round_trip})
                })
            }
            AgentCommand::Info => guest.info().await,
            AgentCommand::Network => guest.network().await,
            AgentCommand::Metrics => guest.metrics().await,
            AgentCommand::Time { set_ns: None } => guest.time().await.map(|ns| json!({ "ns": ns })),
            AgentCommand::Time { set_ns: Some(ns) } => {
                guest.set_time(ns).await.map(|()| json!({ "ns": ns }))
            }
            AgentCommand::Shutdown { mode } => {
                let how = match mode {
                    request::ShutdownMode::Poweroff => Shutdown::Poweroff,
                    request::ShutdownMode::Reboot => Shutdown::Reboot,
                    request::ShutdownMode::Halt => Shutdown::Halt,
                };
                guest.shutdown(how).await.map(|()| json!({}))
            }
            command => {
                let request = by_agent::detached(node, &entry, &guest, command)?;
                guest.call(request.0, request.1).await
            }
        };
        answer.map_err(|error| told(node, &error))
    }

    /// `LAB/NODE` of every node that its topology gives an agent, or that is a machine, which brings its own.
    pub fn nodes_with_agents(&self) -> Vec<String> {
        let labs = self.inner.registry.read();
        let nodes = labs.values().flat_map(|lab| {
            let name = &lab.record.name;
            let with = lab.record.lab.nodes.iter();
            with.filter(|node| node.agent != AgentMode::None || node.vm.is_some())
                .map(move |node| format!("{name}/{}", node.name))
        });
        nodes.collect()
    }
}
