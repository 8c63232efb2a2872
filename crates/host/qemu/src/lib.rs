//! Nodes that are whole machines: QEMU, started and held as a container's first process is.
//!
//! ```text
//!  node's folder ── vm/ ── qmp.sock, agent.sock, disk.qcow2, seed, qemu.trace
//!  vnode-monitor (network namespace, console, exit status)
//!     └─ QEMU: own user, own process and mount namespace, /usr read-only, own control group, -sandbox on
//!           └─ taps, each joined to one interface of the namespace
//! ```
//!
//! A machine's shell is a node of the container driver: its monitor outlives the daemon, holds the serial console and
//! records the end. Links are put into the shell's namespace as into any node's; when the machine boots, every interface
//! there becomes one of its own.

mod accel;
pub mod build;
mod command;
mod disk;
mod driver;
mod exit;
mod fat;
mod files;
mod instance;
mod memory;
mod nic;
pub mod qmp;
mod seed;
mod shell;

pub use accel::Accelerators;
pub use driver::{Options, QemuDriver};
pub use files::missing as missing_to_mount;
pub use shell::GIVEN as METADATA_FOLDER;

/// Runs work that blocks, off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> vnode_driver::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| vnode_driver::Error::Io {
        doing: "finish work on a machine".to_owned(),
        source: std::io::Error::other(error),
    })
}
