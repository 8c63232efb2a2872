//! The OpenStack agent's JSON form.

use std::sync::Arc;

use super::MessageParser;

/// The parser; `None` while it is not built in.
pub fn parser() -> Option<Arc<dyn MessageParser>> {
    None
}
