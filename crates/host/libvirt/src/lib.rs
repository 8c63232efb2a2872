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
mod definition;
mod domain;
mod driver;
mod hub;
pub mod import;
mod instance;
mod kept;
mod nic;
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

#[cfg(test)]
mod tests_support {
    use vnode_driver::{Limits, NetworkMode, NodeSpec, Process, Seccomp, Security};

    /// A node of which nothing matters but its names.
    pub(crate) fn spec() -> NodeSpec {
        NodeSpec {
            lab: "lab".into(),
            node: "n".into(),
            vmid: 1,
            uuid: "00000000-0000-4000-8000-000000000001".into(),
            hostname: "n".into(),
            layers: Vec::new(),
            over: Vec::new(),
            read_only_root: false,
            process: Process {
                argv: Vec::new(),
                env: Vec::new(),
                cwd: "/".into(),
                user: String::new(),
                tty: false,
            },
            mounts: Vec::new(),
            sysctls: std::collections::BTreeMap::new(),
            devices: Vec::new(),
            security: Security {
                privileged: false,
                capabilities: Vec::new(),
                seccomp: Seccomp::Default,
                user_namespace: None,
                no_new_privileges: true,
            },
            limits: Limits::default(),
            network: NetworkMode::Own,
            pids: vnode_driver::PidMode::Own,
            stop_signal: 15,
            stop_grace_ms: 1000,
            log_limit_bytes: 1 << 20,
            machine: None,
            domain: None,
        }
    }
}
