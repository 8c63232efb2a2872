//! Counting what is being worked on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Counts what is being worked on, so that a stop can wait for it, and idleness be used.
#[derive(Debug, Default)]
pub struct Busy {
    running: AtomicUsize,
    begun: AtomicUsize,
    idle: Notify,
    begins: Notify,
}

/// One piece of work; done when dropped.
#[derive(Debug)]
pub struct BusyGuard(Arc<Busy>);

impl Busy {
    /// Begins a piece of work.
    pub fn enter(self: &Arc<Self>) -> BusyGuard {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.begins.notify_waiters();
        BusyGuard(Arc::clone(self))
    }

    /// How many pieces of work have been begun; wraps.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether nothing is worked on.
    pub fn is_idle(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }

    /// Returns when work has been begun since `seen` was asked for.
    pub async fn begins(&self, seen: usize) {
        loop {
            let begins = self.begins.notified();
            if self.begun() != seen {
                return;
            }
            begins.await;
        }
    }

    /// Returns when nothing is worked on.
    pub async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.is_idle() {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_told_of_when_it_begins_and_when_it_is_over() {
        let busy = Arc::new(Busy::default());
        let seen = busy.begun();
        busy.idle().await;
        let work = busy.enter();
        busy.begins(seen).await;
        assert!(!busy.is_idle());
        drop(work);
        busy.idle().await;
        assert_eq!(busy.begun(), seen + 1);
    }
}
