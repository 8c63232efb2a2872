//! Bytes that come in pieces.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
};

/// Reads pieces as they come; the end of the channel is the end of the file.
#[derive(Debug)]
pub(crate) struct Pieces {
    from: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    used: usize,
}

impl Pieces {
    pub(crate) fn new(from: mpsc::Receiver<io::Result<Vec<u8>>>) -> Self {
        Self { from, piece: Vec::new(), used: 0 }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.used == self.piece.len() {
            self.used = 0;
            self.piece = Vec::new();
            match ready!(self.from.poll_recv(cx)) {
                Some(piece) => self.piece = piece?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let rest = &self.piece[self.used..];
        let length = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..length]);
        self.used += length;
        Poll::Ready(Ok(()))
    }
}
