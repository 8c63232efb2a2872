//! `vnode shell`

use vnode_lifecycle::request::Exec;

use super::exec::inside;
use crate::session::Ends;
use crate::{Context, Result, terminal};

/// Bash where the node has it, else the shell that every node has.
const SHELL: &str = "if [ -x /bin/bash ]; then exec /bin/bash; fi; exec /bin/sh";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE; it must run
    node: String,
    /// User it runs as, USER[:GROUP]
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// Another shell
    #[arg(long, short, value_name = "PROGRAM")]
    shell: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let argv = match args.shell {
        Some(shell) => vec![shell],
        None => ["/bin/sh", "-c", SHELL].map(str::to_owned).to_vec(),
    };
    let interactive = terminal::interactive();
    let request = Exec {
        argv,
        user: args.user,
        terminal: interactive.then(|| terminal::size().unwrap_or((24, 80))),
        ..Exec::default()
    };
    let ends = Ends { terminal: interactive, stdin: true, ..Ends::default() };
    inside(&args.node, request, ends, context).await
}
