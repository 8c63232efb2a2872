//! Which processes are a function's.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use vnode_processes::Moment;
use vnode_vnfpkg::{By, Process, Scope};

use super::{Candidate, Identity};
use crate::user;

/// Bytes of a name that the kernel keeps.
const COMM: usize = 15;

/// Ended programs of ours that are remembered: a host may tell of them late.
const ENDED: usize = 256;

/// Programs of ours, which are never a function's process: those that run now, and those that ended last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ours(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    now: HashSet<i32>,
    ended: VecDeque<Identity>,
    /// Read last, and when.
    moment: Option<(Moment, Instant)>,
}

/// A moment of so long ago will do where an earlier one only means more to look at.
const EARLIER: Duration = Duration::from_secs(1);

impl Ours {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, pid: i32) {
        self.known().now.insert(pid);
    }

    /// It has ended: its number may become another's.
    pub(crate) fn over(&self, process: Identity) {
        let mut known = self.known();
        known.now.remove(&process.pid);
        if known.ended.len() >= ENDED {
            known.ended.pop_front();
        }
        known.ended.push_back(process);
    }

    /// A moment that has passed, not long ago. To read one takes the kernel as long as all the rest of a script's start.
    pub(crate) fn moment(&self) -> Option<Moment> {
        let read = self.known().moment.filter(|(_, at)| at.elapsed() < EARLIER);
        read.map(|(moment, _)| moment).or_else(|| self.now())
    }

    /// This moment.
    pub(crate) fn now(&self) -> Option<Moment> {
        let at = Instant::now();
        let moment = Moment::now()?;
        self.known().moment = Some((moment, at));
        Some(moment)
    }

    pub(crate) fn contains(&self, pid: i32) -> bool {
        self.known().now.contains(&pid)
    }

    /// Whether it was ours, and has ended not long ago.
    pub(crate) fn was(&self, process: Identity) -> bool {
        self.known().ended.contains(&process)
    }
}

/// The rule of one function, made ready.
#[derive(Debug)]
pub(crate) struct Rule {
    process: Process,
    pattern: Option<regex_lite::Regex>,
    uid: Option<u32>,
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

fn is_interpreter(comm: &[u8]) -> bool {
    comm.starts_with(b"python")
        || matches!(comm, b"perl" | b"ruby" | b"node" | b"java" | b"sh" | b"bash" | b"dash")
}

impl Rule {
    /// # Errors
    /// When the pattern is none, or the user is not known.
    pub(crate) fn new(process: &Process) -> Result<Self, String> {
        let pattern = match process.by {
            By::Pgrep => Some(
                regex_lite::Regex::new(&process.name)
                    .map_err(|error| format!("`{}` is no pattern: {error}", process.name))?,
            ),
            _ => None,
        };
        let uid = match &process.user {
            Some(name) => Some(user::find(name)?.uid),
            None => None,
        };
        Ok(Self { process: process.clone(), pattern, uid })
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Whether processes in namespaces below ours count.
    pub(crate) fn reaches_below(&self) -> bool {
        self.process.scope == Scope::Container
    }

    /// Whether the kernel's name alone can tell that it is not this process.
    pub(crate) fn may_be(&self, comm: &[u8]) -> bool {
        let name = self.process.name.as_bytes();
        match self.process.by {
            By::Name => comm == &name[..name.len().min(COMM)] || is_interpreter(comm),
            By::Comm => comm == &name[..name.len().min(COMM)],
            By::Pgrep => {
                self.pattern.as_ref().is_some_and(|p| p.is_match(&String::from_utf8_lossy(comm)))
            }
            By::Argv0 | By::Exe | By::Pidfile | By::Unit => true,
        }
    }

    /// Whether the kernel's name alone tells that it is this process.
    pub(crate) fn is_named(&self, comm: &[u8]) -> bool {
        let name = self.process.name.as_bytes();
        let further = !self.process.args.is_empty() || self.uid.is_some();
        !further
            && match self.process.by {
                By::Name => name.len() <= COMM && comm == name,
                By::Comm | By::Pgrep => self.may_be(comm),
                By::Argv0 | By::Exe | By::Pidfile | By::Unit => false,
            }
    }

    /// Whether a process is the function's.
    pub(crate) fn matches(&self, candidate: &Candidate<'_>) -> bool {
        self.may_be(candidate.comm) && self.by(candidate) && self.further(candidate)
    }

    fn by(&self, candidate: &Candidate<'_>) -> bool {
        let comm = candidate.comm;
        let name = self.process.name.as_bytes();
        match self.process.by {
            By::Comm | By::Pgrep => true,
            By::Argv0 => {
                candidate.arguments().first().is_some_and(|argument| base(argument) == name)
            }
            By::Exe => candidate.exe().is_some_and(|exe| exe == name),
            By::Unit => candidate.is_of_unit(&self.process.name),
            By::Pidfile => {
                let text = std::fs::read_to_string(&self.process.name).unwrap_or_default();
                text.trim().parse() == Ok(candidate.pid)
            }
            By::Name => {
                if name.len() <= COMM && comm == name {
                    return true;
                }
                let arguments = candidate.arguments();
                let first = arguments.first().map_or(&[][..], Vec::as_slice);
                // `python3 -u script`: the first that is no option.
                let script =
                    || arguments.iter().skip(1).find(|argument| !argument.starts_with(b"-"));
                if name.len() > COMM && comm == &name[..COMM] {
                    return base(first) == name
                        || candidate.exe().is_some_and(|exe| base(exe) == name)
                        || (is_interpreter(base(first))
                            && script().is_some_and(|script| base(script) == name));
                }
                is_interpreter(comm) && script().is_some_and(|script| base(script) == name)
            }
        }
    }

    fn further(&self, candidate: &Candidate<'_>) -> bool {
        if self.uid.is_some_and(|uid| candidate.owner() != Some(uid)) {
            return false;
        }
        if !self.process.args.is_empty() {
            let arguments = candidate.arguments();
            let has =
                |wanted: &String| arguments.iter().any(|argument| argument == wanted.as_bytes());
            if !self.process.args.iter().all(has) {
                return false;
            }
        }
        candidate.stat().is_some_and(|stat| stat.alive() && !stat.kernel)
            && (self.reaches_below() || candidate.in_our_namespace())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ours_is_told_from_the_next_process_of_its_number() {
        let ours = Ours::default();
        let process = Identity { pid: 7, start: 9 };
        ours.add(7);
        assert!(ours.contains(7) && !ours.was(process));
        ours.over(process);
        assert!(!ours.contains(7) && ours.was(process));
        assert!(!ours.was(Identity { start: 10, ..process }));
        (0..ENDED).for_each(|_| ours.over(Identity { pid: 8, start: 1 }));
        assert!(!ours.was(process), "only the last are remembered");
    }
}
