//! How much is waiting or running, and who asked for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tracing::debug;
use vnode_idle::{Busy, BusyGuard};
use zbus::Message;

use super::Shared;
use crate::{
    bus::names,
    definition::{EnvironmentKind, Model},
    script::Caller,
};

/// Most calls that wait or run at one time, and bytes of their messages.
const MOST_CALLS: usize = 16_384;
const MOST_BYTES: usize = 256 << 20;
/// Callers whose user is remembered.
const MOST_CALLERS: usize = 1024;

/// What is waiting or running, and who asked.
#[derive(Debug, Default)]
pub(super) struct Load {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    /// The same calls, for those who wait for the end of all.
    pub(super) busy: Arc<Busy>,
    callers: Mutex<HashMap<String, Caller>>,
}

impl Load {
    /// On another bus the same names are other callers.
    pub(super) fn forget_callers(&self) {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A call's share of the load.
pub(super) struct Share {
    shared: Arc<Shared>,
    bytes: usize,
    _busy: BusyGuard,
}

impl Share {
    pub(super) fn take(shared: &Arc<Shared>, bytes: usize) -> Option<Self> {
        let load = &shared.load;
        let share = Self { shared: Arc::clone(shared), bytes, _busy: load.busy.enter() };
        let calls = load.calls.fetch_add(1, Ordering::Relaxed);
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
