//! Images of signed lists in an OpenNebula cloud.
//!
//! ```text
//! event (environment, or the site's own) ─▶ publish ─▶ prepare (a disk the cloud takes)
//!                                              │
//!                                              ▼
//!                         operation: allocate, wait, remember, rename, rename, withdraw; each with its inverse
//!                                              │
//!                                              ▼
//!                                  cloud ─▶ client (XML-RPC, bounded)
//! ```
//!
//! * [`OpenNebula`] follows events: [`OpenNebula::follow`].
//! * [`program`] is the stand-alone event handler, under the name and options of vmcatcher's.
//! * [`publisher`] is the same for a site of this program's own.
//!
//! Invariants: an image loses its name only when its successor is ready; what fails is undone, after a crash by the
//! next run; nothing is called withdrawn but what was found by its identifier; no secret is in a log or an argument.
#![forbid(unsafe_code)]

pub mod client;
pub mod cloud;
pub mod event;
mod files;
pub mod image;
pub mod names;
mod operation;
pub mod prepare;
pub mod program;
mod publish;
pub mod publisher;
pub mod rpc;
pub mod settings;
pub mod subscription;
pub mod xml;

pub use operation::journal::{JournalError, Work};
pub use publish::{Ask, Done, Error, OpenNebula};
