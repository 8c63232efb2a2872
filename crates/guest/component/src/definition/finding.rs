//! What is to be said about a definition file, and where.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::ini::{SyntaxError, Warning};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Accepted, and probably not meant.
    Warning,
    /// The file is refused.
    Error,
}

/// One thing to be said about one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Counted from 1; 0 speaks of the whole file.
    pub line: usize,
    pub severity: Severity,
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{}: {severity}: {}", self.line, self.text)
    }
}

impl Finding {
    pub(crate) fn error(line: usize, text: impl Into<String>) -> Self {
        Self { line, severity: Severity::Error, text: text.into() }
    }

    pub(crate) fn warning(line: usize, text: impl Into<String>) -> Self {
        Self { line, severity: Severity::Warning, text: text.into() }
    }
}

impl From<Warning> for Finding {
    fn from(warning: Warning) -> Self {
        Self::warning(warning.line, warning.text)
    }
}

/// A file that is refused: everything found in it, at least one of them an error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", first(findings))]
pub struct Invalid {
    pub findings: Vec<Finding>,
}

fn first(findings: &[Finding]) -> String {
    let first = findings.iter().find(|finding| finding.severity == Severity::Error);
    first.map_or_else(String::new, |finding| format!("line {}: {}", finding.line, finding.text))
}

impl From<SyntaxError> for Invalid {
    fn from(error: SyntaxError) -> Self {
        Self { findings: vec![Finding::error(error.line, error.reason)] }
    }
}

/// Orders what was found by line; refuses if there is an error among it.
pub(crate) fn settle<T>(value: T, mut findings: Vec<Finding>) -> Result<super::Read<T>, Invalid> {
    findings.sort_by_key(|finding| finding.line);
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(Invalid { findings });
    }
    Ok(super::Read { value, findings })
}
