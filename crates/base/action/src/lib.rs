//! Runs one program for one request. The only code of vnode that starts programs.
//!
//! * [`Spec`]: what to run, as a builder: argv, environment, streams, limits.
//! * [`run`]: run it, feed it, collect what it prints, end it when its time is over.
//! * [`spawn`]: start it and hold it by pidfd. [`spawn_detached`]: start what outlives us.
//! * [`Sandbox`], [`Confinement`]: what a program may not, beside what its user may not: nearly everything, or what is named.
//! * [`account`]: whom to run it as, from the text of `passwd` and `group`.
//! * [`Cgroup`]: a folder in which a tree of processes can be killed whole.
//!
//! Invariants: the caller's memory is never copied (`clone` with `CLONE_VM`, in `clone`, `child` and `sandbox`, the
//! only unsafe code); the program inherits no descriptor it was not given and no environment; no shell; no
//! SIGCHLD handler; what a program prints beyond its cap is read and thrown away.
#![deny(unsafe_code)]

pub mod account;
mod child;
mod clone;
mod error;
mod group;
mod output;
mod prepare;
mod run;
mod running;
mod sandbox;
mod spec;

pub use error::{Error, Result};
pub use group::Cgroup;
pub use output::{ExitStatus, Output};
pub use run::run;
pub use running::{Running, Signal, spawn, spawn_detached};
pub use spec::{Confinement, Limit, Resource, Sandbox, Session, Spec, Stdin, Stream, User};
pub use tokio_util::sync::CancellationToken;
