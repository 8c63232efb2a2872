//! The `vnode-agent` program.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Write,
    os::fd::{FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use vnode_action::{Spec, Stream};
use vnode_agent::{
    agent::{Agent, AgentError},
    check,
    cli::{Cli, Command, Run},
    command::{Registry, native, openstack::agentupdate, plugin},
    config::{self, Config, Fault},
    context::Context,
    init, log, once, personality,
};
use vnode_component::cli as components;
use vnode_idle::Busy;

/// Usage or configuration.
const USAGE: u8 = 1;
/// `--once` found no source.
const NOTHING: u8 = 2;
/// Ours.
const INTERNAL: u8 = 3;

type Result<T = u8> = std::result::Result<T, Failure>;

/// Why we end, and with which code.
struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn new(code: u8, error: &dyn std::error::Error) -> Self {
        Self { code, text: vnode_protocol::chain(error) }
    }

    fn of(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

fn main() -> ExitCode {
    vnode_idle::bound_allocator();
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == "component") {
        arguments = components::normalise(arguments.into_iter()).collect();
    }
    // `--state-dir DIR` may stand before `vnf` too.
    if arguments.get(1).is_some_and(|word| word == "--state-dir")
        && arguments.get(3).is_some_and(|word| word == "vnf")
    {
        arguments[1..4].rotate_right(1);
    }
    let name = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    if let Some(code) = components::personality(name, arguments.get(1..).unwrap_or_default()) {
        return ExitCode::from(code);
    }
    let done = match name.to_str() {
        Some("qemu-ga") => return ExitCode::from(personality::run(arguments[1..].to_vec())),
        Some("nova-agent") => nova_agent(&arguments),
        _ => match Cli::try_parse_from(&arguments) {
            Ok(cli) => run(cli),
            Err(error) => return usage(&error),
        },
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("vnode-agent: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// Help and version end with 0, what is wrong with 1 (clap's own 2 means "no source" here).
fn usage(error: &clap::Error) -> ExitCode {
    if error.print().is_err() || error.use_stderr() {
        return ExitCode::from(USAGE);
    }
    ExitCode::SUCCESS
}

fn run(cli: Cli) -> Result {
    match cli.command {
        None if cli.once => boot(&cli),
        None => Err(Failure::of(USAGE, "nothing to do; see `vnode-agent --help`")),
        Some(Command::Run(args)) => serve(&args),
        Some(Command::Daemon(_)) => {
            // Given on as they came, without what stands before them.
            let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
            let word = arguments.iter().position(|argument| argument == "daemon");
            let (before, after) = arguments.split_at(word.unwrap_or(0));
            daemonize(&[before, after.get(1..).unwrap_or_default()].concat())
        }
        Some(Command::Check { config, json }) => explain(config.as_deref(), json),
        Some(Command::QemuGa { options }) => Ok(personality::run(options)),
        Some(Command::Component(args)) => Ok(components::run(args)),
        Some(Command::Vnf(args)) => Ok(vnode_vnf::cli::run(args)),
        Some(Command::Init { serve, config, user, program }) => runtime()?
            .block_on(init::run(init::Settings { program, serve, config, user }))
            .map_err(|error| Failure::new(127, &error)),
        Some(Command::KeepExec { folder }) => {
            native::keep(&folder).map_err(|error| Failure::new(INTERNAL, &error))
        }
        Some(Command::FinishUpdate { new, binary, restart }) => runtime()?
            .block_on(agentupdate::finish(&new, &binary, &restart))
            .map(|()| 0)
            .map_err(|text| Failure::of(INTERNAL, text)),
    }
}

/// Early boot.
fn boot(cli: &Cli) -> Result {
    let config = load(cli.config.as_deref())?;
    log::start(&config.log).map_err(|error| Failure::new(USAGE, &error))?;
    let mut builder = Context::builder(&cli.root);
    for (name, options) in config.commands {
        builder = builder.options(name, options);
    }
    let context = builder.build().map_err(|error| Failure::new(INTERNAL, &error))?;
    let asked = once::Asked { again: cli.again, plan: cli.plan };
    let outcome = runtime()?.block_on(once::run(&context, &config.boot, asked));
    match outcome.map_err(|error| Failure::new(INTERNAL, &error))? {
        once::Outcome::Nothing => {
            Err(Failure::of(NOTHING, "no source holds anything for this instance"))
        }
        once::Outcome::Already(instance) => {
            println!("instance {instance} has had its settings; `--again` applies them once more");
            Ok(0)
        }
        once::Outcome::Planned(plan) => {
            print!("{plan}");
            Ok(0)
        }
        once::Outcome::Applied(source) => {
            println!("applied what {source} holds");
            Ok(0)
        }
    }
}

/// Started as `nova-agent`: its options, and a parent that tells how the start went (R-D3, R-D6).
fn nova_agent(arguments: &[OsString]) -> Result {
    #[derive(Parser)]
    #[command(name = "nova-agent", version)]
    struct NovaAgent {
        #[command(flatten)]
        run: Run,
    }
    let parsed = match NovaAgent::try_parse_from(arguments) {
        Ok(parsed) => parsed.run,
        Err(error) if error.use_stderr() => return Err(Failure::of(USAGE, error.to_string())),
        Err(error) => {
            print!("{error}");
            return Ok(0);
        }
    };
    if parsed.nofork { serve(&parsed) } else { daemonize(&arguments[1..]) }
}

/// Starts ourselves apart, and waits until that serves or has failed.
fn daemonize(arguments: &[OsString]) -> Result {
    use std::io::Read;
    const STARTED: i32 = 3;
    let failed = |error: std::io::Error| Failure::of(INTERNAL, format!("cannot fork: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    let flags = rustix::pipe::PipeFlags::CLOEXEC;
    let (ours, theirs) = rustix::pipe::pipe_with(flags).map_err(|error| failed(error.into()))?;
    let spec = Spec::new([program.as_os_str(), OsStr::new("run"), OsStr::new("--nofork")])
        .arg(format!("--started={STARTED}"))
        .envs(std::env::vars_os())
        .folder("/")
        .pass(STARTED, theirs)
        .stderr(Stream::Inherit);
    let spec = arguments.iter().fold(spec, Spec::arg);
    vnode_action::spawn_detached(spec).map_err(|error| Failure::new(INTERNAL, &error))?;
    let mut told = [0];
    match File::from(ours).read(&mut told) {
        Ok(1) => Ok(0),
        _ => Err(Failure::of(USAGE, "the daemon did not start; the reason is above")),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Threads are only for disks; what they touch stays small, and they go when idle.
        .max_blocking_threads(8)
        .thread_stack_size(256 << 10)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .build()
        .map_err(|error| Failure::new(INTERNAL, &error))
}

fn load(file: Option<&Path>) -> Result<Config> {
    config::load(file).map_err(|faults| Failure::new(USAGE, &AgentError::Config(faults)))
}

fn serve(args: &Run) -> Result {
    let mut config = load(args.config.as_deref())?;
    match args.logfile.as_deref() {
        Some(file) if file == Path::new("-") => config.log.file = None,
        Some(file) => config.log.file = Some(file.to_owned()),
        None => {}
    }
    if let Some(level) = &args.level {
        config.log.level = Some(level.clone());
    }
    let file = log::start(&config.log).map_err(|error| Failure::new(USAGE, &error))?;
    if !args.python.is_empty() {
        tracing::warn!("a Python configuration is not read; see `vnode-agent check`");
    }
    let pidfile = args.pidfile.as_deref().map(PidFile::write).transpose()?;
    let runtime = runtime()?;
    let ended = runtime.block_on(until_stopped(args, config, file));
    // Reads of standard input cannot be ended; the process can.
    runtime.shutdown_background();
    drop(pidfile);
    ended
}

async fn until_stopped(args: &Run, config: Config, file: Option<log::LogFile>) -> Result {
    let listen = |kind: SignalKind| signal(kind).map_err(|error| Failure::new(INTERNAL, &error));
    let (mut terminate, mut interrupt, mut hangup) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
        listen(SignalKind::hangup())?,
    );
    let mut agent = Agent::start(args.config.clone(), config)
        .await
        .map_err(|error| Failure::new(USAGE, &error))?;
    started(args.started)?;
    tell("READY=1");
    if !args.quiet {
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "serving");
    }
    tokio::spawn(vnode_idle::settle(agent.context().state::<Busy>()));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = agent.all_ended() => break,
            _ = hangup.recv() => {
                if let Some(file) = &file
                    && let Err(error) = file.reopen()
                {
                    tracing::error!(%error, "the log cannot be opened again");
                }
                match agent.reload().await {
                    Ok(()) => tracing::info!("the configuration was read again"),
                    Err(error) => tracing::error!(%error, "going on as before"),
                }
            }
        }
    }
    tell("STOPPING=1");
    agent.stop().await;
    if !args.quiet {
        tracing::info!("stopped");
    }
    Ok(0)
}

/// Tells the parent that waits, and lets go of the terminal.
fn started(descriptor: Option<i32>) -> Result<()> {
    let Some(descriptor) = descriptor.filter(|descriptor| *descriptor > 2) else { return Ok(()) };
    // SAFETY: the parent passed this descriptor under this number, and nobody else in this process uses it.
    let parent = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // A parent that is gone need not be told.
    let _ = File::from(parent).write_all(b"1");
    let null = File::options().read(true).write(true).open("/dev/null");
    null.and_then(|null| Ok(rustix::stdio::dup2_stderr(null)?))
        .map_err(|error| Failure::new(INTERNAL, &error))
}

/// Tells the service manager, if there is one.
fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = notify(&path, state);
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager was not told");
    }
}

fn notify(path: &OsStr, state: &str) -> std::io::Result<()> {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

/// The file with our process id; removed with this value.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
        opened.and_then(|mut file| writeln!(file, "{}", std::process::id())).map_err(|error| {
            Failure::of(USAGE, format!("cannot write `{}`: {error}", path.display()))
        })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the pid file is left");
        }
    }
}

fn explain(file: Option<&Path>, json: bool) -> Result {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(faults) => {
            if json {
                println!(
                    "{:#}",
                    serde_json::json!({"faults": faults.iter().map(fault).collect::<Vec<_>>()})
                );
            } else {
                for fault in &faults {
                    eprintln!("{fault}");
                }
            }
            return Ok(USAGE);
        }
    };
    let mut registry = Registry::built_in();
    runtime()?.block_on(plugin::load(&mut registry, &config.plugins));
    if json {
        println!("{:#}", check::json(&config, &registry));
    } else {
        print!("{}", check::text(&config, &registry));
    }
    Ok(0)
}

fn fault(fault: &Fault) -> serde_json::Value {
    serde_json::json!({
        "file": fault.file, "line": fault.line, "column": fault.column, "text": fault.text,
    })
}
