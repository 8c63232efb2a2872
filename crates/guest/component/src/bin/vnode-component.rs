//! The verbs of `vnode-agent component` as a program of their own, for machines without the agent; also by the
//! names of the programs it replaces: `ephemerad`, `activate`, `deactivate`.

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::Parser;
use vnode_component::cli;

/// Small management features as scripts on the bus
#[derive(Debug, Parser)]
#[command(name = "vnode-component", version)]
struct Cli {
    #[command(flatten)]
    args: cli::Args,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let name = Path::new(&called).file_name().unwrap_or_default();
    if let Some(code) = cli::personality(name, &rest) {
        return ExitCode::from(code);
    }
    let line = [called].into_iter().chain(cli::normalise(rest.into_iter()));
    ExitCode::from(cli::run(Cli::parse_from(line).args))
}
