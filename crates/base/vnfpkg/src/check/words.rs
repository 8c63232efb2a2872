//! What words a descriptor may use.

use serde_json::{Map, Value};

pub(super) fn has_event(map: &Map<String, Value>, event: &str) -> bool {
    let list = map.get("lifecycle_event").and_then(Value::as_array);
    list.into_iter().flatten().any(|item| item["event"] == event)
}

/// `512M` and the like.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Whether `name` may name a package.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

pub(super) fn is_process(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.trim() == name
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}

/// systemd.unit(5), of the types that have processes.
pub(super) fn is_unit(name: &str) -> bool {
    let stem = [".service", ".scope", ".slice"].iter().find_map(|end| name.strip_suffix(end));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() <= 255 && stem.is_some_and(|stem| !stem.is_empty() && stem.bytes().all(fits))
}

pub(super) fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(super) fn is_reserved(name: &str) -> bool {
    matches!(name, "PATH" | "IFS" | "BASH_ENV" | "ENV" | "SHELLOPTS")
        || ["LD_", "PYTHON", "VNF_"].iter().any(|start| name.starts_with(start))
}

/// Letters to change, put in or take out: for "did you mean".
pub(super) fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let kept = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = kept.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
