//! Drivers: what turns a resolved node definition into a running virtual node.
//!
//! A driver knows nothing of labs, topology files, links or the store. It is given a [`NodeSpec`] with every
//! default filled in and a folder of its own, and answers with an [`Instance`] handle. Adding a driver is
//! adding a folder beside `container/`.
//!
//! ```text
//!  create ──▶ Instance (stopped) ──boot──▶ running ──halt/kill/exit──▶ stopped ──destroy──▶ nothing left
//!                 ▲                          │ pause/resume
//!                 └── recover (after a restart of the daemon)
//! ```
//!
//! Invariants:
//! * Everything `create` makes can be found again from the definition and the folder alone (R-1), so
//!   [`Driver::destroy`] needs no [`Instance`] and works after SIGKILL anywhere.
//! * Changes of status are pushed ([`Instance::watch`]); nothing polls.
//! * Dropping an [`Instance`], or the whole driver, leaves the node running.

pub mod container;
mod domain;
mod error;
mod exec;
pub mod guest;
mod instance;
mod machine;
pub mod nic;
pub mod spec;

pub use domain::{Domain, DomainSource};
pub use error::{Error, Result};
pub use exec::{Console, Exec, ExecControl, ExecExit, ExecSpec, Reader, WindowSize, Writer};
pub use instance::{
    BoxFuture, Capabilities, Driver, Ended, Exit, Hardware, Instance, LogPaths, OldDisk, Phase,
    Recovered, Snapshot, Stats, Status,
};
pub use machine::{
    Accelerator, BaseDisk, Button, DiskFormat, Machine, MachineModel, NicModel, Ready, Seed, Start,
};
pub use spec::*;
