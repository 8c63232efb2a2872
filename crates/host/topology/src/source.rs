//! The text that is parsed, and the way from any place in it back to what the author wrote.

use std::ops::Range;

use crate::diagnostic::Place;
use crate::model::Span;

/// Longest line, in bytes, that is shown and whose characters are counted.
const LONGEST_LINE: usize = 4096;

/// A piece of the parsed text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// Where it begins in the parsed text.
    pub(crate) out: usize,
    /// What it was made from in the file. Pieces taken over as they are have the same length there.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Put in place of something else.
    pub(crate) replaced: bool,
}

/// The parsed text with its origin.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    written: &'a str,
    /// Offsets in `written` at which lines begin.
    lines: Vec<usize>,
    text: String,
    pieces: Vec<Piece>,
}

impl<'a> Source<'a> {
    /// `pieces` are in order and cover `text`.
    pub(crate) fn new(written: &'a str, text: String, pieces: Vec<Piece>) -> Self {
        let newlines =
            written.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(newlines).collect();
        Self { written, lines, text, pieces }
    }

    /// The text to parse.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Range in the file of a range in the parsed text.
    pub(crate) fn written_range(&self, at: Range<usize>) -> Range<usize> {
        let from = match self.piece(at.start) {
            Some(piece) if piece.replaced => piece.from,
            Some(piece) => piece.from + (at.start - piece.out).min(piece.to - piece.from),
            None => 0,
        };
        let last = at.end.saturating_sub(1).max(at.start);
        let to = match self.piece(last) {
            Some(piece) if piece.replaced => piece.to,
            Some(piece) => piece.from + (at.end.max(last) - piece.out).min(piece.to - piece.from),
            None => from,
        };
        from..to.max(from)
    }

    /// The place of a range in the parsed text.
    pub(crate) fn place(&self, at: Range<usize>) -> Place {
        self.place_written(self.written_range(at))
    }

    /// The place of a range in the file.
    pub(crate) fn place_written(&self, at: Range<usize>) -> Place {
        let line = self.lines.partition_point(|start| *start <= at.start).max(1) - 1;
        let begin = self.lines.get(line).copied().unwrap_or(0);
        let end = self.lines.get(line + 1).map_or(self.written.len(), |next| next - 1);
        let line_text = self.written.get(begin..end).unwrap_or("").trim_end_matches('\r');
        let source = if line_text.len() <= LONGEST_LINE { line_text } else { "" };
        let count = |from: usize, to: usize| {
            let to = to.min(from + LONGEST_LINE);
            self.written.get(from..to).map_or(1, |part| part.trim_end().chars().count())
        };
        let before = self.characters(begin, at.start);
        Place {
            line: narrow(line + 1),
            column: narrow(before + 1),
            width: narrow(count(at.start, at.end.min(end)).max(1)),
            source: source.to_owned(),
        }
    }

    /// Line and column only.
    pub(crate) fn span(&self, at: Range<usize>) -> Span {
        let from = self.written_range(at).start;
        let line = self.lines.partition_point(|start| *start <= from).max(1) - 1;
        let begin = self.lines.get(line).copied().unwrap_or(0);
        let before = self.characters(begin, from);
        Span { line: narrow(line + 1), column: narrow(before + 1) }
    }

    /// Characters between two places of one line; far from its beginning, bytes: nobody counts
    /// there, and a file that is one line must not be counted through for each of its values.
    fn characters(&self, from: usize, to: usize) -> usize {
        let length = to.saturating_sub(from);
        if length > LONGEST_LINE {
            return length;
        }
        self.written.get(from..to).map_or(length, |part| part.chars().count())
    }

    fn piece(&self, at: usize) -> Option<&Piece> {
        let next = self.pieces.partition_point(|piece| piece.out <= at);
        self.pieces.get(next.checked_sub(1)?)
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
