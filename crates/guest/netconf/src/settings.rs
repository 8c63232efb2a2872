//! What an operator may choose.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::detect::Backend;

/// Which of two forms of a back-end's files is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// As the OpenStack agent wrote them, without its faults.
    Compatible,
    /// As the distribution's current documents have them.
    Modern,
}

/// What becomes of other files that configure the same interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conflicts {
    /// They are moved into our backup folder.
    #[default]
    Move,
    /// The operation is refused.
    Refuse,
}

/// Settings of the network commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Back-end to use; found when not set.
    pub backend: Option<Backend>,
    /// Form of the files; each back-end has its own default.
    pub form: Option<Form>,
    pub conflicts: Conflicts,
    /// The name that files of ours carry: letters, digits and hyphens.
    pub agent: String,
    /// Folder of journal and backups, absolute inside the guest. On a file system that survives a restart.
    pub state_folder: String,
    /// Interfaces that are never touched, by name.
    pub unmanaged: Vec<String>,
    /// How long an interface that does not exist yet is waited for, in milliseconds.
    pub wait_ms: u64,
    /// How long the kernel has to come to the wanted state, in milliseconds.
    pub settle_ms: u64,
    /// Files and host name only: whoever configures the network is not running yet and will read them when it starts. Where
    /// nobody does, the kernel is set all the same.
    pub files_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backend: None,
            form: None,
            conflicts: Conflicts::Move,
            agent: "vnode-agent".to_owned(),
            state_folder: "/var/lib/vnode-agent/network".to_owned(),
            unmanaged: Vec::new(),
            wait_ms: 3_000,
            settle_ms: 10_000,
            files_only: false,
        }
    }
}

impl Settings {
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.min(10_000))
    }

    pub(crate) fn settle(&self) -> Duration {
        Duration::from_millis(self.settle_ms.min(15_000))
    }
}
