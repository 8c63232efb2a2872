//! One piece of work, many who wait for it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Image, Inner, gc};
use crate::error::PullError;
use crate::progress::{Meter, PullProgress};
use crate::{Error, Progress, Reference, source};

/// Shortest time between two states told to a waiter.
const TICK: Duration = Duration::from_millis(100);

/// A pull under way.
pub(crate) struct Flight {
    done: Shared<BoxFuture<'static, Result<Image, Error>>>,
    progress: watch::Receiver<PullProgress>,
    cancel: CancellationToken,
    waiters: usize,
    number: u64,
}

/// One who waits. The last to leave cancels the work.
struct Waiter<'a> {
    inner: &'a Inner,
    key: String,
    number: u64,
}

impl Waiter<'_> {
    /// True when nobody else waits.
    fn cancels(&self) -> bool {
        let flights = self.inner.flights.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let flight = flights.get(&self.key).filter(|f| f.number == self.number);
        flight.is_some_and(|f| f.waiters == 1)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut flights =
            self.inner.flights.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(flight) = flights.get_mut(&self.key).filter(|f| f.number == self.number) {
            flight.waiters -= 1;
            if flight.waiters == 0 {
                // Cancelled work is not joined any more; work that is done does not mind.
                flight.cancel.cancel();
                flights.remove(&self.key);
            }
        }
    }
}

/// Waits for the image of `reference` to come in under `name`, starting the work unless it is under way.
pub(super) async fn join(
    inner: &Arc<Inner>,
    reference: Reference,
    name: String,
    progress: &dyn Progress,
    cancel: CancellationToken,
) -> Result<Image, Error> {
    let key = format!("{name} {reference}");
    let (done, mut states, waiter) = board(inner, key, reference, &name);
    let mut done = done.fuse();
    loop {
        tokio::select! {
            result = &mut done => return result,
            () = cancel.cancelled() => break,
            changed = states.changed() => {
                if changed.is_ok() {
                    // Copied out: whoever listens must not hold up the work.
                    let state = states.borrow_and_update().clone();
                    progress.update(&state);
                }
            }
        }
        tokio::select! {
            result = &mut done => return result,
            () = cancel.cancelled() => break,
            () = tokio::time::sleep(TICK) => {}
        }
    }
    let cancelled = waiter.cancels();
    drop(waiter);
    if cancelled {
        // The last to leave sees it end, so that nothing of it is left when the caller goes on.
        drop(done.await);
    }
    Err(Error::Cancelled { reference: name })
}

type Done = Shared<BoxFuture<'static, Result<Image, Error>>>;

fn board<'a>(
    inner: &'a Arc<Inner>,
    key: String,
    reference: Reference,
    name: &str,
) -> (Done, watch::Receiver<PullProgress>, Waiter<'a>) {
    let mut flights = inner.flights.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(flight) = flights.get_mut(&key) {
        // A finished one is of use only to those who waited for it: who asks now wants a new look at the source.
        if flight.done.peek().is_none() {
            flight.waiters += 1;
            let waiter = Waiter { inner, key, number: flight.number };
            return (flight.done.clone(), flight.progress.clone(), waiter);
        }
    }
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let (meter, states) = Meter::new();
    let cancel = CancellationToken::new();
    let work = work(inner.clone(), reference, name.to_owned(), meter, cancel.clone());
    let (failed, from) = (name.to_owned(), key.clone());
    // A task of its own, so that the one who began it may leave.
    let done = tokio::spawn(work)
        .map(move |result| match result {
            Ok(result) => result,
            // A panic, or a runtime that is shutting down.
            _ => {
                Err(Error::Pull { reference: failed, from, source: Arc::new(PullError::Panicked) })
            }
        })
        .boxed()
        .shared();
    let flight =
        Flight { done: done.clone(), progress: states.clone(), cancel, waiters: 1, number };
    flights.insert(key.clone(), flight);
    (done, states, Waiter { inner, key, number })
}

/// The work, and what it leaves when it fails: nothing.
async fn work(
    inner: Arc<Inner>,
    reference: Reference,
    name: String,
    meter: Meter,
    cancel: CancellationToken,
) -> Result<Image, Error> {
    let result = fetch_and_commit(&inner, reference, name, meter, cancel).await;
    if result.is_err() {
        // A panic there would be one of ours, and the error of the pull is already at hand.
        drop(tokio::task::spawn_blocking(move || gc::after_failure(&inner)).await);
    }
    result
}

async fn fetch_and_commit(
    inner: &Arc<Inner>,
    reference: Reference,
    name: String,
    meter: Meter,
    cancel: CancellationToken,
) -> Result<Image, Error> {
    let limit = inner.options.total_time;
    let from = match (&reference, reference.path()) {
        (_, Some(path)) => path.display().to_string(),
        (Reference::Registry(r), _) => r.registry.clone(),
        _ => String::new(),
    };
    let pull = source::pull(inner, &reference, &meter, &cancel);
    tokio::pin!(pull);
    let mut late = false;
    let pulled = tokio::select! {
        pulled = &mut pull => pulled,
        () = tokio::time::sleep(limit) => {
            // Not dropped: it is told to end, and awaited, so that nothing of it is left when the error is reported.
            late = true;
            cancel.cancel();
            pull.await
        }
    };
    let pulled = match pulled {
        Ok(pulled) => pulled,
        Err(_) if late => return Err(Error::TooSlow { reference: name, limit }),
        Err(_) if cancel.is_cancelled() => return Err(Error::Cancelled { reference: name }),
        Err(source) => {
            return Err(Error::Pull { reference: name, from, source: Arc::new(source) });
        }
    };
    meter.committing();
    let committer = inner.clone();
    let committed = tokio::task::spawn_blocking(move || committer.commit(pulled, &name)).await;
    match committed {
        Ok(result) => result,
        Err(_) => Err(Error::Pull {
            reference: reference.to_string(),
            from,
            source: Arc::new(PullError::Panicked),
        }),
    }
}
