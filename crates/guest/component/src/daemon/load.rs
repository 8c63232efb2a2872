//! How much is waiting or running, who asked for it, and what is let go of when nothing is.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tracing::debug;
use zbus::Message;

use super::Shared;
use crate::{
    bus::names,
    definition::{EnvironmentKind, Model},
    memory,
    script::Caller,
};

/// Most calls that wait or run at one time, and bytes of their messages.
const MOST_CALLS: usize = 16_384;
const MOST_BYTES: usize = 256 << 20;
/// After so long without a call the start is over; and later, the next one is not expected soon.
const SETTLE: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(10);
/// Callers whose user is remembered.
const MOST_CALLERS: usize = 1024;

/// What is waiting or running, and who asked.
#[derive(Debug, Default)]
pub(super) struct Load {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    /// Calls since the start.
    begun: AtomicUsize,
    /// One began.
    called: Notify,
    callers: Mutex<HashMap<String, Caller>>,
}

impl Load {
    /// Lets go of code that is not used: once after the start, and after each time of work. Wakes nobody who sleeps.
    pub(super) async fn settle(&self) {
        let mut wait = SETTLE;
        loop {
            let seen = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(wait).await;
            let idle = self.calls.load(Ordering::Relaxed) == 0;
            if !idle || self.begun.load(Ordering::Relaxed) != seen {
                continue;
            }
            wait = QUIET;
            if let Err(error) = memory::let_go() {
                debug!(%error, "code that is not used stays in memory");
                return;
            }
            self.called.notified().await;
        }
    }

    /// On another bus the same names are other callers.
    pub(super) fn forget_callers(&self) {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A call's share of the load.
pub(super) struct Share {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Share {
    pub(super) fn take(shared: &Arc<Shared>, bytes: usize) -> Option<Self> {
        let load = &shared.load;
        let share = Self { shared: Arc::clone(shared), bytes };
        let calls = load.calls.fetch_add(1, Ordering::Relaxed);
        load.begun.fetch_add(1, Ordering::Relaxed);
        load.called.notify_one();
        let sum = load.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // One large message alone is always let in.
        (calls < MOST_CALLS && (sum <= MOST_BYTES || sum == bytes)).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shared.load.calls.fetch_sub(1, Ordering::Relaxed);
        self.shared.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Who asks, when the model wants to know.
pub(super) async fn caller(shared: &Arc<Shared>, message: &Message, model: &Model) -> Caller {
    if model.settings.environment() != EnvironmentKind::Extended {
        return Caller::default();
    }
    let header = message.header();
    let Some(sender) = header.sender() else { return Caller::default() };
    let callers = || shared.load.callers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(caller) = callers().get(sender.as_str()) {
        return *caller;
    }
    match names::credentials(&shared.bus(), sender.as_str()).await {
        Ok(caller) => {
            // The bus never gives a unique name twice, so what was remembered stays true.
            let mut callers = callers();
            if callers.len() >= MOST_CALLERS {
                callers.clear();
            }
            callers.insert(sender.to_string(), caller);
            caller
        }
        Err(error) => {
            debug!(%error, "a caller is gone before it was known");
            Caller::default()
        }
    }
}
