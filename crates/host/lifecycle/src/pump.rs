//! From a capture, which blocks, to a stream, which does not.

use std::io::Read as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use vnode_network::capture::{Capture, Stopper};

/// Buffers on their way; a reader that does not read makes the kernel drop frames, which the capture counts.
const BUFFERS: usize = 16;
const BUFFER: usize = 256 << 10;

/// The stream of a capture. Dropping it ends the capture and its thread.
pub(crate) fn reader(mut capture: Capture) -> impl AsyncRead + Send {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Vec<u8>>>(BUFFERS);
    let stopper = capture.stopper();
    // A thread of its own: it sleeps in the kernel for as long as the capture lasts.
    let spawned = std::thread::Builder::new().name("capture".to_owned()).spawn(move || {
        loop {
            let mut buffer = vec![0; BUFFER];
            let item = match capture.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    buffer.truncate(length);
                    Ok(buffer)
                }
                Err(error) => Err(error),
            };
            let failed = item.is_err();
            if sender.blocking_send(item).is_err() || failed {
                return;
            }
        }
    });
    let failure = spawned.err();
    Pump { receiver, current: Vec::new(), at: 0, stopper, failure }
}

struct Pump {
    receiver: mpsc::Receiver<std::io::Result<Vec<u8>>>,
    current: Vec<u8>,
    at: usize,
    stopper: Stopper,
    failure: Option<std::io::Error>,
}

impl AsyncRead for Pump {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Some(error) = self.failure.take() {
            return Poll::Ready(Err(error));
        }
        if self.at == self.current.len() {
            match self.receiver.poll_recv(context) {
                Poll::Ready(Some(Ok(next))) => {
                    self.current = next;
                    self.at = 0;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        let length = buffer.remaining().min(self.current.len() - self.at);
        buffer.put_slice(&self.current[self.at..self.at + length]);
        self.at += length;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}
