//! What is said of a node of kind `vm`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A virtual machine; processors and memory stand with the node's other limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vm {
    /// `q35` or `microvm`.
    pub machine: Option<String>,
    /// `auto`, `kvm` or `tcg`.
    pub accel: Option<String>,
    /// `bios` or `uefi`.
    pub firmware: Option<String>,
    /// Kernel booted without firmware; absolute.
    pub kernel: Option<PathBuf>,
    pub initrd: Option<PathBuf>,
    /// Further words of the kernel's command line.
    pub append: Option<String>,
    /// Size of the first disk, when it is to be larger than its image.
    pub disk_bytes: Option<u64>,
    /// Sizes of further, empty disks.
    pub disks_bytes: Vec<u64>,
    /// `virtio` or `e1000`.
    pub nic: Option<String>,
    pub queues: Option<u32>,
    /// `nocloud`, `config-drive` or `none`.
    pub seed: Option<String>,
    /// cloud-init user data; absolute.
    pub user_data: Option<PathBuf>,
    /// `started`, `agent` or `reachable`.
    pub ready: Option<String>,
    pub ready_timeout_s: Option<u32>,
    pub vnc: bool,
    pub watchdog: bool,
    pub vsock: bool,
}
