//! Points at which a test can end or fail this process.
//!
//! A point does nothing unless armed, and then costs one relaxed load. The program's `main` arms from an
//! environment variable (`VNODE_FAULT`), never this crate. Parts are separated by commas:
//!
//! * `kill:POINT` or `kill:POINT#N`: SIGKILL to the own process the N-th time (from 1) POINT is passed;
//! * `error:POINT` or `error:POINT#N`: the point gives an error, always or the N-th time only;
//! * `trace:FILE`: each point passed is a line at the end of FILE.
//!
//! The engine's own points: `plan.written`, `KIND.before`, `KIND.after`, `KIND.inverse.before`,
//! `KIND.inverse.after` for each step kind, `finish.before`, `finish.after`.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use thiserror::Error;

static ARMED: AtomicBool = AtomicBool::new(false);
static FAULTS: Mutex<Option<Faults>> = Mutex::new(None);

/// The error of an armed point.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("fault injected at `{point}`")]
pub struct Injected {
    pub point: String,
}

/// Why a specification cannot be armed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArmError {
    #[error("`{part}` is no fault; write kill:POINT[#N], error:POINT[#N] or trace:FILE")]
    Part { part: String },
    #[error("cannot open the trace file {path}")]
    Trace {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

#[derive(Debug, Clone, Copy)]
enum Effect {
    Kill,
    Error,
}

#[derive(Debug)]
struct Trap {
    effect: Effect,
    /// `None`: each time.
    nth: Option<u64>,
    passed: u64,
}

#[derive(Debug, Default)]
struct Faults {
    traps: HashMap<String, Vec<Trap>>,
    trace: Option<File>,
}

/// Arms the points named in `spec`, in place of those armed before. An empty `spec` disarms.
///
/// # Errors
/// When a part is not understood, or the trace file cannot be opened; then nothing is changed.
pub fn arm(spec: &str) -> Result<(), ArmError> {
    let mut faults = Faults::default();
    let mut armed = false;
    for part in spec.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = || ArmError::Part { part: part.to_owned() };
        let (verb, rest) = part.split_once(':').ok_or_else(wrong)?;
        if rest.is_empty() {
            return Err(wrong());
        }
        if verb == "trace" {
            let path = PathBuf::from(rest);
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|source| ArmError::Trace { path, source })?;
            faults.trace = Some(file);
        } else {
            let (point, nth) = match rest.split_once('#') {
                Some((point, nth)) => {
                    let nth: u64 = nth.parse().map_err(|_| wrong())?;
                    if nth == 0 || point.is_empty() {
                        return Err(wrong());
                    }
                    (point, Some(nth))
                }
                None => (rest, None),
            };
            let effect = match verb {
                "kill" => Effect::Kill,
                "error" => Effect::Error,
                _ => return Err(wrong()),
            };
            let trap = Trap { effect, nth, passed: 0 };
            faults.traps.entry(point.to_owned()).or_default().push(trap);
        }
        armed = true;
    }
    let mut current = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    *current = armed.then_some(faults);
    ARMED.store(armed, Ordering::Relaxed);
    Ok(())
}

/// Whether any point is armed: lets a caller spare making a name.
pub fn is_armed() -> bool {
    ARMED.load(Ordering::Relaxed)
}

/// Passes the point `name`. Does not return when it is armed to kill.
///
/// # Errors
/// [`Injected`] when the point is armed to fail.
pub fn point(name: &str) -> Result<(), Injected> {
    if is_armed() { pass(name) } else { Ok(()) }
}

/// Passes the point `kind.moment`; the name is made only when a point is armed.
///
/// # Errors
/// As [`point`].
pub fn point_of(kind: &str, moment: &str) -> Result<(), Injected> {
    if is_armed() { pass(&format!("{kind}.{moment}")) } else { Ok(()) }
}

#[cold]
fn pass(name: &str) -> Result<(), Injected> {
    let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(faults) = faults.as_mut() else { return Ok(()) };
    if let Some(trace) = &mut faults.trace
        && let Err(error) = trace.write_all(format!("{name}\n").as_bytes())
    {
        tracing::error!(%error, "cannot write the trace of fault points");
    }
    let Some(traps) = faults.traps.get_mut(name) else { return Ok(()) };
    for trap in traps {
        trap.passed += 1;
        if trap.nth.is_some_and(|nth| nth != trap.passed) {
            continue;
        }
        match trap.effect {
            Effect::Kill => kill_self(),
            Effect::Error => return Err(Injected { point: name.to_owned() }),
        }
    }
    Ok(())
}

fn kill_self() -> ! {
    let own = rustix::process::getpid();
    if let Err(error) = rustix::process::kill_process(own, rustix::process::Signal::KILL) {
        tracing::error!(%error, "cannot kill the own process");
        std::process::abort();
    }
    loop {
        std::thread::park();
    }
}
