//! Nodes that are domains of libvirt: virtual machines of QEMU and Xen, containers of LXC, made by libvirt or adopted.
//!
//! ```text
//!  node's folder ── libvirt.json (which domain, whose), domain.xml, console.log
//!  vnode-monitor (network namespace; no process)
//!     └─ taps, each joined to one interface of the namespace ══ opened by the hypervisor before they came here
//!  libvirtd ── its domain
//! ```
//!
//! `libvirt.so.0` is opened when the first such node, or `vnode doctor`, wants it: `vnode` neither needs it to be built nor
//! to run. A node's shell is a container without a process: it holds the namespace that links are put into. libvirt
//! lives in the host's namespace, so a tap is made there, opened by the hypervisor, and then moved to the node.

mod agent;
mod console;
mod container;
mod definition;
mod domain;
mod driver;
mod hub;
pub mod import;
mod instance;
mod kept;
mod letgo;
mod nic;
mod picture;
mod raw;
mod snapshot;
mod typed;
mod xml;

pub use driver::{LibvirtDriver, Options};
pub use hub::{found, version};

/// Runs work that blocks, off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> vnode_driver::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| vnode_driver::Error::Io {
        doing: "finish work on a domain".to_owned(),
        source: std::io::Error::other(error),
    })
}
