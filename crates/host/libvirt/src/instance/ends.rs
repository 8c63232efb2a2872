//! How a domain's run ended, and when a reboot is the same as the last.

use vnode_driver::{Ended, Exit};

use crate::kept::Kept;

pub(super) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whether a reboot is told that was told already: QEMU resets a machine's parts one after the other, and libvirt tells of each.
pub(super) fn reset_lately(kept: &Kept) -> bool {
    /// No machine gets through its firmware twice in this time, milliseconds.
    const ONE_RESET: u64 = 2000;
    let last = kept.last_exit.filter(|exit| exit.ended == Ended::Reboot);
    last.is_some_and(|exit| now().saturating_sub(exit.at_unix_ms) < ONE_RESET)
}

/// `virDomainShutoffReason`: powered off inside, and from outside.
const SHUTDOWN: i32 = 1;
pub(super) const DESTROYED: i32 = 2;

/// Why a domain stopped, from `virDomainShutoffReason`.
pub(super) fn exit(reason: Option<i32>) -> Exit {
    let (ended, code, signal) = match reason {
        Some(SHUTDOWN) => (Ended::Poweroff, None, None),
        Some(DESTROYED) => (Ended::Killed, None, Some(libc::SIGKILL)),
        // The guest crashed, or the hypervisor did.
        Some(3) => (Ended::Killed, None, Some(libc::SIGABRT)),
        Some(6) => (Ended::Exited, Some(1), None),
        // Migrated, saved, replaced by a snapshot; or nobody saw it.
        _ => (Ended::Unknown, None, None),
    };
    Exit { ended, code, signal, at_unix_ms: now(), oom_killed: false }
}
