//! Following the stream.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use thiserror::Error;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    event::Event,
    log::{Filter, Log},
};

/// Why a subscription ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Ended {
    /// The subscriber was too slow and events went by. Subscribe again after `after`.
    #[error("the subscriber was too slow; subscribe again after event {after}")]
    Lagged { after: u64 },
    #[error("the event stream is closed")]
    Closed,
    #[error(transparent)]
    Read(#[from] crate::Error),
}

/// Follows the stream: first what is stored, then what happens. Gives each event once, in order.
#[derive(Debug)]
pub struct Subscription {
    log: Weak<Log>,
    receiver: broadcast::Receiver<Arc<Event>>,
    /// Number of the last event seen, wanted or not.
    after: u64,
    filter: Filter,
    replaying: bool,
    page: VecDeque<Arc<Event>>,
}

impl Subscription {
    pub(crate) fn new(
        log: Weak<Log>,
        receiver: broadcast::Receiver<Arc<Event>>,
        after: u64,
        filter: Filter,
    ) -> Self {
        Self { log, receiver, after, filter, replaying: true, page: VecDeque::new() }
    }

    /// Number of the last event given or passed over: where a new subscription goes on.
    pub fn position(&self) -> u64 {
        self.after
    }

    /// The next event. Cancel-safe: dropping the future loses no event.
    ///
    /// # Errors
    /// [`Ended::Lagged`] when events went by; [`Ended::Closed`] when the log is gone. Both are final.
    pub async fn next(&mut self) -> Result<Arc<Event>, Ended> {
        loop {
            while let Some(event) = self.page.pop_front() {
                self.after = event.seq;
                if self.filter.matches(&event) {
                    return Ok(event);
                }
            }
            if self.replaying {
                let log = self.log.upgrade().ok_or(Ended::Closed)?;
                // A new receiver first: it holds whatever comes after the page, and has not lagged.
                self.receiver = log.receiver();
                let (page, _) = log.page(self.after).await?;
                self.replaying = !page.is_empty();
                self.page = page.into();
                continue;
            }
            match self.receiver.recv().await {
                Ok(event) if event.seq <= self.after => {}
                Ok(event) => {
                    self.after = event.seq;
                    if self.filter.matches(&event) {
                        return Ok(event);
                    }
                }
                Err(RecvError::Lagged(_)) => return Err(Ended::Lagged { after: self.after }),
                Err(RecvError::Closed) => return Err(Ended::Closed),
            }
        }
    }
}
