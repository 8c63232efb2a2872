//! The node state machine (`vnode-lifecycle` 8.2).
//!
//! ```text
//! absent ─create─▶ creating ─created─▶ stopped ─boot─▶ booting ─booted─▶ running ⇄ paused
//!                                       ▲ │ ▲              │                │
//!                                       │ │ └──────────────┼── exited ──────┤
//!                                 unmount mount            │             halting
//!                                       │ ▼                ▼                │ exited
//!                                      mounted           failed        stopped
//!            any ─destroy─▶ destroying ─destroyed─▶ absent
//! ```

use serde::{Deserialize, Serialize};
use vnode_driver::Phase;

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Absent,
    Creating,
    Stopped,
    Mounted,
    Booting,
    Running,
    Paused,
    Halting,
    /// The last thing tried failed; the disk is kept; boot, halt and destroy lead out.
    Failed,
    Destroying,
    /// The record cannot be read; nothing is done to the node but `destroy --force`.
    Unknown,
}

/// What a driver says of a node that is made; a lost one is stopped.
impl From<Phase> for State {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Running => Self::Running,
            Phase::Paused => Self::Paused,
            Phase::Stopped | Phase::Lost => Self::Stopped,
        }
    }
}

/// What moves a node from one state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    Create,
    Created,
    Boot,
    Booted,
    Halt,
    /// The first process ended, asked or not.
    Exited,
    Mount,
    Unmount,
    Pause,
    Resume,
    Fail,
    Destroy,
    Destroyed,
}

/// The event is not possible in that state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node that is {state} cannot take `{event:?}`")]
pub struct Refused {
    pub state: State,
    pub event: Event,
}

/// The state after `event` in `state`. Every pair is decided here and nowhere else.
pub fn next(state: State, event: Event) -> Result<State, Refused> {
    use Event as E;
    use State as S;
    let refused = Err(Refused { state, event });
    match (state, event) {
        (S::Absent, E::Create) => Ok(S::Creating),
        (S::Creating, E::Created) => Ok(S::Stopped),
        // Booting, running: boot again is success without effect (T-42); decided by `admit`, not here.
        (S::Stopped | S::Failed | S::Mounted, E::Boot) => Ok(S::Booting),
        (S::Booting, E::Booted) => Ok(S::Running),
        (S::Running, E::Boot) | (S::Running, E::Booted) => Ok(S::Running),
        (S::Booting | S::Running | S::Paused | S::Failed, E::Halt) => Ok(S::Halting),
        (S::Stopped | S::Halting, E::Halt) => Ok(state),
        (S::Booting | S::Running | S::Paused | S::Halting, E::Exited) => Ok(S::Stopped),
        (S::Stopped | S::Failed, E::Exited) => Ok(state),
        (S::Stopped | S::Mounted | S::Failed, E::Mount) => Ok(S::Mounted),
        (S::Mounted | S::Stopped, E::Unmount) => Ok(S::Stopped),
        (S::Running | S::Paused, E::Pause) => Ok(S::Paused),
        (S::Paused | S::Running, E::Resume) => Ok(S::Running),
        (
            S::Creating
            | S::Stopped
            | S::Mounted
            | S::Booting
            | S::Running
            | S::Paused
            | S::Halting
            | S::Failed,
            E::Fail,
        ) => Ok(S::Failed),
        (_, E::Destroy) => Ok(S::Destroying),
        (S::Destroying, E::Destroyed) => Ok(S::Absent),
        (S::Destroying, E::Exited) => Ok(S::Destroying),
        (
            S::Absent
            | S::Creating
            | S::Stopped
            | S::Mounted
            | S::Booting
            | S::Running
            | S::Paused
            | S::Halting
            | S::Failed
            | S::Destroying
            | S::Unknown,
            E::Create
            | E::Created
            | E::Boot
            | E::Booted
            | E::Halt
            | E::Exited
            | E::Mount
            | E::Unmount
            | E::Pause
            | E::Resume
            | E::Fail
            | E::Destroyed,
        ) => refused,
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Absent => "absent",
            State::Creating => "creating",
            State::Stopped => "stopped",
            State::Mounted => "mounted",
            State::Booting => "booting",
            State::Running => "running",
            State::Paused => "paused",
            State::Halting => "halting",
            State::Failed => "failed",
            State::Destroying => "destroying",
            State::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destroy_is_possible_from_everywhere_and_ends_absent() {
        for state in [
            State::Absent,
            State::Creating,
            State::Stopped,
            State::Mounted,
            State::Booting,
            State::Running,
            State::Paused,
            State::Halting,
            State::Failed,
            State::Destroying,
            State::Unknown,
        ] {
            assert_eq!(next(state, Event::Destroy), Ok(State::Destroying));
        }
        assert_eq!(next(State::Destroying, Event::Destroyed), Ok(State::Absent));
    }

    #[test]
    fn a_failed_node_can_be_left_by_boot_halt_and_destroy() {
        assert_eq!(next(State::Failed, Event::Boot), Ok(State::Booting));
        assert_eq!(next(State::Failed, Event::Halt), Ok(State::Halting));
        assert_eq!(next(State::Failed, Event::Destroy), Ok(State::Destroying));
    }

    #[test]
    fn an_unreadable_node_refuses_everything_but_destroy() {
        for event in [Event::Boot, Event::Halt, Event::Mount, Event::Pause, Event::Fail] {
            assert!(next(State::Unknown, event).is_err(), "{event:?}");
        }
    }

    #[test]
    fn halt_of_a_stopped_node_and_boot_of_a_running_one_change_nothing() {
        assert_eq!(next(State::Stopped, Event::Halt), Ok(State::Stopped));
        assert_eq!(next(State::Running, Event::Boot), Ok(State::Running));
    }
}
