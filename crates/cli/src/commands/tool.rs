//! `vnode component` and `vnode vnf`: tools of the agent's own program, run inside a node by its agent.

use std::path::Path;

use vnode_api::{Code, Problem};
use vnode_lifecycle::request::{Exec, Through};

use super::exec;
use crate::session::Ends;
use crate::{Context, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do there; `help` lists what there is
    verb: String,
    /// NODE or LAB/NODE; it must run and have an agent
    node: String,
    /// What the verb takes, as inside
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    rest: Vec<String>,
}

/// The streams, the exit code and `--json` are the tool's own.
pub(crate) async fn run(args: Args, tool: Through, context: &Context) -> Result {
    inside(&args.verb, &args.node, args.rest, tool, context).await
}

/// Runs a verb of a tool in a node.
pub(super) async fn inside(
    verb: &str,
    node: &str,
    rest: Vec<String>,
    tool: Through,
    context: &Context,
) -> Result {
    let mut argv = vec![verb.to_owned()];
    argv.extend(rest);
    if context.output.json && !argv.iter().any(|word| word == "--json") {
        argv.insert(1, "--json".to_owned());
    }
    if tool == Through::Vnf && argv[0] == "push" {
        send_archive(&mut argv)?;
    }
    let request = Exec { argv, through: tool, ..Exec::default() };
    let ends = Ends { stdin: true, ..Ends::default() };
    exec::inside(node, request, ends, context).await
}

/// A package is a file here: the tool is given it as its input.
fn send_archive(argv: &mut [String]) -> Result<()> {
    let file = argv.iter_mut().skip(1).find(|word| !word.starts_with("--"));
    let Some(file) = file.filter(|file| *file != "-") else { return Ok(()) };
    let fail = |error: std::io::Error| {
        Problem::from_error(Code::Usage, &error).in_front(format!("cannot read `{file}`"))
    };
    let archive = std::fs::File::open(Path::new(&*file)).map_err(fail)?;
    rustix::stdio::dup2_stdin(archive).map_err(|error| fail(error.into()))?;
    "-".clone_into(file);
    Ok(())
}
