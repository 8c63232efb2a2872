//! Ephemeral components: bus names whose requests are served by running scripts.
//!
//! * [`definition`]: the `.component` and `.instance` files. [`ini`]: the dialect they are written in.
//! * [`names`]: how YANG names become names on the bus.
//! * [`script`]: one script, run for one request. [`stderr`], [`rpc_error`]: what a failed one has to say.
//! * [`client`]: asks components. [`install`]: units, activation and policy files. [`skeleton`]: a new component.
//! * [`cli`]: the verbs of `vnode-agent component`.
//! * [`daemon`]: serves all components on one connection. [`yang`]: checks data against YANG.
#![deny(unsafe_code)]

pub mod bus;
pub mod cli;
pub mod client;
pub mod daemon;

pub mod definition;
pub mod ini;
pub mod install;
pub mod json;
pub mod names;
pub mod rpc_error;
pub mod script;
pub mod skeleton;
pub mod stderr;
pub mod user;
pub mod yang;
