//! The daemon: its locks, its listeners, its signals, its end. What it does is in `vnode_lifecycle`, how it is
//! asked in `vnode_api`.
//!
//! Order at the start: lock the state folder, listen (requests wait from then on), open the host, which
//! recovers and adopts, say that we are ready, serve. At the end the other way round; nodes go on.

use std::fs::File;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use vnode_api::tls::CertificateFiles;
use vnode_api::token::Tokens;
use vnode_api::{Api, Code, Listeners, Problem, socket};
use vnode_lifecycle::Host;

use crate::Result;
use crate::client::{lock, lock_path, make_folder, open};

/// What the daemon is told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub state_dir: PathBuf,
    pub monitor: Option<PathBuf>,
    pub agent: Option<PathBuf>,
    pub workers: usize,
    pub listen: Option<String>,
    pub certificate: Option<CertificateFiles>,
    pub images: vnode_image::Options,
    /// Nodes get a user namespace where kernel and driver can give one.
    pub user_namespaces: bool,
    /// Topologies may run commands on the host.
    pub host_commands: bool,
    /// A damaged store is opened with what is whole in it.
    pub repair: bool,
    /// Settings of a cloud that follows the images of signed lists.
    pub opennebula: Option<PathBuf>,
    /// Descriptor that waits for word that we are ready.
    pub ready_fd: Option<i32>,
}

/// Runs until it is asked to stop.
pub(crate) fn run(settings: Settings) -> Result {
    let mut ready = Ready::new(settings.ready_fd);
    let done = runtime().and_then(|runtime| runtime.block_on(live(settings, &mut ready)));
    if let Err(problem) = &done {
        tracing::error!(error = %problem, "the daemon cannot go on");
        ready.failed(problem);
    }
    done.map(|()| 0)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    raise_descriptors();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, 8))
        // Idle threads of the blocking pool go, and their stacks with them.
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .map_err(|error| Problem::from_error(Code::Failed, &error))
}

/// A node takes up to six descriptors; the soft limit of most systems would end at 150 nodes.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of descriptors");
    }
}

async fn live(settings: Settings, ready: &mut Ready) -> Result<()> {
    let state_dir = &settings.state_dir;
    let fail = |what: &str, error: &io::Error| {
        Problem::from_error(Code::Failed, error)
            .in_front(format!("cannot {what} `{}`", state_dir.display()))
    };
    make_folder(state_dir).map_err(|error| fail("make the state folder", &error))?;
    let _lock = take_lock(state_dir).await?;
    let tokens = Tokens::open(&state_dir.join("tokens.json")).map_err(Problem::from)?;
    let given = activated()?;
    let own_socket = given.unix.is_empty().then(|| state_dir.join(socket::NAME));
    let mut listeners = given;
    if let Some(path) = &own_socket {
        let listener = socket::listen(path).map_err(|error| fail("listen in", &error))?;
        listeners.unix.push(listener);
    }
    let tcp = listen_tcp(&settings)?;
    let opened = open_host(&settings).await;
    let host = match opened {
        Ok(host) => host,
        Err(problem) => {
            remove(own_socket.as_deref());
            return Err(problem);
        }
    };
    listeners.tcp.extend(tcp);
    let stop = CancellationToken::new();
    let api = Api::new(Arc::clone(&host), Arc::new(tokens), stop.clone(), state_dir.clone());
    let api = api.await?;
    let served = tokio::spawn(vnode_api::serve(api.router(), listeners, stop.clone()));
    watch_signals(stop.clone())?;
    watchdog(Arc::clone(&host), stop.clone());
    tokio::spawn(vnode_idle::settle(api.busy()));
    tracing::info!(state_dir = %state_dir.display(), "ready");
    ready.ready();
    notify(&[sd_notify::NotifyState::Ready]);

    stop.cancelled().await;
    tracing::info!("stopping; nodes go on");
    notify(&[sd_notify::NotifyState::Stopping]);
    // From here on a command finds no socket and starts a new daemon, which waits for our lock.
    remove(own_socket.as_deref());
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(fail("serve in", &error)),
        Err(error) => return Err(Problem::from_error(Code::Internal, &error)),
    }
    host.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

async fn open_host(settings: &Settings) -> Result<Arc<Host>> {
    let options = vnode_lifecycle::Options {
        state_dir: settings.state_dir.clone(),
        monitor_program: monitor(settings.monitor.as_deref())?,
        agent_programs: agents(settings.agent.as_deref()),
        workers: settings.workers,
        images: settings.images.clone(),
        user_namespaces: settings.user_namespaces,
        host_commands: settings.host_commands,
        repair: settings.repair,
    };
    let cloud = settings.opennebula.as_deref().map(|file| cloud(file, &settings.state_dir));
    let cloud = cloud.transpose()?;
    let host = Host::open(options).await?;
    if let Some(cloud) = cloud {
        host.image_lists().attach(Arc::new(cloud));
    }
    Ok(host)
}

/// A cloud that is told of every change of an image. Its server may be away now; its settings must be right.
fn cloud(file: &Path, state_dir: &Path) -> Result<vnode_opennebula::publisher::Following> {
    let work = std::path::absolute(state_dir.join("opennebula"));
    let work = work.map_err(|error| Problem::from_error(Code::Failed, &error))?;
    vnode_opennebula::publisher::Following::open(file, work)
        .map_err(|text| Problem::new(Code::Usage, text))
}

/// Where a program of ours may be: as given, or beside this one, or where packages put it.
fn places(name: &str, given: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = given {
        return vec![std::path::absolute(path).unwrap_or_else(|_| path.to_owned())];
    }
    let beside = std::env::current_exe().ok();
    let mut places: Vec<PathBuf> =
        beside.and_then(|path| Some(path.parent()?.join(name))).into_iter().collect();
    places.push(Path::new("/usr/libexec/vnode").join(name));
    places.push(Path::new("/usr/lib/vnode").join(name));
    places
}

/// Places of the agent for containers. It may be installed while we run: it is looked for when a node wants it.
fn agents(given: Option<&Path>) -> Vec<PathBuf> {
    let mut places = places("vnode-agent", given);
    if given.is_none() {
        places.push("/usr/bin/vnode-agent".into());
    }
    places
}

/// The monitor program.
fn monitor(given: Option<&Path>) -> Result<PathBuf> {
    let places = places("vnode-monitor", given);
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        Problem::new(Code::Failed, "the program `vnode-monitor` is not there")
            .cause(format!("looked for {}", places.join(", ")))
            .hint("install it beside `vnode`, or name it with `--monitor` or `VNODE_MONITOR`")
    })
}

/// One daemon for one state folder. One that is just ending is waited for.
async fn take_lock(state_dir: &Path) -> Result<File> {
    let path = lock_path(state_dir);
    let fail = |error: &io::Error| {
        Problem::from_error(Code::Failed, error)
            .in_front(format!("cannot lock `{}`", path.display()))
    };
    let mut file = open(&path).map_err(|error| fail(&error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            if socket::connect(&state_dir.join(socket::NAME)).is_ok() {
                let text = format!("a daemon runs in `{}` already", state_dir.display());
                return Err(Problem::new(Code::Conflict, text).hint(
                    "`vnode daemon stop` stops it; `--state-dir` gives a second one a place",
                ));
            }
            file = lock(file).await.map_err(|error| fail(&error))?;
        }
        Err(error) => return Err(fail(&error.into())),
    }
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(|error| fail(&error))?;
    Ok(file)
}

/// Sockets that systemd opened for us.
fn activated() -> Result<Listeners> {
    let mut given = listenfd::ListenFd::from_env();
    let mut listeners = Listeners::default();
    for index in 0..given.len() {
        let listener: Option<UnixListener> = given.take_unix_listener(index).map_err(|error| {
            Problem::from_error(Code::Failed, &error)
                .in_front("the service manager handed over what is no listening unix socket")
        })?;
        listeners.unix.extend(listener);
    }
    Ok(listeners)
}

fn listen_tcp(settings: &Settings) -> Result<Option<(TcpListener, Arc<rustls::ServerConfig>)>> {
    let Some(address) = &settings.listen else { return Ok(None) };
    let files = match &settings.certificate {
        Some(files) => files.clone(),
        None => CertificateFiles::ensure_in(&settings.state_dir, &names()).map_err(tls)?,
    };
    let config = files.server_config().map_err(tls)?;
    let listener = TcpListener::bind(address).map_err(|error| {
        Problem::from_error(Code::Failed, &error).in_front(format!("cannot listen on `{address}`"))
    })?;
    match listener.local_addr() {
        Ok(address) => tracing::info!(%address, "listening with TLS"),
        Err(error) => {
            tracing::warn!(%error, "listening with TLS on an address that cannot be told")
        }
    }
    Ok(Some((listener, config)))
}

fn tls(error: vnode_api::tls::TlsError) -> Problem {
    Problem::from_error(Code::Failed, &error)
}

/// Names in the certificate that is made at the first start.
fn names() -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if !host.is_empty() && !names.contains(&host) {
        names.push(host);
    }
    names
}

/// TERM and INT stop the daemon, HUP is noted, USR1 and USR2 do nothing. None touches a node.
fn watch_signals(stop: CancellationToken) -> Result<()> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Problem::from_error(Code::Failed, &error).in_front("cannot listen for signals")
        })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut first = listen(SignalKind::user_defined1())?;
    let mut second = listen(SignalKind::user_defined2())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => tracing::info!("SIGHUP: there is nothing to read again"),
                _ = first.recv() => {}
                _ = second.recv() => {}
                () = stop.cancelled() => break,
            }
        }
        stop.cancel();
    });
    Ok(())
}

/// Tells systemd that we live, as long as the host answers.
fn watchdog(host: Arc<Host>, stop: CancellationToken) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let every = limit / 3;
    tokio::spawn(async move {
        while !stop.is_cancelled() {
            if tokio::time::timeout(every, host.counts()).await.is_ok() {
                notify(&[sd_notify::NotifyState::Watchdog]);
            } else {
                tracing::error!("the host does not answer: the watchdog is not fed");
            }
            tokio::time::sleep(every).await;
        }
    });
}

/// Tells systemd, where there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

fn remove(socket: Option<&Path>) {
    let Some(path) = socket else { return };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "cannot remove the socket");
        }
        Ok(()) | Err(_) => {}
    }
}

/// The command that started us waits at the other end of a pipe.
#[derive(Debug)]
struct Ready(Option<File>);

impl Ready {
    fn new(descriptor: Option<i32>) -> Self {
        let descriptor = descriptor.filter(|number| *number > 2);
        Self(descriptor.map(|number| {
            // SAFETY: `--ready-fd` is given by our own `start` only, with a descriptor that it made for
            // us; nothing else in this process knows or uses that number.
            unsafe { File::from_raw_fd(number) }
        }))
    }

    fn ready(&mut self) {
        self.tell("ready\n");
    }

    fn failed(&mut self, problem: &Problem) {
        let text = serde_json::to_string(problem).expect("a problem has a JSON form");
        self.tell(&text);
    }

    /// Whoever waited may have gone; the log has it all as well.
    fn tell(&mut self, text: &str) {
        if let Some(mut pipe) = self.0.take()
            && let Err(error) = pipe.write_all(text.as_bytes())
        {
            tracing::debug!(%error, "nobody waits for us to be ready");
        }
    }
}
