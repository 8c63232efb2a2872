//! The guest agent: exchanges bring requests in, parsers read them, commands do the work.
//!
//! * [`exchange`]: where requests come from. A *stream* gives connections, a *message* store gives bodies.
//! * [`parser`]: turns bytes into a command and a result into bytes. One for each language spoken.
//! * [`command`]: does the work. [`command::Registry`] holds all, [`command::CommandSet`] what one channel may use.
//! * [`context`]: what a command may reach: the root folder, the clock, programs, settings, shared state, locks.
//! * [`channel`]: an exchange paired with a parser and a policy, supervised on its own.
//! * `audit`: who asked for what, as events. [`limits`]: what a client may take.
//! * [`agent`]: the channels of a configuration, running. [`init`]: a container's first process. [`once`]: early boot.
//!
//! Everything runs on one thread (tokio's current-thread runtime); futures are `Send` all the same, so that a
//! test may use any runtime. There is no global state.

pub mod agent;
mod audit;
pub mod channel;
pub mod check;
pub mod cli;
pub mod command;
pub mod config;
pub mod context;
pub mod exchange;
pub mod init;
pub mod limits;
pub mod log;
pub mod once;
pub mod parser;
pub mod personality;
