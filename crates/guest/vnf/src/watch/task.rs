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
    Attending, Candidate, Identity, Ours, Request,
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
    /// The connector tells us.
    connected: bool,
    /// The table has the names of all but those born since the last look: whatever changed one was told, and is in it.
    current: bool,
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
            connected: false,
            current: false,
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
        self.connected = sentry.is_some();
        self.table.keep(!self.connected);
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
                        (self.connected, self.current) = (false, false);
                        self.table.keep(true);
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
                self.functions.insert(id.clone(), function);
                self.first_look(&id);
                // Who asked may have gone.
                let _ = reply.send(view);
            }
            Request::Unregister { id } => self.drop_function(&id),
            Request::LookAt { pids } => pids.into_iter().for_each(|pid| self.look(pid)),
            Request::Hear(Word::Look(all)) => all.iter().for_each(|seen| self.sighted(seen)),
            Request::Hear(Word::Missed) => self.missed = true,
            Request::Hear(Word::Lost) => self.scan(true),
            Request::Baseline { rule, reply } => {
                self.refresh();
                let (own, ours) = (self.own, &self.ours);
                let there =
                    self.table.known().filter(|(pid, _)| *pid != own && !ours.contains(*pid));
                let candidates = there.map(|(pid, comm)| Candidate::new(pid, comm));
                let found =
                    candidates.filter(|c| rule.matches(c)).filter_map(|c| c.identity()).collect();
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
            // Where nothing is watched, nobody looks at what is told.
            self.current &= !self.functions.is_empty();
        }
    }

    fn noticed(&mut self, noticed: Noticed) {
        match noticed {
            Noticed::Changed { pid, comm } => {
                self.table.learn(pid, &comm);
                self.consider(pid, &comm);
            }
            Noticed::Named { seen, below } => {
                self.table.learn(seen.pid, seen.comm.as_bytes());
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

    /// Takes the names of all processes into the table: by a look at those born since the last, where every change since
    /// was told, else by a look at all.
    fn refresh(&mut self) {
        let older = self.looked.older.filter(|_| self.current);
        self.scan_of(false, older.and_then(Moment::born_since));
    }

    /// The first look for a function.
    fn first_look(&mut self, id: &str) {
        self.refresh();
        let Some(function) = self.functions.get_mut(id) else { return };
        for (pid, comm) in self.table.known() {
            if pid == self.own || self.ours.contains(pid) {
                continue;
            }
            self.missed |= !function.consider(id, &Candidate::new(pid, comm), &self.requests);
        }
        if !function.brief.is_empty() {
            self.confirm.insert(id.to_owned());
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
        let all = some.is_none();
        let each = |pid: i32, comm: &[u8], fresh: bool| {
            // Of some, which were born lately, one may have a number whose last bearer had the same name.
            if (fresh || whole || !all)
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
            Ok(()) => {
                self.looked.over(began);
                if all {
                    self.current = self.connected && !self.functions.is_empty();
                }
            }
            Err(error) => {
                self.current = false;
                tracing::error!(%error, "cannot look at processes");
            }
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
        let candidate = Candidate::new(pid, comm);
        for (id, function) in &mut self.functions {
            self.missed |= !function.consider(id, &candidate, &self.requests);
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
        // Its number may be another's by now, of the same name: nothing new to who compares names.
        if proc::stat(identity.pid).is_some_and(|now| now.start != identity.start) {
            self.look(identity.pid);
        }
    }
}

async fn notice(sentry: &mut Option<Sentry<Noticed>>) -> Option<Vec<Noticed>> {
    match sentry {
        Some(sentry) => sentry.next().await,
        None => std::future::pending().await,
    }
}
