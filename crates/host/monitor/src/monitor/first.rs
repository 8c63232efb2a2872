//! The first process: its boot, what it tells, its end, and the root it leaves.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use vnode_monitor::wire::{Answer, Boot, Event, Exit};

use super::Monitor;
use crate::child::{self, Told};
use crate::fail::{Doing, Fail, Result};
use crate::log::Log;
use crate::record;

/// So long after the end of the first process its root is let go of, when nobody has asked for anything. Under a second.
const REST: Duration = Duration::from_millis(100);

impl Monitor {
    pub(super) fn boot(&mut self, asked: (u64, u64), boot: &Boot, fds: Vec<OwnedFd>) -> Result<()> {
        if self.init.is_some() {
            return Err(Fail("the node is running".to_owned()));
        }
        let log = Log::new(boot.log_limit_bytes);
        self.settle()?;
        let mut fds = fds.into_iter();
        let cgroup = if boot.cgroup { fds.next() } else { None };
        self.group = boot.pids.group().map(str::to_owned);
        self.oom_file.clone_from(&boot.oom_file);
        self.oom_before = self.oom_kills();
        let (child, output) =
            child::start_init(boot, &self.dir, &mut self.namespaces, (cgroup, fds.next()), asked)?;
        self.console.begin(log, output);
        self.init = Some(child);
        // One that was set up in this process' memory has told all that it has to tell.
        self.init_tells_all();
        Ok(())
    }

    pub(super) fn init_tells_all(&mut self) {
        // What is to be kept, terminal, readiness, failure and the end: more than these it does not tell.
        for _ in 0..5 {
            if !self.init_told() {
                return;
            }
        }
    }

    /// Waits until the last run's overlay is gone: two on one upper layer would damage it.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.init.is_none() {
            self.release_at = None;
            // Who closes last waits.
            drop(self.root.take());
        }
        match self.releasing.take() {
            Some(releasing) => releasing.wait().doing(|| "let go of the last run's root"),
            None => Ok(()),
        }
    }

    /// Begins to let go of the last run's root.
    pub(super) fn release(&mut self) {
        self.release_at = None;
        if let Some(root) = self.root.take() {
            // When it cannot be done beside, it is done here, by the end of `root`.
            self.releasing = child::Aside::release(root).ok();
        }
    }

    /// The first process tells of its terminal, its failure, or (by the end) of its exec. False when it has nothing to
    /// tell.
    fn init_told(&mut self) -> bool {
        let Some(init) = &mut self.init else { return false };
        let asked = init.asked;
        match init.listen() {
            Told::Nothing => return false,
            Told::Noted => {}
            Told::Tty(master) => {
                if let Err(e) = self.console.set_tty(master) {
                    init.failure = Some(format!("console: {e}"));
                }
            }
            // Its end follows and is what is reported.
            Told::Failed => {}
            Told::Started => {
                self.state.init = Some(init.id);
                self.root = init.root.take();
                self.state.started_unix_ms = record::now_unix_ms();
                self.state.boots += 1;
                // First the event, then the answer: who asked finds the state as it is told.
                self.tell(Event::Started(self.state.clone()));
                // Whoever is told that it runs can rely on the record, even when this process is killed at once.
                self.write_record();
                if let Some((connection, id)) = asked {
                    self.answer(connection, id, Answer::Done, &[]);
                }
                if let Some(init) = &mut self.init {
                    init.kept.clear();
                }
            }
        }
        true
    }

    pub(super) fn init_ended(&mut self) {
        self.init_tells_all();
        let Some(mut init) = self.init.take() else { return };
        let (code, signal) = match child::reap(&init.pidfd) {
            Ok(Some(end)) => end,
            Ok(None) => {
                self.init = Some(init);
                return;
            }
            // Reaped by nobody else, so its end is real and only its status is lost.
            Err(_) => (None, None),
        };
        if let Some(group) = &self.group {
            child::sweep(group);
        }
        self.console.pump(&self.dir, 4096);
        self.console.stream = None;
        if self.state.init.is_none() {
            // One that was ready, and whose program could not be executed, has left a root.
            self.root = init.root.take();
            self.release();
            let step = init.failure.take().unwrap_or_else(|| match (code, signal) {
                (_, Some(signal)) => format!("set-up was ended by signal {signal}"),
                (code, None) => format!("set-up ended with status {}", code.unwrap_or(-1)),
            });
            if let Some((connection, id)) = init.asked {
                self.answer(connection, id, Answer::Failed { step }, &[]);
            }
            return;
        }
        // In a process namespace reboot(2) ends the first process with one of these, and nothing else can:
        // a first process has no default action for them.
        let reboot = match signal {
            // Among the processes of others it is no first process, and has them.
            _ if self.group.is_some() => None,
            Some(libc::SIGHUP) => Some(true),
            Some(libc::SIGINT) => Some(false),
            _ => None,
        };
        let exit = Exit {
            code,
            signal,
            at_unix_ms: record::now_unix_ms(),
            reboot,
            oom_killed: self.oom_kills() > self.oom_before,
        };
        self.state.init = None;
        self.state.last_exit = Some(exit);
        self.tell(Event::Exited(self.state.clone()));
        if self.root.is_some() {
            // Most nodes that end are taken away: then nobody need wait for this.
            self.release_at = Some(Instant::now() + REST);
        }
        self.write_record();
    }
}
