//! `vnode exec`

use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use vnode_api::{Code, Problem};
use vnode_lifecycle::request::{AgentCommand, Exec, Through};

use super::node_path;
use crate::session::{self, Ends};
use crate::{Context, Result, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// NODE or LAB/NODE; it must run
    node: String,
    /// Variable of the program; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = super::assignment)]
    env: Vec<(String, String)>,
    /// Folder it starts in
    #[arg(long, short, value_name = "FOLDER")]
    workdir: Option<String>,
    /// User it runs as, USER[:GROUP]
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// Give it a terminal; the default where both our input and output are one
    #[arg(long, short, overrides_with = "no_tty")]
    tty: bool,
    /// Give it no terminal
    #[arg(long, short = 'T')]
    no_tty: bool,
    /// Give it no input
    #[arg(long, short)]
    no_stdin: bool,
    /// All capabilities, no filter of system calls
    #[arg(long)]
    privileged: bool,
    /// Have the node's agent start it, instead of doing so from outside
    #[arg(long, conflicts_with = "privileged")]
    agent: bool,
    /// Leave it to the agent, which keeps its output and its exit code; prints the id to attach to it by
    #[arg(long, requires = "agent", conflicts_with_all = ["attach", "time"])]
    detach: bool,
    /// Attach to a detached program, with its output so far; on a terminal Ctrl-] leaves it as it is
    #[arg(long, requires = "agent", value_name = "ID", conflicts_with_all = ["argv", "env", "workdir", "user"])]
    attach: Option<String>,
    /// Seconds it may run; then it is killed with all it started, and the exit code is 4
    #[arg(long, value_name = "SECONDS", value_parser = super::seconds)]
    time: Option<Duration>,
    /// Program and its arguments
    #[arg(
        required_unless_present = "attach",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    argv: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result {
    let interactive = terminal::interactive();
    let tty = !context.output.json && !args.no_tty && (args.tty || interactive);
    let request = Exec {
        argv: args.argv,
        env: args.env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        cwd: args.workdir,
        user: args.user,
        terminal: tty.then(|| terminal::size().unwrap_or((24, 80))),
        privileged: args.privileged,
        through: if args.agent { Through::Agent } else { Through::Node },
        attach: args.attach,
    };
    if args.detach {
        return detach(&args.node, request, !args.no_stdin, context).await;
    }
    let limit = args.time;
    let ends = Ends {
        // A program may have a terminal although we have none: then ours need not be raw.
        terminal: tty && interactive,
        stdin: !args.no_stdin,
        // Of other input every byte is the program's, and its end too.
        detach: request.attach.is_some() && tty && interactive,
        keep: context.output.json,
    };
    let Some(limit) = limit else { return inside(&args.node, request, ends, context).await };
    let program = request.argv.first().or(request.attach.as_ref()).cloned().unwrap_or_default();
    // Whoever leaves takes the program along: its stream ends.
    let ran = tokio::time::timeout(limit, inside(&args.node, request, ends, context)).await;
    ran.unwrap_or_else(|_| {
        let (node, seconds) = (&args.node, limit.as_secs_f64());
        Err(Problem::new(Code::Deadline, format!("`{program}` in node `{node}` was killed"))
            .cause(format!("it ran longer than {seconds} s")))
    })
}

/// Leaves a program to the node's agent; prints its id.
async fn detach(node: &str, program: Exec, stdin: bool, context: &Context) -> Result {
    let mut client = context.client().await?;
    let command = AgentCommand::ExecDetach { program, stdin };
    let path = node_path(node, "/agent");
    let begun: Value = client.call(Method::POST, &path, &command).await?.unwrap_or_default();
    if context.output.json {
        context.output.json(&begun)?;
    } else {
        context.output.line(begun["id"].as_str().unwrap_or_default())?;
    }
    Ok(0)
}

/// Runs a program and ends with its exit status.
pub(super) async fn inside(node: &str, mut request: Exec, ends: Ends, context: &Context) -> Result {
    if request.terminal.is_some()
        && !request.env.iter().any(|variable| variable.starts_with("TERM="))
        && let Ok(term) = std::env::var("TERM")
    {
        request.env.push(format!("TERM={term}"));
    }
    let client = context.client().await?;
    let stream = client.upgrade(&node_path(node, "/exec"), &request).await?;
    let ended = session::join(stream, ends).await?;
    // Whoever left after three interrupts gets what a shell says of an interrupted program.
    let code = ended.exit.map_or(130, |exit| exit.shell_code());
    if ends.keep {
        context.output.json(&serde_json::json!({
            "exit": ended.exit,
            "stdout": String::from_utf8_lossy(&ended.stdout),
            "stderr": String::from_utf8_lossy(&ended.stderr),
            "lost": ended.lost,
        }))?;
    }
    // An exit status has eight bits.
    Ok((code & 0xff) as u8)
}
