//! Other tools' files, made topology files: Emulab's NS, netlab's YAML, Kathará's `lab.conf`, CORE's XML.
//!
//! What is read becomes the text of a topology file, and that is parsed like any other: the model has one door. What has
//! no meaning here is listed with its place, in the warnings and at the head of the file; nothing is dropped in silence.

mod core_xml;
mod draft;
mod kathara;
mod netlab;
mod ns;

use std::path::Path;

use crate::diagnostic::{Diagnostic, Rejected, Severity};
use crate::report::Report;
use crate::source::{Piece, Source};
use crate::world::Nothing;
use crate::{Input, MOST_BYTES, Parsed, parse};

/// A file that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The topology file it became.
    pub text: String,
    /// What that file says.
    pub parsed: Parsed,
    /// What of the other tool's file is not in it, each with its place.
    pub unmapped: Vec<Diagnostic>,
}

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Emulab's and ns-2's subset of Tcl.
    Ns,
    /// netlab's YAML.
    Netlab,
    /// Kathará's `lab.conf`, with what lies beside it.
    Kathara,
    /// CORE's XML.
    Core,
}

impl Format {
    /// All, by the names the command line has for them.
    pub const ALL: [(&'static str, Self); 4] = [
        ("ns", Self::Ns),
        ("netlab", Self::Netlab),
        ("kathara", Self::Kathara),
        ("core", Self::Core),
    ];

    /// What a file is by its name, or else by how it begins.
    #[must_use]
    pub fn of(file: &Path, text: &str) -> Self {
        let name = file.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
        let name = name.unwrap_or_default();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        match ending {
            "conf" => Self::Kathara,
            "yml" | "yaml" => Self::Netlab,
            "xml" => Self::Core,
            "ns" | "tcl" => Self::Ns,
            _ if text.trim_start_matches('\u{feff}').trim_start().starts_with('<') => Self::Core,
            _ => Self::Ns,
        }
    }

    /// The tool's own name.
    #[must_use]
    pub const fn tool(self) -> &'static str {
        match self {
            Self::Ns => "Emulab",
            Self::Netlab => "netlab",
            Self::Kathara => "Kathará",
            Self::Core => "CORE",
        }
    }
}

/// What lies beside an imported file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    File,
    Folder,
}

/// The lab's name.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// What was asked for.
    pub asked: Option<&'a str>,
    /// What it is where neither the asker nor the file names it.
    pub otherwise: &'a str,
}

/// Reads another tool's file and writes the topology it describes. `beside` says what of a name lies in the file's folder.
///
/// # Errors
/// [`Rejected`] holds every error found, each with line and column.
pub fn import(
    format: Format,
    input: Input<'_>,
    name: Name<'_>,
    beside: &dyn Fn(&str) -> Option<Beside>,
) -> Result<Imported, Rejected> {
    let whole = Piece { out: 0, from: 0, to: input.text.len(), replaced: false };
    let source = Source::new(input.text, input.text.to_owned(), vec![whole]);
    let mut report = Report::new(&source, input.file);
    if input.text.len() > MOST_BYTES {
        report.error_nowhere("the file is larger than 4 MiB", "a file to import holds one lab");
        return Err(report.finish().err().unwrap_or(Rejected { errors: vec![], warnings: vec![] }));
    }
    let lab = |own: Option<String>| {
        name.asked.map(str::to_owned).or(own).unwrap_or_else(|| name.otherwise.to_owned())
    };
    let (body, unmapped) = match format {
        Format::Ns => {
            let built = ns::read(input.text, &mut report);
            (ns::write(&built, &lab(None)), report.finish()?)
        }
        Format::Netlab => drafted(netlab::read(&mut report), lab, report)?,
        Format::Kathara => drafted(kathara::read(input.text, beside, &mut report), lab, report)?,
        Format::Core => drafted(core_xml::read(input.text, &mut report), lab, report)?,
    };
    let text = head(input.file, &unmapped) + &body;
    let file = format!("the topology made of {}", input.file);
    let parsed = parse(Input { text: &text, file: &file, folder: input.folder }, &Nothing)?;
    Ok(Imported { text, parsed, unmapped })
}

/// The file's text, and what is not in it.
fn drafted(
    draft: draft::Draft,
    lab: impl Fn(Option<String>) -> String,
    report: Report<'_>,
) -> Result<(String, Vec<Diagnostic>), Rejected> {
    let file = report.file().to_owned();
    let unmapped = report.finish()?;
    if draft.nodes.is_empty() {
        let nothing = Diagnostic {
            severity: Severity::Error,
            text: "the file has no nodes".to_owned(),
            hint: Some("look whether it is the right file".to_owned()),
            file,
            at: None,
            also: Vec::new(),
        };
        return Err(Rejected { errors: vec![nothing], warnings: unmapped });
    }
    Ok((draft.write(&lab(draft.name.clone())), unmapped))
}

/// The comments above the file.
fn head(file: &str, unmapped: &[Diagnostic]) -> String {
    let line = |text: &str| text.replace(|c: char| c.is_control(), " ");
    let mut text = format!("# made by vnode from {}\n", line(file));
    for one in unmapped {
        let place = one.at.as_ref().map(|at| format!("{}:{}: ", at.line, at.column));
        text.push_str(&format!("# not mapped: {}{}\n", place.unwrap_or_default(), line(&one.text)));
    }
    // What is mapped stands in the text as it is: a dollar in a comment is read as a variable too.
    text.replace('$', "")
}
