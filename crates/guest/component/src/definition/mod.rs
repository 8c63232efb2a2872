//! The two files that define a component: `.component` for the installer and the configuration daemon,
//! `.instance` for us.

mod component;
mod finding;
mod instance;
mod settings;

pub(crate) use component::read_file;
pub use component::{Component, ComponentModel, read_folder as read_components};
pub use finding::{Finding, Invalid, Severity};
pub use instance::{Command, Instance, Model, Rpc};
pub use settings::{Abort, EnvironmentKind, Operation, SandboxKind, Settings};

/// A definition with what is to be said about it.
#[derive(Debug, Clone)]
pub struct Read<T> {
    pub value: T,
    /// Warnings only.
    pub findings: Vec<Finding>,
}
