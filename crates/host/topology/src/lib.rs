//! The topology file: text of a containerlab-style YAML file in, a resolved [`Lab`] out.
//!
//! Pure: no kernel, no environment, no file but through the [`World`] it is given, so that the parser
//! of what strangers write can be fuzzed alone. The format is containerlab's with our additions
//! `impair`, `networks`, `events`, `resources`, `backend`, `agent`, `boot-timeout`, `preconfig` and `placement` (`vnode-lifecycle` section 7, R-14).
//!
//! * [`parse`] reads a file; every error and warning ([`Diagnostic`]) has its line and column.
//! * [`export`] writes a lab back; [`export_clab`] writes what containerlab accepts.
//! * [`Node::change_to`] says what must be done to make one node of another.
//! * [`import`] makes a topology file of another tool's: Emulab's, netlab's, Kathará's, CORE's.
//! * [`graph`] draws a lab.
//! * [`json_schema`] describes the file to editors.

mod change;
mod diagnostic;
mod emit;
mod export;
pub mod graph;
mod import;
mod keys;
mod kinds;
mod model;
mod parse;
mod report;
mod schema;
mod source;
mod substitute;
mod world;
mod yaml;

pub use change::NodeChange;
pub use diagnostic::{Diagnostic, Place, Rejected, Severity};
pub use export::{export, export_clab};
pub use import::{Beside, Format, Imported, Name, import};
pub use model::*;
pub use parse::{MOST_BYTES, MOST_NODES, parse};
pub use schema::json_schema;
pub use world::{Nothing, World};

use std::path::Path;

/// A file to read.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub text: &'a str,
    /// Name shown in messages; `.gotmpl` files are refused by it.
    pub file: &'a str,
    /// Absolute path of the folder that relative paths are taken from.
    pub folder: &'a Path,
}

/// A file that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub lab: Lab,
    pub warnings: Vec<Diagnostic>,
}
