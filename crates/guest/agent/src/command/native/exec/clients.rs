//! Who is attached to a keeper: what they are told, and what they send.
//!
//! Whoever connects to the keeper's socket sends one [`Ask`] as a request frame. [`Ask::Attach`] is answered with the frames
//! of a program: progress (from where on, and what is lost before it), output, exit; what comes meanwhile is its input.
//! Each client has its own place in what is kept, so that none waits for another and no byte goes astray.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::{UnixStream, unix::OwnedReadHalf},
    sync::{mpsc, watch},
    time::timeout,
};
use vnode_protocol::frame::{self, Exit, Frame, FrameReader};

use super::{
    program::Size,
    ring::{Ring, Which},
    streams::CHUNK,
};

/// How long who connects may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a keeper is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(super) enum Ask {
    /// For the output from a place on, and to take input.
    Attach {
        from: u64,
    },
    Signal {
        number: i32,
    },
    Resize(Size),
    /// To end the program; answered with its exit.
    End,
}

/// The request frame of an ask.
pub(super) fn asking(ask: &Ask) -> Frame {
    let value = serde_json::to_value(ask).unwrap_or(Value::Null);
    Frame::Request(value.to_string().into_bytes())
}

/// What clients are told of a program: its last output and, once it has ended, how.
#[derive(Debug)]
pub(super) struct Kept {
    state: Mutex<(Ring, Option<Exit>)>,
    changed: watch::Sender<()>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Kept {
    fn state(&self) -> MutexGuard<'_, (Ring, Option<Exit>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, which: Which, bytes: &[u8]) {
        self.state().0.push(which, bytes);
        self.changed.send_replace(());
    }

    /// All that is kept as frames, the place of its first byte, and that after the last.
    pub(super) fn all(&self) -> (Vec<u8>, u64, u64) {
        let state = self.state();
        (state.0.frames(CHUNK), state.0.start(), state.0.end())
    }

    pub(super) fn end(&self, exit: Exit) {
        self.state().1 = Some(exit);
        self.changed.send_replace(());
    }

    /// The next that a client at a place is to be told, and its place after that; `None`: nothing yet.
    fn next(&self, at: u64) -> Option<(Frame, u64)> {
        let state = self.state();
        let (ring, exit) = &*state;
        if at < ring.start() {
            let start = ring.start();
            return Some((progress(start, start - at), start));
        }
        match ring.piece(at, CHUNK) {
            Some((which, bytes)) => {
                let next = at + bytes.len() as u64;
                Some((which.frame(bytes), next))
            }
            None => exit.map(|exit| (Frame::Exit(exit), at)),
        }
    }
}

/// From where on the output comes that follows, and how many bytes before it are lost.
fn progress(from: u64, lost: u64) -> Frame {
    Frame::Progress(json!({ "from": from, "lost": lost }).to_string().into_bytes())
}

pub(super) type Inputs = mpsc::Sender<Option<Vec<u8>>>;

/// Serves one client.
pub(super) async fn serve(
    stream: UnixStream,
    kept: &Kept,
    inputs: &Inputs,
    controls: &mpsc::Sender<Ask>,
) -> Result<(), frame::Error> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let (from, mut to) = stream.into_split();
    let mut reader = FrameReader::new(from);
    let first = timeout(PATIENCE, reader.next()).await;
    let Ok(Some(Frame::Request(text))) = first.unwrap_or(Ok(None)) else { return Ok(()) };
    let ask = serde_json::from_slice(&text).map_err(std::io::Error::from)?;
    let at = match ask {
        Ask::Attach { from } => from,
        // Only the end.
        Ask::End => u64::MAX,
        Ask::Signal { .. } | Ask::Resize(_) => {
            if controls.send(ask).await.is_ok() {
                frame::write(&mut to, &Frame::Response(b"{}".to_vec())).await?;
            }
            return Ok(());
        }
    };
    if let Ask::End = ask {
        let _ = controls.send(ask).await;
    }
    tokio::select! {
        told = tell_all(kept, &mut to, at) => told?,
        came = take_input(&mut reader, inputs) => came?,
    }
    Ok(())
}

/// Tells a client all from a place on, to the program's end.
async fn tell_all(
    kept: &Kept,
    to: &mut (impl AsyncWrite + Unpin),
    mut at: u64,
) -> std::io::Result<()> {
    let end = kept.state().0.end();
    if at != u64::MAX {
        if at > end {
            let text = format!("the program has printed {end} bytes so far, fewer than {at}");
            return frame::write(to, &Frame::Error(text.into_bytes())).await;
        }
        let start = kept.state().0.start();
        frame::write(to, &progress(at.max(start), start.saturating_sub(at))).await?;
        at = at.max(start);
    }
    let mut changed = kept.changed.subscribe();
    loop {
        let next = if at == u64::MAX {
            kept.state().1.map(|exit| (Frame::Exit(exit), at))
        } else {
            kept.next(at)
        };
        match next {
            Some((frame, next)) => {
                frame::write(to, &frame).await?;
                at = next;
                if matches!(frame, Frame::Exit(_)) {
                    return to.flush().await;
                }
            }
            None => {
                if changed.changed().await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Takes a client's input until it goes.
async fn take_input(
    reader: &mut FrameReader<OwnedReadHalf>,
    inputs: &Inputs,
) -> Result<(), frame::Error> {
    while let Some(frame) = reader.next().await? {
        let input = match frame {
            Frame::Stdin(bytes) => Some(bytes),
            Frame::StdinEnd => None,
            _ => continue,
        };
        if inputs.send(input).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
