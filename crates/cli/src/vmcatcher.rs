//! vmcatcher's four programs, for crontabs and scripts that exist: this program under their names.
//!
//! They ask the daemon, as `vnode image` does: there is one set of subscriptions and one cache. `--database` names what
//! handlers are told as `VMCATCHER_RDBMS`; an existing database is taken over once with `vnode image migrate`. Exit
//! codes are vmcatcher's (`docs/reference/imagelist.md`).

mod cache;
mod endorser;
mod image;
mod subscribe;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;
use vnode_api::{Code, Problem};
use vnode_imagelist::site::Settings;

use crate::Context;
use crate::args::Cli;
use crate::client::Client;
use crate::output::Output;

/// Why a program ends, with vmcatcher's exit code.
#[derive(Debug)]
pub(crate) struct End {
    code: u8,
    text: String,
}

type Result<T = u8> = std::result::Result<T, End>;

impl End {
    fn usage(text: impl Into<String>) -> Self {
        Self { code: 1, text: text.into() }
    }
}

impl From<Problem> for End {
    fn from(problem: Problem) -> Self {
        let code = match problem.code {
            _ if problem.text == vnode_imagelist::lists::NOT_FETCHED => 10,
            Code::Conflict => 15,
            _ => 1,
        };
        Self { code, text: problem.to_string() }
    }
}

/// What all four take.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// Database, as handlers are told; an existing one is taken over by `vnode image migrate`
    #[arg(
        short,
        long,
        value_name = "URL",
        env = "VMCATCHER_RDBMS",
        default_value = "sqlite:///vmcatcher.db",
        hide_env_values = true
    )]
    database: String,
    /// Say more; may be repeated
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say less; may be repeated
    #[arg(short, long, action = clap::ArgAction::Count)]
    quiet: u8,
    /// Must exist when given; what is logged is the daemon's choice
    #[arg(long, value_name = "FILE", env = "VMCATCHER_LOG_CONF", hide_env_values = true)]
    log_config: Option<PathBuf>,
    /// Taken and not used: there is no SQL
    #[arg(long)]
    log_sql_info: bool,
}

impl Common {
    fn check(&self) -> Result<()> {
        match &self.log_config {
            Some(path) if !path.exists() => {
                Err(End::usage(format!("the log configuration `{}` is not there", path.display())))
            }
            _ => Ok(()),
        }
    }

    fn say(&self, text: &str) {
        if self.quiet == 0 {
            eprintln!("{text}");
        }
    }
}

/// Form of `--info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[value(name = "SMIME")]
    Smime,
    #[value(name = "message")]
    Message,
    #[value(name = "lines")]
    Lines,
    #[value(name = "json")]
    Json,
}

/// Runs as one of the four when called by its name.
pub(crate) fn dispatch() -> Option<ExitCode> {
    let name = std::env::args_os().next()?;
    let name = Path::new(&name).file_name()?.to_str()?.to_owned();
    let result = match name.as_str() {
        "vmcatcher_endorser" => with(endorser::run),
        "vmcatcher_subscribe" => with(subscribe::run),
        "vmcatcher_image" => with(image::run),
        "vmcatcher_cache" => with(cache::run),
        _ => return None,
    };
    Some(match result {
        Ok(code) => ExitCode::from(code),
        Err(end) => {
            eprintln!("{name}: {}", end.text);
            ExitCode::from(end.code)
        }
    })
}

/// Parses the options and runs a program with them.
fn with<A: Parser, F>(run: impl FnOnce(A, Daemon) -> F) -> Result
where
    F: Future<Output = Result>,
{
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help goes to standard output and is no error; whoever closed it does not want it.
            let _ = error.print();
            return Ok(u8::from(error.use_stderr()));
        }
    };
    let failed = |error: &dyn std::error::Error| End::usage(vnode_protocol::chain(error));
    // Where the daemon is, the environment says: these programs have no option for it.
    let cli = Cli::try_parse_from(["vnode", "version"]).map_err(|error| failed(&error))?;
    let context = Context { global: cli.global, output: Output::new(false, true) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    runtime.block_on(run(args, Daemon { context }))
}

/// The way to the daemon.
pub(crate) struct Daemon {
    context: Context,
}

impl Daemon {
    async fn client(&self) -> Result<Client> {
        Ok(self.context.client().await?)
    }

    /// Makes the trust folder that was given the one in force.
    async fn trust(&self, folder: Option<&Path>) -> Result<()> {
        let Some(folder) = folder else { return Ok(()) };
        if !folder.is_dir() {
            return Err(End::usage(format!(
                "the trust folder `{}` is not there",
                folder.display()
            )));
        }
        let folder = absolute(folder)?;
        let mut client = self.client().await?;
        let mut settings: Settings = client.get("/v1/list-settings").await?;
        if settings.trust_folder != folder {
            settings.trust_folder = folder;
            let _: Option<Value> =
                client.call(hyper::Method::PUT, "/v1/list-settings", &settings).await?;
        }
        Ok(())
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| End::usage(format!("{}: {error}", path.display())))
}

/// Exactly one of the actions.
fn one_of(actions: &[bool]) -> Result<()> {
    match actions.iter().filter(|given| **given).count() {
        1 => Ok(()),
        0 => Err(End::usage("no action is given; see --help")),
        _ => Err(End::usage("more than one action is given")),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn line(text: &str) -> Result<()> {
    Output::new(false, false).line(text).map_err(End::from)
}
