//! Emulab's NS files: the subset of Tcl and of the testbed's commands that describes nodes, links, LANs, what they do to
//! frames, and when that changes (`vnode-lifecycle` 3 and 7.2, T-99).
//!
//! What is read becomes a topology file, and that is parsed like any other: the model has one door. What has no meaning
//! here is listed with its place, in the warnings and at the head of the file.

mod build;
mod expr;
mod object;
mod simulator;
mod tcl;
mod testbed;
mod write;

use crate::diagnostic::{Diagnostic, Rejected};
use crate::report::Report;
use crate::source::{Piece, Source};
use crate::world::Nothing;
use crate::{Input, MOST_BYTES, Parsed, parse};

use tcl::{Base, Interpreter};

/// An NS file that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The topology file it became.
    pub text: String,
    /// What that file says.
    pub parsed: Parsed,
    /// What of the NS file is not in it, each with its place.
    pub unmapped: Vec<Diagnostic>,
}

/// Reads an NS file and writes the topology it describes; `name` is the lab's.
///
/// # Errors
/// [`Rejected`] holds every error found, each with line and column.
pub fn import_ns(input: Input<'_>, name: &str) -> Result<Imported, Rejected> {
    let whole = Piece { out: 0, from: 0, to: input.text.len(), replaced: false };
    let source = Source::new(input.text, input.text.to_owned(), vec![whole]);
    let mut report = Report::new(&source, input.file);
    if input.text.len() > MOST_BYTES {
        report.error_nowhere("the file is larger than 4 MiB", "no NS file is");
        return Err(refused(report));
    }
    let mut interpreter = Interpreter::new(&mut report);
    interpreter.eval(input.text, Base::exact(0));
    let built = interpreter.built;
    let unmapped = report.finish()?;
    let text = write::topology(&built, name, input.file, &unmapped);
    let file = format!("{name}.clab.yml");
    let parsed = parse(Input { text: &text, file: &file, folder: input.folder }, &Nothing)?;
    Ok(Imported { text, parsed, unmapped })
}

fn refused(report: Report<'_>) -> Rejected {
    match report.finish() {
        Err(rejected) => rejected,
        Ok(warnings) => Rejected { errors: Vec::new(), warnings },
    }
}
