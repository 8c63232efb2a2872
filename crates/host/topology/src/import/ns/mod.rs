//! Emulab's NS files: the subset of Tcl and of the testbed's commands that describes nodes, links, LANs, what they do to
//! frames, and when that changes (`vnode-lifecycle` 3 and 7.2, T-99).

mod build;
mod expr;
mod object;
mod simulator;
mod tcl;
mod testbed;
mod write;

use crate::report::Report;

use build::Built;
use tcl::{Base, Interpreter};

/// What an NS file describes; errors and what has no meaning here go to the report.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Built {
    let mut interpreter = Interpreter::new(report);
    interpreter.eval(text, Base::exact(0));
    interpreter.built
}

/// The topology file of it; `name` is the lab's.
pub(super) fn write(built: &Built, name: &str) -> String {
    write::topology(built, name)
}
