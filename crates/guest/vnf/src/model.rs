//! What is stored: packages, instances, operations.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vnode_vnfpkg::{Descriptor, Event, Signature};

use crate::watch::Identity;

/// A revision of a package.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    /// The package's own, or `0.0.0+rN`.
    pub version: String,
    /// Counts a name's revisions from 1; names its folder.
    pub revision: u32,
    /// SHA-256 of the archive, and of names and contents.
    pub digest: String,
    pub tree_digest: String,
    /// Bytes of the archive.
    pub size: u64,
    pub received: Timestamp,
    pub signature: Signature,
    pub warnings: Vec<String>,
    pub descriptor: Descriptor,
}

/// Whether a function is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Instantiation {
    #[default]
    NotInstantiated,
    Instantiated,
}

/// What the last hook was run for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Presence {
    Present,
    #[default]
    Absent,
}

/// What must be known of the watch after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchState {
    pub acted: Presence,
    pub boot: String,
    pub processes: Vec<Identity>,
    /// Tries of the hook that was running.
    #[serde(default)]
    pub attempt: u32,
}

/// A function on this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instance {
    pub id: String,
    pub name: String,
    pub package: String,
    pub revision: u32,
    pub state: Instantiation,
    pub created: Timestamp,
    pub parameters: BTreeMap<String, String>,
    pub scale: BTreeMap<String, u32>,
    pub outputs: BTreeMap<String, String>,
    /// The operation that has not ended, or rests in FAILED_TEMP.
    pub operation: Option<String>,
    pub watch: WatchState,
    /// What we started ourselves.
    pub started: Option<Identity>,
    /// The operator wants it to run.
    #[serde(default)]
    pub wanted: bool,
    /// Every script's identity is unique by it.
    #[serde(default)]
    pub runs: u64,
}

/// SOL003's operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    Instantiate,
    Terminate,
    Operate,
    Heal,
    Scale,
    ModifyInfo,
    ChangeVnfpkg,
    Test,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instantiate => "INSTANTIATE",
            Self::Terminate => "TERMINATE",
            Self::Operate => "OPERATE",
            Self::Heal => "HEAL",
            Self::Scale => "SCALE",
            Self::ModifyInfo => "MODIFY_INFO",
            Self::ChangeVnfpkg => "CHANGE_VNFPKG",
            Self::Test => "TEST",
        })
    }
}

/// SOL003's states of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    Starting,
    Processing,
    Completed,
    FailedTemp,
    Failed,
    RollingBack,
    RolledBack,
}

impl State {
    /// Whether it changes no more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::RolledBack)
    }

    /// As SOL003 writes it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Processing => "PROCESSING",
            Self::Completed => "COMPLETED",
            Self::FailedTemp => "FAILED_TEMP",
            Self::Failed => "FAILED",
            Self::RollingBack => "ROLLING_BACK",
            Self::RolledBack => "ROLLED_BACK",
        }
    }
}

/// How an operation is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CancelMode {
    /// After the script that runs.
    Graceful,
    /// At once.
    Forceful,
}

/// One piece of an operation. Each bears being done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "kebab-case")]
pub enum Work {
    /// Who runs already, before anything is begun.
    Baseline,
    /// A private copy of a revision.
    Copy {
        revision: u32,
    },
    /// `params.json` and `params.sh` in it.
    Parameters {
        revision: u32,
    },
    /// A script of an event, from the copy of a revision.
    Script {
        event: Event,
        index: usize,
        revision: u32,
        only_if_started: bool,
    },
    /// Our own `start_command`.
    StartProcess,
    /// What we started, or what matches: TERM, and KILL after so many seconds.
    StopProcess {
        grace_s: u64,
    },
    RemoveCopy {
        revision: u32,
    },
}

/// How far a piece is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    #[default]
    Pending,
    Running,
    Done,
    Failed,
    /// It was not needed.
    Skipped,
}

/// A piece of an operation and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    #[serde(flatten)]
    pub work: Work,
    pub name: String,
    pub progress: Progress,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Step {
    pub fn new(work: Work, name: impl Into<String>) -> Self {
        Self {
            work,
            name: name.into(),
            progress: Progress::Pending,
            attempts: 0,
            exit_code: None,
            signal: None,
            began: None,
            ended: None,
        }
    }
}

/// Why an operation failed: RFC 9457, and what a script left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    pub status: u16,
    pub title: String,
    pub detail: String,
    pub code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr_tail: String,
}

/// One operation, from its request to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Occurrence {
    pub id: String,
    pub instance: String,
    pub instance_name: String,
    pub operation: Kind,
    pub state: State,
    pub entered: Timestamp,
    pub started: Timestamp,
    /// Begun by the watch or a health check.
    pub automatic: bool,
    pub cause: String,
    pub params: Value,
    pub steps: Vec<Step>,
    /// What is done to go back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub back: Vec<Step>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Trouble>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelMode>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// Further variables of its scripts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// The engine's name of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

impl Trouble {
    /// Of an operation that a crash cut off.
    pub(crate) fn interrupted() -> Self {
        Self {
            status: 500,
            title: "Operation interrupted".to_owned(),
            detail: "the agent ended while the operation ran".to_owned(),
            code: "interrupted".to_owned(),
            ..Self::default()
        }
    }
}

impl Occurrence {
    /// One that nobody asked for, going on as of now, with nothing planned yet.
    pub(crate) fn automatic(
        id: String,
        instance: &Instance,
        operation: Kind,
        cause: &str,
        params: Value,
    ) -> Self {
        Self {
            id,
            instance: instance.id.clone(),
            instance_name: instance.name.clone(),
            operation,
            state: State::Processing,
            entered: Timestamp::now(),
            started: Timestamp::now(),
            automatic: true,
            cause: cause.to_owned(),
            params,
            steps: Vec::new(),
            back: Vec::new(),
            error: None,
            warnings: Vec::new(),
            cancel: None,
            outputs: BTreeMap::new(),
            variables: BTreeMap::new(),
            run: None,
        }
    }
}
