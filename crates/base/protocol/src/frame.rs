//! Frames of a running command: what goes over the stream of `exec`, `shell` and `console`, and between the
//! host and the agent in a node.
//!
//! ```text
//!  kind (1 byte) │ length (4 bytes, big endian) │ payload (length bytes)
//! ```
//!
//! Where many requests share a connection (the agent's), the same frames are [tagged](Tagged) with the request's
//! number; see [`tagged`](self::tagged).
//!
//! Either side may be hostile: a length above [`MAX_PAYLOAD`], a kind that is not known and a stream that
//! ends inside a frame are errors, and nothing is allocated for a length before it is checked.

mod tagged;

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use tagged::{Tagged, TaggedReader, tagged_head};

/// Largest payload of a frame, bytes.
pub const MAX_PAYLOAD: usize = 256 * 1024;
/// Bytes of a request's stream that either side may send before the other's first [`Frame::Credit`].
pub const WINDOW: u32 = 64 * 1024;
/// Bytes before the payload.
const HEAD: usize = 5;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// To the program: bytes of its standard input.
    Stdin(Vec<u8>),
    /// To the program: its standard input ends.
    StdinEnd,
    /// To the program: a signal, by number.
    Signal(i32),
    /// To the program: the terminal's size in characters.
    Resize { rows: u16, columns: u16 },
    /// From the program: bytes of its standard output, or of its terminal.
    Stdout(Vec<u8>),
    /// From the program: bytes of its standard error.
    Stderr(Vec<u8>),
    /// From the program: it ended. The last frame.
    Exit(Exit),
    /// Instead of [`Frame::Exit`]: it could not be run to its end. JSON of the API's error form.
    Error(Vec<u8>),
    /// To the agent: begins a request. JSON: `{"command": NAME, "value": ...}`.
    Request(Vec<u8>),
    /// From the agent: the request is done. JSON of the command's result. The last frame of a request, as
    /// [`Frame::Exit`] and [`Frame::Error`] are.
    Response(Vec<u8>),
    /// From the agent: how far the request is. JSON.
    Progress(Vec<u8>),
    /// To the agent: gives the request up. It is answered all the same.
    Cancel,
    /// Bytes of a file.
    Data(Vec<u8>),
    /// The file's bytes end.
    DataEnd,
    /// The sender of this frame can take so many more bytes of the request's stream (stdin, stdout and stderr
    /// together, data).
    Credit(u32),
}

/// How a program ended: one of the two is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
}

impl Exit {
    /// As a shell gives it: the code, or 128 and the signal.
    pub fn shell_code(self) -> i32 {
        self.code.unwrap_or_else(|| 128 + self.signal.unwrap_or(0))
    }
}

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the stream broke off")]
    Io(#[from] io::Error),
    #[error("a frame of {length} bytes is longer than {MAX_PAYLOAD}")]
    TooLong { length: usize },
    #[error("kind {kind} of frame is not known")]
    Kind { kind: u8 },
    #[error("a frame of kind {kind} has {length} bytes")]
    Length { kind: u8, length: usize },
}

const STDIN: u8 = 1;
const STDIN_END: u8 = 2;
const SIGNAL: u8 = 3;
const RESIZE: u8 = 4;
const STDOUT: u8 = 17;
const STDERR: u8 = 18;
const EXIT: u8 = 19;
const ERROR: u8 = 20;
const REQUEST: u8 = 33;
const RESPONSE: u8 = 34;
const PROGRESS: u8 = 35;
const CANCEL: u8 = 36;
const DATA: u8 = 37;
const DATA_END: u8 = 38;
const CREDIT: u8 = 39;

impl Frame {
    /// The frame's bytes. A payload above [`MAX_PAYLOAD`] must have been cut before.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.with_payload(framed)
    }

    /// Calls `encode` with the kind's number and the payload.
    fn with_payload<T>(&self, encode: impl FnOnce(u8, &[u8]) -> T) -> T {
        match self {
            Self::Stdin(bytes) => encode(STDIN, bytes),
            Self::StdinEnd => encode(STDIN_END, &[]),
            Self::Signal(number) => encode(SIGNAL, &number.to_be_bytes()),
            Self::Resize { rows, columns } => {
                let ([a, b], [c, d]) = (rows.to_be_bytes(), columns.to_be_bytes());
                encode(RESIZE, &[a, b, c, d])
            }
            Self::Stdout(bytes) => encode(STDOUT, bytes),
            Self::Stderr(bytes) => encode(STDERR, bytes),
            Self::Exit(exit) => {
                let (kind, value) = match (exit.code, exit.signal) {
                    (Some(code), _) => (0, code),
                    (None, signal) => (1, signal.unwrap_or(0)),
                };
                let [a, b, c, d] = value.to_be_bytes();
                encode(EXIT, &[kind, a, b, c, d])
            }
            Self::Error(json) => encode(ERROR, json),
            Self::Request(json) => encode(REQUEST, json),
            Self::Response(json) => encode(RESPONSE, json),
            Self::Progress(json) => encode(PROGRESS, json),
            Self::Cancel => encode(CANCEL, &[]),
            Self::Data(bytes) => encode(DATA, bytes),
            Self::DataEnd => encode(DATA_END, &[]),
            Self::Credit(bytes) => encode(CREDIT, &bytes.to_be_bytes()),
        }
    }

    fn decode(kind: u8, payload: Vec<u8>) -> Result<Self, Error> {
        let odd = Error::Length { kind, length: payload.len() };
        match kind {
            STDIN => Ok(Self::Stdin(payload)),
            STDIN_END if payload.is_empty() => Ok(Self::StdinEnd),
            SIGNAL => match payload.try_into() {
                Ok(bytes) => Ok(Self::Signal(i32::from_be_bytes(bytes))),
                Err(_) => Err(odd),
            },
            RESIZE => match payload[..] {
                [a, b, c, d] => Ok(Self::Resize {
                    rows: u16::from_be_bytes([a, b]),
                    columns: u16::from_be_bytes([c, d]),
                }),
                _ => Err(odd),
            },
            STDOUT => Ok(Self::Stdout(payload)),
            STDERR => Ok(Self::Stderr(payload)),
            EXIT => match payload[..] {
                [0, a, b, c, d] => Ok(Self::Exit(Exit {
                    code: Some(i32::from_be_bytes([a, b, c, d])),
                    signal: None,
                })),
                [1, a, b, c, d] => Ok(Self::Exit(Exit {
                    code: None,
                    signal: Some(i32::from_be_bytes([a, b, c, d])),
                })),
                _ => Err(odd),
            },
            ERROR => Ok(Self::Error(payload)),
            REQUEST => Ok(Self::Request(payload)),
            RESPONSE => Ok(Self::Response(payload)),
            PROGRESS => Ok(Self::Progress(payload)),
            CANCEL if payload.is_empty() => Ok(Self::Cancel),
            DATA => Ok(Self::Data(payload)),
            DATA_END if payload.is_empty() => Ok(Self::DataEnd),
            CREDIT => match payload.try_into() {
                Ok(bytes) => Ok(Self::Credit(u32::from_be_bytes(bytes))),
                Err(_) => Err(odd),
            },
            STDIN_END | CANCEL | DATA_END => Err(odd),
            kind => Err(Error::Kind { kind }),
        }
    }
}

fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= MAX_PAYLOAD, "payloads are cut before they are framed");
    let length = u32::try_from(payload.len()).expect("payloads are cut before they are framed");
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Writes one frame with one write where the other side takes it at once; does not flush.
///
/// # Errors
/// As writing does.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    to.write_all(&frame.encode()).await
}

/// Reads one frame; `None` when the stream ends between two frames. Not cancel-safe: give it a task of
/// its own.
///
/// # Errors
/// What is not a frame, and as reading does.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>, Error> {
    let mut head = [0; HEAD];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_PAYLOAD {
        return Err(Error::TooLong { length });
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Frame::decode(kind, payload).map(Some)
}

/// Reads frames one after the other. Cancel-safe: a dropped [`FrameReader::next`] loses no byte, so it can
/// stand in a `select!`.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: R,
    /// Bytes read and not given out; never more than one frame and what came with it.
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that were given out.
    used: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), used: 0 }
    }

    /// The next frame; `None` when the stream ends between two frames.
    ///
    /// # Errors
    /// As [`read`]; the stream cannot be read on then.
    pub async fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some((frame, length)) = whole(&self.buffer[self.used..])? {
                self.used += length;
                return Ok(Some(frame));
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            self.buffer.reserve(16 << 10);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// The frame at the start of `bytes` and the bytes it takes; `None` when it is not all there.
fn whole(bytes: &[u8]) -> Result<Option<(Frame, usize)>, Error> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let [kind, length @ ..] = *head;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_PAYLOAD {
        return Err(Error::TooLong { length });
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    Ok(Some((Frame::decode(kind, payload.to_vec())?, HEAD + length)))
}

#[cfg(test)]
mod tests;
