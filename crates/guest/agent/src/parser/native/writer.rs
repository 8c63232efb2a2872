//! The writing half of a connection: whole frames, one after the other.

use std::{
    io::IoSlice,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt, WriteHalf},
    sync::{mpsc, oneshot},
    time::timeout,
};
use vnode_action::CancellationToken;
use vnode_protocol::frame::{Tagged, tagged_head};

use super::ParserError;
use crate::exchange::Io;

/// Frames that wait. Each is at most as large as a payload, and senders wait beyond them.
const QUEUE: usize = 4;

/// Hands frames to the task that writes them. A sender whose future is dropped leaves no half of a frame.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Item>,
    stalled: Arc<AtomicBool>,
}

struct Item {
    head: [u8; 9],
    payload: Vec<u8>,
    /// Gets the payload's memory back once it is written.
    back: Option<oneshot::Sender<Vec<u8>>>,
}

impl Writer {
    /// Writes until `over`, or until the peer leaves a frame unread for longer than `stall`: then it ends `over`.
    pub(super) fn start(
        mut to: WriteHalf<Box<dyn Io>>,
        stall: Duration,
        over: CancellationToken,
    ) -> Self {
        let (queue, mut items) = mpsc::channel::<Item>(QUEUE);
        let stalled = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stalled);
        tokio::spawn(async move {
            while let Some(Item { head, payload, back }) = items.recv().await {
                match timeout(stall, write(&mut to, &head, &payload)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "the peer takes no more");
                        break;
                    }
                    Err(_) => {
                        told.store(true, Ordering::Relaxed);
                        break;
                    }
                }
                if let Some(back) = back {
                    // Nobody wants it back: it goes.
                    let _ = back.send(payload);
                }
            }
            over.cancel();
        });
        Self { queue, stalled }
    }

    pub(super) fn stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    pub(super) async fn send(&self, tagged: Tagged) -> Result<(), ParserError> {
        let bytes = tagged.encode();
        let (head, payload) = bytes.split_at(9);
        let head = head.try_into().expect("every tagged frame has a head");
        self.put(Item { head, payload: payload.to_vec(), back: None }).await
    }

    /// Sends bytes without a copy; gives their memory back when they are written.
    pub(super) async fn send_bytes(
        &self,
        request: u32,
        kind: &vnode_protocol::frame::Frame,
        payload: Vec<u8>,
    ) -> Result<Vec<u8>, ParserError> {
        let (back, written) = oneshot::channel();
        let head = tagged_head(request, kind, payload.len());
        self.put(Item { head, payload, back: Some(back) }).await?;
        written.await.map_err(|_| gone())
    }

    async fn put(&self, item: Item) -> Result<(), ParserError> {
        self.queue.send(item).await.map_err(|_| gone())
    }
}

fn gone() -> ParserError {
    ParserError::Io(std::io::ErrorKind::BrokenPipe.into())
}

async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    head: &[u8],
    payload: &[u8],
) -> std::io::Result<()> {
    let mut written = 0;
    while written < head.len() {
        let slices = [IoSlice::new(&head[written..]), IoSlice::new(payload)];
        match to.write_vectored(&slices).await? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            more => written += more,
        }
    }
    to.write_all(&payload[written - head.len()..]).await?;
    to.flush().await
}
