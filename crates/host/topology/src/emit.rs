//! Writes YAML that reads back as what was meant, by our parser and by containerlab's.

use std::fmt::Write as _;

/// A value to write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    Text(String),
    /// Number or truth value, written as it is.
    Bare(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
    /// The same on one line, where it is short.
    Flow(Box<Yaml>),
}

impl Yaml {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn bare(value: impl ToString) -> Self {
        Self::Bare(value.to_string())
    }

    pub(crate) fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Self {
        Self::List(items.into_iter().map(|item| Self::Text(item.to_string())).collect())
    }

    pub(crate) fn json(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Self::bare("null"),
            Json::Bool(truth) => Self::bare(truth),
            Json::Number(number) => Self::bare(number),
            Json::String(text) => Self::text(text),
            Json::Array(items) => Self::List(items.iter().map(Self::json).collect()),
            Json::Object(map) => {
                Self::Map(map.iter().map(|(key, value)| (key.clone(), Self::json(value))).collect())
            }
        }
    }

    /// The document.
    pub(crate) fn document(&self) -> String {
        let mut out = String::new();
        self.block(&mut out, 0);
        out
    }

    fn block(&self, out: &mut String, indent: usize) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    spaces(out, indent);
                    scalar(out, key);
                    out.push(':');
                    value.after(out, indent + 2, indent + 2);
                }
            }
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    spaces(out, indent);
                    out.push('-');
                    match item {
                        // The first key stands behind the dash.
                        Self::Map(entries) if !entries.is_empty() => {
                            let mut inner = String::new();
                            item.block(&mut inner, indent + 2);
                            out.push(' ');
                            out.push_str(&inner[indent + 2..]);
                        }
                        _ => item.after(out, indent + 2, indent + 2),
                    }
                }
            }
            _ => {
                spaces(out, indent);
                self.flow(out);
                out.push('\n');
            }
        }
    }

    /// What stands behind a key's colon or a dash, with the line's end.
    fn after(&self, out: &mut String, map: usize, list: usize) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                self.block(out, map);
            }
            Self::List(items) if !items.is_empty() => {
                out.push('\n');
                self.block(out, list);
            }
            _ => {
                out.push(' ');
                self.flow(out);
                out.push('\n');
            }
        }
    }

    fn flow(&self, out: &mut String) {
        match self {
            Self::Text(text) => scalar(out, text),
            Self::Bare(bare) => out.push_str(bare),
            Self::Flow(value) => value.flow(out),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    item.flow(out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    scalar(out, key);
                    out.push_str(": ");
                    value.flow(out);
                }
                out.push('}');
            }
        }
    }
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// Text that is text to every YAML reader: plain where it cannot be taken for anything else.
/// Dollars are doubled, because variables are substituted before parsing.
fn scalar(out: &mut String, text: &str) {
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf", "none"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        && !words.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '$' => out.push_str("$$"),
            ' '..='~' => out.push(c),
            // Letters are left as they are; what could be a line break or not printable is not.
            _ if c.is_alphanumeric() => out.push(c),
            _ => {
                let code = u32::from(c);
                // Writing to a String cannot fail.
                let _ = if code <= 0xffff {
                    write!(out, "\\u{code:04X}")
                } else {
                    write!(out, "\\U{code:08X}")
                };
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_and_unmistakable() {
        let yaml = Yaml::Map(vec![
            ("name".into(), Yaml::text("t")),
            ("no".into(), Yaml::text("no")),
            ("n".into(), Yaml::text("1")),
            ("list".into(), Yaml::texts(["a:1", "$x \"q\"", "tab\tend\u{2028}"])),
            ("empty".into(), Yaml::List(vec![])),
            (
                "maps".into(),
                Yaml::List(vec![
                    Yaml::Map(vec![("a".into(), Yaml::bare(1)), ("b".into(), Yaml::texts(["x"]))]),
                    Yaml::Flow(Box::new(Yaml::Map(vec![("c".into(), Yaml::bare(true))]))),
                ]),
            ),
        ]);
        assert_eq!(
            yaml.document(),
            "name: t
\"no\": \"no\"
\"n\": \"1\"
list:
  - \"a:1\"
  - \"$$x \\\"q\\\"\"
  - \"tab\\tend\\u2028\"
empty: []
maps:
  - a: 1
    b:
      - x
  - {c: true}
"
        );
    }
}
