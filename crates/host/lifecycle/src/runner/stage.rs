//! Steps about what is run in a node once it is booted, and what is waited for.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use serde_json::json;
use tokio::io::AsyncReadExt;
use vnode_driver::{ExecSpec, Phase};
use vnode_operation::StepContext;
use vnode_topology::{Node, StageExec, StageExecTarget, StageName};

use crate::error::{Error, Kind, Result};
use crate::follow;
use crate::health::Health;
use crate::inner::{Inner, driver_error};
use crate::ready::{Level, Readiness};
use crate::registry::NodeEntry;

use super::node;
use super::on_host::{self, OUTPUT, Purpose};

/// Stage hooks and startup commands, in order. A command that fails is told and does not fail the lab, as
/// containerlab does.
pub(super) async fn configure(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    name: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    let model = inner.registry.lab(lab, |lab| lab.record.lab.node(name).cloned())?;
    let Some(model) = model else { return Ok(()) };
    let spec = node::definition(&entry);
    let mut group = Vec::new();
    if has_host_commands(&model) {
        group = on_host::begin(inner, &spec, Purpose::Stage).await?;
    }
    let ran = run_all(inner, context, &entry, &model, &group).await;
    let ended = match group.is_empty() {
        true => Ok(()),
        false => on_host::end(inner, &spec, Purpose::Stage).await,
    };
    ran.and(ended)?;
    entry.signs.configured();
    Ok(())
}

/// Whether a stage of the node runs a command on the host.
pub(super) fn has_host_commands(model: &Node) -> bool {
    let mut commands = model.stages.values().flat_map(|stage| &stage.exec);
    commands.any(|exec| exec.target == StageExecTarget::Host)
}

async fn run_all(
    inner: &Arc<Inner>,
    context: &StepContext,
    entry: &Arc<NodeEntry>,
    model: &Node,
    group: &[PathBuf],
) -> Result<()> {
    let hooks = |stage: StageName, phase: vnode_topology::Phase| -> Vec<StageExec> {
        model
            .stages
            .get(&stage)
            .map(|stage| stage.exec.iter().filter(|exec| exec.phase == phase).cloned().collect())
            .unwrap_or_default()
    };
    use vnode_topology::Phase::{OnEnter, OnExit};
    let mut commands: Vec<StageExec> = Vec::new();
    for stage in [StageName::Create, StageName::CreateLinks] {
        commands.extend(hooks(stage, OnEnter));
        commands.extend(hooks(stage, OnExit));
    }
    commands.extend(hooks(StageName::Configure, OnEnter));
    commands.extend(model.exec.iter().map(|command| StageExec {
        command: command.clone(),
        target: StageExecTarget::Container,
        phase: OnEnter,
    }));
    commands.extend(hooks(StageName::Configure, OnExit));
    for (index, command) in commands.iter().enumerate() {
        context.progress(index as u64, commands.len() as u64, "commands");
        run_hook(inner, context, entry, command, group).await?;
    }
    Ok(())
}

async fn run_hook(
    inner: &Arc<Inner>,
    context: &StepContext,
    entry: &Arc<NodeEntry>,
    hook: &StageExec,
    group: &[PathBuf],
) -> Result<()> {
    let operation = context.operation().to_string();
    let argv = shlex::split(&hook.command)
        .ok_or_else(|| Error::usage(format!("`exec: {}` has an open quote", hook.command)))?;
    let ran = match hook.target {
        StageExecTarget::Container => {
            let work = run_in_node(entry, argv);
            tokio::select! {
                ran = work => ran?,
                () = context.cancellation().cancelled() => {
                    return Err(Error::state(format!("`{}` was cancelled", hook.command)));
                }
            }
        }
        StageExecTarget::Host => {
            on_host::run(on_host::command(argv, group), context.cancellation()).await?
        }
    };
    let data = json!({ "command": hook.command, "status": ran.0, "output": ran.1 });
    inner.tell("node.command-run", &entry.subject(), Some(&operation), data);
    if ran.0 != 0 {
        let text = format!("`{}` ended with status {}: {}", hook.command, ran.0, ran.1.trim());
        inner.warn(&entry.subject(), &operation, &text);
    }
    Ok(())
}

/// Runs a command in the node; its status and the beginning of what it printed. A program that is not
/// there counts as status 127, as a shell has it.
pub(crate) async fn run_in_node(
    entry: &Arc<NodeEntry>,
    argv: Vec<String>,
) -> Result<(i32, String)> {
    let instance = entry.live()?;
    let spec = ExecSpec { argv, ..ExecSpec::default() };
    let mut exec = match instance.exec(&spec).await {
        Ok(exec) => exec,
        Err(vnode_driver::Error::Exec { step, .. }) => return Ok((127, step)),
        Err(source) => return Err(driver_error(source)),
    };
    drop(exec.stdin.take());
    let (stdout, stderr) = (exec.stdout.take(), exec.stderr.take());
    let (out, err) = tokio::join!(head(stdout), head(stderr));
    let exit = exec.wait().await.map_err(driver_error)?;
    Ok((exit.shell_code(), out + &err))
}

/// The beginning of a stream; the rest is read and dropped, so that its writer never blocks.
async fn head(stream: Option<vnode_driver::Reader>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let mut beginning = (&mut stream).take(OUTPUT as u64);
    // A broken pipe ends the output; what came before it counts.
    let _ = beginning.read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

/// The end of what a node's console printed, for an error about a node that does not come up (T-41).
async fn last_words(entry: &NodeEntry) -> String {
    use tokio::io::AsyncSeekExt;
    const MOST: u64 = 1024;
    let Some(path) = entry.instance().map(|instance| instance.logs().current) else {
        return String::new();
    };
    let read = async {
        let mut file = tokio::fs::File::open(path).await?;
        let size = file.metadata().await?.len();
        file.seek(std::io::SeekFrom::Start(size.saturating_sub(MOST))).await?;
        let mut text = Vec::new();
        file.take(MOST).read_to_end(&mut text).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&text).trim().to_owned())
    };
    // An error about the error would hide it.
    match read.await.unwrap_or_default() {
        text if text.is_empty() => "; its console is empty".to_owned(),
        text => format!("; its console ends:\n{text}"),
    }
}

/// What is said of a node whose health check fails.
pub(crate) async fn unhealthy(entry: &NodeEntry) -> Error {
    let said = last_words(entry).await;
    Error::failed(format!("node `{}` is unhealthy{said}", entry.with(|r| r.node.clone())))
}

/// Waits for the health check's verdict. Without a check, to have been booted is healthy.
pub(super) async fn healthy(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    name: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    if *entry.health.borrow() == Health::None && !follow::has_check(inner, &entry) {
        return Ok(());
    }
    let mut readiness = Readiness::of(inner, &entry);
    let reachable = async {
        while readiness.next().await? < Level::Reachable {}
        Ok(())
    };
    let mut reachable = pin!(reachable);
    loop {
        tokio::select! {
            // The next daemon goes on with what this one leaves: its end is no verdict.
            verdict = &mut reachable, if !inner.stop.is_cancelled() => {
                if verdict.is_ok() || !inner.stop.is_cancelled() {
                    return verdict;
                }
            }
            () = context.cancellation().cancelled() => {
                let said = last_words(&entry).await;
                let text = format!("node `{name}` is not healthy yet{said}");
                return Err(Error::new(Kind::Deadline, text));
            }
        }
    }
}

/// Waits for the end of the first process.
pub(super) async fn exited(
    inner: &Arc<Inner>,
    context: &StepContext,
    lab: &str,
    name: &str,
) -> Result<()> {
    let entry = inner.registry.node(lab, name)?;
    let mut watch = entry.live()?.watch();
    let first = *watch.borrow();
    loop {
        let status = *watch.borrow_and_update();
        // One that is started again at once may be seen only as it runs again.
        let ended = status.phase == Phase::Stopped || status.boots > first.boots;
        if ended && status.boots > 0 {
            return Ok(());
        }
        tokio::select! {
            changed = watch.changed() => {
                changed.map_err(|_| Error::state(format!("node `{name}` is gone")))?;
            }
            () = context.cancellation().cancelled() => {
                return Err(Error::new(Kind::Deadline, format!("node `{name}` has not exited yet")));
            }
        }
    }
}
