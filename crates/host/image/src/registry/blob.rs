//! A blob as a stream of bytes that goes on where a broken transfer ended.

use std::io::{self, Read};

use futures_util::StreamExt;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Client, Endpoint, Error, Request};
use crate::digest::Digest;

/// Pieces on the way between the network and the unpacking thread; each is one read of the socket.
const PIECES: usize = 16;
/// Tries of one blob in all, those that brought something included.
const ATTEMPTS_IN_ALL: u32 = 100;

/// The reading side, for a thread that may block. Ends early, with an error, when the transfer fails.
#[derive(Debug)]
pub(crate) struct BlobStream {
    pieces: mpsc::Receiver<Option<Bytes>>,
    current: Bytes,
    ended: bool,
}

impl Read for BlobStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.current = piece,
                Some(None) => self.ended = true,
                // The sender went without the end mark; its own error says why.
                None => return Err(io::Error::other("the transfer failed")),
            }
        }
        let n = buf.len().min(self.current.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

impl Client {
    /// The two halves of a transfer: the stream to be read by a blocking thread, and the work that feeds it.
    ///
    /// `size` is what the manifest says, and not a byte more is passed on. `received` is told of each piece. The
    /// content is not verified here: whoever reads the stream hashes it.
    pub(crate) fn blob<'a>(
        &'a self,
        endpoints: &'a [Endpoint],
        repository: &'a str,
        digest: Digest,
        size: u64,
        cancel: &'a CancellationToken,
        received: impl Fn(u64) + Send + Sync + 'a,
    ) -> (BlobStream, impl Future<Output = Result<(), Error>> + Send + 'a) {
        let (sender, pieces) = mpsc::channel(PIECES);
        let stream = BlobStream { pieces, current: Bytes::new(), ended: false };
        let feed = async move {
            let request = Request {
                repository,
                path: format!("blobs/{digest}"),
                what: format!("layer {digest}"),
            };
            let mut transfer =
                Transfer { client: self, request, size, offset: 0, sender, received: &received };
            tokio::select! {
                result = transfer.run(endpoints, cancel) => result,
                () = cancel.cancelled() => Err(Error::Cancelled),
            }
        };
        (stream, feed)
    }
}

struct Transfer<'a> {
    client: &'a Client,
    request: Request<'a>,
    size: u64,
    /// Bytes passed on.
    offset: u64,
    sender: mpsc::Sender<Option<Bytes>>,
    received: &'a (dyn Fn(u64) + Send + Sync),
}

impl Transfer<'_> {
    async fn run(
        &mut self,
        endpoints: &[Endpoint],
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let mut last = None;
        let mut in_all = 0;
        for endpoint in endpoints {
            let mut attempt = 1;
            loop {
                let before = self.offset;
                in_all += 1;
                let error = match self.once(endpoint, attempt).await {
                    Ok(()) => {
                        // A reader that is gone has its own error.
                        drop(self.sender.send(None).await);
                        return Ok(());
                    }
                    Err(e) => e,
                };
                if self.offset > before {
                    attempt = 1;
                } else {
                    attempt += 1;
                }
                let again = attempt <= self.client.0.options.attempts && in_all < ATTEMPTS_IN_ALL;
                if !error.may_pass() || !again {
                    tracing::info!(endpoint = %endpoint.name, %error, "transfer given up");
                    last = Some(error);
                    break;
                }
                self.client.pause(attempt.saturating_sub(1).max(1), &error, cancel).await?;
            }
        }
        Err(last.unwrap_or(Error::Cancelled))
    }

    /// One request; what it brings is passed on, whether it ends well or not.
    async fn once(&mut self, endpoint: &Endpoint, attempt: u32) -> Result<(), Error> {
        let what = self.request.what.clone();
        // A server that mishandles ranges is asked for the whole the second time.
        let from = if attempt.is_multiple_of(2) { 0 } else { self.offset };
        let response = self.client.get(endpoint, &self.request, from).await?;
        let mut skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let start =
                    response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).and_then(
                        |v| v.strip_prefix("bytes ")?.split_once('-')?.0.parse::<u64>().ok(),
                    );
                if start != Some(from) {
                    return Err(self.truncated(endpoint, attempt));
                }
                self.offset - from
            }
            // The whole, although a part was asked for.
            _ => self.offset,
        };
        let mut stream = response.bytes_stream();
        loop {
            let next = self.client.unless_stalled(endpoint, &what, stream.next()).await?;
            let Some(piece) = next else { break };
            let Ok(mut piece) = piece else { return Err(self.truncated(endpoint, attempt)) };
            if skip > 0 {
                let n = skip.min(piece.len() as u64);
                skip -= n;
                drop(piece.split_to(n as usize));
            }
            if piece.is_empty() {
                continue;
            }
            let length = piece.len() as u64;
            if self.offset + length > self.size {
                return Err(Error::TooLarge {
                    registry: endpoint.name.clone(),
                    what,
                    limit: self.size,
                });
            }
            if self.sender.send(Some(piece)).await.is_err() {
                // The reader has given up, and says why.
                return Err(Error::Cancelled);
            }
            self.offset += length;
            (self.received)(length);
        }
        if self.offset < self.size {
            return Err(self.truncated(endpoint, attempt));
        }
        Ok(())
    }

    fn truncated(&self, endpoint: &Endpoint, attempts: u32) -> Error {
        Error::Truncated {
            registry: endpoint.name.clone(),
            what: self.request.what.clone(),
            received: self.offset,
            expected: self.size,
            attempts,
        }
    }
}
