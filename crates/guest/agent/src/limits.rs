//! What a client may take. With them all at their end, the agent stays below 16 MiB.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes behind one permit of a [`Budget`].
const UNIT: usize = 1024;

/// What one channel's clients may take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest request, bytes.
    pub request_bytes: usize,
    /// Largest response, bytes.
    pub response_bytes: usize,
    /// Connections served at a time.
    pub connections: usize,
    /// Deepest nesting of a request.
    pub depth: usize,
    /// Most values (members, elements, scalars) of a request.
    pub values: usize,
    /// How long a client may leave a response unread before it is cut.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 1 << 20,
            response_bytes: 1 << 20,
            connections: 8,
            depth: 64,
            values: 16 * 1024,
            stall: Duration::from_secs(30),
        }
    }
}

/// Why a text is not taken as a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    #[error("the request has {bytes} bytes; at most {limit} are taken")]
    TooLong { bytes: usize, limit: usize },
    #[error("the request is nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error("the request holds more than {limit} values")]
    TooMany { limit: usize },
    #[error("the request is not JSON")]
    Json(#[from] serde_json::Error),
}

impl Limits {
    /// Looks at a JSON text's size, depth and number of values, without memory of its own. A parser with its
    /// own grammar (single quotes) calls this first.
    ///
    /// # Errors
    /// When it is beyond a limit. What is no JSON may pass.
    pub fn check(&self, text: &[u8]) -> Result<(), Refused> {
        if text.len() > self.request_bytes {
            return Err(Refused::TooLong { bytes: text.len(), limit: self.request_bytes });
        }
        let (mut depth, mut values, mut quote, mut escaped) = (0usize, 1usize, None, false);
        for &byte in text {
            if let Some(end) = quote {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    _ if byte == end => quote = None,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' | b'\'' => quote = Some(byte),
                b'[' | b'{' => {
                    depth += 1;
                    values += 1;
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                b',' | b':' => values += 1,
                _ => {}
            }
            if depth > self.depth {
                return Err(Refused::TooDeep { limit: self.depth });
            }
            if values > self.values {
                return Err(Refused::TooMany { limit: self.values });
            }
        }
        Ok(())
    }

    /// Reads a JSON text within the limits.
    ///
    /// # Errors
    /// When it is beyond a limit or not JSON.
    pub fn parse(&self, text: &[u8]) -> Result<Value, Refused> {
        self.check(text)?;
        Ok(serde_json::from_slice(text)?)
    }
}

/// Memory that all channels share for what clients send and do not take. Small buffers need none; what grows
/// above 64 KiB reserves first, and waits while others hold all of it.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    bytes: usize,
}

/// Reserved memory, given back when dropped.
#[derive(Debug)]
pub struct Reservation(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes.div_ceil(UNIT))), bytes }
    }

    /// Waits until so many bytes are free. More than the whole budget is cut to the whole.
    ///
    /// # Panics
    /// Never: the semaphore is not closed.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let units = bytes.min(self.bytes).div_ceil(UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await;
        Reservation(permit.expect("the semaphore is never closed"))
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(4 << 20)
    }
}
