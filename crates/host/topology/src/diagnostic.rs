//! Errors and warnings with their place in the file, shown as compilers do.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Error,
    Warning,
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// One line: the thing, and what is wrong with it.
    pub text: String,
    /// The way out.
    pub hint: Option<String>,
    /// Name of the file, as it was given.
    pub file: String,
    /// The place, and further places that have to do with it.
    pub at: Option<Place>,
    pub also: Vec<(String, Place)>,
}

/// A place in the file as its author sees it, before any substitution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// Characters that the thing takes on that line, at least 1.
    pub width: u32,
    /// The line; empty when it is longer than 4096 bytes.
    pub source: String,
}

impl Diagnostic {
    /// Line of the place, 0 when there is none.
    pub fn line(&self) -> u32 {
        self.at.as_ref().map_or(0, |place| place.line)
    }
}

/// The first line is enough to act on: `lab.clab.yml:4:7: error: ...`; then the source line with a
/// caret, then further places and the hint.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        match &self.at {
            Some(place) => {
                write!(f, "{}:{}:{}: {word}: {}", self.file, place.line, place.column, self.text)?;
                place.fmt_excerpt(f)?;
            }
            None => write!(f, "{}: {word}: {}", self.file, self.text)?,
        }
        for (label, place) in &self.also {
            write!(f, "\n{}:{}:{}: {label}", self.file, place.line, place.column)?;
            place.fmt_excerpt(f)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Longest source line that is shown whole.
const SHOWN: usize = 160;

impl Place {
    fn fmt_excerpt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source.is_empty() {
            return Ok(());
        }
        let column = self.column.max(1) as usize - 1;
        // A window of the line around the place; tabs and control characters take one column each.
        let from = column.saturating_sub(SHOWN / 2);
        let shown: String = self
            .source
            .chars()
            .skip(from)
            .take(SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let space = column - from;
        let width = (self.width.max(1) as usize).min(SHOWN.saturating_sub(space).max(1));
        let gutter = self.line.to_string();
        let empty = " ".repeat(gutter.len());
        write!(f, "\n {gutter} | {}", shown.trim_end())?;
        write!(f, "\n {empty} | {}{}", " ".repeat(space), "^".repeat(width))
    }
}

/// The file was not taken: at least one error, and what else was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rejected {
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}
