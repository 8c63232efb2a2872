//! The requests that run on a connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::io::{AsyncRead, BufReader};
use tokio_util::sync::CancellationToken;
use vnode_protocol::frame::{self, TaggedReader};

use super::{
    incoming::{Ended, Incoming},
    writer::Outgoing,
};
use crate::error::{Error, Result};

/// Requests of one connection at a time; the agent takes no more.
const REQUESTS: usize = 16;
/// Frames for requests that nobody made, one after the other: what an earlier connection left is passed over.
const STRANGE: usize = 4096;

#[derive(Debug)]
pub(super) struct Table {
    state: Mutex<State>,
    over: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    next: u32,
    open: HashMap<u32, Arc<Incoming>>,
    /// Why the connection is over, and whether the guest broke the protocol.
    why: Option<(String, bool)>,
}

impl Table {
    /// Requests are numbered from `first` on.
    pub(super) fn new(first: u32) -> Self {
        let state = State { next: first, ..State::default() };
        Self { state: Mutex::new(state), over: CancellationToken::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    /// Ends the connection: every request that runs has failed.
    pub(super) fn fail(&self, why: String, broken: bool) {
        let open = {
            let mut state = self.state();
            if state.why.is_some() {
                return;
            }
            state.why = Some((why.clone(), broken));
            std::mem::take(&mut state.open)
        };
        for incoming in open.into_values() {
            incoming.end(Ended::Over { why: why.clone(), broken });
        }
        self.over.cancel();
    }

    /// A place for a new request, under a number that is free.
    pub(super) fn begin(&self, patience: Duration) -> Result<(u32, Arc<Incoming>)> {
        let stuck = {
            let mut state = self.state();
            if let Some((why, broken)) = &state.why {
                return Err(over(why, *broken));
            }
            if state.open.len() < REQUESTS {
                while state.open.contains_key(&state.next) {
                    state.next = state.next.wrapping_add(1);
                }
                let request = state.next;
                state.next = request.wrapping_add(1);
                let incoming = Arc::new(Incoming::new(request));
                state.open.insert(request, Arc::clone(&incoming));
                return Ok((request, incoming));
            }
            state.open.values().any(|open| open.given_up().is_some_and(|since| since > patience))
        };
        if stuck {
            let why = "it does not end what was given up".to_owned();
            self.fail(why.clone(), true);
            return Err(over(&why, true));
        }
        Err(Error::Busy)
    }

    fn find(&self, request: u32) -> Option<Arc<Incoming>> {
        self.state().open.get(&request).cloned()
    }

    fn end(&self, request: u32) {
        self.state().open.remove(&request);
    }

    /// Reads what comes, until the connection is over.
    pub(super) async fn read(self: Arc<Self>, from: impl AsyncRead + Unpin, outgoing: Outgoing) {
        let mut reader = TaggedReader::new(BufReader::with_capacity(16 << 10, from));
        let mut strange = 0;
        let over = self.over();
        let (why, broken) = loop {
            let tagged = tokio::select! {
                tagged = reader.next() => tagged,
                () = over.cancelled() => return,
            };
            let tagged = match tagged {
                Ok(Some(tagged)) => tagged,
                Ok(None) => break ("it closed the connection".to_owned(), false),
                Err(frame::Error::Io(error)) => break (error.to_string(), false),
                Err(error) => break (error.to_string(), true),
            };
            let Some(incoming) = self.find(tagged.request) else {
                strange += 1;
                if strange > STRANGE {
                    break ("it answers what nobody asked".to_owned(), true);
                }
                continue;
            };
            strange = 0;
            match incoming.take(tagged.frame, &outgoing) {
                Ok(true) => self.end(tagged.request),
                Ok(false) => {
                    if let Some(spare) = incoming.spare() {
                        reader.recycle(spare);
                    }
                }
                Err(what) => break (what, true),
            }
        };
        self.fail(why, broken);
    }
}

pub(super) fn over(why: &str, broken: bool) -> Error {
    if broken {
        Error::protocol(why)
    } else {
        Error::Closed(Some(std::io::Error::other(why.to_owned())))
    }
}
