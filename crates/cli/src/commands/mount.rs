//! `vnode mount` and `vnode unmount`

use std::ffi::OsString;
use std::io::IsTerminal;

use hyper::Method;
use vnode_action::{CancellationToken, ExitStatus, Session, Signal, Spec, Stdin, Stream};
use vnode_api::message::Mounted;
use vnode_api::{Code, Problem};
use vnode_lifecycle::state::State;
use vnode_lifecycle::view::NodeView;

use super::node_path;
use crate::operation::Stop;
use crate::{Context, Result};

/// Most of a program's output that is kept for `--json`, bytes a stream.
const MAX_KEPT: usize = 64 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Mount {
    /// NODE or LAB/NODE; it must be stopped
    node: String,
    /// Run this on this host, with the folder in VNODE_ROOT; unmount whatever becomes of it, and end with its exit code
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Unmount {
    /// NODE or LAB/NODE
    node: String,
}

pub(crate) async fn mount(args: Mount, context: &Context) -> Result {
    if !args.program.is_empty() {
        return callback(args, context).await;
    }
    if let Some(mounted) = mounted(&args.node, context).await? {
        if context.output.json {
            context.output.json(&mounted)?;
        } else {
            context.output.line(&mounted.path)?;
        }
    }
    Ok(0)
}

pub(crate) async fn unmount(args: Unmount, context: &Context) -> Result {
    let mut client = context.client().await?;
    client.done(Method::POST, &node_path(&args.node, "/unmount")).await?;
    super::done(&args.node, "unmount", context)
}

async fn mounted(node: &str, context: &Context) -> Result<Option<Mounted>> {
    let mut client = context.client().await?;
    client.act(Method::POST, &node_path(node, "/mount")).await
}

/// What libvnode calls a callback: a program that is given the root, between `create` and `boot`.
async fn callback(args: Mount, context: &Context) -> Result {
    if let Some(host) = &context.global.host {
        return Err(Problem::new(Code::Usage, "a program is run where the root is mounted")
            .cause(format!("that is `{host}`"))
            .hint("run `vnode mount` there, or copy files with `vnode cp`"));
    }
    let node = args.node.as_str();
    let before: NodeView = context.client().await?.get(&node_path(node, "")).await?;
    let Some(root) = mounted(node, context).await? else { return Ok(0) };
    let ended = run(&args.program, node, &root.path, context.output.json).await;
    // What the user had mounted stays so.
    if before.state != State::Mounted {
        let left = context.client().await?.done(Method::POST, &node_path(node, "/unmount")).await;
        if let Err(problem) = left {
            return Err(problem.in_front(format!("the root of `{node}` stays mounted")));
        }
    }
    let (status, output) = ended?;
    let code = match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128 + signal,
    };
    if let Some((stdout, stderr)) = output {
        context.output.json(&serde_json::json!({
            "path": root.path,
            "exit": code,
            "stdout": String::from_utf8_lossy(&stdout),
            "stderr": String::from_utf8_lossy(&stderr),
        }))?;
    }
    // An exit status has eight bits.
    Ok((code & 0xff) as u8)
}

/// How the program ended and, where it was kept, what it printed.
async fn run(
    program: &[OsString],
    node: &str,
    root: &str,
    keep: bool,
) -> Result<(ExitStatus, Option<(Vec<u8>, Vec<u8>)>)> {
    let failed = |error: &vnode_action::Error| {
        Problem::from_error(Code::Failed, error)
            .in_front(format!("cannot run `{}`", program[0].to_string_lossy()))
    };
    let spec = Spec::new(program)
        .envs(std::env::vars_os())
        .env("VNODE_NODE", node)
        .env("VNODE_ROOT", root)
        .stdin(Stdin::Inherit)
        // In our group: an interrupt of the terminal reaches it as it reaches us.
        .session(Session::Inherit);
    // Heard from here on: what they end is the program and not this one, which has yet to unmount.
    let mut stop = Stop::new()?;
    if keep {
        let cancel = CancellationToken::new();
        let output = vnode_action::run(spec.capture(MAX_KEPT), &cancel);
        tokio::pin!(output);
        let output = tokio::select! {
            output = &mut output => output,
            () = stop.asked() => {
                cancel.cancel();
                output.await
            }
        };
        let output = output.map_err(|error| failed(&error))?;
        return Ok((output.status, Some((output.stdout, output.stderr))));
    }
    let spec = spec.stdout(Stream::Inherit).stderr(Stream::Inherit);
    let mut running = vnode_action::spawn(spec).map_err(|error| failed(&error))?;
    // The first interrupt of a terminal has reached the program already.
    let mut heard = std::io::stdin().is_terminal();
    loop {
        tokio::select! {
            status = running.wait() => return Ok((status.map_err(|error| failed(&error))?, None)),
            () = stop.asked() => {}
        }
        if !std::mem::replace(&mut heard, false) {
            running.signal(Signal::TERM).map_err(|error| failed(&error))?;
        }
    }
}
