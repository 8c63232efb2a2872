//! What commands print: tables and plain lines for people, one JSON document or JSON lines for programs.

pub(crate) mod progress;
pub(crate) mod table;

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use vnode_api::{Code, Problem};

/// Standard output in the form the user asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub json: bool,
    /// Nothing but results and errors.
    pub quiet: bool,
    /// Standard output is a terminal.
    pub terminal: bool,
    /// Standard error is one: progress bars go there.
    pub error_terminal: bool,
    /// Standard output takes colours, and the user wants them (`NO_COLOR`, <https://no-color.org>).
    pub colour: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            json,
            quiet,
            terminal,
            error_terminal: io::stderr().is_terminal(),
            colour: terminal && !refused && !dumb,
        }
    }

    /// One JSON document: indented on a terminal, one line in a pipe.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Problem> {
        let text = if self.terminal {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        let text = text.map_err(|error| Problem::from_error(Code::Internal, &error))?;
        self.line(&text)
    }

    /// An answer: the JSON of it, or the table it makes for people.
    pub(crate) fn table(
        &self,
        answer: &impl Serialize,
        table: impl FnOnce() -> table::Rows,
    ) -> Result<(), Problem> {
        if self.json { self.json(answer) } else { table().print(self) }
    }

    /// One JSON value of a stream, on a line of its own.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Problem> {
        let text = serde_json::to_string(value)
            .map_err(|error| Problem::from_error(Code::Internal, &error))?;
        self.line(&text)
    }

    /// One line of text.
    pub(crate) fn line(&self, text: &str) -> Result<(), Problem> {
        let mut out = io::stdout().lock();
        written(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")))
    }

    /// A line for people that is not the result: to standard error, unless `--quiet` or `--json`.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            // A note is a courtesy; whoever closed standard error does not want it.
            drop(writeln!(io::stderr().lock(), "{text}"));
        }
    }

    /// Text as it is.
    pub(crate) fn text(&self, text: &str) -> Result<(), Problem> {
        written(io::stdout().lock().write_all(text.as_bytes()))
    }
}

/// A reader that has gone (`| head`) is no failure of ours: the command ends there, quietly.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Problem> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            Err(Problem::from_error(Code::Failed, &error)
                .in_front("cannot write to standard output"))
        }
    }
}
