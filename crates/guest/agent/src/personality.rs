//! The agent as `qemu-ga`: its options, its configuration file, its state folder, one channel.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;
use vnode_action::{CancellationToken, Spec, Stream};
use vnode_idle::Busy;

use crate::{
    channel::Channel,
    command::{Form, Frozen, Policy, Registry, guest},
    context::Context,
    exchange::{Exchange, Isa, StreamExchange, Unix, Virtio, Vsock},
    limits::{Budget, Limits},
    parser::{Parser, Session, qga::QgaParser},
};

mod config;
mod options;

use config::{Config, Method};
use options::parse;

/// The descriptor by which a daemon tells its parent that it has started.
const STARTED: i32 = 3;
const USAGE: &str = include_str!("personality/usage.txt");

/// Runs as `qemu-ga` would with these arguments (without the program's name); gives the exit status.
pub fn run(arguments: Vec<OsString>) -> u8 {
    match run_or_say(arguments) {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("qemu-ga: {why}");
            1
        }
    }
}

fn run_or_say(arguments: Vec<OsString>) -> Result<(), String> {
    let text = |argument: OsString| {
        argument.into_string().map_err(|_| "an argument is not UTF-8".to_owned())
    };
    let arguments: Vec<String> = arguments.into_iter().map(text).collect::<Result<_, _>>()?;
    let asked = parse(&arguments)?;
    // The program's own front: libraries below it read no environment.
    let file = asked.config_file.clone().or_else(|| std::env::var("QGA_CONF").ok());
    let config = Config::load(file.as_deref().map(Path::new))?.with(&asked)?;
    let registry = Registry::built_in();
    if asked.help {
        print!("{USAGE}");
        return Ok(());
    }
    if asked.version {
        println!("QEMU Guest Agent {} (vnode-agent {})", guest::VERSION, env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    if asked.list {
        for (command, _) in registry.for_form(Form::Guest, &Policy::default()).iter() {
            println!("{}", command.name());
        }
        return Ok(());
    }
    if asked.dump {
        print!("{}", config.dump());
        return Ok(());
    }
    if config.daemon && !asked.started {
        return daemonize(&arguments);
    }
    serve(&config, &registry, asked.started)
}

/// Starts ourselves apart, and waits until that has begun to serve, or failed.
fn daemonize(arguments: &[String]) -> Result<(), String> {
    let program =
        std::env::current_exe().map_err(|e| format!("cannot find my own program: {e}"))?;
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| format!("cannot make a pipe: {error}"))?;
    let spec = Spec::new([program.as_os_str()])
        .arg("qemu-ga")
        .envs(std::env::vars_os())
        .folder("/")
        .pass(STARTED, theirs)
        // What it says before its log is open is ours to show.
        .stderr(Stream::Inherit);
    let spec = arguments.iter().fold(spec, Spec::arg).arg("--started");
    vnode_action::spawn_detached(spec)
        .map_err(|error| format!("cannot become a daemon: {error}"))?;
    let mut told = [0];
    match File::from(ours).read(&mut told) {
        Ok(1) => Ok(()),
        _ => Err("failed to daemonize; the reason is above".to_owned()),
    }
}

fn serve(config: &Config, registry: &Registry, daemon: bool) -> Result<(), String> {
    let log = config.logfile.as_deref().map(open_log).transpose()?;
    let level = if config.verbose { Level::DEBUG } else { Level::WARN };
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(false);
    // A second call, in a test, keeps the first one's.
    let _ = match log {
        Some(file) => subscriber.with_writer(Arc::new(file)).try_init(),
        None => subscriber.with_writer(std::io::stderr).try_init(),
    };
    let exchange = exchange(config)?;
    let context = context(config)?;
    let policy = Policy {
        allow: (!config.allow.is_empty()).then(|| config::names(&config.allow)),
        block: config::names(&config.block),
        roots: Vec::new(),
    };
    let commands = Arc::new(registry.for_form(Form::Guest, &policy));
    let session = Session {
        context: context.for_channel("qemu-ga", Arc::clone(&commands)),
        commands,
        limits: Limits::default(),
        budget: Budget::default(),
    };
    let channel = Channel {
        exchange: Exchange::Stream(exchange),
        parser: Parser::Stream(Arc::new(QgaParser)),
        session,
    };
    let pidfile = daemon.then(|| PidFile::write(&config.pidfile)).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let result = runtime.block_on(until_stopped(channel, context, daemon));
    drop(pidfile);
    result
}

async fn until_stopped(channel: Channel, context: Context, daemon: bool) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot take signals: {error}"));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    guest::thaw_at_start(&context).await.map_err(|error| error.to_string())?;
    if daemon {
        // SAFETY: the parent passed this descriptor under this number, and nobody else in this process owns it.
        let started: OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(STARTED) };
        // A parent that is gone need not be told.
        let _ = File::from(started).write_all(b"1");
        let null = File::options().read(true).write(true).open("/dev/null");
        let quiet = null.and_then(|null| Ok(rustix::stdio::dup2_stderr(null.as_fd())?));
        quiet.map_err(|error| format!("cannot let go of the terminal: {error}"))?;
    }
    tokio::spawn(vnode_idle::settle(context.state::<Busy>()));
    let stop = CancellationToken::new();
    let mut running = std::pin::pin!(channel.run(stop.clone()));
    loop {
        tokio::select! {
            () = &mut running => return Err("failed to initialize guest agent channel".to_owned()),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Frozen file systems would stay so: the agent stays until they are thawed, as QEMU's does.
        if !context.state::<Frozen>().0.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
    }
    // R-D8: what is being answered is answered, for at most 10 s.
    let idle = context.state::<Busy>();
    let patience = std::time::Duration::from_secs(10);
    let finish = async {
        tokio::select! {
            () = idle.idle() => {}
            () = &mut running => {}
        }
    };
    // Past the patience nothing is waited for any more.
    let _ = tokio::time::timeout(patience, finish).await;
    stop.cancel();
    Ok(())
}

fn open_log(path: &Path) -> Result<File, String> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = File::options().append(true).create(true).mode(0o600).open(path);
    opened.map_err(|error| format!("unable to open specified log file {}: {error}", path.display()))
}

fn context(config: &Config) -> Result<Context, String> {
    let options = json!({
        "state-dir": config.statedir,
        "fsfreeze-hook": config.fsfreeze_hook,
        "os-release": std::env::var("QGA_OS_RELEASE").ok(),
        "environment": std::env::vars().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
    });
    Context::builder("/")
        .options(guest::Options::NAME, options)
        .build()
        .map_err(|error| format!("cannot open the root folder: {error}"))
}

fn exchange(config: &Config) -> Result<Box<dyn StreamExchange>, String> {
    let path = config.path.as_deref().ok_or("must specify a path for this channel")?;
    if matches!(config.method, Method::VirtioSerial | Method::IsaSerial)
        && !config.retry_path
        && let Err(error) = std::fs::metadata(path)
    {
        return Err(format!("error opening channel '{path}': {error}"));
    }
    Ok(match config.method {
        Method::VirtioSerial => Box::new(Virtio::new(path)),
        Method::IsaSerial => Box::new(Isa::new(path, None)),
        Method::UnixListen => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(format!(
                    "error opening channel '{path}': another process listens there"
                ));
            }
            Box::new(Unix::new(path, Vec::new()))
        }
        Method::VsockListen => {
            let port = path.split_once(':').and_then(|(_, port)| port.parse().ok());
            let port = port.ok_or_else(|| format!("'{path}' is not <cid>:<port>"))?;
            Box::new(Vsock::new(port, Vec::new()))
        }
    })
}

/// The daemon's process id in a file, locked while it runs, removed after it.
struct PidFile {
    path: std::path::PathBuf,
    _locked: File,
}

impl PidFile {
    fn write(path: &Path) -> Result<Self, String> {
        let failed =
            |error: std::io::Error| format!("cannot create PID file {}: {error}", path.display());
        let mut file =
            File::options().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed(error.into()))?;
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _locked: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // The next start takes over a file that stays.
        let _ = std::fs::remove_file(&self.path);
    }
}
