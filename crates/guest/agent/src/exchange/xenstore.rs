//! The XenStore exchange.

use std::{path::PathBuf, time::Duration};

use super::MessageExchange;

/// The keys of a `[[channel]]` with `exchange = "xenstore"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The daemon's socket or the kernel's device; `None`: whichever is there.
    pub path: Option<PathBuf>,
    /// What paths are relative to, instead of the guest's home (R-X1).
    pub base: Option<String>,
    /// The slow poll beside the watch (R-X2); `None`: its default.
    pub poll: Option<Duration>,
}

/// The exchange; `None` while it is not built in.
pub fn exchange(_settings: &Settings) -> Option<Box<dyn MessageExchange>> {
    None
}
