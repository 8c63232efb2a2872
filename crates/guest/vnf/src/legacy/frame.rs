//! Requests of the old byte protocol, in whatever pieces they come.
//!
//! A version byte, a byte that says what is wanted, and for most an array with one object. The array ends where its
//! brackets are even, outside of texts; clients quote those in either way.

use serde_json::{Map, Value};

/// Bytes of one request.
const MOST: usize = 1 << 20;

/// What is wanted.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    Status,
    Push(Map<String, Value>),
    Delete(Map<String, Value>),
    Execute(Map<String, Value>),
}

/// Why nothing more is understood on the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Unknown instructions were left without an answer.
    Silent,
    Told(&'static str),
}

/// How far the array has been looked at.
#[derive(Debug, Default)]
struct Scan {
    at: usize,
    depth: u32,
    quote: Option<u8>,
    escaped: bool,
}

impl Scan {
    /// The length of the array, once it is whole. Each byte is looked at once, however many pieces they come in.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(&byte) = bytes.get(self.at) {
            self.at += 1;
            match (self.quote, byte) {
                _ if self.escaped => self.escaped = false,
                (Some(_), b'\\') => self.escaped = true,
                (Some(quote), _) if quote == byte => self.quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => self.quote = Some(byte),
                (None, b'[' | b'{') => self.depth += 1,
                (None, b']' | b'}') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.at);
                    }
                }
                (None, _) => {}
            }
        }
        None
    }
}

/// What has come and is no whole request yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    scan: Scan,
}

impl Incoming {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole request.
    pub(super) fn next(&mut self) -> Result<Option<Asked>, Wrong> {
        // The version was never looked at.
        let Some(&instruction) = self.bytes.get(1) else { return Ok(None) };
        let of = match instruction {
            0x01 => {
                self.bytes.drain(..2);
                return Ok(Some(Asked::Status));
            }
            // As they were documented, and as they worked.
            0x10 | 0x16 => Asked::Push,
            0x11 | 0x17 => Asked::Delete,
            0x12 | 0x18 => Asked::Execute,
            _ => return Err(Wrong::Silent),
        };
        if self.bytes.get(2).is_some_and(|byte| *byte != b'[') {
            return Err(Wrong::Told("no array follows the instruction"));
        }
        let end = self.scan.end(&self.bytes[2..]);
        // One that came whole has no more room than one that comes in pieces.
        if end.map_or(self.bytes.len(), |end| 2 + end) > MOST {
            return Err(Wrong::Told("the request is too long"));
        }
        let Some(end) = end else { return Ok(None) };
        let array = self.bytes[2..2 + end].to_vec();
        self.bytes.drain(..2 + end);
        self.scan = Scan::default();
        parse(&array).map(|object| Some(of(object)))
    }
}

/// As it was sent; with the other quotes only if it is no JSON as it is.
fn parse(array: &[u8]) -> Result<Map<String, Value>, Wrong> {
    let read = |bytes: &[u8]| serde_json::from_slice::<[Map<String, Value>; 1]>(bytes).ok();
    let other = || {
        let turned: Vec<u8> =
            array.iter().map(|byte| if *byte == b'\'' { b'"' } else { *byte }).collect();
        read(&turned)
    };
    let found = read(array).or_else(other).map(|[object]| object);
    found.ok_or(Wrong::Told("what follows the instruction is no array with one object"))
}

/// What a client asked for in these pieces, to the first of which nothing more is understood.
fn all(pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<Result<Asked, Wrong>> {
    let (mut incoming, mut found) = (Incoming::default(), Vec::new());
    for piece in pieces {
        incoming.add(&piece);
        loop {
            match incoming.next() {
                Ok(Some(asked)) => found.push(Ok(asked)),
                Ok(None) => break,
                Err(wrong) => {
                    found.push(Err(wrong));
                    return found;
                }
            }
        }
        assert!(incoming.bytes.len() <= MOST, "more is kept than a request may have");
    }
    found
}

/// For the fuzzer: whatever comes, and however it is cut, the same is understood of it.
///
/// # Panics
/// When it is not so.
pub fn fuzz(bytes: &[u8]) {
    let whole = all([bytes.to_vec()]);
    assert_eq!(whole, all(bytes.iter().map(|byte| vec![*byte])));
    let half = bytes.len() / 2;
    assert_eq!(whole, all([bytes[..half].to_vec(), bytes[half..].to_vec()]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lg_02_lg_03_pieces_joined_requests_and_both_quotes() {
        let text: &[u8] =
            b"\x01\x18[{\"cmd\": \"echo 'a ]b' \\\"c\"}]\x01\x01\x09\x11[{'file': '/x]'}]\x01\x01";
        let once = all([text.to_vec()]);
        let bytewise = all(text.iter().map(|byte| vec![*byte]));
        assert_eq!(once, bytewise);
        let [
            Ok(Asked::Execute(run)),
            Ok(Asked::Status),
            Ok(Asked::Delete(delete)),
            Ok(Asked::Status),
        ] = &once[..]
        else {
            panic!("{once:?}");
        };
        assert_eq!(run["cmd"], "echo 'a ]b' \"c");
        assert_eq!(delete["file"], "/x]");
    }

    #[test]
    fn lg_02_what_is_no_request_ends_the_connection() {
        assert_eq!(all([b"\x01\x77".to_vec()]), [Err(Wrong::Silent)]);
        for text in [&b"\x01\x10x"[..], b"\x01\x10[]", b"\x01\x10[1]", b"\x01\x10[{},{}]"] {
            assert!(matches!(all([text.to_vec()])[..], [Err(Wrong::Told(_))]), "{text:?}");
        }
        let mut long = b"\x01\x10[\"".to_vec();
        long.resize(MOST + 2, b'x');
        assert!(matches!(all([long])[..], [Err(Wrong::Told("the request is too long"))]));
    }

    /// The fuzz target `vnf_legacy` holds the same, for longer.
    #[test]
    fn sy_01_whatever_comes_is_understood_however_it_is_cut() {
        let words: [&[u8]; 16] = [
            b"\x01\x01",
            b"\x01\x10",
            b"\x01\x18",
            b"\x01\x44",
            b"[",
            b"]",
            b"{",
            b"}",
            b"'",
            b"\"",
            b"\\",
            b"cmd",
            b":",
            b",",
            b"\xff",
            b"[{\"cmd\": \"a 'b' ]\"}]",
        ];
        // Any order of them, by the numbers of a simple generator.
        let mut state = 1_u64;
        for _ in 0..2000 {
            let mut bytes = Vec::new();
            for _ in 0..24 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                bytes.extend_from_slice(words[(state >> 60) as usize]);
            }
            fuzz(&bytes);
        }
    }
}
