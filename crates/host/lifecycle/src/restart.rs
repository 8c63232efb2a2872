//! Whether a node whose first process ended is started again (T-47, T-49).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// containerlab's and docker's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    #[default]
    No,
    OnFailure,
    Always,
    /// As `always`, but a node that was halted stays so after the daemon or the machine restarts.
    UnlessStopped,
}

/// How a run ended, as far as the policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The user asked for it.
    Asked,
    /// reboot(2) inside: always started again.
    Reboot,
    /// Power-off inside: stays off unless the policy is `always`.
    PowerOff,
    /// Exit code 0.
    Success,
    /// Another exit code or a signal.
    Failure,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Stay,
    Again {
        after: Duration,
    },
    /// More than [`LIMIT`] restarts in a minute.
    CrashLoop,
}

/// Restarts allowed in a minute.
pub const LIMIT: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// The restarts of one node in the last minute.
#[derive(Debug, Default)]
pub struct History {
    times: VecDeque<Instant>,
}

impl History {
    /// Decides, and remembers a restart when it is one.
    pub fn decide(&mut self, policy: Policy, ending: Ending, now: Instant) -> Decision {
        let again = match (ending, policy) {
            (Ending::Asked, _) => false,
            (Ending::Reboot, _) => true,
            (Ending::PowerOff, Policy::Always) => true,
            (Ending::PowerOff, Policy::No | Policy::OnFailure | Policy::UnlessStopped) => false,
            (Ending::Failure, Policy::OnFailure | Policy::Always | Policy::UnlessStopped) => true,
            (Ending::Success, Policy::Always | Policy::UnlessStopped) => true,
            (Ending::Success, Policy::No | Policy::OnFailure) => false,
            (Ending::Failure, Policy::No) => false,
        };
        if !again {
            return Decision::Stay;
        }
        while self.times.front().is_some_and(|time| now.duration_since(*time) >= WINDOW) {
            self.times.pop_front();
        }
        if self.times.len() >= LIMIT {
            return Decision::CrashLoop;
        }
        let recent = self.times.len() as u32;
        self.times.push_back(now);
        // The first is at once (R-7 wants an inside reboot back quickly), then 100 ms doubling to 5 s.
        let after = match recent {
            0 => Duration::ZERO,
            n => Duration::from_millis(100 << (n - 1).min(6)).min(Duration::from_secs(5)),
        };
        Decision::Again { after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t49_on_failure_restarts_only_failures_and_power_off_stays_off() {
        let now = Instant::now();
        let mut history = History::default();
        assert_eq!(history.decide(Policy::OnFailure, Ending::Success, now), Decision::Stay);
        assert_eq!(history.decide(Policy::OnFailure, Ending::PowerOff, now), Decision::Stay);
        assert_eq!(history.decide(Policy::UnlessStopped, Ending::PowerOff, now), Decision::Stay);
        assert!(matches!(
            history.decide(Policy::OnFailure, Ending::Failure, now),
            Decision::Again { after: Duration::ZERO }
        ));
    }

    #[test]
    fn t49_a_crash_loop_is_limited_to_ten_a_minute_and_recovers() {
        let start = Instant::now();
        let mut history = History::default();
        for _ in 0..LIMIT {
            assert!(matches!(
                history.decide(Policy::Always, Ending::Failure, start),
                Decision::Again { .. }
            ));
        }
        assert_eq!(history.decide(Policy::Always, Ending::Failure, start), Decision::CrashLoop);
        let later = start + Duration::from_secs(61);
        assert!(matches!(
            history.decide(Policy::Always, Ending::Failure, later),
            Decision::Again { .. }
        ));
    }

    #[test]
    fn t47_a_reboot_inside_is_followed_whatever_the_policy_and_a_halt_never() {
        let now = Instant::now();
        let mut history = History::default();
        assert!(matches!(history.decide(Policy::No, Ending::Reboot, now), Decision::Again { .. }));
        assert_eq!(history.decide(Policy::Always, Ending::Asked, now), Decision::Stay);
    }
}
