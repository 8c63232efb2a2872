//! How many steps work at once: fewer while the machine has no memory to give or its disks lag.

use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The kernel's own averages change no faster than every two seconds.
const FRESH: Duration = Duration::from_millis(500);
/// Share of the last ten seconds in which somebody waited for memory, percent: the machine reclaims what it needs again.
const MEMORY: f64 = 20.0;
/// Share in which nobody could go on for waiting for the disk, percent.
const DISK: f64 = 80.0;

/// See the module.
#[derive(Debug)]
pub(crate) struct Throttle {
    most: usize,
    /// When the kernel was asked, and what came of it.
    last: Mutex<Option<(Instant, usize)>>,
}

impl Throttle {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, last: Mutex::new(None) }
    }

    /// Steps that may work now, at least one.
    pub(crate) fn now(&self) -> usize {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, allowed)) = *last
            && at.elapsed() < FRESH
        {
            return allowed;
        }
        // A kernel without these files tells of no pressure.
        let read =
            |of: &str| fs::read_to_string(format!("/proc/pressure/{of}")).unwrap_or_default();
        let allowed = allowed(self.most, &read("memory"), &read("io"));
        if last.is_none_or(|(_, before)| before != allowed) && allowed < self.most {
            tracing::info!(
                allowed,
                most = self.most,
                "the machine is short of memory or its disks lag"
            );
        }
        *last = Some((Instant::now(), allowed));
        allowed
    }
}

/// A quarter of them while one of the two is short, but two: a step may wait for another.
fn allowed(most: usize, memory: &str, io: &str) -> usize {
    let short = average(memory, "some").is_some_and(|share| share >= MEMORY)
        || average(io, "full").is_some_and(|share| share >= DISK);
    if short { (most / 4).max(2).min(most) } else { most }
}

/// `avg10` of a line of `/proc/pressure` (Linux, Documentation/accounting/psi.rst).
fn average(text: &str, kind: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(some: f64, full: f64) -> String {
        format!(
            "some avg10={some:.2} avg60=99.00 avg300=99.00 total=1\nfull avg10={full:.2} avg60=99.00 avg300=99.00 total=1\n"
        )
    }

    #[test]
    fn r10_fewer_steps_work_while_memory_or_disk_is_short() {
        let idle = told(0.0, 0.0);
        assert_eq!(allowed(16, &idle, &idle), 16);
        assert_eq!(allowed(16, "", "no such file"), 16, "a kernel that does not tell");
        assert_eq!(allowed(16, &told(25.0, 0.0), &idle), 4);
        // A disk that is waited for is in use; one that everybody waits for is too slow.
        assert_eq!(allowed(16, &idle, &told(95.0, 50.0)), 16);
        assert_eq!(allowed(16, &idle, &told(95.0, 90.0)), 4);
        assert_eq!(allowed(4, &told(25.0, 0.0), &idle), 2, "never one alone");
        assert_eq!(allowed(1, &told(25.0, 0.0), &idle), 1);
    }

    #[test]
    fn the_kernel_is_asked_now_and_then_only() {
        let throttle = Throttle::new(8);
        let first = throttle.now();
        assert!((1..=8).contains(&first));
        let asked = throttle.last.lock().unwrap().expect("asked").0;
        assert_eq!(throttle.now(), first);
        assert_eq!(throttle.last.lock().unwrap().expect("asked").0, asked);
    }
}
