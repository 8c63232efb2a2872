//! VNF packages: an archive of scripts and a `lifecycle.json`.
//!
//! * [`Package::open`]: pass 1. Reads an archive whole and checks everything in it, writing nothing.
//! * [`Package::unpack`]: pass 2. Writes it below a folder handle, only if it is still what was checked.
//! * [`Descriptor`]: what `lifecycle.json` says; [`SCHEMA`]: its JSON Schema.
//! * [`author`]: making, packing, checking and signing packages, for `vnf new`, `pack`, `lint` and `sign`.
//!
//! Knows nothing of nodes, users or processes: what depends on the machine is checked by who installs the package.
//!
//! Invariants: what is refused has left nothing behind; memory is bounded by [`Limits`] whatever is read; every problem
//! has a [`Code`] that stays.
#![forbid(unsafe_code)]

pub mod author;
mod check;
mod cms;
mod decode;
mod descriptor;
mod envelope;
mod foreign;
mod json;
mod limits;
mod manifest;
mod package;
mod parameter;
mod path;
mod problem;
mod scripts;
mod sign;
mod tarball;
mod tree;
mod unpack;
mod zipped;

pub use check::{Checked, descriptor, is_name};
pub use decode::Packing;
pub use descriptor::{
    AfterReboot, AlreadyRunning, Aspect, By, Descriptor, Event, Expected, Flap, Health,
    HealthAction, HealthKind, Hook, Mode, OnError, OnReplace, Parameter, ParameterType, Process,
    Require, ResourceLimits, Restart, RestartPolicy, Scope, Script, Security,
};
pub use limits::Limits;
pub use package::{Form, Package};
pub use problem::{Code, Problem, Refused};
pub use scripts::{Runs, runs};
pub use sign::{Policy, SecretKey, Signature, Trust, TrustedKey};

/// The JSON Schema of `lifecycle.json`, both forms of it.
pub const SCHEMA: &str = include_str!("../../../../docs/reference/vnf-lifecycle.schema.json");
