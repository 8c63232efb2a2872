//! YAML as far as network descriptions need it: into a JSON tree, bounded in size, depth and number of nodes.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::MAX_TEXT;
use crate::error::InputError;

/// Deepest nesting.
const MAX_DEPTH: usize = 32;
/// Most values, aliases followed.
const MAX_VALUES: usize = 100_000;

/// A collection whose end has not come yet.
enum Open {
    List { items: Vec<Value>, anchor: usize },
    Map { entries: Map<String, Value>, key: Option<String>, anchor: usize },
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    anchors: HashMap<usize, Value>,
    root: Option<Value>,
    values: usize,
}

/// Reads the first document of a text. An empty text is null.
pub(crate) fn parse(text: &[u8]) -> Result<Value, InputError> {
    if text.len() > MAX_TEXT {
        return Err(InputError::TooLong { most: MAX_TEXT });
    }
    let text = std::str::from_utf8(text)?;
    let mut builder = Builder::default();
    for next in Parser::new_from_str(text) {
        let (event, _) =
            next.map_err(|error| InputError::Yaml(crate::error::shown(&error.to_string())))?;
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        builder.event(event)?;
    }
    Ok(builder.root.unwrap_or(Value::Null))
}

fn refused(why: &str) -> InputError {
    InputError::Yaml(why.to_owned())
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), InputError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = if style == ScalarStyle::Plain {
                    plain(&text)
                } else {
                    Value::String(text.into_owned())
                };
                self.value(value, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(Open::List { items: Vec::new(), anchor })
            }
            Event::MappingStart(_, anchor, _) => {
                self.open(Open::Map { entries: Map::new(), key: None, anchor })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Open::List { items, anchor }) => self.value(Value::Array(items), anchor),
                Some(Open::Map { entries, anchor, .. }) => {
                    self.value(Value::Object(entries), anchor)
                }
                None => Ok(()),
            },
            Event::Alias(id) => {
                let value =
                    self.anchors.get(&id).cloned().ok_or_else(|| refused("an alias in itself"))?;
                self.values += count(&value);
                self.value(value, 0)
            }
            Event::UnresolvedAlias(_) => Err(refused("an alias without its anchor")),
            // The frame of stream and document, and comments.
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open) -> Result<(), InputError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(refused("nested too deep"));
        }
        self.stack.push(open);
        Ok(())
    }

    fn value(&mut self, value: Value, anchor: usize) -> Result<(), InputError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(refused("too many values"));
        }
        if anchor != 0 {
            self.values += count(&value);
            self.anchors.insert(anchor, value.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None => *key = Some(name(value)?),
                Some(key) => {
                    if entries.insert(key, value).is_some() {
                        return Err(refused("a key twice in one map"));
                    }
                }
            },
        }
        Ok(())
    }
}

/// Values in a tree.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn name(value: Value) -> Result<String, InputError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok("null".to_owned()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err(refused("a key that is a list or map")),
    }
}

/// What an unquoted value is: netplan and cloud-init read YAML 1.1, in which `yes` is a truth value.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        _ => {}
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Value::Bool(true),
        "false" | "no" | "off" => Value::Bool(false),
        lower => match lower.parse::<i64>() {
            Ok(number) if !lower.starts_with('+') => Value::from(number),
            _ => Value::String(text.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_becomes_a_tree() {
        let text = b"network:\n  version: 2\n  ethernets:\n    eth0: &a {dhcp4: yes, addresses: [10.0.0.1/8]}\n    eth1: *a\n";
        let tree = parse(text).unwrap();
        assert_eq!(tree["network"]["version"], 2);
        assert_eq!(tree["network"]["ethernets"]["eth1"]["dhcp4"], true);
        assert_eq!(tree["network"]["ethernets"]["eth0"]["addresses"][0], "10.0.0.1/8");
        assert_eq!(parse(b"").unwrap(), Value::Null);
        assert_eq!(parse(b"a: 52:54:00:12:34:56\n").unwrap()["a"], "52:54:00:12:34:56");
    }

    #[test]
    fn what_grows_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..9 {
            let before = format!("*a{}, ", n - 1).repeat(10);
            bomb += &format!("a{n}: &a{n} [{}]\n", before.trim_end_matches(", "));
        }
        assert!(parse(bomb.as_bytes()).is_err());
        assert!(parse("[".repeat(1000).as_bytes()).is_err());
        assert!(parse(b"\xff").is_err());
        assert!(parse(b"a: 1\na: 2\n").is_err());
    }
}
