//! Frames of many requests on one connection.
//!
//! ```text
//!  kind | 0x80 (1 byte) │ length (4 bytes) │ request (4 bytes) │ payload (length bytes)
//! ```
//!
//! All numbers are big endian. The client chooses a request's number; it names the request until its last frame
//! ([`Frame::Response`], [`Frame::Exit`] or [`Frame::Error`]) has come, and may then be used again.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Error, Frame, MAX_PAYLOAD};

/// Set in the kind of a tagged frame.
const TAGGED: u8 = 0x80;
/// Bytes before the payload.
const HEAD: usize = 9;

/// A frame of one of many requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The request's number.
    pub request: u32,
    pub frame: Frame,
}

impl Tagged {
    /// The frame's bytes. A payload above [`MAX_PAYLOAD`] must have been cut before.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.frame.with_payload(|kind, payload| {
            let mut bytes = Vec::with_capacity(HEAD + payload.len());
            bytes.extend_from_slice(&head(kind, self.request, payload.len()));
            bytes.extend_from_slice(payload);
            bytes
        })
    }
}

/// What stands before a payload of `length` bytes of a frame like `frame`, whose own payload is not looked at:
/// who has the payload elsewhere writes this and then the payload.
#[must_use]
pub fn tagged_head(request: u32, frame: &Frame, length: usize) -> [u8; HEAD] {
    frame.with_payload(|kind, _| head(kind, request, length))
}

fn head(kind: u8, request: u32, length: usize) -> [u8; HEAD] {
    debug_assert!(length <= MAX_PAYLOAD, "payloads are cut before they are framed");
    let length = u32::try_from(length).expect("payloads are cut before they are framed");
    let ([a, b, c, d], [e, f, g, h]) = (length.to_be_bytes(), request.to_be_bytes());
    [kind | TAGGED, a, b, c, d, e, f, g, h]
}

/// Reads tagged frames one after the other. Cancel-safe: a dropped [`TaggedReader::next`] loses no byte.
///
/// A payload is read into the memory it is given out in, once; give it back with [`TaggedReader::recycle`].
#[derive(Debug)]
pub struct TaggedReader<R> {
    from: R,
    head: [u8; HEAD],
    have: usize,
    payload: Vec<u8>,
    spare: Vec<u8>,
}

impl<R: AsyncRead + Unpin> TaggedReader<R> {
    /// Wrap what makes small reads expensive in a `BufReader`; large payloads pass it by.
    pub fn new(from: R) -> Self {
        Self { from, head: [0; HEAD], have: 0, payload: Vec::new(), spare: Vec::new() }
    }

    /// Memory for a payload to come. Keeps the largest.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > self.spare.capacity() && bytes.capacity() <= MAX_PAYLOAD {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// The next frame; `None` when the stream ends between two frames.
    ///
    /// # Errors
    /// What is not a frame, and as reading does; the stream cannot be read on then.
    pub async fn next(&mut self) -> Result<Option<Tagged>, Error> {
        while self.have < HEAD {
            match self.from.read(&mut self.head[self.have..]).await? {
                0 if self.have == 0 => return Ok(None),
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                read => self.have += read,
            }
            if self.head[0] & TAGGED == 0 {
                return Err(Error::Kind { kind: self.head[0] });
            }
        }
        let [kind, a, b, c, d, e, f, g, h] = self.head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let request = u32::from_be_bytes([e, f, g, h]);
        if length > MAX_PAYLOAD {
            return Err(Error::TooLong { length });
        }
        if self.payload.capacity() < length {
            // At most doubles what has really come: a length alone costs nobody memory.
            if self.spare.capacity() >= length {
                debug_assert!(self.payload.is_empty(), "memory is chosen before the payload comes");
                self.payload = std::mem::take(&mut self.spare);
            } else if self.payload.is_empty() {
                self.payload.reserve_exact(length.min(16 << 10));
            }
        }
        while self.payload.len() < length {
            if self.payload.len() == self.payload.capacity() {
                let more = (length - self.payload.len()).min(self.payload.len());
                self.payload.reserve_exact(more);
            }
            let mut limited = (&mut self.from).take((length - self.payload.len()) as u64);
            if limited.read_buf(&mut self.payload).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        self.have = 0;
        let frame = Frame::decode(kind & !TAGGED, std::mem::take(&mut self.payload))?;
        Ok(Some(Tagged { request, frame }))
    }
}
