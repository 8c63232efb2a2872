//! Capabilities: names, sets, and what this process itself may give away.

use vnode_monitor::wire::Caps;
pub(super) use vnode_raw::capability::bit;

/// The sets a program is given: bounding, permitted and effective alike, inheritable and ambient empty.
pub(super) fn sets(bits: u64) -> Caps {
    Caps { bounding: bits, permitted: bits, effective: bits, inheritable: 0, ambient: 0 }
}

/// What this process may give away: its own bounding set.
pub(super) fn ours() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("CapBnd:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .unwrap_or(0)
}
