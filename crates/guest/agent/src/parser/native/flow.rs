//! The two directions of a request's stream, each with its credit.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, Semaphore};
use vnode_protocol::frame::{Frame, MAX_PAYLOAD, Tagged, WINDOW};

use super::{ParserError, writer::Writer};

/// Pieces shorter than this are put together, so that a window of single bytes costs no more than the window.
const SHORT: usize = 4096;
/// Signals and sizes that wait.
const CONTROLS: usize = 64;
/// Most bytes that a client may grant ahead.
const GRANTED: usize = 1 << 30;

/// What a client sends to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Bytes(Vec<u8>),
    End,
    Signal(i32),
    Resize { rows: u16, columns: u16 },
}

/// From the client to the command.
#[derive(Debug, Clone, Default)]
pub struct Inbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    bytes: Notify,
    controls: Notify,
}

impl Default for Inner {
    fn default() -> Self {
        let state = State { credit: WINDOW as usize, ..State::default() };
        Self { state: Mutex::new(state), bytes: Notify::new(), controls: Notify::new() }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Each with how many signals and sizes had come before it.
    pieces: VecDeque<(u64, Vec<u8>)>,
    ended: bool,
    controls: VecDeque<Input>,
    /// Signals and sizes that have come.
    came: u64,
    /// Of those, how many have been dealt with; `None`: nobody takes them.
    dealt_with: Option<u64>,
    /// What the client may still send.
    credit: usize,
    /// Memory of pieces that were consumed.
    spare: Vec<Vec<u8>>,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self, bytes: Vec<u8>) -> Result<(), &'static str> {
        let mut state = self.state();
        let Some(credit) = state.credit.checked_sub(bytes.len()) else {
            return Err("more bytes came than were granted");
        };
        state.credit = credit;
        if state.ended {
            return Err("bytes came after their end");
        }
        let came = state.came;
        match state.pieces.back_mut() {
            _ if bytes.is_empty() => {}
            Some((after, last)) if *after == came && bytes.len() < SHORT && last.len() < SHORT => {
                last.extend(bytes);
            }
            _ => state.pieces.push_back((came, bytes)),
        }
        drop(state);
        self.0.bytes.notify_one();
        Ok(())
    }

    pub(super) fn end(&self) {
        self.state().ended = true;
        self.0.bytes.notify_one();
    }

    pub(super) fn control(&self, input: Input) -> Result<(), &'static str> {
        let mut state = self.state();
        if state.controls.len() == CONTROLS {
            return Err("too many signals and sizes wait");
        }
        state.controls.push_back(input);
        state.came += 1;
        drop(state);
        self.0.controls.notify_one();
        Ok(())
    }

    pub(super) fn spare(&self) -> Option<Vec<u8>> {
        self.state().spare.pop()
    }

    /// The next [`Input::Bytes`] or [`Input::End`]. Cancel-safe; one waiter.
    ///
    /// Signals and sizes overtake bytes, which may wait for their program; bytes do not overtake them, where somebody takes
    /// both: what is typed after a terminal's size has changed is read by a program that knows the new one.
    pub async fn next_bytes(&self) -> Input {
        loop {
            {
                let mut state = self.state();
                let first = state.pieces.front().map_or(0, |(after, _)| *after);
                if state.dealt_with.is_none_or(|dealt_with| first <= dealt_with) {
                    if let Some((_, piece)) = state.pieces.pop_front() {
                        return Input::Bytes(piece);
                    }
                    if state.ended {
                        return Input::End;
                    }
                }
            }
            self.0.bytes.notified().await;
        }
    }

    /// The next signal or size. Cancel-safe; one waiter, which has dealt with one when it asks for the next.
    pub async fn next_control(&self) -> Input {
        loop {
            {
                let mut state = self.state();
                let taken = state.came - state.controls.len() as u64;
                if state.dealt_with.replace(taken) != Some(taken) {
                    self.0.bytes.notify_one();
                }
                if let Some(input) = state.controls.pop_front() {
                    return input;
                }
            }
            self.0.controls.notified().await;
        }
    }

    /// Gives a piece's memory back, for the next to come.
    pub fn recycle(&self, piece: Vec<u8>) {
        let mut state = self.state();
        if state.spare.len() < 2 && piece.capacity() > SHORT {
            state.spare.push(piece);
        }
    }

    fn grant(&self, bytes: u32) {
        self.state().credit += bytes as usize;
    }
}

/// From the command to the client.
#[derive(Debug, Clone)]
pub struct Outbox {
    request: u32,
    writer: Writer,
    credit: Arc<Semaphore>,
}

impl Outbox {
    pub(super) fn new(request: u32, writer: Writer) -> Self {
        Self { request, writer, credit: Arc::new(Semaphore::new(WINDOW as usize)) }
    }

    pub(super) fn credit(&self, bytes: u32) -> Result<(), &'static str> {
        let bytes = bytes as usize;
        if bytes > GRANTED || self.credit.available_permits() + bytes > GRANTED {
            return Err("more than a GiB is granted ahead");
        }
        self.credit.add_permits(bytes);
        Ok(())
    }

    pub(super) async fn last(&self, frame: Frame) -> Result<(), ParserError> {
        self.writer.send(Tagged { request: self.request, frame }).await
    }

    /// Tells how far the request is.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn progress(&self, value: &serde_json::Value) -> Result<(), ParserError> {
        self.last(Frame::Progress(value.to_string().into_bytes())).await
    }

    /// Sends the end of a file's bytes.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn data_end(&self) -> Result<(), ParserError> {
        self.last(Frame::DataEnd).await
    }

    /// Sends bytes as frames like `kind` (whose own payload is not looked at), as the client grants them; gives
    /// their memory back.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn bytes(&self, kind: &Frame, mut bytes: Vec<u8>) -> Result<Vec<u8>, ParserError> {
        if bytes.len() <= MAX_PAYLOAD && self.take_credit(bytes.len()) {
            return self.writer.send_bytes(self.request, kind, bytes).await;
        }
        let mut sent = 0;
        let mut piece = Vec::new();
        while sent < bytes.len() {
            let first = self.credit.acquire().await.map_err(|_| closed())?;
            first.forget();
            let want = (bytes.len() - sent).min(MAX_PAYLOAD);
            let more = self.credit.available_permits().min(want - 1);
            let more = if self.take_credit(more) { more } else { 0 };
            piece.clear();
            piece.extend_from_slice(&bytes[sent..=sent + more]);
            sent += more + 1;
            piece = self.writer.send_bytes(self.request, kind, piece).await?;
        }
        bytes.clear();
        Ok(bytes)
    }

    fn take_credit(&self, bytes: usize) -> bool {
        let Ok(bytes) = u32::try_from(bytes) else { return false };
        self.credit.try_acquire_many(bytes).map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    /// Lets the client send so many more bytes.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn grant(&self, inbox: &Inbox, bytes: usize) -> Result<(), ParserError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes == 0 {
            return Ok(());
        }
        inbox.grant(bytes);
        self.last(Frame::Credit(bytes)).await
    }
}

fn closed() -> ParserError {
    ParserError::Io(std::io::ErrorKind::BrokenPipe.into())
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// What is there without waiting.
    fn now(input: impl Future<Output = Input>) -> Option<Input> {
        match pin!(input).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(input) => Some(input),
            Poll::Pending => None,
        }
    }

    fn bytes(text: &[u8]) -> Option<Input> {
        Some(Input::Bytes(text.to_vec()))
    }

    const SIZE: Input = Input::Resize { rows: 3, columns: 4 };

    #[test]
    fn bytes_do_not_overtake_a_size_and_a_signal_overtakes_bytes() {
        let inbox = Inbox::default();
        assert_eq!(now(inbox.next_control()), None);
        inbox.bytes(b"a".to_vec()).unwrap();
        inbox.control(SIZE).unwrap();
        inbox.bytes(b"b".to_vec()).unwrap();
        inbox.end();
        assert_eq!(now(inbox.next_bytes()), bytes(b"a"));
        assert_eq!(now(inbox.next_bytes()), None, "the size has not been taken");
        assert_eq!(now(inbox.next_control()), Some(SIZE));
        assert_eq!(now(inbox.next_bytes()), None, "the size is being dealt with");
        assert_eq!(now(inbox.next_control()), None);
        assert_eq!(now(inbox.next_bytes()), bytes(b"b"));
        assert_eq!(now(inbox.next_bytes()), Some(Input::End));

        let inbox = Inbox::default();
        inbox.bytes(b"a".to_vec()).unwrap();
        inbox.control(Input::Signal(2)).unwrap();
        assert_eq!(now(inbox.next_control()), Some(Input::Signal(2)));
        assert_eq!(now(inbox.next_bytes()), bytes(b"a"));
    }

    #[test]
    fn bytes_of_a_request_that_takes_no_signals_wait_for_none() {
        let inbox = Inbox::default();
        inbox.control(SIZE).unwrap();
        inbox.bytes(b"a".to_vec()).unwrap();
        assert_eq!(now(inbox.next_bytes()), bytes(b"a"));
        inbox.end();
        assert_eq!(now(inbox.next_bytes()), Some(Input::End));
    }
}
