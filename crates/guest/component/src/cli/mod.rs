//! The verbs of `vnode-agent component`.
//!
//! The program that holds them parses [`Args`] and calls [`run`]. Upstream's programs have options with one dash:
//! [`normalise`] gives them the second, and [`personality`] takes a program called by upstream's name.

mod args;
mod check;
mod data;
mod definitions;
mod serve;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read as _, Write as _},
    path::PathBuf,
};

use clap::Parser;
use serde_json::{Value, json};
use thiserror::Error;

pub use args::{Args, BusArgs, Serve, Target, Verb, YangArgs};

use vnode_protocol::chain;

use crate::{client, daemon, definition, install, skeleton};

/// Most bytes of data read from standard input.
const MAX_INPUT: u64 = 64 << 20;

/// Why a verb failed.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    #[error(transparent)]
    Install(#[from] install::Error),
    #[error(transparent)]
    Skeleton(#[from] skeleton::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{} is refused", path.display())]
    Invalid {
        path: PathBuf,
        #[source]
        source: definition::Invalid,
    },
    #[error("cannot {doing}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
    /// What is wrong was printed already.
    #[error("the definitions have errors")]
    Found,
}

impl Error {
    fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// Does what the command line says, on a tokio runtime of its own. Prints results on standard output, errors on
/// standard error. Exit codes: 0 done, 1 failed, 2 usage.
pub fn run(args: Args) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let json = args.verb.json();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return report(&Error::io("start")(error), json),
    };
    let result = runtime.block_on(perform(args.verb));
    // Nothing that is left may hold us up: what must be finished was waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => 0,
        Err(error) => report(&error, json),
    }
}

/// The command line of upstream's programs, done, and its exit code, if `name` is one of theirs: `ephemerad`, `activate`, `deactivate`.
pub fn personality(name: &OsStr, arguments: &[OsString]) -> Option<u8> {
    let verb = match name.to_str()? {
        "ephemerad" => "serve",
        verb @ ("activate" | "deactivate") => verb,
        _ => return None,
    };
    let line = [OsString::from("component"), OsString::from(verb)].into_iter();
    let line: Vec<OsString> = line.chain(normalise(arguments.iter().cloned())).collect();
    match Alone::try_parse_from(line) {
        Ok(alone) => Some(run(alone.args)),
        Err(error) => {
            // Help and usage; that they cannot be printed leaves nobody to tell.
            let _ = error.print();
            Some(if error.use_stderr() { 2 } else { 0 })
        }
    }
}

/// `-instance-dir` and `-component` with the second dash that our command line wants.
pub fn normalise(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.map(|argument| {
        let text = argument.to_string_lossy();
        let option = text.split('=').next().unwrap_or_default();
        if ["-instance-dir", "-component"].contains(&option) {
            return OsString::from(format!("-{text}"));
        }
        argument
    })
}

/// A program whose only command is `component`.
#[derive(Debug, Parser)]
#[command(name = "component", about = "Small management features as scripts on the bus")]
struct Alone {
    #[command(flatten)]
    args: Args,
}

async fn perform(verb: Verb) -> Result<(), Error> {
    match verb {
        Verb::Serve(serve) => serve::run(serve).await,
        Verb::Check { target, data, yang, bus } => {
            if check::is_file(&target[0]) {
                return check::check(&target, data.as_deref(), &yang.folders, bus.json);
            }
            let [model] = &target[..] else {
                return Err(Error::Usage("data are checked by one model, named first".to_owned()));
            };
            data::check(&bus, model, data.as_deref()).await
        }
        Verb::Install { file, root, unit } => definitions::install(&file, &root, unit.as_deref()),
        Verb::Remove { file, root, unit } => definitions::remove(&file, &root, unit.as_deref()),
        Verb::New { name, folder } => definitions::new(&folder, &name),
        Verb::Activate(target) => data::activate(&target, true).await,
        Verb::Deactivate(target) => data::activate(&target, false).await,
        Verb::Ls { bus } => data::list(&bus).await,
        Verb::Show { component, bus } => data::show(&bus, &component).await,
        Verb::Get { model, bus } => data::get(&bus, &model).await,
        Verb::State { model, bus } => data::state(&bus, &model).await,
        Verb::Set { model, data, bus } => data::set(&bus, &model, data.as_deref()).await,
        Verb::Rpc { rpc, data, model, metadata, bus } => {
            data::rpc(&bus, &rpc, data.as_deref(), model.as_deref(), &metadata).await
        }
        Verb::Emit { notification, data, unchecked, yang, bus } => {
            let folders = (!unchecked).then_some(&yang.folders[..]);
            data::emit(&bus, &notification, data.as_deref(), folders).await
        }
        Verb::Watch { module, count, bus } => data::watch(&bus, module.as_deref(), count).await,
    }
}

impl Verb {
    /// Whether results and errors are wanted as JSON.
    fn json(&self) -> bool {
        match self {
            Self::Activate(target) | Self::Deactivate(target) => target.bus.json,
            Self::Check { bus, .. }
            | Self::Ls { bus }
            | Self::Show { bus, .. }
            | Self::Get { bus, .. }
            | Self::Set { bus, .. }
            | Self::State { bus, .. }
            | Self::Rpc { bus, .. }
            | Self::Emit { bus, .. }
            | Self::Watch { bus, .. } => bus.json,
            Self::Serve(_) | Self::Install { .. } | Self::Remove { .. } | Self::New { .. } => false,
        }
    }
}

/// An error as JSON: the record as RFC 8040 section 7.1 has it, or the bus's name and text.
fn error_as_json(error: &Error) -> Value {
    match error {
        Error::Client(client::Error::Failed(record)) => record.to_json(),
        Error::Client(client::Error::Refused { name, text }) => {
            json!({ "error-name": name, "error-message": text })
        }
        other => json!({ "error-message": chain(other) }),
    }
}

fn report(error: &Error, json: bool) -> u8 {
    let text = if json {
        error_as_json(error).to_string()
    } else {
        format!("component: {}", chain(error))
    };
    // A closed error output leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
    if matches!(error, Error::Usage(_)) { 2 } else { 1 }
}

/// Prints a line of the result.
fn print(line: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::io("print"))
}

/// Data of the command line, or of standard input when they are `-` or missing.
fn input(data: Option<&str>) -> Result<String, Error> {
    match data {
        Some(data) if data != "-" => Ok(data.to_owned()),
        _ => {
            let mut text = String::new();
            io::stdin()
                .lock()
                .take(MAX_INPUT)
                .read_to_string(&mut text)
                .map_err(Error::io("read the data from standard input"))?;
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_options_have_one_dash() {
        let line = ["-instance-dir", "/a", "-component=x", "-c", "--component"].map(OsString::from);
        let normal: Vec<OsString> = normalise(line.into_iter()).collect();
        assert_eq!(normal, ["--instance-dir", "/a", "--component=x", "-c", "--component"]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Alone::command().debug_assert();
        for line in [
            "component serve --instance-dir /x --bus unix:path=/y --reconnect",
            "component activate --component a.b",
            "component activate a.b",
            "component check a.instance b.component",
            "component check a.b.v1 --data {}",
            "component rpc toaster:make-toast {}",
        ] {
            Alone::try_parse_from(line.split(' ')).unwrap();
        }
    }
}
