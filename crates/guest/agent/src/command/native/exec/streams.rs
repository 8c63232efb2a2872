//! Moving a program's bytes, between it and its client or the ring that keeps them.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::sleep,
};
use vnode_action::CancellationToken;
use vnode_protocol::frame::Frame;

use super::{clients::Kept, ring::Which};
use crate::parser::native::{Inbox, Input, Outbox};

/// Bytes read from a program at a time.
pub(super) const CHUNK: usize = 32 << 10;
/// How long we read on after the program has ended: only what left its group can still hold the pipes.
const DRAIN: Duration = Duration::from_millis(250);

/// Where a program's output goes.
pub(super) enum Sink<'a> {
    /// To the client, as frames like this one.
    Client(&'a Outbox, Frame),
    Kept(&'a Kept, Which),
}

impl Sink<'_> {
    /// Gives the memory back; `None`: nobody takes it any more.
    async fn take(&self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            // The connection is over, which ends the request.
            Self::Client(outbox, kind) => outbox.bytes(kind, bytes).await.ok(),
            Self::Kept(kept, which) => {
                kept.add(*which, &bytes);
                Some(bytes)
            }
        }
    }
}

/// Gives away what the program prints, to its end; once the program has `ended`, only what is there.
pub(super) async fn give(
    from: Option<impl AsyncRead + Unpin>,
    sink: Sink<'_>,
    ended: &CancellationToken,
) {
    let Some(mut from) = from else { return };
    let mut buffer = Vec::with_capacity(CHUNK);
    loop {
        buffer.clear();
        let late = async {
            ended.cancelled().await;
            sleep(DRAIN).await;
        };
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut buffer) => read,
            () = late => return,
        };
        match read {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot read what a program prints");
                return;
            }
        }
        match sink.take(std::mem::take(&mut buffer)).await {
            Some(back) => buffer = back,
            None => return,
        }
    }
}

/// Feeds the program what the client sends, and lets the client send as much again. Input that the program does
/// not want is taken and dropped.
pub(super) async fn feed(
    mut to: impl AsyncWrite + Unpin,
    inbox: &Inbox,
    outbox: &Outbox,
    closes: bool,
) {
    let mut wanted = true;
    while let Input::Bytes(bytes) = inbox.next_bytes().await {
        if wanted && to.write_all(&bytes).await.is_err() {
            wanted = false;
        }
        let length = bytes.len();
        inbox.recycle(bytes);
        if outbox.grant(inbox, length).await.is_err() {
            return;
        }
    }
    if !closes {
        // Kept open as long as the program runs.
        std::future::pending::<()>().await;
    }
}
