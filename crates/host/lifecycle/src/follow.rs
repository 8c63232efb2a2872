//! Follows running nodes: notices their end, starts them again when the policy says so.
//!
//! One small task for each node, woken by its monitor only. Links and namespace stand while the process is
//! away, so a node that comes back finds everything as it was, shaping included.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use vnode_driver::{Ended, Exit, Phase, PidMode};
use vnode_topology::{Health, Node};

use crate::functions;
use crate::health;
use crate::inner::Inner;
use crate::registry::{NodeEntry, lock};
use crate::restart::{Decision, Ending};
use crate::runner;
use crate::state::{Event, State};

/// So long after a node was killed the end of its process namespace's first process is told.
const OWNERS_END: Duration = Duration::from_secs(1);

/// Starts the node's watcher, ending an earlier one.
pub(crate) fn watch(inner: &Arc<Inner>, entry: &Arc<NodeEntry>) {
    let token = inner.stop.child_token();
    std::mem::replace(&mut *lock(&entry.tasks), token.clone()).cancel();
    let Some(instance) = entry.instance() else { return };
    functions::follow(inner, entry, token.clone());
    let mut changes = instance.watch();
    // What is known now was dealt with by whoever set the instance.
    let mut last = *changes.borrow_and_update();
    let (inner_of_task, entry) = (Arc::clone(inner), Arc::clone(entry));
    inner.tasks.spawn(async move {
        let inner = inner_of_task;
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = token.cancelled() => return,
            }
            let now = *changes.borrow_and_update();
            let ended = now.phase == Phase::Stopped
                && (last.phase != Phase::Stopped || now.boots != last.boots);
            if ended && let Some(exit) = now.last_exit {
                after_exit(&inner, &entry, &exit).await;
            }
            if (last.phase, now.phase) == (Phase::Running, Phase::Running)
                && now.boots > last.boots
                && let Some(exit) = now.last_exit.filter(|exit| exit.ended == Ended::Reboot)
            {
                rebooted(&inner, &entry, &exit).await;
            }
            if (last.phase, now.phase) == (Phase::Running, Phase::Paused) {
                paused(&inner, &entry);
            }
            if now.phase == Phase::Lost && last.phase != Phase::Lost {
                lost(&inner, &entry).await;
            }
            last = now;
        }
    });
}

/// Records the end of a node's process once, whoever notices it first.
pub(crate) fn exited(inner: &Inner, entry: &NodeEntry, exit: &Exit, operation: &str) {
    if lock(&entry.ended).replace(*exit) == Some(*exit) {
        // Whoever told of it first has dealt with it. By now the next run may have begun, or be about to: a reboot may be
        // quicker than whoever watches, so the state says nothing about it.
        return;
    }
    let text = describe(exit);
    let state_before = entry.with(|record| record.state);
    // Stopped and destroying nodes stay what they are.
    let state = entry.step(Event::Exited).unwrap_or(state_before);
    entry.update(|record| record.last_exit = Some(text.clone()));
    end_check(entry);
    if state != state_before {
        let operation = (!operation.is_empty()).then_some(operation);
        let data = json!({
            "exit": text,
            "code": exit.code,
            "signal": exit.signal,
            "at_unix_ms": exit.at_unix_ms,
            "oom_killed": exit.oom_killed,
        });
        inner.tell("node.exited", &entry.subject(), operation, data);
    }
}

/// `exit 1`, `signal 9 (out of memory)`, `rebooted inside`.
pub(crate) fn describe(exit: &Exit) -> String {
    let text = match (exit.ended, exit.code, exit.signal) {
        (Ended::Reboot, _, _) => "rebooted inside".to_owned(),
        (Ended::Poweroff, _, _) => "powered off inside".to_owned(),
        (Ended::Unknown, _, _) => "ended unseen".to_owned(),
        (_, Some(code), _) => format!("exit {code}"),
        (_, None, Some(signal)) => format!("signal {signal}"),
        (_, None, None) => "ended".to_owned(),
    };
    if exit.oom_killed { format!("{text} (out of memory)") } else { text }
}

async fn after_exit(inner: &Arc<Inner>, entry: &Arc<NodeEntry>, exit: &Exit) {
    let asked = entry.take_asked();
    exited(inner, entry, exit, "");
    if !asked && ended_with_its_owner(inner, entry, exit).await {
        inner.save_node(entry).await;
        // It comes back with its owner: here when that one is back already, else by `guests`.
        if owner(inner, entry).is_some_and(|owner| runs(&owner)) {
            again(inner, entry).await;
        }
        return;
    }
    let ending = if asked {
        Ending::Asked
    } else {
        match exit.ended {
            Ended::Reboot => Ending::Reboot,
            Ended::Poweroff => Ending::PowerOff,
            Ended::Exited if exit.code == Some(0) => Ending::Success,
            Ended::Exited | Ended::Killed | Ended::Unknown => Ending::Failure,
        }
    };
    let policy = entry.with(|record| record.restart);
    let decision = lock(&entry.history).decide(policy, ending, Instant::now());
    match decision {
        Decision::Stay => {
            if !asked {
                entry.signs.over(true);
                inner.save_node(entry).await;
                remove_if_asked(inner, entry);
            }
        }
        Decision::CrashLoop => {
            let reason = format!(
                "{} times in a minute, the last: {}",
                crate::restart::LIMIT,
                describe(exit)
            );
            entry.fail(&format!("crash loop: ended {reason}"));
            inner.tell("node.crash-looped", &entry.subject(), None, json!({ "reason": reason }));
            inner.save_node(entry).await;
        }
        Decision::Again { after } => {
            let token = lock(&entry.tasks).clone();
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                () = token.cancelled() => return,
            }
            again(inner, entry).await;
        }
    }
}

/// The node whose processes this one's are among.
fn owner(inner: &Inner, entry: &NodeEntry) -> Option<Arc<NodeEntry>> {
    let (lab, pids) = entry
        .with(|record| (record.lab.clone(), record.spec.as_ref().map(|spec| spec.pids.clone())));
    match pids {
        Some(PidMode::Node(owner)) => inner.registry.node(&lab, &owner).ok(),
        Some(PidMode::Own | PidMode::Host) | None => None,
    }
}

fn runs(entry: &NodeEntry) -> bool {
    entry.instance().is_some_and(|i| matches!(i.status().phase, Phase::Running | Phase::Paused))
}

/// Whether a node was killed by the end of the process namespace that it lives in. The kernel ends its members first, so
/// the owner's end may be told a moment later.
async fn ended_with_its_owner(inner: &Inner, entry: &NodeEntry, exit: &Exit) -> bool {
    if exit.signal != Some(9) || exit.oom_killed {
        return false;
    }
    let Some(owner) = owner(inner, entry) else { return false };
    let Some(instance) = owner.instance() else { return true };
    let mut status = instance.watch();
    let before = *status.borrow_and_update();
    let ended = status.wait_for(|now| {
        !matches!(now.phase, Phase::Running | Phase::Paused) || now.boots != before.boots
    });
    tokio::time::timeout(OWNERS_END, ended).await.is_ok()
}

/// Starts those again that ended with the processes of this node, which runs again.
pub(crate) fn guests(inner: &Arc<Inner>, owner: &Arc<NodeEntry>) {
    let (lab, name) = owner.with(|record| (record.lab.clone(), record.node.clone()));
    let ended = |entry: &&Arc<NodeEntry>| {
        entry.with(|record| {
            let owner = record.spec.as_ref().map(|spec| &spec.pids);
            record.wanted && matches!(owner, Some(PidMode::Node(owner)) if *owner == name)
        })
    };
    let found = inner.registry.lab(&lab, |lab| {
        // Asked at each boot, and most labs have none: no record is looked into before there is reason to.
        let shared = |node: &Node| matches!(node.pid_mode, Some(vnode_topology::PidMode::Node(_)));
        if !lab.record.lab.nodes.iter().any(shared) {
            return Vec::new();
        }
        lab.nodes.values().filter(ended).cloned().collect::<Vec<Arc<NodeEntry>>>()
    });
    // A lab that has just gone has none.
    for guest in found.unwrap_or_default() {
        let inner_of_task = Arc::clone(inner);
        inner.tasks.spawn(async move { again(&inner_of_task, &guest).await });
    }
}

/// `auto-remove`: the node goes when its first process has ended and is not started again.
fn remove_if_asked(inner: &Arc<Inner>, entry: &Arc<NodeEntry>) {
    let (lab, node) = entry.with(|record| (record.lab.clone(), record.node.clone()));
    let wanted = inner
        .registry
        .lab(&lab, |lab| lab.record.lab.node(&node).is_some_and(|node| node.auto_remove));
    let Some(host) = inner.facade.get().and_then(std::sync::Weak::upgrade) else { return };
    if !wanted.unwrap_or(false) {
        return;
    }
    // A task of its own: this one ends with the node.
    inner.tasks.spawn(async move {
        if let Err(error) = host.destroy(&format!("{lab}/{node}"), false).await {
            tracing::warn!(lab, node, "cannot remove: {}", error.chain());
        }
    });
}

/// An exit nobody of ours saw: the policy decides as if it happened now.
pub(crate) fn missed(inner: &Arc<Inner>, entry: &Arc<NodeEntry>, exit: Exit) {
    let (inner_of_task, entry) = (Arc::clone(inner), Arc::clone(entry));
    inner.tasks.spawn(async move {
        if entry.with(|record| record.wanted) {
            after_exit(&inner_of_task, &entry, &exit).await;
        }
    });
}

/// Boots a node that ended by itself.
async fn again(inner: &Arc<Inner>, entry: &Arc<NodeEntry>) {
    let _slot = entry.slot.lock().await;
    // Somebody halted, destroyed or booted it while we waited.
    let idle =
        entry.instance().is_some_and(|instance| matches!(instance.status().phase, Phase::Stopped));
    // Halted while it waited to be started again, or its root was mounted: there was no process whose end was asked for.
    let wanted = entry.with(|record| record.wanted && record.state != State::Mounted);
    if !idle || !wanted || entry.is_asked() || lock(&entry.tasks).is_cancelled() {
        return;
    }
    if let Err(error) = runner::start(inner, entry, "").await {
        tracing::warn!(node = %entry.subject(), "cannot start again: {}", error.chain());
    } else {
        let restarts = entry.update(|record| {
            record.restarts += 1;
            record.restarts
        });
        inner.tell("node.restarted", &entry.subject(), None, json!({ "restarts": restarts }));
    }
    inner.save_node(entry).await;
}

/// A machine went through a reboot by itself, and runs: there was nothing to start again.
async fn rebooted(inner: &Arc<Inner>, entry: &Arc<NodeEntry>, exit: &Exit) {
    let restarts = entry.update(|record| {
        record.last_exit = Some(describe(exit));
        record.restarts += 1;
        record.restarts
    });
    let data = json!({ "exit": describe(exit), "at_unix_ms": exit.at_unix_ms });
    inner.tell("node.exited", &entry.subject(), None, data);
    inner.tell("node.restarted", &entry.subject(), None, json!({ "restarts": restarts }));
    inner.save_node(entry).await;
}

/// A machine paused by itself, as when the host has no room for what it writes, shows as paused and can be resumed.
fn paused(inner: &Arc<Inner>, entry: &Arc<NodeEntry>) {
    let (inner_of_task, entry) = (Arc::clone(inner), Arc::clone(entry));
    inner.tasks.spawn(async move {
        let _slot = entry.slot.lock().await;
        // Whoever asked for it has told of it by now.
        let still = entry.instance().is_some_and(|i| i.status().phase == Phase::Paused);
        if still && entry.with(|record| record.state) == State::Running {
            entry.settle(State::Paused);
            inner_of_task.tell(
                "node.paused",
                &entry.subject(),
                None,
                json!({ "by": "the machine" }),
            );
        }
    });
}

async fn lost(inner: &Arc<Inner>, entry: &Arc<NodeEntry>) {
    let reason = "its monitor was killed; boot makes a new one, the disk is kept";
    end_check(entry);
    entry.fail(reason);
    entry.set_instance(None);
    inner.tell("node.lost", &entry.subject(), None, json!({ "reason": reason }));
    inner.save_node(entry).await;
}

/// The run is over, and with it its health check.
fn end_check(entry: &NodeEntry) {
    lock(&entry.check).cancel();
    entry.health.send_replace(health::Health::None);
}

/// A node's health check, when it has one.
fn check(inner: &Inner, entry: &NodeEntry) -> Option<Health> {
    let (lab, node) = entry.with(|record| (record.lab.clone(), record.node.clone()));
    let found = inner
        .registry
        .lab(&lab, |lab| lab.record.lab.node(&node).and_then(|node| node.healthcheck.clone()));
    found.ok().flatten().filter(|check| check.test != vnode_topology::HealthTest::None)
}

pub(crate) fn has_check(inner: &Inner, entry: &NodeEntry) -> bool {
    check(inner, entry).is_some()
}

/// Starts the health check of the run that has begun, when the node has one.
pub(crate) fn health(inner: &Arc<Inner>, entry: &Arc<NodeEntry>) {
    if let Some(check) = check(inner, entry) {
        // Before anybody can ask: without a verdict a node with a check is not healthy.
        entry.health.send_replace(health::Health::Starting);
        let token = lock(&entry.tasks).child_token();
        std::mem::replace(&mut *lock(&entry.check), token.clone()).cancel();
        inner.tasks.spawn(health::run(Arc::clone(inner), Arc::clone(entry), check, token));
    }
}
