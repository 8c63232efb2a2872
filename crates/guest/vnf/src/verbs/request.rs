//! The requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use vnode_vnfpkg::By;

use super::attend::Attend;
use crate::manager::Manager;

/// One request. Field names are the interface.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What this service is.
    Info,
    /// A package of `length` bytes follows. `instantiate`: and instantiates it, or updates the instance of its name.
    Push {
        length: u64,
        #[serde(default)]
        instantiate: bool,
    },
    /// Packages and instances.
    Ls,
    /// One instance, or one package.
    Show {
        name: String,
    },
    /// Makes an instance of a package and instantiates it.
    Instantiate {
        package: String,
        #[serde(default)]
        version: Option<String>,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        parameters: BTreeMap<String, String>,
        #[serde(default)]
        no_wait: bool,
    },
    Start {
        name: String,
        #[serde(default)]
        no_wait: bool,
    },
    Stop {
        name: String,
        #[serde(default = "grace")]
        grace_s: u64,
        #[serde(default)]
        no_wait: bool,
    },
    Terminate {
        name: String,
        #[serde(default = "grace")]
        grace_s: u64,
        #[serde(default)]
        no_wait: bool,
    },
    /// To another revision: the newest, or that of a version.
    Update {
        name: String,
        #[serde(default)]
        version: Option<String>,
        #[serde(default)]
        parameters: BTreeMap<String, String>,
        #[serde(default)]
        no_wait: bool,
    },
    Heal {
        name: String,
        #[serde(default)]
        cause: Option<String>,
        #[serde(default)]
        no_wait: bool,
    },
    Scale {
        name: String,
        aspect: String,
        #[serde(default = "one")]
        steps: u32,
        /// Down, not up.
        #[serde(default, rename = "in")]
        scale_in: bool,
        #[serde(default)]
        no_wait: bool,
    },
    /// New values of parameters, and the CONFIGURE scripts.
    Configure {
        name: String,
        parameters: BTreeMap<String, String>,
        #[serde(default)]
        no_wait: bool,
    },
    /// Runs the TEST scripts.
    Test {
        name: String,
    },
    /// Decides over an operation in FAILED_TEMP, by its id or its instance.
    Retry {
        operation: String,
    },
    Rollback {
        operation: String,
    },
    Fail {
        operation: String,
    },
    /// Gives up an operation that runs.
    Cancel {
        operation: String,
        #[serde(default)]
        force: bool,
    },
    /// Operations, the oldest first; of one instance.
    Operations {
        #[serde(default)]
        name: Option<String>,
    },
    Operation {
        id: String,
    },
    /// How an instance is: state, processes, health.
    Status {
        name: String,
    },
    /// The seed's question: does a process of that name run?
    Process {
        name: String,
        #[serde(default)]
        by: By,
    },
    /// What scripts have printed: of one operation, or of the newest.
    Logs {
        name: String,
        #[serde(default)]
        operation: Option<String>,
    },
    /// Events after a number; `follow`: and those to come.
    Events {
        #[serde(default)]
        after: u64,
        #[serde(default)]
        follow: bool,
        #[serde(default)]
        name: Option<String>,
    },
    /// Removes an instance that is not instantiated; `package`: all revisions of a package.
    Rm {
        name: String,
        #[serde(default)]
        package: bool,
    },
    /// For a host that follows this machine; lines of [`vnode_processes::Word`] follow.
    Attend(Attend),
    /// For a host that sees this machine's processes start: their numbers as this machine knows them.
    LookAt {
        pids: Vec<i32>,
    },
}

impl Request {
    /// Who asked for what changes something is an event.
    pub(super) fn audit(&self, manager: &Manager, uid: u32) {
        let reads = matches!(
            self,
            Self::Info
                | Self::Ls
                | Self::Show { .. }
                | Self::Operations { .. }
                | Self::Operation { .. }
                | Self::Status { .. }
                | Self::Process { .. }
                | Self::Logs { .. }
                | Self::Events { .. }
                | Self::Attend(_)
                | Self::LookAt { .. }
        );
        if reads {
            return;
        }
        let said = json!(self);
        let target = ["name", "package", "operation"].iter().find_map(|key| said[*key].as_str());
        let target = target.unwrap_or("service");
        manager.core.event("request", target, None, json!({ "verb": said["verb"], "uid": uid }));
    }
}

pub(super) fn grace() -> u64 {
    10
}

fn one() -> u32 {
    1
}
