//! A program with all that it started, and its end when nobody wants it any more.
//!
//! All of it is the program's session, and whoever bears in its environment the mark that the program was given: that finds
//! what made a session of its own too. (A control group would find the same, but to put a program into one takes the kernel
//! milliseconds, and most programs end by themselves.)

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};
use vnode_action::{ExitStatus, Running, Signal, Spec};
use vnode_idle::Busy;
use vnode_processes::proc;

use super::{attended::Line, program};
use crate::{command::CommandError, context::Context};

/// The variable that bears the mark.
pub(super) const MARK: &str = "VNODE_EXEC";
/// From the hang-up to TERM, and to KILL (R6).
const TERM_AFTER: Duration = Duration::from_secs(1);
const KILL_AFTER: Duration = Duration::from_secs(5);
/// First pause between two looks whether they have gone; it doubles up to the last.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(500);
/// Rounds of killing: between two of them somebody may have been born.
const ROUNDS: u32 = 50;
/// Programs that are being ended at a time; more are killed at once.
const ENDINGS: usize = 64;

/// Who belongs to a program.
#[derive(Debug, Clone)]
pub(super) struct Kin {
    /// Its session, as long as its leader is there, alive or not: then nobody else can have the number.
    session: Option<i32>,
    marks: Vec<String>,
}

impl Kin {
    pub(super) fn new(session: Option<i32>, mark: &str) -> Self {
        Self { session, marks: vec![format!("{MARK}={mark}")] }
    }

    /// Whether a process lives and belongs to it; `all`: also outside of its session.
    fn has(&self, pid: i32, all: bool) -> bool {
        proc::stat(pid).is_some_and(|stat| {
            stat.alive()
                && !stat.kernel
                && (Some(stat.session) == self.session
                    || all && proc::has_variables(pid, &self.marks))
        })
    }

    async fn signal(&self, all: bool, signals: &'static [Signal]) -> usize {
        let kin = self.clone();
        let signalled = spawn_blocking(move || {
            proc::signal_each(proc::all(), |pid| kin.has(pid, all), signals)
        });
        signalled.await.unwrap_or(0)
    }

    /// Whether nobody is left before a moment comes.
    async fn gone_before(&self, moment: Instant) -> bool {
        let mut pause = FIRST_LOOK;
        loop {
            sleep_until(moment.min(Instant::now() + pause)).await;
            let kin = self.clone();
            let left = spawn_blocking(move || proc::all().any(|pid| kin.has(pid, true)));
            if !left.await.unwrap_or(true) {
                return true;
            }
            if Instant::now() >= moment {
                return false;
            }
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// Ends all of them: hang-up, TERM, KILL (R6). A stopped one goes on, or it could not end.
    pub(super) async fn end(&self) {
        let begun = Instant::now();
        self.signal(false, &[Signal::HUP, Signal::CONT]).await;
        if self.gone_before(begun + TERM_AFTER).await {
            return;
        }
        self.signal(true, &[Signal::TERM, Signal::CONT]).await;
        if self.gone_before(begun + KILL_AFTER).await {
            return;
        }
        self.kill().await;
    }

    /// Kills all of them at once.
    pub(super) async fn kill(&self) {
        for _ in 0..ROUNDS {
            if self.signal(true, &[Signal::KILL]).await == 0 {
                return;
            }
            sleep(FIRST_LOOK).await;
        }
        tracing::warn!(session = ?self.session, "processes of a program cannot be killed");
    }
}

/// What is known of a program from outside of it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// 0 as long as it has not begun.
    pub(super) pid: AtomicU32,
    /// Its time is over: it is killed.
    pub(super) expired: AtomicBool,
}

impl Watch {
    /// Its number names it as long as its end has not been waited for.
    pub(super) fn stands_still(&self) -> bool {
        let pid = self.pid.load(Ordering::Relaxed).cast_signed();
        pid != 0 && stands_still(pid)
    }
}

/// Whether a signal stopped it.
pub(super) fn stands_still(pid: i32) -> bool {
    proc::stat(pid).is_some_and(|stat| stat.state == b'T')
}

/// Programs that are being ended.
#[derive(Debug, Default)]
struct Endings(AtomicUsize);

/// A program with all that it started. Dropped before its end, all of it is ended, or killed if its time has expired.
#[derive(Debug)]
pub(super) struct Tree {
    /// `None` when it has ended.
    running: Option<Running>,
    kin: Kin,
    watch: Arc<Watch>,
    busy: Arc<Busy>,
    endings: Arc<Endings>,
    /// As long as it runs, or is being ended.
    line: Option<Line>,
}

impl Tree {
    /// Starts it under a mark, which must be nobody else's. In a session of its own, as its specification must say.
    pub(super) fn start(
        context: &Context,
        spec: Spec,
        mark: &str,
        watch: &Arc<Watch>,
    ) -> Result<Self, CommandError> {
        let running = program::start(spec.env(MARK, mark))?;
        watch.pid.store(running.pid(), Ordering::Relaxed);
        Ok(Self {
            kin: Kin::new(Some(running.pid().cast_signed()), mark),
            running: Some(running),
            watch: Arc::clone(watch),
            busy: context.state(),
            endings: context.state(),
            line: None,
        })
    }

    /// It stays on record to its end.
    pub(super) fn is_on_record(&mut self, line: Option<Line>) {
        self.line = line;
    }

    pub(super) fn kin(&self) -> &Kin {
        &self.kin
    }

    pub(super) fn pid(&self) -> i32 {
        self.watch.pid.load(Ordering::Relaxed).cast_signed()
    }

    /// The program, for its streams.
    pub(super) fn running(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
    }

    pub(super) fn signal(&self, number: i32) -> Result<(), CommandError> {
        let signal = Signal::from_named_raw(number)
            .ok_or_else(|| CommandError::invalid(format!("there is no signal {number}")))?;
        let Some(running) = &self.running else { return Ok(()) };
        running.signal_group(signal).map_err(|error| super::failed("signal the program", error))
    }

    /// Waits until the program has ended; kills what it left in its group. Cancel-safe, once.
    pub(super) async fn wait(&mut self) -> Result<ExitStatus, CommandError> {
        let Some(running) = &mut self.running else {
            return Err(CommandError::failed("the program has ended before"));
        };
        let status = running.wait().await;
        let status = status.map_err(|error| super::failed("wait for the program", error))?;
        (self.running, self.line) = (None, None);
        Ok(status)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        // Without a runtime the agent itself is at its end, and the program is killed with this value.
        let Ok(runtime) = Handle::try_current() else { return };
        let (kin, endings, busy) = (self.kin.clone(), Arc::clone(&self.endings), self.busy.enter());
        let many = endings.0.fetch_add(1, Ordering::Relaxed) >= ENDINGS;
        let line = self.line.take();
        let at_once = many || self.watch.expired.load(Ordering::Relaxed);
        if at_once {
            // What it left is killed below; a failure leaves it to that.
            let _ = running.kill();
        }
        runtime.spawn(async move {
            match at_once {
                true => kin.kill().await,
                false => kin.end().await,
            }
            // Not waited for before: its number has been its session's until here.
            drop((running, line));
            endings.0.fetch_sub(1, Ordering::Relaxed);
            drop(busy);
        });
    }
}
