//! Keeping the agent's memory small: it lives in other people's machines.

use std::{sync::Arc, time::Duration};

use vnode_component::memory::let_go;

use crate::channel::Busy;

/// Has the allocator give back what large requests needed, and not make an arena for each thread. To be called first,
/// before there is a second thread.
pub fn bound_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets three numbers of the allocator; nobody allocates meanwhile, for there is one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 512 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 10);
    }
}

/// After this the start is over.
const SETTLE: Duration = Duration::from_secs(1);
/// Looked at so often while there are requests: after one to two of these without any, the next is not expected soon.
const QUIET: Duration = Duration::from_secs(5);

/// Lets go of the code that only the start needed, and whenever nobody has asked for a while, of what the requests
/// needed. An agent that nobody asks is not woken: this runs after the start, and once or twice after each time of
/// work.
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
