//! The table `[command.guest]`.

use std::path::PathBuf;

use serde::Deserialize;

/// Settings of the guest commands. The defaults are those of QEMU's agent, but for the state folder and the hook.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Where the handle counter and the frozen mark are kept; emptied by a boot.
    pub state_dir: PathBuf,
    /// Program called with `freeze` and `thaw`.
    pub fsfreeze_hook: Option<PathBuf>,
    /// File systems frozen for longer are thawed. `None`: never, as QEMU's agent does.
    pub freeze_limit_s: Option<u64>,
    /// Read instead of `/etc/os-release`.
    pub os_release: Option<PathBuf>,
    /// What programs get when a request gives no environment: `NAME=value`. Empty: only `PATH`.
    pub environment: Vec<String>,
    /// Programs that may run, or wait to have their result fetched, at a time.
    pub exec_records: usize,
    /// Files that may be open at a time.
    pub open_files: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/run/vnode-agent"),
            fsfreeze_hook: None,
            freeze_limit_s: None,
            os_release: None,
            environment: Vec::new(),
            exec_records: 256,
            open_files: 256,
        }
    }
}

impl Options {
    /// The name of the table below `command`.
    pub const NAME: &'static str = "guest";
}
