//! The command line's form.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use clap::Subcommand;
use vnode_vnfauthor::Author;
use vnode_vnfpkg::{By, Policy};

use crate::verbs::{Attend, Request};

/// Where everything lies unless told otherwise.
pub const STATE: &str = "/var/lib/vnode-agent/vnf";

/// Network functions as packages of scripts: push, instantiate, watch, operate
#[derive(Debug, clap::Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no service (start it with `vnf serve --detach`)."
)]
pub struct Args {
    /// The folder that holds everything of one service, and its socket
    #[arg(long, global = true, value_name = "DIR", default_value = STATE, env = "VNODE_VNF_STATE_DIR")]
    pub state_dir: PathBuf,

    /// Print results, and errors, as JSON
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub verb: Verb,
}

/// Serving.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// In the background: end when it serves, or did already
    #[arg(long)]
    pub detach: bool,
    /// What signatures mean: off, verify-if-present, require
    #[arg(long, value_name = "POLICY", default_value = "verify-if-present", value_parser = policy)]
    pub signatures: Policy,
    /// Trusted public keys (*.pub); default: `keys` in the state folder
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Refuse packages whose scripts name root as their user
    #[arg(long)]
    pub no_root: bool,
    /// Take packages of a lower version than one that is here
    #[arg(long)]
    pub allow_downgrade: bool,
    /// Look at processes four times a second, as where the kernel tells nothing
    #[arg(long)]
    pub poll: bool,
    /// Let secret parameters stand in the logs of scripts
    #[arg(long)]
    pub log_secrets: bool,
    /// Go on with what is whole of a damaged store: its file is kept beside it, and what is lost is told
    #[arg(long)]
    pub repair: bool,
    /// Answer the byte protocol of the seed's manager too. It knows no user: whoever reaches its ports may do all
    #[arg(long)]
    pub legacy: bool,
    /// The address that --legacy listens on; one beyond this machine needs --legacy-anywhere
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub legacy_listen: IpAddr,
    /// Its two ports: of requests, and of packages
    #[arg(long, value_name = "PORT,PORT", default_value = "8965,8963", value_parser = ports)]
    pub legacy_ports: (u16, u16),
    /// The process that its status is of
    #[arg(long, value_name = "NAME")]
    pub legacy_process: Option<String>,
    /// The folder that its files stay in; default: `files` in the state folder
    #[arg(long, value_name = "DIR")]
    pub legacy_root: Option<PathBuf>,
    /// Let it listen on an address beyond this machine
    #[arg(long)]
    pub legacy_anywhere: bool,
    /// The descriptor on which the parent waits to hear of the start
    #[arg(long, hide = true)]
    pub started: Option<i32>,
    /// Faults for tests (`vnode_operation::fault`)
    #[arg(long, hide = true, env = "VNODE_FAULT", hide_env = true, default_value = "")]
    pub fault: String,
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let both =
        text.split_once(',').map(|(left, right)| (left.trim().parse(), right.trim().parse()));
    match both {
        Some((Ok(requests), Ok(packages))) => Ok((requests, packages)),
        _ => Err("must be two ports with a comma between them".to_owned()),
    }
}

fn policy(text: &str) -> Result<Policy, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "must be off, verify-if-present or require".to_owned())
}

fn by(text: &str) -> Result<By, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "must be name, comm, argv0, exe, pidfile, unit or pgrep".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(flatten)]
    Author(Author),
    /// Serve requests on DIR/vnf.sock, and follow every function
    Serve(Serve),
    /// Print the JSON Schema of lifecycle.json
    Schema,
    /// What the service is, and how it watches
    Info,
    /// Bring a package: an archive, or - for standard input
    Push {
        archive: PathBuf,
        /// And instantiate it, or update the instance of its name
        #[arg(long)]
        instantiate: bool,
    },
    /// Packages and instances
    Ls,
    /// One instance, or one package
    Show { name: String },
    /// Make an instance of a package and instantiate it
    Instantiate {
        package: String,
        /// The package's version; default: the newest revision
        #[arg(long)]
        version: Option<String>,
        /// The instance's name; default: the package's
        #[arg(long)]
        name: Option<String>,
        /// A parameter
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
        parameters: Vec<(String, String)>,
        /// Do not wait for its end
        #[arg(long)]
        no_wait: bool,
    },
    /// Start the process: start_command, or START scripts in mode managed
    Start {
        name: String,
        #[arg(long)]
        no_wait: bool,
    },
    /// Stop it: STOP scripts, or TERM and then KILL
    Stop {
        name: String,
        /// Seconds between TERM and KILL
        #[arg(long, default_value_t = 10)]
        grace: u64,
        #[arg(long)]
        no_wait: bool,
    },
    /// Make an end of an instance; its package stays
    Terminate {
        name: String,
        /// Seconds between TERM and KILL
        #[arg(long, default_value_t = 10)]
        grace: u64,
        #[arg(long)]
        no_wait: bool,
    },
    /// Change to another revision of the package
    Update {
        name: String,
        /// Default: the newest revision
        #[arg(long)]
        version: Option<String>,
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
        parameters: Vec<(String, String)>,
        #[arg(long)]
        no_wait: bool,
    },
    /// HEAL scripts; without any: stop and start
    Heal {
        name: String,
        #[arg(long)]
        cause: Option<String>,
        #[arg(long)]
        no_wait: bool,
    },
    /// Scale an aspect up, or with --in down
    Scale {
        name: String,
        aspect: String,
        #[arg(long, default_value_t = 1)]
        steps: u32,
        #[arg(long = "in")]
        scale_in: bool,
        #[arg(long)]
        no_wait: bool,
    },
    /// Give parameters new values, and run the CONFIGURE scripts
    Configure {
        name: String,
        #[arg(value_name = "NAME=VALUE", value_parser = pair, required = true)]
        parameters: Vec<(String, String)>,
        #[arg(long)]
        no_wait: bool,
    },
    /// Run the TEST scripts
    Test { name: String },
    /// Go on with an operation that failed, at the script that failed
    Retry {
        /// Its id, or the instance's name
        operation: String,
    },
    /// Undo an operation that failed
    Rollback { operation: String },
    /// Take an operation that failed as it is
    Fail { operation: String },
    /// Give up an operation that runs, after the script that runs
    Cancel {
        operation: String,
        /// At once
        #[arg(long)]
        force: bool,
    },
    /// Operations, the oldest first
    Operations {
        /// Of this instance
        name: Option<String>,
    },
    /// One operation with its steps
    Operation { id: String },
    /// How an instance is
    Status { name: String },
    /// Whether a process of that name runs: RUNNING or DOWN
    Process {
        name: String,
        /// name, comm, argv0, exe, pidfile, unit or pgrep
        #[arg(long, default_value = "name", value_parser = by)]
        by: By,
    },
    /// What scripts printed in the newest operation, or in one
    Logs {
        name: String,
        #[arg(long)]
        operation: Option<String>,
    },
    /// What happened
    Events {
        /// Of this instance
        name: Option<String>,
        /// After the event of this number
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// And what happens from now on
        #[arg(long, short)]
        follow: bool,
    },
    /// Remove an instance that is terminated, or with --package a package
    Rm {
        name: String,
        #[arg(long)]
        package: bool,
    },
    /// For a host: words of processes on standard input, every event on standard output
    #[command(hide = true)]
    Attend {
        /// What `--after` counts in
        #[arg(long)]
        journal: Option<String>,
        /// The last event that the host has
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Words of processes will come
        #[arg(long)]
        processes: bool,
    },
    /// Look at processes that somebody else has seen start
    #[command(hide = true)]
    LookAt { pids: Vec<i32> },
}

/// The request that a verb is; `None` for those that are more.
pub(super) fn request(verb: Verb) -> Option<Request> {
    let map = |pairs: Vec<(String, String)>| pairs.into_iter().collect::<BTreeMap<_, _>>();
    Some(match verb {
        Verb::Author(_) | Verb::Serve(_) | Verb::Schema | Verb::Push { .. } => return None,
        Verb::Info => Request::Info,
        Verb::Ls => Request::Ls,
        Verb::Show { name } => Request::Show { name },
        Verb::Instantiate { package, version, name, parameters, no_wait } => {
            Request::Instantiate { package, version, name, parameters: map(parameters), no_wait }
        }
        Verb::Start { name, no_wait } => Request::Start { name, no_wait },
        Verb::Stop { name, grace, no_wait } => Request::Stop { name, grace_s: grace, no_wait },
        Verb::Terminate { name, grace, no_wait } => {
            Request::Terminate { name, grace_s: grace, no_wait }
        }
        Verb::Update { name, version, parameters, no_wait } => {
            Request::Update { name, version, parameters: map(parameters), no_wait }
        }
        Verb::Heal { name, cause, no_wait } => Request::Heal { name, cause, no_wait },
        Verb::Scale { name, aspect, steps, scale_in, no_wait } => {
            Request::Scale { name, aspect, steps, scale_in, no_wait }
        }
        Verb::Configure { name, parameters, no_wait } => {
            Request::Configure { name, parameters: map(parameters), no_wait }
        }
        Verb::Test { name } => Request::Test { name },
        Verb::Retry { operation } => Request::Retry { operation },
        Verb::Rollback { operation } => Request::Rollback { operation },
        Verb::Fail { operation } => Request::Fail { operation },
        Verb::Cancel { operation, force } => Request::Cancel { operation, force },
        Verb::Operations { name } => Request::Operations { name },
        Verb::Operation { id } => Request::Operation { id },
        Verb::Status { name } => Request::Status { name },
        Verb::Process { name, by } => Request::Process { name, by },
        Verb::Logs { name, operation } => Request::Logs { name, operation },
        Verb::Events { name, after, follow } => Request::Events { name, after, follow },
        Verb::Rm { name, package } => Request::Rm { name, package },
        Verb::Attend { journal, after, processes } => {
            Request::Attend(Attend { journal, after, processes })
        }
        Verb::LookAt { pids } => Request::LookAt { pids },
    })
}
