//! From what libyang says to the record of RFC 6241.
//!
//! libyang gives texts and a few tags; which `error-tag` belongs to which rule is in RFC 7950 sections 8.3 and 15.

use serde_json::Value;

use super::Kind;
use crate::rpc_error::RpcError;

const NETCONF: &str = "urn:ietf:params:xml:ns:netconf:base:1.0";
const YANG: &str = "urn:ietf:params:xml:ns:yang:1";

/// When an error was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// While the text was read: names and types.
    #[default]
    Form,
    /// After: what the model demands of the whole.
    Rules,
}

/// One error of libyang's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) message: String,
    /// In the data, as far as libyang knows it: of a node that is missing it is the parent's.
    pub(super) path: String,
    pub(super) app_tag: String,
    pub(super) stage: Stage,
}

/// The one entry of `error-info`: namespace, name, value.
type Info = (&'static str, &'static str, String);

impl Complaint {
    #[cfg(feature = "yang")]
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// The texts between double quotes: libyang names nodes so.
    fn quoted(&self, number: usize) -> &str {
        self.message.split('"').nth(2 * number + 1).unwrap_or_default()
    }

    /// The record for the caller. Where a program's output is wrong the caller has done nothing wrong: then the tag
    /// is `operation-failed`, whatever the rule.
    pub(super) fn record(&self, kind: Kind<'_>, text: &str) -> RpcError {
        let (tag, path, info) = self.rule(kind, text);
        let message = self.message.trim_end_matches('.');
        let mut error = match kind {
            Kind::Running | Kind::State | Kind::Output(_) => {
                let app_tag =
                    if self.app_tag.is_empty() { "exec-output" } else { self.app_tag.as_str() };
                let message = format!("what the program printed violates the model: {message}");
                RpcError::new("operation-failed", app_tag, message)
            }
            Kind::Candidate | Kind::Input(_) | Kind::Notification(_) => {
                RpcError::new(tag, &self.app_tag, message)
            }
        };
        if let Some((namespace, name, value)) = info {
            error.info = vec![((namespace.to_owned(), name.to_owned()), value)];
        }
        error.at(path)
    }

    fn rule(&self, kind: Kind<'_>, text: &str) -> (&'static str, String, Option<Info>) {
        let named = self.quoted(0);
        let at = || self.path.clone();
        let below = || child(&self.path, named);
        let element = |value: &str| Some((NETCONF, "bad-element", value.to_owned()));
        let begins = |text: &str| self.message.starts_with(text);
        match self.app_tag.as_str() {
            // RFC 7950 section 15.7.
            "missing-choice" => {
                return ("data-missing", at(), Some((YANG, "missing-choice", named.to_owned())));
            }
            "instance-required" => return ("data-missing", at(), None),
            "data-not-unique" => return ("operation-failed", at(), None),
            "too-few-elements" | "too-many-elements" => {
                return ("operation-failed", below(), None);
            }
            _ => {}
        }
        if begins("Mandatory node ") {
            let is_configuration = matches!(kind, Kind::Candidate | Kind::Running);
            let tag = if is_configuration { "data-missing" } else { "missing-element" };
            return (tag, below(), element(named));
        }
        if begins("List instance is missing its key ") {
            let path = locate(text, last(&self.path), &|entry| !has(entry, named));
            return ("missing-element", child(&path.unwrap_or_else(at), named), element(named));
        }
        if begins("No module named ") {
            return ("unknown-namespace", at(), Some((NETCONF, "bad-namespace", named.to_owned())));
        }
        if begins("Node \"") && self.path.is_empty() {
            let path = format!("/{}:{named}", self.quoted(1));
            return ("unknown-element", path, element(named));
        }
        if begins("Node \"") || begins("Unexpected data ") {
            return ("unknown-element", below(), element(named));
        }
        if begins("Unexpected ") {
            let path = locate(text, named, &|_| true).unwrap_or_else(at);
            return ("unknown-element", path, element(named));
        }
        if begins("When condition ") {
            return ("unknown-element", at(), element(last(&self.path)));
        }
        if begins("Data for both cases ") || begins("Duplicate instance ") {
            return ("bad-element", at(), element(last(&self.path)));
        }
        if self.stage == Stage::Rules {
            // A `must`, with the model's own words or libyang's.
            return ("operation-failed", at(), None);
        }
        if begins("Expecting JSON ") {
            let path = if self.path.is_empty() { locate(text, named, &|_| true) } else { None };
            return ("invalid-value", path.unwrap_or_else(below), None);
        }
        ("invalid-value", self.whole_path(text), None)
    }

    /// The path of a value; what stands in an entry of a list that is only being read has a path from that list on.
    fn whole_path(&self, text: &str) -> String {
        let mut nodes = self.path.splitn(3, '/').skip(1);
        let (Some(list), Some(leaf)) = (nodes.next(), nodes.next()) else {
            return self.path.clone();
        };
        if text.contains(&format!("\"{}\"", without_keys(list))) {
            return self.path.clone();
        }
        let printed = self.quoted(0);
        let is_value = |value: &Value| match value {
            Value::String(text) => text == printed,
            other => serde_json::to_string(other).is_ok_and(|text| text == printed),
        };
        let is_it = |entry: &Value| {
            let mut members = entry.as_object().into_iter().flatten();
            members.any(|(name, value)| last(name) == last(leaf) && is_value(value))
        };
        locate(text, last(list), &is_it)
            .map_or_else(|| self.path.clone(), |path| format!("{path}/{leaf}"))
    }
}

/// The path of a node below another; already there is there.
fn child(parent: &str, name: &str) -> String {
    if last(parent) == name || name.is_empty() {
        return parent.to_owned();
    }
    format!("{}/{name}", parent.trim_end_matches('/'))
}

/// The name of the last node of a path, without module and keys.
fn last(path: &str) -> &str {
    let end = path.rfind('[').filter(|_| path.ends_with(']')).unwrap_or(path.len());
    let name = path[..end].rsplit('/').next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

/// A path of the data without the keys of lists: a path of the schema.
pub(super) fn without_keys(path: &str) -> String {
    let (mut schema, mut depth, mut quote) = (String::new(), 0_usize, None);
    for letter in path.chars() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') if depth > 0 => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') => depth = depth.saturating_sub(1),
            _ if depth == 0 => schema.push(letter),
            _ => {}
        }
    }
    schema
}

fn has(object: &Value, name: &str) -> bool {
    let local = |member: &str| member.rsplit(':').next() == Some(name);
    object.as_object().is_some_and(|object| object.keys().any(|member| local(member)))
}

/// The path of the first member of this name, whatever its module, for whose value (or entry, of a list) `is_it`
/// holds. For the errors of which libyang knows no path.
fn locate(text: &str, name: &str, is_it: &dyn Fn(&Value) -> bool) -> Option<String> {
    fn walk(value: &Value, at: &str, name: &str, is_it: &dyn Fn(&Value) -> bool) -> Option<String> {
        match value {
            Value::Object(members) => members.iter().find_map(|(member, value)| {
                let path = format!("{at}/{member}");
                if member.rsplit(':').next() != Some(name) {
                    return walk(value, &path, name, is_it);
                }
                match value {
                    Value::Array(entries) if entries.iter().all(Value::is_object) => {
                        let number = entries.iter().position(is_it)?;
                        Some(format!("{path}[{}]", number + 1))
                    }
                    _ if is_it(value) => Some(path),
                    _ => walk(value, &path, name, is_it),
                }
            }),
            Value::Array(entries) => entries.iter().enumerate().find_map(|(number, entry)| {
                walk(entry, &format!("{at}[{}]", number + 1), name, is_it)
            }),
            _ => None,
        }
    }
    // Its depth was looked at before.
    walk(&serde_json::from_str(text).ok()?, "", name, is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(child("/m:a", "b"), "/m:a/b");
        assert_eq!(child("/m:a/b", "b"), "/m:a/b");
        assert_eq!(last("/m:a/b[id='x/y:z']"), "b");
        assert_eq!(without_keys("/m:a/b[id='x]/y'][n=\"]\"]/c[1]"), "/m:a/b/c");
        let text = r#"{"m:a":{"b":[{"c":1},{"d":1}]}}"#;
        assert_eq!(locate(text, "b", &|entry| !has(entry, "c")).unwrap(), "/m:a/b[2]");
        assert_eq!(locate(text, "d", &|_| true).unwrap(), "/m:a/b[2]/d");
        assert_eq!(locate(text, "e", &|_| true), None);
    }
}
