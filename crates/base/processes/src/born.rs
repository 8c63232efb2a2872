//! What was born since a moment, without looking at all processes.
//!
//! The kernel gives process numbers in a circle, and tells the last it gave in `/proc/loadavg` (proc(5)). Whoever was born
//! between two readings has a number between the two: with a thousand processes on the machine, a look at those few takes
//! microseconds in place of milliseconds. How many were born is counted in `/proc/stat`; were there so many that the
//! circle may have been gone round, only a look at all can tell.

use std::fs;

use rustix::process::{Pid, PidfdFlags};

/// More numbers than this are looked at sooner by listing `/proc`.
const MOST: i32 = 2048;

/// A moment in the life of our namespace of process numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The number given last.
    last: i32,
    /// Processes and threads born since the machine started.
    births: u64,
    /// Those that live.
    living: u64,
}

impl Moment {
    /// This moment; `None` where `/proc` does not tell, or is that of another namespace.
    pub fn now() -> Option<Self> {
        // The kernel tells the last number of who asks, and lists those of who mounted `/proc`.
        let own = fs::read_link("/proc/self").ok()?;
        if own.to_str()?.parse::<u32>().ok()? != std::process::id() {
            return None;
        }
        let births = births()?;
        let (last, living) = last_and_living()?;
        Some(Self { last, births, living })
    }

    /// The processes that live now and were born after this moment, in no order, and perhaps some that are older.
    /// `None`: so much has happened, or so little is known, that all have to be looked at.
    pub fn born_since(self) -> Option<Vec<i32>> {
        self.born_until(Self::now()?)
    }

    /// The same of those born from this moment to one that was read just now.
    pub fn born_until(self, now: Self) -> Option<Vec<i32>> {
        let highest = fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()?;
        let numbers = between(self, now, highest)?;
        Some(numbers.filter(|number| leads(*number)).collect())
    }
}

/// Whether a process has this number; a thread of one has not.
fn leads(number: i32) -> bool {
    Pid::from_raw(number)
        .is_some_and(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).is_ok())
}

/// The numbers given from one moment to the other, if those cannot be all.
fn between(from: Moment, to: Moment, highest: i32) -> Option<impl Iterator<Item = i32>> {
    // Each birth takes one number and passes over those that are taken. Births are counted before the number is read: those
    // between the two readings are not in the count.
    let births = to.births.checked_sub(from.births)?.checked_add(u64::from(MOST.unsigned_abs()))?;
    let passed = births.checked_add(from.living.max(to.living))?;
    if passed >= u64::from(highest.unsigned_abs()) {
        return None;
    }
    let turned = to.last < from.last;
    let (first, second) = if turned {
        (from.last.checked_add(1)?..highest, 1..to.last.checked_add(1)?)
    } else {
        (from.last.checked_add(1)?..to.last.checked_add(1)?, 0..0)
    };
    let count = first.len() + second.len();
    (count <= MOST as usize).then(|| first.chain(second))
}

fn last_and_living() -> Option<(i32, u64)> {
    parse_loadavg(&fs::read_to_string("/proc/loadavg").ok()?)
}

fn births() -> Option<u64> {
    parse_births(&fs::read("/proc/stat").ok()?)
}

/// `0.00 0.01 0.05 RUNNING/LIVING LAST`.
fn parse_loadavg(loadavg: &str) -> Option<(i32, u64)> {
    let mut words = loadavg.split_ascii_whitespace().skip(3);
    let (_, living) = words.next()?.split_once('/')?;
    Some((words.next()?.parse().ok()?, living.parse().ok()?))
}

/// The line `processes N`.
fn parse_births(stat: &[u8]) -> Option<u64> {
    let line =
        stat.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"processes "))?;
    str::from_utf8(line).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(last: i32, births: u64, living: u64) -> Moment {
        Moment { last, births, living }
    }

    #[test]
    fn numbers_go_round() {
        let numbers = |from, to| between(from, to, 32_768).map(Iterator::collect::<Vec<i32>>);
        let from = moment(100, 1000, 200);
        assert_eq!(numbers(from, moment(103, 1003, 200)), Some(vec![101, 102, 103]));
        assert_eq!(numbers(from, from), Some(vec![]));
        let from = moment(32_766, 1000, 200);
        assert_eq!(numbers(from, moment(2, 1004, 200)), Some(vec![32_767, 1, 2]));
        // Once round, or perhaps.
        assert_eq!(numbers(from, moment(32_767, 40_000, 200)), None);
        assert_eq!(numbers(from, moment(32_767, 2000, 32_000)), None);
        // Too many to be worth it.
        assert_eq!(numbers(moment(100, 1000, 200), moment(10_000, 10_900, 200)), None);
        // Another machine's, or nonsense.
        assert_eq!(numbers(moment(100, 1000, 200), moment(101, 999, 200)), None);
    }

    #[test]
    fn files_are_read_as_proc_5_has_them() {
        assert_eq!(parse_loadavg("0.20 0.18 0.12 1/80 11206\n"), Some((11_206, 80)));
        assert_eq!(parse_loadavg("0.20 0.18"), None);
        assert_eq!(
            parse_births(b"cpu 1 2\nctxt 5\nbtime 9\nprocesses 26442\nprocs_running 1\n"),
            Some(26_442)
        );
        assert_eq!(parse_births(b"cpu 1 2\n"), None);
    }

    #[test]
    fn a_child_is_found_and_its_elder_is_not() {
        let moment = Moment::now().expect("/proc tells");
        let mut child = a_child();
        let born = moment.born_since();
        let found = born.as_ref().is_none_or(|born| born.contains(&child.id().cast_signed()));
        let own = born.is_some_and(|born| born.contains(&std::process::id().cast_signed()));
        child.kill().and_then(|()| child.wait()).expect("it is ours");
        assert!(found, "the child is not among the new");
        assert!(!own, "this process was there before");
    }

    #[expect(clippy::disallowed_methods, reason = "a child of the test's")]
    fn a_child() -> std::process::Child {
        std::process::Command::new("/bin/sleep").arg("1000").spawn().expect("it starts")
    }
}
