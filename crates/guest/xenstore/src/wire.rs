//! Messages as bytes: a header of four words, then the payload (Xen's `xs_wire.h`).

use crate::error::Errno;

/// Bytes of a header.
pub const HEADER: usize = 16;
/// Most bytes of a payload, in either direction; the daemon drops who sends more.
pub const PAYLOAD_MAX: usize = 4096;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal),+ $(,)?) => {
        /// What a message asks for or answers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $variant = $number,)+
        }

        impl Kind {
            /// By its number on the wire.
            #[must_use]
            pub fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    Directory = 1,
    Read = 2,
    GetPerms = 3,
    Watch = 4,
    Unwatch = 5,
    TransactionStart = 6,
    TransactionEnd = 7,
    GetDomainPath = 10,
    Write = 11,
    Mkdir = 12,
    Rm = 13,
    SetPerms = 14,
    /// From the daemon only, with request id 0.
    WatchEvent = 15,
    /// From the daemon only: the name of an error.
    Error = 16,
    ResetWatches = 21,
    DirectoryPart = 22,
}

/// The words before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The number of a [`Kind`]; kept as a number, since the daemon knows more kinds than we.
    pub kind: u32,
    pub request: u32,
    /// 0 outside of transactions.
    pub transaction: u32,
    /// Bytes that follow.
    pub length: u32,
}

impl Header {
    #[must_use]
    pub fn decode(bytes: &[u8; HEADER]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self { kind: word(0), request: word(4), transaction: word(8), length: word(12) }
    }

    #[must_use]
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let words = [self.kind, self.request, self.transaction, self.length];
        for (at, word) in words.into_iter().enumerate() {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: u32,
    pub request: u32,
    pub transaction: u32,
    pub payload: Vec<u8>,
}

/// The stream cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes; at most {PAYLOAD_MAX} are allowed")]
pub struct Oversize {
    pub length: u32,
}

impl Message {
    #[must_use]
    pub fn new(kind: Kind, request: u32, transaction: u32, payload: Vec<u8>) -> Self {
        Self { kind: kind as u32, request, transaction, payload }
    }

    /// What the message is, when we know it.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_number(self.kind)
    }

    /// Takes the first whole message off `buffer`. `None`: more bytes are needed.
    ///
    /// # Errors
    /// When the header announces more than [`PAYLOAD_MAX`]: what follows cannot be told apart any more.
    pub fn take(buffer: &mut Vec<u8>) -> Result<Option<Self>, Oversize> {
        let Some(bytes) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let header = Header::decode(bytes);
        let length = header.length as usize;
        if length > PAYLOAD_MAX {
            return Err(Oversize { length: header.length });
        }
        if buffer.len() < HEADER + length {
            return Ok(None);
        }
        let payload = buffer[HEADER..HEADER + length].to_vec();
        buffer.drain(..HEADER + length);
        Ok(Some(Self {
            kind: header.kind,
            request: header.request,
            transaction: header.transaction,
            payload,
        }))
    }

    /// Header and payload. A payload of more than [`PAYLOAD_MAX`] bytes is for tests of who reads it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let header = Header {
            kind: self.kind,
            request: self.request,
            transaction: self.transaction,
            length: u32::try_from(self.payload.len()).unwrap_or(u32::MAX),
        };
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The error's name, when the message is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        (self.kind() == Some(Kind::Error)).then(|| Errno::from_name(first(&self.payload)))
    }
}

/// The bytes before the first NUL, or all.
#[must_use]
pub fn first(payload: &[u8]) -> &[u8] {
    payload.split(|b| *b == 0).next().unwrap_or(payload)
}

/// NUL-terminated strings as they follow each other: `a\0b\0`. What stands after the last NUL is left out.
pub fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = payload.iter().rposition(|b| *b == 0).unwrap_or(0);
    let whole = &payload[..end];
    whole.split(|b| *b == 0).take(if payload.contains(&0) { usize::MAX } else { 0 })
}

/// Each part followed by a NUL.
#[must_use]
pub fn terminated(parts: &[&str]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(parts.iter().map(|p| p.len() + 1).sum());
    for part in parts {
        payload.extend_from_slice(part.as_bytes());
        payload.push(0);
    }
    payload
}

/// A part of a long list: `DIRECTORY_PART`'s answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Changes with every change of the list.
    pub generation: Vec<u8>,
    pub names: Vec<String>,
    /// How far the next question's offset moves on, bytes.
    pub bytes: usize,
    /// Whether the list is whole with this.
    pub last: bool,
}

impl Part {
    /// `None` when the payload is not well-formed.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let cut = payload.iter().position(|b| *b == 0)?;
        let (generation, rest) = (&payload[..cut], &payload[cut + 1..]);
        if generation.is_empty() {
            return None;
        }
        let mut part =
            Self { generation: generation.to_vec(), names: Vec::new(), bytes: 0, last: false };
        for name in strings(rest) {
            if name.is_empty() {
                part.last = true;
                break;
            }
            part.names.push(String::from_utf8(name.to_vec()).ok()?);
            part.bytes += name.len() + 1;
        }
        (part.last || part.bytes > 0).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    /// The byte examples of the specification, section 1.4.
    #[test]
    fn the_examples_byte_by_byte() {
        let examples = [
            (
                Message::new(Kind::Read, 7, 0, terminated(&["data/host/abc"])),
                "0200000007000000000000000e000000646174612f686f73742f61626300",
            ),
            (
                Message::new(Kind::Read, 7, 0, br#"{"name":"version"}"#.to_vec()),
                "020000000700000000000000120000007b226e616d65223a2276657273696f6e227d",
            ),
            (
                Message::new(Kind::Error, 7, 0, terminated(&["ENOENT"])),
                "10000000070000000000000007000000454e4f454e5400",
            ),
            (
                Message::new(Kind::Write, 8, 0, b"data/guest/abc\0{}".to_vec()),
                "0b000000080000000000000011000000646174612f67756573742f616263007b7d",
            ),
            (
                Message::new(Kind::Watch, 9, 0, terminated(&["data/host", "tok"])),
                "0400000009000000000000000e000000646174612f686f737400746f6b00",
            ),
            (
                Message::new(Kind::WatchEvent, 0, 0, terminated(&["data/host/abc", "tok"])),
                "0f000000000000000000000012000000646174612f686f73742f61626300746f6b00",
            ),
            (
                Message::new(Kind::TransactionEnd, 10, 3, terminated(&["T"])),
                "070000000a00000003000000020000005400",
            ),
        ];
        for (message, bytes) in examples {
            assert_eq!(message.encode(), hex(bytes), "{message:?}");
            let mut buffer = hex(bytes);
            assert_eq!(Message::take(&mut buffer).unwrap(), Some(message));
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn an_error_is_known_by_its_name() {
        let mut buffer = hex("10000000070000000000000007000000454e4f454e5400");
        let message = Message::take(&mut buffer).unwrap().unwrap();
        assert_eq!(message.errno(), Some(Errno::NoEntry));
        let odd = Message::new(Kind::Error, 1, 0, terminated(&["EWHAT"]));
        assert_eq!(odd.errno(), Some(Errno::Other));
    }

    #[test]
    fn a_message_in_pieces_waits_for_its_end() {
        let whole = Message::new(Kind::Read, 1, 0, terminated(&["a"])).encode();
        for cut in 0..whole.len() {
            let mut buffer = whole[..cut].to_vec();
            assert_eq!(Message::take(&mut buffer).unwrap(), None);
            buffer.extend_from_slice(&whole[cut..]);
            assert!(Message::take(&mut buffer).unwrap().is_some());
        }
    }

    #[test]
    fn a_payload_beyond_the_limit_is_refused_before_it_is_read() {
        let header = Header { kind: 2, request: 1, transaction: 0, length: 4097 };
        let mut buffer = header.encode().to_vec();
        assert_eq!(Message::take(&mut buffer), Err(Oversize { length: 4097 }));
    }

    #[test]
    fn strings_stand_before_their_nul() {
        let all = |payload: &[u8]| strings(payload).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(all(b""), Vec::<Vec<u8>>::new());
        assert_eq!(all(b"a\0b\0"), [b"a", b"b"]);
        assert_eq!(all(b"a\0rest"), [b"a"]);
        assert_eq!(all(b"\0"), [b""]);
        assert_eq!(all(b"none"), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn parts_of_a_directory() {
        let part = Part::decode(b"17\0aa\0b\0").unwrap();
        assert_eq!(
            (part.names.as_slice(), part.bytes, part.last),
            (&["aa".into(), "b".into()][..], 5, false)
        );
        let part = Part::decode(b"17\0aa\0\0").unwrap();
        assert_eq!((part.bytes, part.last), (3, true));
        assert!(Part::decode(b"17\0\0").unwrap().last);
        assert_eq!(
            Part::decode(b"17\0"),
            None,
            "neither names nor an end: it would be asked for ever"
        );
        assert_eq!(Part::decode(b"17"), None);
        assert_eq!(Part::decode(b"\0a\0"), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            kind in 0u32..30, request: u32, transaction: u32,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let message = Message { kind, request, transaction, payload };
            let mut buffer = message.encode();
            buffer.extend_from_slice(b"next");
            prop_assert_eq!(Message::take(&mut buffer).unwrap(), Some(message));
            prop_assert_eq!(buffer, b"next");
        }
    }
}
