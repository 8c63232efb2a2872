//! The last output of a program that nobody may be reading.

use std::collections::VecDeque;

use vnode_protocol::frame::Frame;

/// Bytes kept (R6).
pub(super) const BYTES: usize = 1 << 20;
/// Changes between the two streams that are kept: each takes memory too.
const RUNS: usize = 32 << 10;

/// Which stream bytes came from; all of a terminal's are [`Which::Out`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Out,
    Err,
}

impl Which {
    pub(super) fn frame(self, bytes: Vec<u8>) -> Frame {
        match self {
            Self::Out => Frame::Stdout(bytes),
            Self::Err => Frame::Stderr(bytes),
        }
    }
}

/// Bytes of one stream without one of the other between them.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Where it begins; bytes of both streams are counted together, from the program's first.
    at: u64,
    which: Which,
}

/// The last [`BYTES`] that a program printed, in their order.
#[derive(Debug, Default)]
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    runs: VecDeque<Run>,
    end: u64,
}

impl Ring {
    /// The place of the first byte that is kept.
    pub(super) fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// The place of the next byte to come.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn push(&mut self, which: Which, new: &[u8]) {
        if new.is_empty() {
            return;
        }
        if self.runs.back().is_none_or(|last| last.which != which) {
            self.runs.push_back(Run { at: self.end, which });
        }
        self.end += new.len() as u64;
        let kept = &new[new.len().saturating_sub(BYTES)..];
        let over = (self.bytes.len() + kept.len()).saturating_sub(BYTES);
        self.bytes.drain(..over);
        self.bytes.extend(kept);
        if self.runs.len() > RUNS {
            let first = self.runs[1].at.saturating_sub(self.start());
            self.bytes.drain(..usize::try_from(first).unwrap_or(usize::MAX).min(self.bytes.len()));
        }
        while self.runs.get(1).is_some_and(|second| second.at <= self.start()) {
            self.runs.pop_front();
        }
    }

    /// At most `most` bytes of one stream from a place on that is kept; none: it is the end.
    pub(super) fn piece(&self, from: u64, most: usize) -> Option<(Which, Vec<u8>)> {
        let first = usize::try_from(from.checked_sub(self.start())?).ok()?;
        let run = self.runs.partition_point(|run| run.at <= from).checked_sub(1)?;
        let until = self.runs.get(run + 1).map_or(self.end, |next| next.at);
        let length = usize::try_from(until.checked_sub(from)?).unwrap_or(most).min(most);
        if length == 0 {
            return None;
        }
        Some((self.runs[run].which, self.bytes.range(first..first + length).copied().collect()))
    }

    /// All that is kept, as frames one after the other.
    pub(super) fn frames(&self, most: usize) -> Vec<u8> {
        let mut frames = Vec::with_capacity(self.bytes.len() + 64);
        let mut at = self.start();
        while let Some((which, bytes)) = self.piece(at, most) {
            at += bytes.len() as u64;
            frames.extend(which.frame(bytes).encode());
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_stay_apart_and_in_their_order() {
        let mut ring = Ring::default();
        assert_eq!(ring.piece(0, 10), None);
        for (which, bytes) in
            [(Which::Out, "ab"), (Which::Out, "c"), (Which::Err, ""), (Which::Err, "de")]
        {
            ring.push(which, bytes.as_bytes());
        }
        assert_eq!(ring.piece(0, 2), Some((Which::Out, b"ab".to_vec())));
        assert_eq!(ring.piece(2, 9), Some((Which::Out, b"c".to_vec())));
        assert_eq!(ring.piece(3, 9), Some((Which::Err, b"de".to_vec())));
        assert_eq!(ring.piece(4, 9), Some((Which::Err, b"e".to_vec())));
        assert_eq!((ring.piece(5, 9), ring.piece(6, 9)), (None, None));
        let mut frames = Frame::Stdout(b"abc".to_vec()).encode();
        frames.extend(Frame::Stderr(b"de".to_vec()).encode());
        assert_eq!(ring.frames(9), frames);
    }

    #[test]
    fn the_first_bytes_are_lost_and_never_more_than_must_be() {
        let mut ring = Ring::default();
        ring.push(Which::Err, &[1; 100]);
        ring.push(Which::Out, &vec![2; BYTES - 50]);
        assert_eq!((ring.start(), ring.end()), (50, BYTES as u64 + 50));
        assert_eq!(ring.piece(49, 9), None, "it is lost");
        assert_eq!(ring.piece(50, 100), Some((Which::Err, vec![1; 50])));
        assert_eq!(ring.piece(100, 1), Some((Which::Out, vec![2])));
        ring.push(Which::Err, &vec![3; 2 * BYTES]);
        assert_eq!(ring.start(), ring.end() - BYTES as u64);
        assert_eq!(ring.piece(ring.start(), usize::MAX), Some((Which::Err, vec![3; BYTES])));
        assert_eq!(ring.runs.len(), 1);
    }

    #[test]
    fn streams_that_take_turns_take_no_more_memory() {
        let mut ring = Ring::default();
        for _ in 0..RUNS {
            ring.push(Which::Out, b"o");
            ring.push(Which::Err, b"e");
        }
        assert_eq!((ring.runs.len(), ring.bytes.len()), (RUNS, RUNS));
        assert_eq!(ring.piece(ring.start(), 9), Some((Which::Out, b"o".to_vec())));
        assert_eq!(ring.piece(ring.end() - 1, 9), Some((Which::Err, b"e".to_vec())));
    }
}
