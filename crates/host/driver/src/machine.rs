//! What a node that is a whole machine is made of; the other fields of a definition hold for it as for any node.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A virtual machine, every default filled in, every path absolute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub model: MachineModel,
    pub accelerator: Accelerator,
    pub start: Start,
    /// Virtual processors.
    pub cpus: u32,
    pub memory_bytes: u64,
    /// The disk it starts from; without one it lives in its initial RAM disk.
    pub disk: Option<BaseDisk>,
    /// Further, empty disks, in order: their sizes in bytes.
    pub disks: Vec<u64>,
    pub nic: NicModel,
    /// Queues of each network interface; 1 to the number of processors.
    pub queues: u32,
    pub seed: Seed,
    /// cloud-init user data put in the seed as it is.
    pub user_data: Option<PathBuf>,
    pub ready: Ready,
    /// How long a boot waits for [`Machine::ready`], milliseconds.
    pub ready_timeout_ms: u64,
    /// A VNC server on a unix socket in the node's folder.
    pub vnc: bool,
    /// A watchdog device; when it is not fed the machine is reset, which counts as a reboot.
    pub watchdog: bool,
    /// vhost-vsock, on hosts that have it.
    pub vsock: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineModel {
    #[default]
    Q35,
    /// Few devices, no firmware of a PC: direct kernel boot only.
    Microvm,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// KVM where a probe has shown that it boots something, else emulation.
    #[default]
    Auto,
    Kvm,
    Tcg,
}

/// What the machine executes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// SeaBIOS, from the disk.
    Bios,
    /// OVMF, from the disk; its variables are kept with the node.
    Uefi,
    Kernel {
        kernel: PathBuf,
        initrd: Option<PathBuf>,
        /// Kernel command line, over what the driver adds for the console.
        append: String,
    },
}

/// The disk image a node's own disk lies over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseDisk {
    pub image: PathBuf,
    /// As its header says: nothing that opens it may guess.
    pub format: DiskFormat,
    /// Size the node's disk has: the image's own, or larger.
    pub size_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFormat {
    Raw,
    Qcow2,
    Vmdk,
    Vdi,
}

impl DiskFormat {
    /// QEMU's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NicModel {
    #[default]
    Virtio,
    /// Intel 82540EM, for guests without virtio drivers.
    E1000,
}

/// How addresses, names and keys come into the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seed {
    /// A small file system labelled `cidata`, as cloud-init's NoCloud.
    #[default]
    Nocloud,
    /// One labelled `config-2`, as OpenStack's config drive.
    ConfigDrive,
    /// The metadata service of the control network, at 169.254.169.254; the machine is told of it by its SMBIOS serial
    /// number, as cloud-init's NoCloud reads it.
    Metadata,
    None,
}

/// What a boot waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// The machine runs.
    #[default]
    Started,
    /// The guest's agent answers.
    Agent,
    /// The guest answers on its control network address.
    Reachable,
}

/// What a signal is to a machine: it has two buttons, and no process of the host's that takes signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// What asks a first process to end: SIGINT, SIGTERM and SIGPWR.
    Power,
    /// SIGKILL.
    Plug,
}

impl Button {
    /// # Errors
    /// [`Error::Unsupported`]: the signal is none of these.
    pub fn of(node: &str, signal: i32) -> Result<Self> {
        match signal {
            2 | 15 | 30 => Ok(Self::Power),
            9 => Ok(Self::Plug),
            other => Err(Error::Unsupported {
                node: node.to_owned(),
                what: format!(
                    "a machine has a power button (signals 2, 15 and 30) and a plug (9), and no signal {other}"
                ),
            }),
        }
    }
}
