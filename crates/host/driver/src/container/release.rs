//! Overlays of nodes that are gone, let go of where nobody waits.
//!
//! The end of an overlay syncs the whole file system of its upper layer: on a machine that has just written much, that
//! takes seconds, and meanwhile nothing can be removed from it. Of a node that was destroyed nothing is left to be
//! synced, so its monitor hands the overlay's root over with its last answer, the folder is removed, and the roots of
//! all that were destroyed together are closed here afterwards: after the first sync there is little left for the
//! others. When the daemon is killed before, the kernel closes them.

use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Roots are closed when none has come for this long.
const QUIET: Duration = Duration::from_millis(100);
/// Roots that are held at most.
const MOST: usize = 256;

/// What is still held, and whether a thread is about to close it.
struct Queue {
    held: Vec<OwnedFd>,
    closing: bool,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { held: Vec::new(), closing: false });
static ARRIVED: Condvar = Condvar::new();

/// Closes a root, the last to be held, on a thread of its own.
pub(super) fn later(root: OwnedFd) {
    {
        let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
        queue.held.push(root);
        ARRIVED.notify_one();
        if std::mem::replace(&mut queue.closing, true) {
            return;
        }
    }
    let thread = std::thread::Builder::new().name("vnode-release".to_owned()).stack_size(64 * 1024);
    if thread.spawn(close_all).is_err() {
        // Then whoever asked waits.
        close_all();
    }
}

fn close_all() {
    loop {
        let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let before = queue.held.len();
            let waited = ARRIVED.wait_timeout(queue, QUIET);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if queue.held.len() == before || queue.held.len() >= MOST {
                break;
            }
        }
        let roots = std::mem::take(&mut queue.held);
        if roots.is_empty() {
            queue.closing = false;
            return;
        }
        drop(queue);
        drop(roots);
    }
}
