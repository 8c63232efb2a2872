//! The sending half of a connection: whole frames, one after the other.

use std::{io::IoSlice, time::Duration};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};
use vnode_protocol::frame::{Frame, Tagged, tagged_head};

use super::table::Table;
use crate::error::{Error, Result};

/// Frames that wait. Each is at most as large as a payload, and senders wait beyond them.
const QUEUE: usize = 4;

struct Item {
    head: [u8; 9],
    payload: Vec<u8>,
}

/// Hands frames to the task that writes them. A sender whose future is dropped leaves no half of a frame.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    queue: mpsc::Sender<Item>,
    /// Credits and cancellations: never waited for. There are no more of them than the guest has sent window's
    /// quarters, and one cancellation for each request.
    small: mpsc::UnboundedSender<Tagged>,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Item").field("length", &self.payload.len()).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Writes until the table's connection is over, or until the guest leaves a frame unread for longer than `stall`.
    pub(super) fn start(
        mut to: impl AsyncWrite + Unpin + Send + 'static,
        stall: Duration,
        table: std::sync::Arc<Table>,
    ) -> Self {
        let (queue, mut items) = mpsc::channel::<Item>(QUEUE);
        let (small, mut smalls) = mpsc::unbounded_channel::<Tagged>();
        tokio::spawn(async move {
            let over = table.over();
            loop {
                let wrote = tokio::select! {
                    biased;
                    () = over.cancelled() => break,
                    Some(tagged) = smalls.recv() => {
                        timeout(stall, write_small(&mut to, &tagged)).await
                    }
                    Some(item) = items.recv() => {
                        timeout(stall, write(&mut to, &item.head, &item.payload)).await
                    }
                };
                match wrote {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => table.fail(error.to_string(), false),
                    Err(_) => table.fail("it does not read what is written to it".to_owned(), true),
                }
            }
            // The guest is told that nothing more comes; one that is gone need not be.
            let _ = to.shutdown().await;
        });
        Self { queue, small }
    }

    pub(super) async fn send(&self, request: u32, frame: &Frame, payload: Vec<u8>) -> Result<()> {
        let head = tagged_head(request, frame, payload.len());
        self.queue.send(Item { head, payload }).await.map_err(|_| Error::Closed(None))
    }

    /// Never waits. A connection that is over takes nothing, and whoever asks hears it elsewhere.
    pub(super) fn send_small(&self, request: u32, frame: Frame) {
        let _ = self.small.send(Tagged { request, frame });
    }
}

async fn write_small(to: &mut (impl AsyncWrite + Unpin), tagged: &Tagged) -> std::io::Result<()> {
    to.write_all(&tagged.encode()).await?;
    to.flush().await
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
