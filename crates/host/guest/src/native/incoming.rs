//! What comes for one request: two streams of bytes with their credit, and the end.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::{Notify, Semaphore},
};
use vnode_protocol::frame::{Exit, Frame, WINDOW};

use super::writer::Outgoing;
use crate::error::{Error, Result};

/// Pieces shorter than this are put together, so that a window of single bytes costs no more than the window.
const SHORT: usize = 4096;
/// Consumed bytes that are granted again in one frame.
const GRANT: usize = WINDOW as usize / 4;
/// Most bytes that a guest may grant ahead.
const GRANTED: usize = 1 << 30;
/// Frames of progress of one request.
const PROGRESS: usize = 1024;
/// Largest frame of progress, bytes.
const PROGRESS_BYTES: usize = 64 << 10;

/// How a request ended.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    Exit(Exit),
    Response(Vec<u8>),
    /// JSON of the agent's refusal.
    Error(Vec<u8>),
    /// The connection did: why, and whether the guest broke the protocol.
    Over {
        why: String,
        broken: bool,
    },
}

#[derive(Debug)]
pub(super) struct Incoming {
    request: u32,
    state: Mutex<State>,
    ended: Notify,
    progressed: Notify,
    /// What we may send.
    pub(super) credit: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    /// Standard output, or a file.
    out: Pipe,
    /// Standard error.
    err: Pipe,
    /// What the guest may still send.
    window: usize,
    /// Taken by readers and not yet granted again.
    consumed: usize,
    /// Memory of pieces that were consumed.
    spare: Vec<Vec<u8>>,
    /// The first frame of progress.
    progress: Option<Vec<u8>>,
    progresses: usize,
    /// Bytes of output that the agent had no more, as its progress tells.
    lost: u64,
    end: Option<Ended>,
    /// When it was given up.
    cancelled: Option<tokio::time::Instant>,
}

#[derive(Debug, Default)]
struct Pipe {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes at the start of the first piece that were read.
    used: usize,
    /// No more bytes come.
    ended: bool,
    /// Nobody reads it.
    dropped: bool,
    waker: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Out,
    Err,
}

/// How many bytes of output this progress says are lost; that of other requests says nothing of it.
fn lost(progress: &[u8]) -> u64 {
    #[derive(serde::Deserialize)]
    struct Progress {
        #[serde(default)]
        lost: u64,
    }
    serde_json::from_slice(progress).map_or(0, |Progress { lost }| lost)
}

impl Incoming {
    pub(super) fn new(request: u32) -> Self {
        let state = State { window: WINDOW as usize, ..State::default() };
        Self {
            request,
            state: Mutex::new(state),
            ended: Notify::new(),
            progressed: Notify::new(),
            credit: Semaphore::new(WINDOW as usize),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the guest send more than the first window.
    pub(super) fn grant(&self, bytes: u32, outgoing: &Outgoing) {
        self.state().window += bytes as usize;
        outgoing.send_small(self.request, Frame::Credit(bytes));
    }

    /// Takes a frame that came; `true`: it is the request's last. An error is the guest's fault.
    pub(super) fn take(&self, frame: Frame, outgoing: &Outgoing) -> Result<bool, String> {
        match frame {
            Frame::Stdout(bytes) | Frame::Data(bytes) => self.bytes(Which::Out, bytes, outgoing)?,
            Frame::Stderr(bytes) => self.bytes(Which::Err, bytes, outgoing)?,
            Frame::DataEnd => {
                let mut state = self.state();
                state.out.ended = true;
                state.out.wake();
            }
            Frame::Credit(bytes) => {
                let bytes = bytes as usize;
                if bytes == 0 || self.credit.available_permits() + bytes > GRANTED {
                    return Err(format!("it grants {bytes} bytes more"));
                }
                self.credit.add_permits(bytes);
            }
            Frame::Progress(json) => {
                let mut state = self.state();
                state.progresses += 1;
                if state.progresses > PROGRESS || json.len() > PROGRESS_BYTES {
                    return Err("it tells too much of a request's progress".to_owned());
                }
                state.lost = state.lost.saturating_add(lost(&json));
                if state.progress.is_none() {
                    state.progress = Some(json);
                    drop(state);
                    self.progressed.notify_one();
                }
            }
            Frame::Exit(exit) => {
                self.end(Ended::Exit(exit));
                return Ok(true);
            }
            Frame::Response(json) => {
                self.end(Ended::Response(json));
                return Ok(true);
            }
            Frame::Error(json) => {
                self.end(Ended::Error(json));
                return Ok(true);
            }
            _ => return Err("a frame came that only we send".to_owned()),
        }
        Ok(false)
    }

    fn bytes(&self, which: Which, bytes: Vec<u8>, outgoing: &Outgoing) -> Result<(), String> {
        let mut state = self.state();
        let State { out, err, window, consumed, spare, .. } = &mut *state;
        let pipe = if which == Which::Out { out } else { err };
        let length = bytes.len();
        // An empty piece would cost us work and the guest no credit.
        if length == 0 || pipe.ended {
            return Err("a stream goes on after its end, or with nothing".to_owned());
        }
        *window = window.checked_sub(length).ok_or("it sends more bytes than were granted")?;
        if pipe.dropped {
            *consumed += length;
            keep(spare, bytes);
        } else {
            match pipe.pieces.back_mut() {
                Some(last) if length < SHORT && last.len() < SHORT => last.extend(bytes),
                _ => pipe.pieces.push_back(bytes),
            }
            pipe.wake();
        }
        self.give_credit(&mut state, outgoing);
        Ok(())
    }

    fn give_credit(&self, state: &mut State, outgoing: &Outgoing) {
        if state.consumed >= GRANT && state.end.is_none() {
            let bytes = u32::try_from(state.consumed).unwrap_or(u32::MAX);
            state.consumed -= bytes as usize;
            state.window += bytes as usize;
            outgoing.send_small(self.request, Frame::Credit(bytes));
        }
    }

    /// Memory for the next payload.
    pub(super) fn spare(&self) -> Option<Vec<u8>> {
        self.state().spare.pop()
    }

    pub(super) fn end(&self, how: Ended) {
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        state.end = Some(how);
        state.out.wake();
        state.err.wake();
        drop(state);
        // Whoever waits for credit hears it too.
        self.credit.close();
        self.ended.notify_waiters();
        self.progressed.notify_one();
    }

    /// Waits for the end. Cancel-safe; any number may wait.
    pub(super) async fn wait(&self) -> Ended {
        loop {
            let mut told = std::pin::pin!(self.ended.notified());
            told.as_mut().enable();
            if let Some(end) = &self.state().end {
                return end.clone();
            }
            told.await;
        }
    }

    /// The first frame of progress; `None` when the request ended without. One waiter.
    pub(super) async fn progress(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut state = self.state();
                if let Some(json) = state.progress.take() {
                    return Some(json);
                }
                if state.end.is_some() {
                    return None;
                }
            }
            self.progressed.notified().await;
        }
    }

    /// Bytes of output that the agent had no more, so far.
    pub(super) fn lost(&self) -> u64 {
        self.state().lost
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().end.is_some()
    }

    /// Notes that nobody wants it any more; `false` when there is nothing to give up.
    pub(super) fn cancel(&self) -> bool {
        let mut state = self.state();
        if state.end.is_some() || state.cancelled.is_some() {
            return false;
        }
        state.cancelled = Some(tokio::time::Instant::now());
        true
    }

    /// How long ago it was given up, if it was.
    pub(super) fn given_up(&self) -> Option<std::time::Duration> {
        self.state().cancelled.map(|at| at.elapsed())
    }
}

fn keep(spare: &mut Vec<Vec<u8>>, piece: Vec<u8>) {
    if spare.len() < 2 && piece.capacity() > SHORT {
        spare.push(piece);
    }
}

/// The reader of one of the streams.
#[derive(Debug)]
pub(super) struct Stream {
    incoming: Arc<Incoming>,
    outgoing: Outgoing,
    which: Which,
    /// It ends with an end mark of its own: without one it is cut.
    marked: bool,
    /// What keeps the request running.
    _request: Option<super::Request>,
}

impl Stream {
    pub(super) fn output(incoming: &Arc<Incoming>, outgoing: &Outgoing, which: Which) -> Self {
        let (incoming, outgoing) = (Arc::clone(incoming), outgoing.clone());
        Self { incoming, outgoing, which, marked: false, _request: None }
    }

    /// A file's bytes; dropping it gives the request up.
    pub(super) fn file(request: super::Request) -> Self {
        let (incoming, outgoing) = (Arc::clone(request.incoming()), request.outgoing().clone());
        Self { incoming, outgoing, which: Which::Out, marked: true, _request: Some(request) }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut guard = self.incoming.state();
        let state = &mut *guard;
        let pipe = if self.which == Which::Out { &mut state.out } else { &mut state.err };
        let mut moved = 0;
        while let Some(piece) = pipe.pieces.front() {
            let rest = &piece[pipe.used..];
            let length = rest.len().min(buf.remaining());
            if length == 0 {
                break;
            }
            buf.put_slice(&rest[..length]);
            moved += length;
            pipe.used += length;
            if pipe.used == piece.len() {
                pipe.used = 0;
                if let Some(piece) = pipe.pieces.pop_front() {
                    keep(&mut state.spare, piece);
                }
            }
        }
        if moved > 0 || buf.remaining() == 0 {
            state.consumed += moved;
            self.incoming.give_credit(state, &self.outgoing);
            return Poll::Ready(Ok(()));
        }
        if pipe.ended {
            return Poll::Ready(Ok(()));
        }
        match &state.end {
            None => {
                pipe.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(_) if !self.marked => Poll::Ready(Ok(())),
            Some(end) => {
                let error = match super::ended(end.clone()) {
                    Ok(_) => Error::protocol("a file has no end mark"),
                    Err(error) => error,
                };
                Poll::Ready(Err(io::Error::other(error)))
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut guard = self.incoming.state();
        let state = &mut *guard;
        let pipe = if self.which == Which::Out { &mut state.out } else { &mut state.err };
        pipe.dropped = true;
        let held: usize = pipe.pieces.drain(..).map(|piece| piece.len()).sum();
        state.consumed += held - std::mem::take(&mut pipe.used);
        self.incoming.give_credit(state, &self.outgoing);
    }
}
