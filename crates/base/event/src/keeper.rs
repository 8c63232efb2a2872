//! Storing events as they come, and throwing old ones away.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Notify;
use vnode_store::{Change, record};

use crate::{
    event::{Error, Event, Result},
    log::{BATCH, CEILING_STEP, Ceiling, Log, PREFIX, change_of},
};

/// How long an event waits for others to be stored with.
const LINGER: Duration = Duration::from_millis(50);
/// How often events are looked through for old ones.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Prunings after which the events are counted anew.
const COUNT_ROUNDS: u32 = 16;

/// What the flusher knows of the stored events.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// How many there are, about; `None` before the first count.
    count: Option<u64>,
    since_counted: u32,
}

/// Stores events as they come, and prunes, until the log is gone.
pub(crate) async fn keep_stored(log: Weak<Log>, wake: Arc<Notify>) {
    let mut pruned: Option<tokio::time::Instant> = None;
    loop {
        // A timeout is a reason to prune by age.
        let woken = tokio::time::timeout(PRUNE_EVERY, wake.notified()).await.is_ok();
        if woken {
            tokio::time::sleep(LINGER).await;
        }
        let Some(log) = log.upgrade() else { return };
        let mut kept = log.flushing.lock().await;
        let mut result = log.store_pending(&mut kept).await;
        let many = kept.count.is_none_or(|count| {
            count > log.options.keep_count + log.options.keep_count / 8 + BATCH as u64
        });
        if result.is_ok() && (many || pruned.is_none_or(|at| at.elapsed() >= PRUNE_EVERY)) {
            result = log.prune(&mut kept).await;
            pruned = Some(tokio::time::Instant::now());
        }
        drop(kept);
        if let Err(error) = result {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "events wait in memory");
            drop(log);
            tokio::time::sleep(Duration::from_secs(1)).await;
            wake.notify_one();
        }
    }
}

impl Log {
    pub(crate) async fn store_pending(&self, kept: &mut Kept) -> Result<()> {
        let failed = |source| Error::Store { doing: "store", source };
        loop {
            let (batch, raise, lost) = {
                let mut state = self.state();
                let batch: Vec<_> = state.unstored.iter().take(BATCH).cloned().collect();
                let raise = state.next + CEILING_STEP / 2 > state.ceiling;
                let raise = raise.then_some(state.next + CEILING_STEP);
                (batch, raise, std::mem::take(&mut state.lost))
            };
            if lost > 0 {
                tracing::error!(
                    lost,
                    "events were thrown away: the store did not take them in time"
                );
            }
            if let Some(ceiling) = raise {
                self.write_ceiling(Ceiling { ceiling, next: None }).await?;
                self.state().ceiling = ceiling;
            }
            let Some(last) = batch.last().map(|event| event.seq) else { break };
            let changes = batch.iter().map(|event| change_of(event)).collect::<Result<Vec<_>>>()?;
            self.store.commit_lazily(changes).await.map_err(failed)?;
            let mut state = self.state();
            while state.unstored.front().is_some_and(|event| event.seq <= last) {
                state.unstored.pop_front();
            }
            drop(state);
            if let Some(count) = &mut kept.count {
                *count += batch.len() as u64;
            }
        }
        Ok(())
    }

    /// Deletes events that are too old or too many, a page at a time.
    async fn prune(&self, kept: &mut Kept) -> Result<()> {
        let failed = |source| Error::Store { doing: "prune", source };
        let mut count = match kept.count {
            // Events that went with other commits are not counted on the way, so count anew at times.
            Some(count) if kept.since_counted < COUNT_ROUNDS => {
                kept.since_counted += 1;
                count
            }
            _ => {
                let count = self.count().await?;
                kept.since_counted = 0;
                count
            }
        };
        let oldest = Timestamp::now() - jiff_span(self.options.keep_age);
        loop {
            let page = self.store.scan(PREFIX, "", BATCH).await.map_err(failed)?;
            let mut changes = Vec::new();
            for (key, entry) in &page {
                let excess = count - changes.len() as u64 > self.options.keep_count;
                let old = || match record::decode::<Event>(&entry.value, &[]) {
                    Ok(event) => event.time < oldest,
                    // Kept for whoever looks into it, until there are too many.
                    Err(_) => false,
                };
                if !excess && !old() {
                    break;
                }
                changes.push(Change::delete(key.clone()));
            }
            let deleted = changes.len();
            if deleted > 0 {
                self.store.commit_lazily(changes).await.map_err(failed)?;
                count -= deleted as u64;
            }
            if deleted < BATCH {
                break;
            }
        }
        kept.count = Some(count);
        Ok(())
    }

    async fn count(&self) -> Result<u64> {
        let failed = |source| Error::Store { doing: "count", source };
        let mut count = 0;
        let mut from = String::new();
        loop {
            let page = self.store.scan(PREFIX, &from, BATCH).await.map_err(failed)?;
            count += page.len() as u64;
            match page.last() {
                Some((key, _)) if page.len() == BATCH => from = format!("{key}\0"),
                _ => return Ok(count),
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A duration as jiff wants it; longer than a million years is as good as a million years.
fn jiff_span(duration: Duration) -> jiff::SignedDuration {
    let most = Duration::from_secs(100 * 365 * 24 * 3600);
    jiff::SignedDuration::try_from(duration.min(most)).unwrap_or(jiff::SignedDuration::ZERO)
}
