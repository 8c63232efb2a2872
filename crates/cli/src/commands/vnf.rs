//! `vnode vnf`: packages of network functions are written here, and operated in nodes.
//!
//! What an author does needs no node and no daemon. Everything else is a verb of the agent's own `vnf`, run inside a node.

use clap::Subcommand;
use vnode_api::{Code, Problem};
use vnode_lifecycle::request::Through;
use vnode_vnfauthor::{Author, Error};

use super::tool;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
#[command(
    disable_help_subcommand = true,
    after_help = "new, lint, pack and sign work here. Every other verb is run by the agent in NODE, which must run; \
                  `vnode-agent vnf VERB --help` says what it takes there."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Author(Author),
    #[command(flatten)]
    Inside(Inside),
}

/// Verbs of the agent: each is named as it is there, and takes a node first.
macro_rules! inside {
    ($($(#[$about:meta])* $variant:ident = $word:literal,)*) => {
        #[derive(Debug, Subcommand)]
        pub(crate) enum Inside {
            $($(#[$about])* $variant(InNode),)*
        }

        impl Inside {
            fn split(self) -> (&'static str, InNode) {
                match self {
                    $(Self::$variant(there) => ($word, there),)*
                }
            }
        }
    };
}

inside! {
    /// Serve requests in a node, and follow every function there
    Serve = "serve",
    /// Print the JSON Schema of lifecycle.json
    Schema = "schema",
    /// What the service in a node is, and how it watches
    Info = "info",
    /// Bring a package of this host to a node: an archive, or - for standard input
    Push = "push",
    /// Packages and instances
    Ls = "ls",
    /// One instance, or one package
    Show = "show",
    /// Make an instance of a package and instantiate it
    Instantiate = "instantiate",
    /// Start the process: start_command, or START scripts in mode managed
    Start = "start",
    /// Stop it: STOP scripts, or TERM and then KILL
    Stop = "stop",
    /// Make an end of an instance; its package stays
    Terminate = "terminate",
    /// Change to another revision of the package
    Update = "update",
    /// HEAL scripts; without any: stop and start
    Heal = "heal",
    /// Scale an aspect up, or with --in down
    Scale = "scale",
    /// Give parameters new values, and run the CONFIGURE scripts
    Configure = "configure",
    /// Run the TEST scripts
    Test = "test",
    /// Go on with an operation that failed, at the script that failed
    Retry = "retry",
    /// Undo an operation that failed
    Rollback = "rollback",
    /// Take an operation that failed as it is
    Fail = "fail",
    /// End an operation that runs
    Cancel = "cancel",
    /// The newest operations
    Operations = "operations",
    /// One operation
    Operation = "operation",
    /// The state of an instance, its process and its health
    Status = "status",
    /// Whether a process runs: any, by its name
    Process = "process",
    /// What scripts printed in the newest operation, or in one
    Logs = "logs",
    /// What happened to the functions of a node
    Events = "events",
    /// Remove an instance that is terminated, or with --package a package
    Rm = "rm",
}

#[derive(Debug, clap::Args)]
pub(crate) struct InNode {
    /// NODE or LAB/NODE; it must run and have an agent
    pub(crate) node: String,
    /// What the verb takes, as inside
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    pub(crate) rest: Vec<String>,
}

/// Does a verb that needs nobody else; what needs a node comes back.
pub(crate) fn here(args: Args, context: &Context) -> std::result::Result<Result, Inside> {
    let verb = match args.verb {
        Verb::Author(verb) => verb,
        Verb::Inside(verb) => return Err(verb),
    };
    let done = vnode_vnfauthor::run(verb, &mut std::io::stdout(), context.output.json);
    Ok(done.map(|()| 0).map_err(|error| match error {
        Error::Refused(refused) => {
            let mut texts = refused.problems.iter().map(ToString::to_string);
            let mut problem = Problem::new(Code::Failed, texts.next().unwrap_or_default());
            problem.causes.extend(texts);
            problem
        }
        Error::Usage(_) => Problem::from_error(Code::Usage, &error),
        error => Problem::from_error(Code::Failed, &error),
    }))
}

pub(crate) async fn inside(verb: Inside, context: &Context) -> Result {
    let (word, there) = verb.split();
    tool::inside(word, &there.node, there.rest, Through::Vnf, context).await
}
