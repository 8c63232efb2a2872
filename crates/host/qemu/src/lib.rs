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
