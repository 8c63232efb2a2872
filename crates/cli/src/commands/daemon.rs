//! `vnode daemon`

use std::path::PathBuf;

use clap::Subcommand;
use clap::builder::FalseyValueParser;
use hyper::Method;
use tracing_subscriber::EnvFilter;
use vnode_api::message::Version;
use vnode_api::tls::CertificateFiles;
use vnode_api::{Code, Problem};

use crate::client::{Client, Target, wait_until_gone};
use crate::daemon::{self, Settings};
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Also listen here, with TLS and tokens, e.g. 0.0.0.0:7480
    #[arg(long, value_name = "ADDRESS:PORT", env = "VNODE_LISTEN", hide_env_values = true)]
    listen: Option<String>,
    /// Certificate chain for `--listen`, PEM; one is made when absent
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        env = "VNODE_TLS_CERT",
        hide_env_values = true
    )]
    tls_cert: Option<PathBuf>,
    /// Private key of `--tls-cert`, PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        env = "VNODE_TLS_KEY",
        hide_env_values = true
    )]
    tls_key: Option<PathBuf>,
    /// Steps of operations done at once; 0 chooses by the number of processors
    #[arg(long, default_value_t = 0, env = "VNODE_WORKERS", hide_env_values = true)]
    workers: usize,
    /// The program `vnode-monitor`; found beside this one when absent
    #[arg(long, value_name = "FILE", env = "VNODE_MONITOR", hide_env_values = true)]
    monitor: Option<PathBuf>,
    /// The program `vnode-agent` that containers are given; found beside this one when absent
    #[arg(long, value_name = "FILE", env = "VNODE_AGENT", hide_env_values = true)]
    agent: Option<PathBuf>,
    /// Registry of images that name none
    #[arg(long, value_name = "HOST", env = "VNODE_DEFAULT_REGISTRY", hide_env_values = true)]
    default_registry: Option<String>,
    /// Ask this mirror before the registry itself; may be repeated
    #[arg(
        long,
        value_name = "REGISTRY=MIRROR",
        value_parser = super::assignment,
        value_delimiter = ',',
        env = "VNODE_REGISTRY_MIRRORS",
        hide_env_values = true
    )]
    registry_mirror: Vec<(String, String)>,
    /// Speak plain HTTP to this registry; may be repeated
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        env = "VNODE_INSECURE_REGISTRIES",
        hide_env_values = true
    )]
    insecure_registry: Vec<String>,
    /// Credentials of registries, as `docker login` writes them
    #[arg(long, value_name = "FILE", env = "VNODE_AUTH_FILE", hide_env_values = true)]
    auth_file: Option<PathBuf>,
    /// Proxy for registries, http://HOST:PORT
    #[arg(long, value_name = "URL", env = "VNODE_PROXY", hide_env_values = true)]
    proxy: Option<String>,
    /// Root in a node is root of the host too, without its capabilities; by default it is nobody there,
    /// where the kernel can do that
    #[arg(
        long,
        env = "VNODE_NO_USER_NAMESPACES",
        hide_env_values = true,
        value_parser = FalseyValueParser::new()
    )]
    no_user_namespaces: bool,
    /// Let topology files run commands on this host (`stages` with `target: host`)
    #[arg(
        long,
        env = "VNODE_HOST_COMMANDS",
        hide_env_values = true,
        value_parser = FalseyValueParser::new()
    )]
    host_commands: bool,
    /// Go on with what is whole of a damaged store: its file is kept beside it, and what is lost is logged
    #[arg(long)]
    repair: bool,
    /// Let this OpenNebula cloud follow the images of signed lists: its settings, TOML
    #[arg(long, value_name = "FILE", env = "VNODE_OPENNEBULA", hide_env_values = true)]
    opennebula: Option<PathBuf>,
    /// What to log, e.g. `debug` or `info,vnode_network=debug`
    #[arg(
        long,
        value_name = "FILTER",
        env = "RUST_LOG",
        default_value = "info",
        hide_env_values = true
    )]
    log_level: String,
    /// Descriptor to write `ready` to
    #[arg(long, hide = true)]
    ready_fd: Option<i32>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stop the daemon; nodes go on
    Stop,
    /// Say whether a daemon runs; starts none
    Status,
}

pub(crate) fn run(args: Args, context: &Context) -> Result {
    match args.command {
        None => serve(args, context),
        Some(Command::Stop) => block_on(stop(context)),
        Some(Command::Status) => block_on(status(context)),
    }
}

fn block_on(command: impl Future<Output = Result>) -> Result {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::from_error(Code::Failed, &error))?
        .block_on(command)
}

fn serve(args: Args, context: &Context) -> Result {
    log_to_stderr(&args.log_level)?;
    if let Ok(faults) = std::env::var("VNODE_FAULT") {
        vnode_operation::fault::arm(&faults)
            .map_err(|error| Problem::from_error(Code::Usage, &error))?;
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Problem::new(Code::Forbidden, "the daemon needs root")
            .hint("run it as root, e.g. with `sudo` or as the systemd unit"));
    }
    let Target::Here { state_dir } = context.target()? else {
        return Err(Problem::new(Code::Usage, "`--host` is not for the daemon itself"));
    };
    let mut images = vnode_image::Options::default();
    if let Some(registry) = args.default_registry {
        images.default_registry = registry;
    }
    for (registry, mirror) in args.registry_mirror {
        images.mirrors.entry(registry).or_default().push(mirror);
    }
    images.insecure_registries.extend(args.insecure_registry);
    images.proxy = args.proxy;
    images.auth_file = args.auth_file.or(images.auth_file);
    let certificate = args.tls_cert.zip(args.tls_key);
    daemon::run(Settings {
        state_dir,
        monitor: args.monitor,
        agent: args.agent,
        workers: args.workers,
        listen: args.listen,
        certificate: certificate.map(|(certificate, key)| CertificateFiles { certificate, key }),
        images,
        user_namespaces: !args.no_user_namespaces,
        host_commands: args.host_commands,
        repair: args.repair,
        opennebula: args.opennebula,
        ready_fd: args.ready_fd,
    })
}

/// Lines without time where the journal adds its own; colours on a terminal only.
fn log_to_stderr(filter: &str) -> Result<()> {
    use std::io::IsTerminal;
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Problem::from_error(Code::Usage, &error).in_front(format!("`{filter}` is no log filter"))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let set = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
    set.map_err(|error| Problem::new(Code::Internal, "cannot log").cause(error.to_string()))
}

async fn stop(context: &Context) -> Result {
    let target = context.target()?;
    let Some(mut client) = Client::connect_running(&target).await? else {
        return said("not running", context);
    };
    client.done(Method::POST, "/v1/stop").await?;
    drop(client);
    if let Target::Here { state_dir } = &target {
        wait_until_gone(state_dir).await?;
    }
    said("stopped", context)
}

/// Ends with 1 when none runs.
async fn status(context: &Context) -> Result {
    let Some(mut client) = Client::connect_running(&context.target()?).await? else {
        said("not running", context)?;
        return Ok(1);
    };
    let version: Version = client.get("/v1/version").await?;
    if context.output.json {
        context.output.json(&version)?;
    } else {
        context.output.line(&format!(
            "running: process {}, version {}, up {} s, state in `{}`",
            version.pid, version.version, version.uptime_s, version.state_dir
        ))?;
    }
    Ok(0)
}

fn said(state: &str, context: &Context) -> Result {
    if context.output.json {
        context.output.json(&serde_json::json!({ "daemon": state }))?;
    } else {
        context.output.note(&format!("daemon {state}"));
    }
    Ok(0)
}
