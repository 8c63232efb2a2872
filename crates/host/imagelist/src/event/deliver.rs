//! Giving queued events to the handler.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use vnode_action::{Spec, run};
use vnode_store::{Change, Store};

use super::{Event, Queued, Session, enqueue};
use crate::waiting::{self, Waiting as _};

/// What is kept of a handler's output.
const OUTPUT_BYTES: usize = 4096;

/// A site's event command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// Run by `/bin/sh -c`, as the original does. Values of events are never part of it.
    pub command: String,
    /// The environment beside the event's variables.
    pub environment: Vec<(String, String)>,
    /// Longest time of one run; none by default, for registering an image takes minutes. Then TERM, ten seconds, KILL.
    pub time_limit: Option<Duration>,
    /// How often a failed event is offered again.
    pub retries: u32,
    /// Pause before the first of these; doubled for each.
    pub pause: SignedDuration,
}

impl Handler {
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            environment: vec![(
                "PATH".to_owned(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            )],
            time_limit: None,
            retries: 3,
            pause: SignedDuration::from_secs(10),
        }
    }
}

/// What became of the events that were due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    pub done: usize,
    pub failed: usize,
    /// Still in the queue, given up or not yet due.
    pub left: usize,
}

/// The queue of events in the store.
#[derive(Debug)]
pub struct Queue {
    store: Arc<dyn Store>,
    /// One event is given at a time.
    delivering: Mutex<()>,
}

impl Queue {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, delivering: Mutex::new(()) }
    }

    /// Stores events; durable on return.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn push(
        &self,
        session: &Session,
        events: impl IntoIterator<Item = Event>,
        now: Timestamp,
    ) -> Result<(), vnode_store::Error> {
        let changes = enqueue(session, events, now)?;
        if changes.is_empty() {
            return Ok(());
        }
        self.store.commit(changes).await.map(|_| ())
    }

    /// Events that were not delivered, oldest first: those that wait, and those given up.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn undelivered(&self) -> Result<Vec<Queued>, vnode_store::Error> {
        waiting::all(self.store.as_ref()).await
    }

    /// Offers given-up events again, with all their tries; gives their number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retry_given_up(&self, now: Timestamp) -> Result<usize, vnode_store::Error> {
        let _delivering = self.delivering.lock().await;
        waiting::retry_given_up::<Queued>(self.store.as_ref(), now).await
    }

    /// Runs the handler for each event that is due, one after the other. A failed one does not hold up the next.
    ///
    /// # Errors
    /// When the store fails; events whose end could not be written are offered again.
    pub async fn deliver(
        &self,
        handler: &Handler,
        now: impl Fn() -> Timestamp,
        cancellation: &CancellationToken,
    ) -> Result<Delivered, vnode_store::Error> {
        self.deliver_only(|_| true, handler, now, cancellation).await
    }

    /// As [`deliver`](Self::deliver), for the kinds that are this handler's.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    pub async fn deliver_only(
        &self,
        ours: impl Fn(super::Kind) -> bool,
        handler: &Handler,
        now: impl Fn() -> Timestamp,
        cancellation: &CancellationToken,
    ) -> Result<Delivered, vnode_store::Error> {
        let _delivering = self.delivering.lock().await;
        let mut delivered = Delivered::default();
        for mut event in self.undelivered().await?.into_iter().filter(|event| ours(event.kind)) {
            if !event.tries.is_due(now()) || cancellation.is_cancelled() {
                delivered.left += 1;
                continue;
            }
            event.tries.begin();
            let result = run_once(handler, &event, cancellation).await;
            if cancellation.is_cancelled() && result.is_err() {
                // Not the handler's fault: the try does not count.
                delivered.left += 1;
                continue;
            }
            match result {
                Ok(()) => {
                    self.store.commit(vec![Change::delete(event.key())]).await?;
                    delivered.done += 1;
                }
                Err(error) => {
                    tracing::error!(kind = %event.kind, attempt = event.tries.attempts, error, "an event handler failed");
                    event.tries.given_up = event.tries.attempts > handler.retries;
                    event.tries.failed(error, handler.pause, now());
                    self.store.commit(vec![waiting::put(&event)?]).await?;
                    delivered.failed += 1;
                    delivered.left += 1;
                }
            }
        }
        Ok(delivered)
    }
}

async fn run_once(
    handler: &Handler,
    event: &Queued,
    cancellation: &CancellationToken,
) -> Result<(), String> {
    let mut spec = Spec::new(["/bin/sh", "-c", &handler.command])
        .envs(handler.environment.iter().map(|(name, value)| (name, value)))
        .envs(event.environment.iter().map(|(name, value)| (name, value)))
        .capture(OUTPUT_BYTES)
        .grace(Duration::from_secs(10));
    if event.tries.attempts > 1 {
        spec = spec.env("VMCATCHER_EVENT_ATTEMPT", event.tries.attempts.to_string());
    }
    if let Some(limit) = handler.time_limit {
        spec = spec.time_limit(limit);
    }
    match run(spec, cancellation).await {
        Ok(output) if output.success() => Ok(()),
        Ok(output) => {
            let last = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes).into_owned();
                text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
            };
            let said = last(&output.stderr).or_else(|| last(&output.stdout));
            Err(said.map_or(output.status.to_string(), |said| format!("{}: {said}", output.status)))
        }
        Err(error) => Err(error.to_string()),
    }
}
