//! Collects errors and warnings on the way.

use std::collections::HashSet;
use std::ops::Range;

use crate::diagnostic::{Diagnostic, Place, Rejected, Severity};
use crate::model::Span;
use crate::source::Source;

/// Most errors, and most warnings, that are kept; a file of 20,000 nodes can be wrong 20,000 times.
const MOST: usize = 200;

/// A range in the parsed text.
pub(crate) type At = Range<usize>;

/// Errors and warnings so far.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) source: &'a Source<'a>,
    file: &'a str,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// What has been said: a value that many nodes inherit is wrong once.
    said: HashSet<(usize, String)>,
    dropped_errors: usize,
    dropped_warnings: usize,
    suggestions: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(source: &'a Source<'a>, file: &'a str) -> Self {
        Self {
            source,
            file,
            errors: Vec::new(),
            warnings: Vec::new(),
            said: HashSet::new(),
            dropped_errors: 0,
            dropped_warnings: 0,
            suggestions: 0,
        }
    }

    /// Name of the file, as it was given.
    pub(crate) fn file(&self) -> &'a str {
        self.file
    }

    pub(crate) fn error(&mut self, at: &At, text: impl Into<String>) {
        self.add(Severity::Error, Some(at), text.into(), None, Vec::new());
    }

    pub(crate) fn error_with(&mut self, at: &At, text: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, Some(at), text.into(), Some(hint.into()), Vec::new());
    }

    /// An error that lies in two places.
    pub(crate) fn error_twice(
        &mut self,
        at: &At,
        text: impl Into<String>,
        label: impl Into<String>,
        other: &At,
    ) {
        let also = vec![(label.into(), self.source.place(other.clone()))];
        self.add(Severity::Error, Some(at), text.into(), None, also);
    }

    /// An error with any number of further places.
    pub(crate) fn error_along(
        &mut self,
        at: &At,
        text: impl Into<String>,
        hint: Option<String>,
        also: Vec<(String, At)>,
    ) {
        let also = also.into_iter().map(|(label, at)| (label, self.source.place(at))).collect();
        self.add(Severity::Error, Some(at), text.into(), hint, also);
    }

    pub(crate) fn error_nowhere(&mut self, text: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, None, text.into(), Some(hint.into()), Vec::new());
    }

    pub(crate) fn warn(&mut self, at: &At, text: impl Into<String>) {
        self.add(Severity::Warning, Some(at), text.into(), None, Vec::new());
    }

    pub(crate) fn warn_with(&mut self, at: &At, text: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, Some(at), text.into(), Some(hint.into()), Vec::new());
    }

    /// An error or warning at a place in the file itself, not in the parsed text.
    pub(crate) fn at_written(&mut self, severity: Severity, at: At, text: String, hint: &str) {
        if self.is_full(severity) {
            return;
        }
        let diagnostic = Diagnostic {
            severity,
            text,
            hint: Some(hint.to_owned()),
            file: self.file.to_owned(),
            at: Some(self.source.place_written(at)),
            also: Vec::new(),
        };
        self.keep(diagnostic);
    }

    pub(crate) fn span(&self, at: &At) -> Span {
        self.source.span(at.clone())
    }

    fn add(
        &mut self,
        severity: Severity,
        at: Option<&At>,
        text: String,
        hint: Option<String>,
        also: Vec<(String, Place)>,
    ) {
        if !self.said.insert((at.map_or(usize::MAX, |at| at.start), text.clone()))
            || self.is_full(severity)
        {
            return;
        }
        let at = at.map(|at| self.source.place(at.clone()));
        self.keep(Diagnostic { severity, text, hint, file: self.file.to_owned(), at, also });
    }

    /// Whether no more of these are kept; the one that is not is counted.
    fn is_full(&mut self, severity: Severity) -> bool {
        let (list, dropped) = match severity {
            Severity::Error => (&self.errors, &mut self.dropped_errors),
            Severity::Warning => (&self.warnings, &mut self.dropped_warnings),
        };
        let full = list.len() >= MOST;
        *dropped += usize::from(full);
        full
    }

    fn keep(&mut self, diagnostic: Diagnostic) {
        match diagnostic.severity {
            Severity::Error => self.errors.push(diagnostic),
            Severity::Warning => self.warnings.push(diagnostic),
        }
    }

    /// Whether the right word for an unknown one may still be looked for.
    pub(crate) fn may_suggest(&mut self) -> bool {
        self.suggestions += 1;
        self.suggestions <= MOST
    }

    /// The warnings, in the order of the file.
    ///
    /// # Errors
    /// The errors, in the order of the file, when there is one.
    pub(crate) fn finish(mut self) -> Result<Vec<Diagnostic>, Rejected> {
        for (list, dropped, severity) in [
            (&mut self.errors, self.dropped_errors, Severity::Error),
            (&mut self.warnings, self.dropped_warnings, Severity::Warning),
        ] {
            list.sort_by_key(|d| d.at.as_ref().map(|place| (place.line, place.column)));
            if dropped > 0 {
                list.push(Diagnostic {
                    severity,
                    text: format!("{dropped} more like these are not shown"),
                    hint: None,
                    file: self.file.to_owned(),
                    at: None,
                    also: Vec::new(),
                });
            }
        }
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Rejected { errors: self.errors, warnings: self.warnings })
        }
    }
}
