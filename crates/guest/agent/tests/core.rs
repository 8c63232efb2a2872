//! The agent's core, through the built program: channels, our own form, plugins, init, bounds.
#![allow(clippy::disallowed_methods, reason = "tests start the program as its users do")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

#[path = "core/bounds.rs"]
mod bounds;
#[path = "core/crowd.rs"]
mod crowd;
#[path = "core/detached.rs"]
mod detached;
#[path = "core/exchanges.rs"]
mod exchanges;
#[path = "core/files.rs"]
mod files;
mod machine;
#[path = "core/native.rs"]
mod native;
#[path = "core/once.rs"]
mod once;
#[path = "core/package.rs"]
mod package;
#[path = "core/plugins.rs"]
mod plugins;
#[path = "core/program.rs"]
mod program;
#[path = "core/requests.rs"]
mod requests;
#[path = "core/support.rs"]
mod support;
#[path = "core/virtual_machine.rs"]
mod virtual_machine;
#[path = "core/vnf.rs"]
mod vnf;
