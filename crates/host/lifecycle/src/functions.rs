//! Network functions in nodes, followed: what happens to them becomes events of ours, and the agent of a container is told
//! of the container's processes, of which the kernel tells it nothing.
//!
//! One task for each node with an agent. It runs the agent's `vnf attend` in the node and holds its two streams; which
//! event was the last is stored in one commit with our copy of it, so none is missed or doubled whoever is started again.
//! Without a service in the node the task waits until one may have been started: a `vnf` request passed through here, or
//! the agent's program was seen to begin.

mod copied;
mod sightings;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vnode_driver::{Exec, Phase};
use vnode_topology::AgentMode;

use crate::inner::Inner;
use crate::registry::NodeEntry;

pub(crate) use copied::key;
use sightings::Ear;
pub(crate) use sightings::Sightings;

/// Between looks for a service that was there and is being started again: doubled, up to [`LAST`].
const FIRST: Duration = Duration::from_millis(50);
/// When a service has not come back by then, we wait to be told.
const LAST: Duration = Duration::from_secs(10);

/// Follows the functions of a node until `token` is cancelled, when it may have any.
pub(crate) fn follow(inner: &Arc<Inner>, entry: &Arc<NodeEntry>, token: CancellationToken) {
    let (lab, name, machine) = entry.with(|record| {
        let machine = record.spec.as_ref().is_some_and(|spec| spec.machine.is_some());
        (record.lab.clone(), record.node.clone(), machine)
    });
    let agent = inner.registry.lab(&lab, |lab| {
        lab.record.lab.node(&name).is_some_and(|node| node.agent != AgentMode::None)
    });
    if !machine && !agent.unwrap_or(false) {
        return;
    }
    let (inner_of_task, entry) = (Arc::clone(inner), Arc::clone(entry));
    inner.tasks.spawn(async move {
        tokio::select! {
            () = followed(&inner_of_task, &entry, machine) => {}
            () = token.cancelled() => {}
        }
    });
}

async fn followed(inner: &Arc<Inner>, entry: &Arc<NodeEntry>, machine: bool) {
    let ear = Arc::new(Ear::new(entry));
    // A node that never had a service is not asked until it may have one.
    let mut wait = matches!(copied::load(inner, entry).await, Ok(None));
    let (mut pause, mut pace) = (FIRST, copied::Pace::new());
    loop {
        let Some(mut status) = entry.instance().map(|instance| instance.watch()) else { return };
        let Ok(now) = status.wait_for(|now| now.phase == Phase::Running).await.map(|now| *now)
        else {
            return;
        };
        // A machine's kernel tells its agent itself.
        let heard = match now.pid.and_then(|pid| i32::try_from(pid).ok()) {
            Some(pid) if !machine => inner.sightings.listen(inner, pid, &ear).await,
            _ => false,
        };
        if wait {
            tokio::select! {
                () = entry.functions.notified() => {}
                // Another boot has other numbers.
                changed = status.changed() => if changed.is_err() { return } else { continue },
            }
            pause = FIRST;
        }
        let begun = Instant::now();
        let heard = heard.then_some(&*ear);
        let attended = stream::attend(inner, entry, machine, heard, &mut pace).await;
        // One that only comes and goes is not asked ever again at once.
        if begun.elapsed() > LAST {
            pause = FIRST;
        }
        wait = match attended {
            // The service ended: it may be on its way back.
            Ok(true) => false,
            Ok(false) => pause > LAST,
            Err(error) => {
                tracing::warn!(node = %entry.subject(), "its network functions: {}", error.chain());
                pause > LAST
            }
        };
        if !wait {
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LAST * 2),
                () = entry.functions.notified() => pause = FIRST,
            }
        }
    }
}

/// A service may have begun in the node.
fn poke(entry: &NodeEntry) {
    entry.functions.notify_one();
}

/// A program after which a service may be there.
pub(crate) fn poked_after(mut exec: Exec, entry: &Arc<NodeEntry>) -> Exec {
    let (stdin, stdout, stderr) = (exec.stdin.take(), exec.stdout.take(), exec.stderr.take());
    let (control, entry) = (exec.control(), Arc::clone(entry));
    Exec::new(stdin, stdout, stderr, control, async move {
        let ended = exec.wait().await;
        poke(&entry);
        ended
    })
}

/// Whether a program of ours is what [`follow`] runs.
pub(crate) fn attends(argv: &[String]) -> bool {
    argv.get(2).is_some_and(|verb| verb == stream::VERB)
}
