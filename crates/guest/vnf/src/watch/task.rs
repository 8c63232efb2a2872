//! The one task that watches: what is told to it, what it looks at by itself, and when.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::sleep_until};
use vnode_processes::{Moment, Sentry, Sighting, Word, proc::Table};

use super::{
    Attending, Identity, Ours, Request,
    function::Function,
    pidfd::Ended,
    proc,
    sentry::{Names, Noticed},
};

/// A full look in any case.
const RECONCILE: Duration = Duration::from_secs(5);
/// Between looks, where nobody tells.
const POLL: Duration = Duration::from_millis(250);
/// From a process that had gone when we looked, to a look at all: those of a burst share it.
const MISSED: Duration = Duration::from_millis(20);
/// From the giving of its number to the moment from which a process can be seen, at most.
const UNSEEN: Duration = Duration::from_millis(100);
/// Share of a processor that looks may cost, as one of so many.
const SHARE: u32 = 50;

/// Moments before looks: who was born before the older of them has been looked at.
///
/// A process has its number a little before it can be seen, so a look may miss one whose number was given before; the
/// next look that comes [`UNSEEN`] later does not.
#[derive(Debug, Default)]
struct Looked {
    older: Option<Moment>,
    recent: Option<(Moment, Instant)>,
}

impl Looked {
    /// Before a look.
    fn begins() -> Option<(Moment, Instant)> {
        Some((Moment::now()?, Instant::now()))
    }

    /// After the look before which that was.
    fn over(&mut self, began: Option<(Moment, Instant)>) {
        let Some((moment, at)) = began else {
            *self = Self::default();
            return;
        };
        match self.recent {
            Some((_, before)) if at - before < UNSEEN => {}
            Some((before, _)) => {
                self.older = Some(before);
                self.recent = Some((moment, at));
            }
            None => self.recent = Some((moment, at)),
        }
    }
}

pub(super) struct Task {
    table: Table,
    looked: Looked,
    functions: BTreeMap<String, Function>,
    /// What the thread that notices processes knows of them.
    names: Names,
    ours: Ours,
    own: i32,
    requests: mpsc::WeakSender<Request>,
    /// Functions that have lost a process since the last look.
    confirm: BTreeSet<String>,
    /// A process had gone when we looked at it, after the last look at all.
    missed: bool,
    attending: Arc<Attending>,
}

impl Task {
    /// Watches nothing yet.
    pub(super) fn new(
        names: Names,
        ours: Ours,
        requests: mpsc::WeakSender<Request>,
        attending: Arc<Attending>,
    ) -> io::Result<Self> {
        Ok(Self {
            table: Table::new()?,
            looked: Looked::default(),
            functions: BTreeMap::new(),
            names,
            ours,
            own: std::process::id().cast_signed(),
            requests,
            confirm: BTreeSet::new(),
            missed: false,
            attending,
        })
    }

    pub(super) async fn run(
        mut self,
        mut sentry: Option<Sentry<Noticed>>,
        mut waiting: mpsc::Receiver<Request>,
    ) {
        let mut next = Instant::now() + if sentry.is_some() { RECONCILE } else { POLL };
        let mut full = Instant::now() + RECONCILE;
        // Before that, a look costs more than its share.
        let mut rested = Instant::now();
        let attending = Arc::clone(&self.attending);
        let mut attended = attending.anybody();
        loop {
            let asleep = self.functions.is_empty();
            tokio::select! {
                biased;
                noticed = notice(&mut sentry) => match noticed {
                    Some(all) => all.into_iter().for_each(|noticed| self.noticed(noticed)),
                    None => {
                        tracing::error!("the process connector is broken: polling");
                        sentry = None;
                        next = Instant::now();
                    }
                },
                request = waiting.recv() => {
                    let Some(request) = request else { return };
                    self.perform(request);
                    // Several that ended together are confirmed by one look.
                    while let Ok(request) = waiting.try_recv() {
                        self.perform(request);
                    }
                }
                () = attending.changed.notified() => if attending.anybody() != attended {
                    attended = !attended;
                    // What happened while nobody told.
                    (full, next) = (Instant::now(), Instant::now());
                },
                () = sleep_until(next.into()), if !asleep => {
                    let began = Instant::now();
                    let whole = began >= full;
                    self.missed = false;
                    self.scan(whole);
                    if whole {
                        full = began + RECONCILE;
                    }
                    rested = began + began.elapsed() * SHARE;
                    let told = sentry.is_some() || attended;
                    next = if told { full } else { began + POLL }.max(rested);
                }
            }
            self.confirm(sentry.is_some() || attended);
            if self.missed {
                next = next.min(rested.max(Instant::now() + MISSED));
            }
        }
    }

    fn perform(&mut self, request: Request) {
        match request {
            Request::Register { id, rule, reply } => {
                self.drop_function(&id);
                let function = Function::new(*rule);
                let view = Arc::clone(&function.view);
                self.names.add(&id, &function.rule);
                self.functions.insert(id, function);
                self.scan(true);
                // Who asked may have gone.
                let _ = reply.send(view);
            }
            Request::Unregister { id } => self.drop_function(&id),
            Request::LookAt { pids } => pids.into_iter().for_each(|pid| self.look(pid)),
            Request::Hear(Word::Look(all)) => all.iter().for_each(|seen| self.sighted(seen)),
            Request::Hear(Word::Missed) => self.missed = true,
            Request::Hear(Word::Lost) => self.scan(true),
            Request::Baseline { rule, reply } => {
                let mut found = Vec::new();
                let (own, ours) = (self.own, self.ours.clone());
                let mut fresh = Vec::new();
                let scanned = self.table.scan(|pid, comm, new| {
                    if new {
                        fresh.push((pid, comm.to_vec()));
                    }
                    if pid != own
                        && !ours.contains(pid)
                        && rule.matches(pid, comm)
                        && let Some(stat) = proc::stat(pid)
                    {
                        found.push(Identity { pid, start: stat.start });
                    }
                });
                if let Err(error) = scanned {
                    tracing::error!(%error, "cannot look at processes");
                }
                for (pid, comm) in fresh {
                    self.consider(pid, &comm);
                }
                // Who asked may have gone.
                let _ = reply.send(found);
            }
            Request::Gone { id, identity, ended, left } => self.gone(&id, identity, ended, left),
        }
    }

    fn drop_function(&mut self, id: &str) {
        if let Some(function) = self.functions.remove(id) {
            function.tracked.values().for_each(|tracked| tracked.waiter.abort());
            self.names.remove(id);
        }
    }

    fn noticed(&mut self, noticed: Noticed) {
        match noticed {
            Noticed::Changed { pid, comm } => self.consider(pid, &comm),
            Noticed::Named { seen, below } => {
                self.consider(seen.pid, seen.comm.as_bytes());
                self.was_there(&seen, below);
            }
            Noticed::Missed => self.missed = true,
            Noticed::Lost => {
                tracing::warn!("events of processes were lost: looking at all");
                self.scan(true);
            }
        }
    }

    /// Looks at one process that has changed.
    fn look(&mut self, pid: i32) {
        match proc::comm(pid) {
            Some(comm) => self.consider(pid, &comm),
            None => self.missed = true,
        }
    }

    /// Looks at one that a host has seen.
    fn sighted(&mut self, seen: &Sighting) {
        self.look(seen.pid);
        self.was_there(seen, false);
    }

    /// One that was seen under its name was there, also when it has gone by now; `below`: in a namespace below ours.
    fn was_there(&mut self, seen: &Sighting, below: bool) {
        let now = proc::stat(seen.pid);
        let identity = Identity { pid: seen.pid, start: seen.start };
        if now.is_some_and(|now| now.start == seen.start && now.alive())
            || self.ours.contains(seen.pid)
            || self.ours.was(identity)
        {
            return;
        }
        for (id, function) in &mut self.functions {
            if function.rule.is_named(seen.comm.as_bytes())
                && (!below || function.rule.reaches_below())
                && function.passed(identity)
            {
                self.confirm.insert(id.clone());
            }
        }
    }

    /// Looks at all; `whole`: also at those that have not changed their names.
    fn scan(&mut self, whole: bool) {
        self.scan_of(whole, None);
    }

    /// The same of some processes only, or of all.
    fn scan_of(&mut self, whole: bool, some: Option<Vec<i32>>) {
        let began = Looked::begins();
        let mut changed = Vec::new();
        let functions = &self.functions;
        let each = |pid: i32, comm: &[u8], fresh: bool| {
            if (fresh || whole)
                && functions.values().any(|f| f.rule.may_be(comm) || f.tracked.contains_key(&pid))
            {
                changed.push((pid, comm.to_vec()));
            }
        };
        let result = match some {
            Some(some) => {
                self.table.scan_these(some, each);
                Ok(())
            }
            None => self.table.scan(each),
        };
        match result {
            Ok(()) => self.looked.over(began),
            Err(error) => tracing::error!(%error, "cannot look at processes"),
        }
        for (pid, comm) in changed {
            self.consider(pid, &comm);
        }
    }

    /// Tells of functions that have lost a process; `told`: somebody tells of each exec and each change of a name.
    fn confirm(&mut self, told: bool) {
        if self.confirm.is_empty() {
            return;
        }
        // A child that was forked and never called exec was told by nobody; where nobody tells, of an exec neither.
        let born = if told { self.looked.older.and_then(Moment::born_since) } else { None };
        self.scan_of(false, born);
        for id in std::mem::take(&mut self.confirm) {
            if let Some(function) = self.functions.get_mut(&id) {
                for identity in std::mem::take(&mut function.brief) {
                    function.publish_brief(identity);
                }
                function.publish(None);
            }
        }
    }

    fn consider(&mut self, pid: i32, comm: &[u8]) {
        if pid == self.own || self.ours.contains(pid) {
            return;
        }
        for (id, function) in &mut self.functions {
            let tracked = function.tracked.get(&pid).map(|tracked| tracked.start);
            if tracked.is_none() && !function.rule.may_be(comm) {
                continue;
            }
            let matches = function.rule.matches(pid, comm);
            let start = if matches || tracked.is_some() {
                proc::stat(pid).map(|stat| stat.start)
            } else {
                None
            };
            match (tracked, matches) {
                (Some(known), true) if start == Some(known) => {}
                // Its descriptor will tell, and how it ended.
                (Some(known), false)
                    if start.is_none()
                        || proc::stat(pid).is_some_and(|s| s.start == known && !s.alive()) => {}
                (Some(_), _) => {
                    // Another name now, or another process under the number.
                    if let Some(tracked) = function.tracked.remove(&pid) {
                        tracked.waiter.abort();
                    }
                    if let (true, Some(start)) = (matches, start) {
                        function.track(id, Identity { pid, start }, &self.requests);
                    }
                    function.publish(Some((pid, Ended::default())));
                }
                (None, true) => {
                    if let Some(start) = start {
                        function.track(id, Identity { pid, start }, &self.requests);
                        function.publish(None);
                    }
                }
                // Ended and not reaped is as good as gone.
                (None, false) => self.missed |= proc::stat(pid).is_none_or(|stat| !stat.alive()),
            }
            if !function.brief.is_empty() {
                self.confirm.insert(id.clone());
            }
        }
    }

    fn gone(&mut self, id: &str, identity: Identity, ended: Ended, left: u64) {
        let Some(function) = self.functions.get_mut(id) else { return };
        if function.tracked.get(&identity.pid).is_none_or(|tracked| tracked.start != identity.start)
        {
            return;
        }
        function.tracked.remove(&identity.pid);
        function.left = left;
        function.view.lock().ended = Some((identity.pid, ended));
        self.confirm.insert(id.to_owned());
    }
}

async fn notice(sentry: &mut Option<Sentry<Noticed>>) -> Option<Vec<Noticed>> {
    match sentry {
        Some(sentry) => sentry.next().await,
        None => std::future::pending().await,
    }
}
