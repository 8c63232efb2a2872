//! The `events` timeline: what happens to links while the lab runs.

use serde::{Deserialize, Serialize};

use super::Span;

/// One thing that happens to a link or LAN member at a time after the lab is up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEvent {
    /// Microseconds after the lab came up.
    pub at_us: u64,
    pub target: Target,
    pub action: Action,
    /// Parameters to set, as [`Impairment::set`] takes them; others keep their values. Checked.
    ///
    /// [`Impairment::set`]: vnode_protocol::impairment::Impairment::set
    #[serde(default)]
    pub set: Vec<(String, String)>,
    #[serde(default)]
    pub span: Span,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Target {
    /// A link, by its identity as in [`Link::id`](super::Link::id); with `end` (`node:interface`)
    /// only what that end sends.
    Link { id: String, end: Option<String> },
    /// A LAN, or one of its members (`node:interface`).
    Network { name: String, member: Option<String> },
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing passes; the parameters are kept.
    Down,
    /// Passes again, with the parameters kept and those of `set`.
    Up,
    /// Parameters change.
    Set,
    /// Back to what the file declares.
    Reset,
}
