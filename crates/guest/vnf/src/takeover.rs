//! What an earlier life left running: taken up where it is known, ended where it is not.
//!
//! An operation goes on if the script that it was at can be waited for, or is known to have ended, or is one that may be
//! repeated; a hook too. Every other operation is interrupted and ends in FAILED_TEMP, every other hook is run again unless
//! its script may not be, and scripts that they may have left are killed first: no script ever runs beside itself.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rustix::process::{Pid, Signal};
use serde_json::json;
use vnode_vnfpkg::Script;

use crate::{
    core::Core,
    error::{Failure, Result},
    model::{Progress, State, Work},
    onboard::blocking,
    runs::{Begun, Known},
    script,
    watch::{Identity, pidfd, proc},
};

/// What an earlier life left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The script of each operation that goes on, until that is gone on with.
    pub(crate) operations: HashMap<String, (Begun, Known)>,
    /// The hook of each instance, until that is gone on with.
    pub(crate) hooks: HashMap<String, (Begun, Known)>,
    /// Operations that cannot go on without being told.
    pub(crate) interrupted: HashSet<String>,
}

/// A process that has the variables of a function: a script, something that one left, or what we started ourselves.
#[derive(Debug)]
struct Marked {
    process: Identity,
    variables: Vec<String>,
}

impl Marked {
    fn has(&self, wanted: &[String]) -> bool {
        wanted.iter().all(|wanted| self.variables.contains(wanted))
    }

    fn leads(&self) -> bool {
        let pid = Pid::from_raw(self.process.pid);
        pid.is_some_and(|pid| rustix::process::getsid(Some(pid)).ok() == Some(pid))
    }

    /// Whether it is the script itself. What a script left may lead a session too, but runs another program.
    fn is_script(&self, begun: &Begun) -> bool {
        let file = begun.script.as_os_str().as_encoded_bytes();
        self.leads()
            && self.has(&begun.marks())
            && proc::command_line(self.process.pid).iter().any(|word| word == file)
    }

    fn kill(&self) {
        if let Ok(held) = pidfd::open(self.process.pid, self.process.start) {
            // One that has ended by now is what is wanted.
            let _ = rustix::process::pidfd_send_signal(&held, Signal::KILL);
        }
    }
}

/// Every process of a function that we have begun, or its scripts; the oldest first.
fn marked() -> Vec<Marked> {
    let own = std::process::id().cast_signed();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids =
        entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
    let mut found = Vec::new();
    for pid in pids.filter(|pid| *pid != own) {
        // It may be gone, or another's.
        let Ok(text) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
        let words = text.split(|byte| *byte == 0).filter(|word| word.starts_with(b"VNF_"));
        let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
        let variables: Vec<String> = words.collect();
        if variables.iter().any(|word| word.starts_with("VNF_INSTANCE_ID="))
            && let Some(stat) = proc::stat(pid).filter(|stat| stat.alive())
        {
            found.push(Marked { process: Identity { pid, start: stat.start }, variables });
        }
    }
    found.sort_unstable_by_key(|marked| (marked.process.start, marked.process.pid));
    found
}

/// The first process with these variables that leads a session.
pub(crate) fn leader(marks: &[String]) -> Option<Identity> {
    marked().into_iter().find(|marked| marked.has(marks) && marked.leads()).map(|m| m.process)
}

impl Core {
    /// Sorts what an earlier life left, before anything is gone on with.
    pub(crate) async fn take_over(self: &Arc<Self>) -> Result<()> {
        let instances: Vec<String> = self.tables().instances.keys().cloned().collect();
        if instances.is_empty() {
            return Ok(());
        }
        let core = Arc::clone(self);
        let looked = blocking(move || {
            let mut runs = Vec::new();
            for id in instances {
                let known = core.paths.known_runs(&id)?;
                runs.extend(known.into_iter().map(|(begun, known)| (id.clone(), begun, known)));
            }
            Ok::<_, std::io::Error>((runs, marked()))
        });
        let (runs, marked) = looked
            .await?
            .map_err(|error| Failure::internal("see what was left running", &error))?;
        let ours: HashSet<String> =
            self.tables().instances.keys().map(|id| format!("VNF_INSTANCE_ID={id}")).collect();
        let marked: Vec<Marked> = marked
            .into_iter()
            .filter(|marked| marked.variables.iter().any(|word| ours.contains(word)))
            .collect();
        let mut taken = Vec::new();
        for (instance, begun, known) in runs {
            taken.extend(self.sort(&instance, begun, known, &marked).await?);
        }
        self.interrupt(&marked);
        self.keep_reading(&taken, &marked);
        Ok(())
    }

    /// What becomes of one run; the process that is waited for, if it is one.
    async fn sort(
        &self,
        instance: &str,
        begun: Begun,
        known: Known,
        marked: &[Marked],
    ) -> Result<Option<Identity>> {
        let stored = self.operation(&begun.op).await.ok();
        let goes_on = begun.boot == self.boot
            && match (&begun.hook, &stored) {
                (_, Some(op)) if op.state.is_final() => false,
                (Some(_), _) => {
                    self.instance(instance)?.state == crate::model::Instantiation::Instantiated
                }
                (None, Some(op)) => {
                    op.state == State::Processing
                        && op.steps.get(begun.step).is_some_and(|step| {
                            step.progress == Progress::Running && step.attempts == begun.attempt
                        })
                }
                (None, None) => false,
            };
        let script = || marked.iter().find(|marked| marked.is_script(&begun));
        let known = match known {
            Known::Begun => script().map_or(Known::Begun, |found| Known::Runs(found.process)),
            Known::Runs(process) if pidfd::open(process.pid, process.start).is_err() => {
                Known::Begun
            }
            other => other,
        };
        if !goes_on {
            if let Known::Runs(process) = &known
                && begun.boot == self.boot
            {
                marked.iter().filter(|m| m.process == *process).for_each(Marked::kill);
            }
            self.paths.forget_runs(instance, &begun.op);
            return Ok(None);
        }
        let process = match &known {
            Known::Runs(process) => Some(*process),
            Known::Begun | Known::Ended(_) => None,
        };
        if let Some(process) = process {
            self.watcher.ours().add(process.pid);
        }
        let package = self.instance(instance)?.package;
        let repeats = self.descriptor(&package, begun.revision).is_ok_and(|declared| {
            declared.scripts(begun.event).get(begun.index).is_some_and(Script::repeats)
        });
        let mut tables = self.tables();
        match (&begun.hook, &known) {
            (Some(_), _) => {
                tables.left.hooks.insert(instance.to_owned(), (begun, known));
            }
            // It never ran, or ended unseen: nobody can tell which.
            (None, Known::Begun) if !repeats => {}
            (None, _) => {
                tables.left.operations.insert(begun.op.clone(), (begun, known));
            }
        }
        Ok(process)
    }

    /// What is not gone on with. A script on record of which nothing is known is killed.
    fn interrupt(&self, marked: &[Marked]) {
        let mut tables = self.tables();
        let tables = &mut *tables;
        for op in tables.operations.values() {
            let goes_on = tables.left.operations.contains_key(&op.id)
                || tables.left.hooks.values().any(|(begun, _)| begun.op == op.id);
            if goes_on || op.state == State::FailedTemp {
                continue;
            }
            tables.left.interrupted.insert(op.id.clone());
            for step in op.steps.iter().chain(&op.back) {
                let Work::Script { index, event, .. } = &step.work else { continue };
                if step.progress == Progress::Running {
                    let marks = crate::environment::marks(&op.id, *event, *index, step.attempts);
                    marked.iter().filter(|marked| marked.has(&marks)).for_each(Marked::kill);
                }
            }
        }
        // A check is no operation, and is asked again.
        let check = |word: &String| word.starts_with("VNF_OP_ID=health-");
        let checks = marked.iter().filter(|marked| marked.variables.iter().any(check));
        checks.for_each(Marked::kill);
    }

    /// Reads on what is still printed by what earlier scripts left.
    fn keep_reading(&self, taken: &[Identity], marked: &[Marked]) {
        let mut read: HashSet<u64> = HashSet::new();
        for process in taken {
            read.extend(
                [1, 2].into_iter().filter_map(|number| {
                    script::pipe_of(process.pid, number).map(|(_, name)| name)
                }),
            );
        }
        for marked in marked {
            for number in [1, 2] {
                if let Some((pipe, name)) = script::pipe_of(marked.process.pid, number)
                    && read.insert(name)
                {
                    tokio::spawn(script::throw_away(pipe));
                }
            }
        }
        if !taken.is_empty() {
            let pids: Vec<i32> = taken.iter().map(|process| process.pid).collect();
            self.event("service.took-up", "service", None, json!({ "scripts": pids }));
        }
    }
}
