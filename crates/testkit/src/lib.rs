//! What the tests of vnode stand on: hosts of their own, small images, a registry, a guest kernel. Tests only.
//!
//! * [`Host`] is a whole "machine" for one test: fresh network, mount, process, UTS and cgroup namespaces, in
//!   which the built `vnode` runs. Nothing of it outlives the value, whatever happens to the test.
//! * [`apart`] gives a test namespaces, and nothing else.
//! * [`Snapshot`] is everything kernel-side that a lab could leave behind, taken before and compared after.
//! * [`image`] makes busybox root file systems and OCI archives; [`Registry`] serves them.
//! * [`guest`] boots Debian's kernel under QEMU for what this kernel lacks, and runs test programs in it.
//! * [`tools`] are programs of Debian's packages that are unpacked, not installed: qemu-ga, xenstored, netplan.
//! * [`Xenstored`] is Xen's own XenStore daemon, running without Xen.
//! * [`needs!`] states what a test needs; without it, the test says `skipped: why` and is counted as skipped.
//!
//! Fixtures panic with a sentence when they cannot do their work: in a test that is the right report.
#![allow(clippy::disallowed_methods)] // fixtures start programs themselves: vnode-action is among what is tested

mod apart;
mod eventually;
pub mod guest;
mod host;
pub mod image;
mod needs;
mod output;
mod program;
mod registry;
pub mod tools;
mod xenstored;

pub use apart::apart;
pub use eventually::eventually;
pub use host::{Daemon, Host, Process, Snapshot};
pub use needs::{Need, in_guest, skip, skip_to_guest};
pub use output::Output;
pub use program::{built_program, find_program};
pub use registry::Registry;
pub use xenstored::Xenstored;
