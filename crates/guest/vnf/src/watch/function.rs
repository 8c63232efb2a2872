//! One function: its processes that are held, and what its driver is told of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::timeout,
};

use super::{
    Candidate, Identity, Request,
    pidfd::{self, Ended},
    rule::Rule,
};

/// How long a process that has just ended may wait to be reaped before we do without its exit code.
const REAP: Duration = Duration::from_millis(20);

/// What a function's driver is told: what is so now, and what happened since it last asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) present: bool,
    /// It came, or went, since the last [`View::take`].
    pub(crate) appeared: bool,
    pub(crate) vanished: bool,
    pub(crate) changes: u32,
    pub(crate) pids: Vec<Identity>,
    /// Of the last process that went.
    pub(crate) ended: Option<(i32, Ended)>,
}

/// What is seen of one function.
#[derive(Debug, Default)]
pub(crate) struct View {
    seen: Mutex<Seen>,
    pub(crate) changed: Notify,
}

impl View {
    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> Seen {
        self.lock().clone()
    }

    /// What is seen; what happened is told once.
    pub(crate) fn take(&self) -> Seen {
        let mut seen = self.lock();
        let taken = seen.clone();
        seen.appeared = false;
        seen.vanished = false;
        seen.changes = 0;
        taken
    }
}

/// A process that is held.
pub(super) struct Tracked {
    pub(super) start: u64,
    pub(super) waiter: AbortHandle,
}

/// What is watched for one function.
pub(super) struct Function {
    pub(super) rule: Arc<Rule>,
    pub(super) view: Arc<View>,
    pub(super) tracked: HashMap<i32, Tracked>,
    /// When the last one that went had ended, in ticks from the start of the machine.
    pub(super) left: u64,
    /// Those that nobody could hold, to be told of after a look at all.
    pub(super) brief: Vec<Identity>,
}

/// The time since the machine started, in the unit and by the clock of a process's start.
fn ticks_now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanoseconds = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
    nanoseconds / (1_000_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

impl Function {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule: Arc::new(rule),
            view: Arc::default(),
            tracked: HashMap::new(),
            left: 0,
            brief: Vec::new(),
        }
    }

    /// Looks at a process that may be the function's; `false`: it has gone, or is about to, and another may have its name.
    pub(super) fn consider(
        &mut self,
        id: &str,
        candidate: &Candidate<'_>,
        requests: &mpsc::WeakSender<Request>,
    ) -> bool {
        let pid = candidate.pid;
        let tracked = self.tracked.get(&pid).map(|tracked| tracked.start);
        if tracked.is_none() && !self.rule.may_be(candidate.comm) {
            return true;
        }
        let matches = self.rule.matches(candidate);
        let identity = candidate.identity();
        match (tracked, matches) {
            (Some(known), true) if identity.is_some_and(|now| now.start == known) => {}
            // Its descriptor will tell, and how it ended.
            (Some(known), false)
                if identity.is_none_or(|now| now.start == known && !candidate.alive()) => {}
            (Some(_), _) => {
                // Another name now, or another process under the number.
                if let Some(tracked) = self.tracked.remove(&pid) {
                    tracked.waiter.abort();
                }
                if let Some(identity) = identity.filter(|_| matches) {
                    self.track(id, identity, requests);
                }
                self.publish(Some((pid, Ended::default())));
            }
            (None, true) => {
                if let Some(identity) = identity {
                    self.track(id, identity, requests);
                    self.publish(None);
                }
            }
            (None, false) => return candidate.alive(),
        }
        true
    }

    fn track(&mut self, id: &str, identity: Identity, requests: &mpsc::WeakSender<Request>) {
        let held = match pidfd::open(identity.pid, identity.start).and_then(pidfd::watched) {
            Ok(held) => held,
            // Gone again: a life so short that nobody can hold it is still one, unless a child of it goes on.
            Err(_) => {
                self.brief.push(identity);
                return;
            }
        };
        let requests = requests.clone();
        let id = id.to_owned();
        let waiter = tokio::spawn(async move {
            if held.readable().await.is_err() {
                return;
            }
            let left = ticks_now();
            let mut ended = pidfd::ended(held.get_ref(), identity.pid, identity.start);
            let reaped = async {
                while !ended.is_known() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    ended = pidfd::ended(held.get_ref(), identity.pid, identity.start);
                }
            };
            // Kernels before 6.15 never tell: then it stays unknown.
            let _ = timeout(REAP, reaped).await;
            if let Some(requests) = requests.upgrade() {
                // The task ends only with the program.
                let _ = requests.send(Request::Gone { id, identity, ended, left }).await;
            }
        });
        self.tracked
            .insert(identity.pid, Tracked { start: identity.start, waiter: waiter.abort_handle() });
    }

    /// One that has gone before we looked; `false`: it is known.
    pub(super) fn passed(&mut self, identity: Identity) -> bool {
        let held = self.tracked.get(&identity.pid).is_some_and(|held| held.start == identity.start);
        let known =
            held || self.brief.contains(&identity) || self.view.lock().pids.contains(&identity);
        if !known {
            self.brief.push(identity);
        }
        !known
    }

    /// Tells the driver of one that came and went.
    pub(super) fn publish_brief(&self, identity: Identity) {
        let mut seen = self.view.lock();
        if self.tracked.is_empty() && !seen.present && self.rule.process().min_instances == 1 {
            seen.appeared = true;
            seen.vanished = true;
            seen.changes += 2;
            seen.pids = vec![identity];
            drop(seen);
            self.view.changed.notify_one();
        }
    }

    /// Tells the driver what is so now.
    pub(super) fn publish(&self, ended: Option<(i32, Ended)>) {
        let present = self.tracked.len() >= self.rule.process().min_instances as usize;
        let mut seen = self.view.lock();
        let mut pids: Vec<Identity> = self
            .tracked
            .iter()
            .map(|(pid, tracked)| Identity { pid: *pid, start: tracked.start })
            .collect();
        pids.sort_unstable();
        // Emptied and filled between two looks, by others. The child of a program that makes itself a daemon is another one
        // too, and was there before its parent ended; one that has the number of who ended was not.
        let child = |new: &Identity| {
            new.start <= self.left && !seen.pids.iter().any(|old| old.pid == new.pid)
        };
        let replaced = present
            && seen.present
            && !pids.iter().any(|pid| seen.pids.contains(pid) || child(pid));
        if replaced {
            seen.vanished = true;
            seen.appeared = true;
            seen.changes += 2;
        } else if present != seen.present {
            seen.appeared |= present;
            seen.vanished |= !present;
            seen.changes += 1;
        }
        let told = replaced || present != seen.present;
        if ended.is_some() && !present {
            seen.ended = ended;
        }
        seen.present = present;
        if !pids.is_empty() {
            seen.pids = pids;
        }
        drop(seen);
        if told {
            self.view.changed.notify_one();
        }
    }
}
