//! The QEMU guest agent's form.

use std::sync::Arc;

use super::StreamParser;

/// The parser; `None` while it is not built in.
pub fn parser() -> Option<Arc<dyn StreamParser>> {
    None
}
