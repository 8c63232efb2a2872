//! A value as QEMU writes it: ASCII only, a space after `:` and `,`.

use serde_json::{Map, Value};

/// Appends a value.
pub fn value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                self::value(out, item);
            }
            out.push(b']');
        }
        Value::Object(members) => object(out, members),
    }
}

fn object(out: &mut Vec<u8>, members: &Map<String, Value>) {
    out.push(b'{');
    for (index, (name, member)) in members.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        string(out, name);
        out.extend_from_slice(b": ");
        value(out, member);
    }
    out.push(b'}');
}

/// Appends a string in quotes.
pub fn string(out: &mut Vec<u8>, text: &str) {
    let plain = |b: u8| (0x20..0x7F).contains(&b) && b != b'"' && b != b'\\';
    out.push(b'"');
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.bytes().position(|b| !plain(b)).unwrap_or(rest.len());
        out.extend_from_slice(&rest.as_bytes()[..run]);
        rest = &rest[run..];
        let Some(char) = rest.chars().next() else { break };
        rest = &rest[char.len_utf8()..];
        match char {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{unit:04X}").as_bytes());
                }
            }
        }
    }
    out.push(b'"');
}

/// Bytes that a value takes at most when it is written: a character needs up to six of its own each.
pub fn length(value: &Value) -> usize {
    let of_string = |text: &str| {
        let plain = |b: &u8| (0x20..0x7F).contains(b);
        let others = text.bytes().filter(|b| !plain(b)).count();
        let escaped = text.bytes().filter(|b| matches!(b, b'"' | b'\\')).count();
        2 + text.len() + 5 * others + escaped
    };
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 32,
        Value::String(text) => of_string(text),
        Value::Array(items) => 2 + items.iter().map(|item| 2 + length(item)).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(name, item)| 4 + of_string(name) + length(item)).sum::<usize>()
        }
    }
}
