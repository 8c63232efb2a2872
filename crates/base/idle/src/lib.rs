//! A daemon that mostly waits, in other people's machines: what it works on is counted ([`Busy`]), and while that is
//! nothing, its memory is small ([`settle`]).

mod busy;
mod memory;

use std::{sync::Arc, time::Duration};

pub use busy::{Busy, BusyGuard};
pub use memory::{bound_allocator, let_go};

/// After this the start is over.
const SETTLE: Duration = Duration::from_secs(1);
/// Looked at so often while there is work: after one to two of these without any, the next is not expected soon.
const QUIET: Duration = Duration::from_secs(5);

/// Lets go of the code that only the start needed, and whenever nothing was worked on for a while, of what the work
/// needed. A daemon that nobody asks is not woken: this runs after the start, and once or twice after each time of work.
/// Ends only when the kernel will not have it.
pub async fn settle(busy: Arc<Busy>) {
    let mut wait = SETTLE;
    loop {
        let seen = busy.begun();
        tokio::time::sleep(wait).await;
        wait = QUIET;
        if busy.is_idle() && busy.begun() == seen {
            if let Err(error) = let_go() {
                tracing::debug!(%error, "code that is not used stays in memory");
                return;
            }
            busy.begins(seen).await;
        }
        busy.idle().await;
    }
}
