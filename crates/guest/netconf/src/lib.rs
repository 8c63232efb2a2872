//! A guest's network configuration: from the host's description to the files of each distribution and the kernel.
//!
//! * [`source`] reads what hosts and seeds write, to one form: [`Wanted`].
//! * [`detect`] finds the distribution and who configures its network; [`render`] has one file for each of those.
//! * [`Plan`] is what would change, file by file, and can be shown before anything does.
//! * [`commit`] changes the files as one: a journal first, each file by rename, the old ones kept. Killed between any two
//!   writes, the next start finishes or takes back.
//! * [`reset`] is all of it in order: bind to interfaces, plan, commit, apply, compare with the kernel, roll back.
//!   [`recover`] is for the start of the agent.
//!
//! Rendering is pure: it sees a [`View`], a guest's root folder or files in memory. What acts on the system is
//! behind [`System`].

#![forbid(unsafe_code)]

pub mod address;
pub mod commit;
pub mod detect;
mod diff;
mod draft;
mod effect;
mod error;
pub mod hostname;
pub mod hosts;
pub mod kernel;
mod model;
mod nic;
mod plan;
pub mod render;
mod reset;
pub mod resolv;
mod settings;
pub mod source;
mod system;
mod text;
mod view;

pub use address::Mac;
pub use detect::{Backend, Distribution, Family};
pub use draft::{Content, Draft};
pub use error::InputError;
pub use model::{Config, Description, Interface, Route, Select, Wanted};
pub use nic::{Bound, Nic, bind};
pub use plan::{Change, Plan, plan};
pub use reset::{Recovered, Report, ResetError, preview, recover, reset, start};
pub use settings::{Conflicts, Form, Settings};
pub use system::{RealSystem, System, program_spec, program_status};
pub use view::{Kind, MemoryView, View, ViewError};
