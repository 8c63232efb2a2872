//! Commands of the guest form.

use super::Command;

/// All of them.
pub fn all() -> Vec<Box<dyn Command>> {
    Vec::new()
}
