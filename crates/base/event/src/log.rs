//! The stream itself.
//!
//! ```text
//! append ─▶ number, ring of the unstored ─▶ live subscribers (in order of numbers)
//!                      │ flusher, batches
//!                      ▼
//!               store `event/<seq>`  ◀─ changes_for: with a state change, in its commit
//! ```
//!
//! Numbers survive a crash without a write for each: the store holds a ceiling that is durable before any
//! number near it is given out; after an unclean end the stream goes on above the ceiling.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, broadcast};
use vnode_store::{Change, Store, record};

use crate::{
    event::{Draft, Error, Event, Result},
    keeper::{Kept, keep_stored},
    subscription::Subscription,
};

pub(crate) const PREFIX: &str = "event/";
const CEILING: &str = "event-ceiling";
/// Numbers that one durable write of the ceiling pays for.
pub(crate) const CEILING_STEP: u64 = 1 << 20;
/// Events in one batch to the store, and in one page read from it.
pub(crate) const BATCH: usize = 512;
/// Events kept unstored when the store cannot write, at most; the oldest go first.
const UNSTORED: usize = 65_536;

/// How much is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Events kept, at most.
    pub keep_count: u64,
    /// Age up to which events are kept.
    pub keep_age: Duration,
    /// Events that live subscribers may lie behind; each takes some 40 bytes of memory from the beginning.
    pub backlog: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { keep_count: 50_000, keep_age: Duration::from_secs(30 * 24 * 3600), backlog: 2048 }
    }
}

/// Which events are wanted; empty prefixes want all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub subject_prefix: String,
    pub kind_prefix: String,
}

impl Filter {
    pub fn matches(&self, event: &Event) -> bool {
        event.subject.starts_with(&self.subject_prefix) && event.kind.starts_with(&self.kind_prefix)
    }
}

/// The event stream of one daemon. Cheap to share by `Arc`.
pub struct Log {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Options,
    state: Mutex<State>,
    live: broadcast::Sender<Arc<Event>>,
    wake: Arc<Notify>,
    /// Held by the one who stores.
    pub(crate) flushing: tokio::sync::Mutex<Kept>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("options", &self.options).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct State {
    /// The next number to give out.
    pub(crate) next: u64,
    /// Durable: numbers above it are not given out before it is raised.
    pub(crate) ceiling: u64,
    /// Events not known to be in the store, oldest first.
    pub(crate) unstored: VecDeque<Arc<Event>>,
    /// Numbers given out and not yet told, because one of them is only reserved (`None`).
    held_back: BTreeMap<u64, Option<Arc<Event>>>,
    /// Events that were thrown away unstored, since that was last logged.
    pub(crate) lost: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ceiling {
    pub(crate) ceiling: u64,
    /// The next number, when the daemon ended in order.
    pub(crate) next: Option<u64>,
}

impl Log {
    /// Opens the stream kept in `store`. Must be called in a tokio runtime, which then also stores the events.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn open(store: Arc<dyn Store>, options: Options) -> Result<Arc<Self>> {
        let failed = |doing| move |source| Error::Store { doing, source };
        let next = match store.get(CEILING).await.map_err(failed("find the end of"))? {
            None => 1,
            Some(entry) => {
                let kept: Ceiling =
                    record::decode(&entry.value, &[]).map_err(failed("find the end of"))?;
                kept.next.unwrap_or(kept.ceiling + 1)
            }
        };
        let ceiling = next + CEILING_STEP;
        let log = Arc::new(Self {
            live: broadcast::Sender::new(options.backlog),
            store,
            options,
            state: Mutex::new(State {
                next,
                ceiling,
                unstored: VecDeque::new(),
                held_back: BTreeMap::new(),
                lost: 0,
            }),
            wake: Arc::new(Notify::new()),
            flushing: tokio::sync::Mutex::new(Kept::default()),
        });
        log.write_ceiling(Ceiling { ceiling, next: None }).await?;
        tokio::spawn(keep_stored(Arc::downgrade(&log), Arc::clone(&log.wake)));
        Ok(log)
    }

    /// Appends one event: it is told to subscribers at once and stored within a second or so.
    pub fn append(
        &self,
        kind: impl Into<String>,
        subject: impl Into<String>,
        operation: Option<&str>,
        data: Value,
    ) -> Arc<Event> {
        self.append_draft(Draft {
            kind: kind.into(),
            subject: subject.into(),
            operation: operation.map(str::to_owned),
            data,
        })
    }

    /// As [`Log::append`].
    pub fn append_draft(&self, draft: Draft) -> Arc<Event> {
        let mut state = self.state();
        let event = state.number(draft);
        state.unstored.push_back(Arc::clone(&event));
        if state.unstored.len() > UNSTORED {
            state.unstored.pop_front();
            state.lost += 1;
        }
        if state.held_back.is_empty() {
            self.tell(&event);
        } else {
            state.held_back.insert(event.seq, Some(Arc::clone(&event)));
        }
        drop(state);
        self.wake.notify_one();
        event
    }

    /// Numbers events and gives the changes that store them, for a commit together with a change of state.
    /// Until the reservation is published or dropped, later events are held back from subscribers.
    ///
    /// # Errors
    /// When an event has no stored form.
    pub fn changes_for(self: &Arc<Self>, drafts: &[Draft]) -> Result<Reservation> {
        let mut state = self.state();
        let mut events = Vec::with_capacity(drafts.len());
        let mut changes = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let event = state.number(draft.clone());
            changes.push(change_of(&event)?);
            events.push(event);
        }
        for event in &events {
            state.held_back.insert(event.seq, None);
        }
        drop(state);
        Ok(Reservation { log: Arc::clone(self), events, changes })
    }

    /// At most `limit` events with numbers above `after` that `filter` wants, in order.
    ///
    /// # Errors
    /// When the store cannot be read, or holds a corrupt event.
    pub async fn read(&self, after: u64, limit: usize, filter: &Filter) -> Result<Vec<Arc<Event>>> {
        let mut found = Vec::new();
        let mut after = after;
        while found.len() < limit {
            let (page, end) = self.page(after).await?;
            let Some(end) = end else { break };
            after = end;
            let room = limit - found.len();
            found.extend(page.into_iter().filter(|event| filter.matches(event)).take(room));
        }
        Ok(found)
    }

    /// Replays the events above `after` and then follows; `None` begins with the next event.
    pub fn subscribe(self: &Arc<Self>, after: Option<u64>) -> Subscription {
        self.subscribe_to(after, Filter::default())
    }

    /// As [`Log::subscribe`], for the events that `filter` wants.
    pub fn subscribe_to(self: &Arc<Self>, after: Option<u64>, filter: Filter) -> Subscription {
        let state = self.state();
        let last = state.last_visible();
        let receiver = self.live.subscribe();
        drop(state);
        let after = after.unwrap_or(last);
        Subscription::new(Arc::downgrade(self), receiver, after, filter)
    }

    /// Number of the last event that readers may see; 0 when there is none.
    pub fn last_seq(&self) -> u64 {
        self.state().last_visible()
    }

    /// Stores what is not stored yet.
    ///
    /// # Errors
    /// When the store cannot be written; the events stay in memory.
    pub async fn flush(&self) -> Result<()> {
        let mut kept = self.flushing.lock().await;
        self.store_pending(&mut kept).await
    }

    /// Makes every event durable and notes an end in order. Events appended later are not promised.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn close(&self) -> Result<()> {
        self.flush().await?;
        let next = self.state().next;
        self.write_ceiling(Ceiling { ceiling: next + CEILING_STEP, next: Some(next) }).await
    }

    pub(crate) fn receiver(&self) -> broadcast::Receiver<Arc<Event>> {
        self.live.subscribe()
    }

    /// Up to a batch of events above `after`, and the number up to which there are no more; `None` when
    /// nothing lies above `after`.
    pub(crate) async fn page(&self, after: u64) -> Result<(Vec<Arc<Event>>, Option<u64>)> {
        // Memory first: an event that moves to the store meanwhile is then found twice, not missed.
        let (recent, visible) = {
            let state = self.state();
            let start = state.unstored.partition_point(|event| event.seq <= after);
            let recent: Vec<_> = state.unstored.iter().skip(start).take(BATCH).cloned().collect();
            (recent, state.last_visible())
        };
        let from = key_of(after.saturating_add(1));
        let stored = self
            .store
            .scan(PREFIX, &from, BATCH)
            .await
            .map_err(|source| Error::Store { doing: "read", source })?;
        let full = stored.len() == BATCH;
        let mut page = BTreeMap::new();
        for (_, entry) in &stored {
            let event: Event = record::decode(&entry.value, &[])
                .map_err(|source| Error::Store { doing: "read", source })?;
            page.insert(event.seq, Arc::new(event));
        }
        let end_of_stored = page.last_key_value().map(|(seq, _)| *seq);
        // Beyond a full page from memory there may be more in memory, and stored events beyond them.
        let end_of_recent = recent.last().filter(|_| recent.len() == BATCH).map(|event| event.seq);
        let visible = end_of_recent.map_or(visible, |end| end.min(visible));
        for event in recent {
            // Beyond a full page there may be stored events in between: they come with the next page.
            if !full || end_of_stored.is_some_and(|end| event.seq < end) {
                page.entry(event.seq).or_insert(event);
            }
        }
        let page: Vec<_> = page.into_values().filter(|event| event.seq <= visible).collect();
        let end = page.last().map(|event| event.seq);
        Ok((page, end))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // The critical sections do not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &Arc<Event>) {
        // An error says only that nobody listens.
        let _ = self.live.send(Arc::clone(event));
    }

    /// Ends the reservation of `events`; tells what was held back behind them.
    fn release(&self, events: &[Arc<Event>], published: bool) {
        let mut state = self.state();
        for event in events {
            if published {
                state.held_back.insert(event.seq, Some(Arc::clone(event)));
            } else {
                state.held_back.remove(&event.seq);
            }
        }
        while let Some(first) = state.held_back.first_entry() {
            match first.get() {
                Some(_) => {
                    if let Some(event) = first.remove() {
                        self.tell(&event);
                    }
                }
                None => break,
            }
        }
    }

    pub(crate) async fn write_ceiling(&self, ceiling: Ceiling) -> Result<()> {
        let failed = |source| Error::Store { doing: "note the end of", source };
        let value = record::encode(1, &ceiling).map_err(failed)?;
        self.store.commit(vec![Change::put(CEILING, value)]).await.map_err(failed)?;
        Ok(())
    }
}

impl State {
    fn number(&mut self, draft: Draft) -> Arc<Event> {
        let seq = self.next;
        self.next += 1;
        Arc::new(Event {
            seq,
            time: Timestamp::now(),
            kind: draft.kind,
            subject: draft.subject,
            operation: draft.operation,
            data: draft.data,
        })
    }

    fn last_visible(&self) -> u64 {
        let end = self.held_back.first_key_value().map_or(self.next, |(seq, _)| *seq);
        end - 1
    }
}

/// Numbered events whose changes wait to be committed.
#[derive(Debug)]
#[must_use = "publish it once its changes are committed"]
pub struct Reservation {
    log: Arc<Log>,
    events: Vec<Arc<Event>>,
    changes: Vec<Change>,
}

impl Reservation {
    /// The changes that store the events; empty at a second call.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Tells subscribers. Call it once the changes are committed.
    pub fn publish(mut self) -> Vec<Arc<Event>> {
        let events = std::mem::take(&mut self.events);
        self.log.release(&events, true);
        events
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Not published: the numbers stay unused.
        if !self.events.is_empty() {
            self.log.release(&self.events, false);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // So that the flusher sees that it may end.
        self.wake.notify_one();
    }
}

fn key_of(seq: u64) -> String {
    format!("{PREFIX}{seq:020}")
}

pub(crate) fn change_of(event: &Event) -> Result<Change> {
    let value =
        record::encode(1, event).map_err(|source| Error::Store { doing: "encode", source })?;
    Ok(Change::put(key_of(event.seq), value))
}
