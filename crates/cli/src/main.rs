//! `vnode`: the command line, and with `vnode daemon` the daemon.
//!
//! A command is one file in `commands/`: its arguments and what it does with them. Commands ask the daemon
//! over `client`, print through `output`, and end with an exit code or a [`Problem`], which `report` shows.

mod args;
mod client;
mod commands;
mod daemon;
mod git;
mod operation;
mod output;
mod report;
mod session;
mod stream;
mod terminal;
mod topology;
mod vmcatcher;

use std::process::ExitCode;

use clap::Parser;
use vnode_api::{Code, Problem};
use vnode_lifecycle::request::Through;

use crate::args::{Cli, Command, Global};
use crate::client::Target;
use crate::output::Output;

/// How a command ended, for the shell.
pub(crate) type Result<T = u8> = std::result::Result<T, Problem>;

/// What commands are given beside their own arguments.
#[derive(Debug)]
pub(crate) struct Context {
    pub global: Global,
    pub output: Output,
}

impl Context {
    /// Where the daemon is.
    pub(crate) fn target(&self) -> Result<Target> {
        if let Some(address) = &self.global.host {
            return Ok(Target::There {
                address: address.clone(),
                token: self.global.token.clone(),
                ca: self.global.ca.clone(),
            });
        }
        let state_dir = std::path::absolute(&self.global.state_dir).map_err(|error| {
            Problem::from_error(Code::Usage, &error).in_front("cannot tell where `--state-dir` is")
        })?;
        Ok(Target::Here { state_dir })
    }

    /// A connection to the daemon, which is started when it does not run.
    pub(crate) async fn client(&self) -> Result<client::Client> {
        client::Client::connect(&self.target()?).await
    }
}

fn main() -> ExitCode {
    // Links with vmcatcher's names lead here.
    if let Some(code) = vmcatcher::dispatch() {
        return code;
    }
    if let Some(code) =
        vnode_opennebula::program::dispatch(std::env::args_os(), std::env::vars_os())
    {
        return ExitCode::from(code);
    }
    let cli = Cli::parse();
    let json = cli.global.json;
    let output = Output::new(json, cli.global.quiet);
    let context = Context { global: cli.global, output };
    match run(cli.command, &context) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            report::show(&problem, json);
            ExitCode::from(problem.code.exit_code())
        }
    }
}

fn run(command: Command, context: &Context) -> Result {
    match command {
        Command::Daemon(args) => commands::daemon::run(args, context),
        Command::Check(args) => commands::check::run(&args, context),
        Command::Graph(args) => commands::graph::run(&args, context),
        Command::Export(args) => commands::export::run(&args, context),
        Command::Import(args) => commands::import::run(&args, context),
        Command::Completion(args) => commands::completion::run(&args, context),
        Command::Man(args) => commands::man::run(&args, context),
        Command::Vnf(args) => match commands::vnf::here(args, context) {
            Ok(done) => done,
            Err(verb) => asking(commands::vnf::inside(verb, context)),
        },
        command => asking(ask(command, context)),
    }
}

/// Does what speaks to the daemon.
fn asking(work: impl Future<Output = Result>) -> Result {
    // One thread: a second would cost more to start than a command has to do.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::from_error(Code::Failed, &error))?;
    let result = runtime.block_on(work);
    // A thread that still reads standard input would hold up the end.
    runtime.shutdown_background();
    result
}

/// Commands that speak to the daemon.
async fn ask(command: Command, context: &Context) -> Result {
    use Command as C;
    match command {
        C::Up(args) => commands::up::run(args, context).await,
        C::Down(args) => commands::down::run(args, context).await,
        C::Apply(args) => commands::apply::run(args, context).await,
        C::Ps(args) => commands::ps::run(args, context).await,
        C::Inspect(args) => commands::inspect::run(args, context).await,
        C::Exec(args) => commands::exec::run(args, context).await,
        C::Shell(args) => commands::shell::run(args, context).await,
        C::Console(args) => commands::console::run(args, context).await,
        C::Logs(args) => commands::logs::run(args, context).await,
        C::Cp(args) => commands::cp::run(args, context).await,
        C::Agent(args) => commands::agent::run(args, context).await,
        C::Component(args) => commands::tool::run(args, Through::Component, context).await,
        C::Create(args) => commands::create::run(args, context).await,
        C::Boot(args) => commands::boot::run(args, context).await,
        C::Halt(args) => commands::halt::run(args, context).await,
        C::Reboot(args) => commands::reboot::run(args, context).await,
        C::Pause(args) => commands::pause::run(args, context, "pause").await,
        C::Resume(args) => commands::pause::run(args, context, "resume").await,
        C::Destroy(args) => commands::destroy::run(args, context).await,
        C::State(args) => commands::state::run(args, context).await,
        C::Wait(args) => commands::wait::run(args, context).await,
        C::Mount(args) => commands::mount::mount(args, context).await,
        C::Unmount(args) => commands::mount::unmount(args, context).await,
        C::Link(args) => commands::link::run(args, context).await,
        C::Save(args) => commands::save::save(args, context).await,
        C::Restore(args) => commands::save::restore(args, context).await,
        C::Screenshot(args) => commands::save::screenshot(args, context).await,
        C::Snapshot(args) => commands::snapshot::run(args, context).await,
        C::Timeline(args) => commands::timeline::run(args, context).await,
        C::Capture(args) => commands::capture::run(args, context).await,
        C::Events(args) => commands::events::run(args, context).await,
        C::Op(args) => commands::op::run(args, context).await,
        C::Image(args) => commands::image::run(args, context).await,
        C::Doctor(args) => commands::doctor::run(args, context).await,
        C::Clean(args) => commands::clean::run(args, context).await,
        C::Token(args) => commands::token::run(args, context).await,
        C::Version(args) => commands::version::run(args, context).await,
        C::Complete(args) => commands::completion::names(args, context).await,
        C::Daemon(_)
        | C::Check(_)
        | C::Graph(_)
        | C::Export(_)
        | C::Import(_)
        | C::Completion(_)
        | C::Man(_)
        | C::Vnf(_) => {
            unreachable!("answered without a connection, in `run`")
        }
    }
}
