//! Texts that come from a guest.

use serde_json::Value;

/// Longest text of a guest that is passed on, bytes.
const MOST: usize = 4096;

/// A text as it may be shown: cut, and without control characters, which a terminal would obey.
pub(crate) fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(MOST);
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The text under `name`, as it may be shown.
pub(crate) fn member(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(shown)
}
