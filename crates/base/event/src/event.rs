//! One event, and what can go wrong with events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why events cannot be kept or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot {doing} the events")]
    Store {
        doing: &'static str,
        #[source]
        source: vnode_store::Error,
    },
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one or more with each event; names it for ever.
    pub seq: u64,
    pub time: Timestamp,
    /// `noun.past-verb`: `node.booted`.
    pub kind: String,
    /// What it happened to: `lab/first/node/r1`.
    pub subject: String,
    /// Id of the operation that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub kind: String,
    pub subject: String,
    pub operation: Option<String>,
    pub data: Value,
}

impl Draft {
    pub fn new(kind: impl Into<String>, subject: impl Into<String>) -> Self {
        Self { kind: kind.into(), subject: subject.into(), operation: None, data: Value::Null }
    }

    #[must_use]
    pub fn operation(mut self, id: impl ToString) -> Self {
        self.operation = Some(id.to_string());
        self
    }

    #[must_use]
    pub fn data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}
