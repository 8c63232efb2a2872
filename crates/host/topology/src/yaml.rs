//! YAML text to a tree in which every key and value knows its place.
//!
//! Aliases share the value they stand for, so a file cannot make the tree larger than itself; what
//! reading it would cost is counted and bounded. Duplicate keys are refused, merge keys (`<<`)
//! applied.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::report::{At, Report};

/// Values that a walk over the whole tree may meet, aliases followed.
const MOST_VALUES: u64 = 4_000_000;
/// Deepest nesting, aliases followed.
const DEEPEST: u32 = 64;

/// A value with its place in the parsed text.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) node: Node,
    pub(crate) at: At,
    depth: u32,
    weight: u64,
}

#[derive(Debug)]
pub(crate) enum Node {
    Null,
    Scalar {
        text: String,
        /// Written without quotes, so that it may be a number or truth value.
        plain: bool,
    },
    List(Vec<Rc<Value>>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Rc<str>,
    pub(crate) key_at: At,
    pub(crate) value: Rc<Value>,
}

impl Value {
    pub(crate) fn null(at: At) -> Self {
        Self { node: Node::Null, at, depth: 1, weight: 1 }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.node, Node::Null)
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.node {
            Node::Null => "nothing",
            Node::Scalar { .. } => "a single value",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }

    /// Same content, wherever written.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.node, &other.node) {
            (Node::Null, Node::Null) => true,
            (Node::Scalar { text: a, .. }, Node::Scalar { text: b, .. }) => a == b,
            (Node::List(a), Node::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Node::Map(a), Node::Map(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| a.key == b.key && a.value.same(&b.value))
            }
            _ => false,
        }
    }

    /// As JSON, for values that are only carried along.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.node {
            Node::Null => Json::Null,
            Node::Scalar { text, plain: true } => plain_json(text),
            Node::Scalar { text, plain: false } => Json::String(text.clone()),
            Node::List(items) => items.iter().map(|item| item.to_json()).collect(),
            Node::Map(entries) => Json::Object(
                entries.iter().map(|e| (e.key.to_string(), e.value.to_json())).collect(),
            ),
        }
    }
}

/// What an unquoted value is to JSON: truth value, number or text.
fn plain_json(text: &str) -> serde_json::Value {
    use serde_json::Value as Json;
    if text == "true" || text == "false" {
        return Json::Bool(text == "true");
    }
    if let Ok(number) = text.parse::<i64>() {
        return Json::from(number);
    }
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => Json::from(number),
        _ => Json::String(text.to_owned()),
    }
}

/// A collection whose end has not come yet.
enum Open {
    List {
        items: Vec<Rc<Value>>,
        at: At,
        anchor: usize,
    },
    Map {
        entries: Vec<Entry>,
        merges: Vec<Rc<Value>>,
        key: Option<(Rc<str>, At, bool)>,
        at: At,
        anchor: usize,
    },
}

/// The tree and the places of comments in the parsed text.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) root: Value,
    pub(crate) comments: Vec<Range<usize>>,
}

/// Parses one document. Errors go to the report; `None` when there is no tree to go on with.
pub(crate) fn parse(report: &mut Report<'_>) -> Option<Document> {
    let source = report.source;
    let text = source.text();
    let options = granit_parser::options! {
        emit_comments: true,
        max_buffered_comment_events: 1_000_000,
        flow_nesting_limit: 100,
        block_nesting_limit: 100,
        disallow_directives: false,
    };
    let mut builder = Builder::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match next {
            Ok(pair) => pair,
            Err(error) => {
                scan_error(report, &error);
                return None;
            }
        };
        let at = span.byte_range().unwrap_or(0..0);
        builder.event(event, at, report)?;
    }
    let comments = builder.comments;
    match builder.root {
        Some(root) => {
            let root = Rc::try_unwrap(root).unwrap_or_else(|shared| Value {
                // Only an anchor on the root itself keeps it shared.
                node: match &shared.node {
                    Node::Null => Node::Null,
                    Node::Scalar { text, plain } => {
                        Node::Scalar { text: text.clone(), plain: *plain }
                    }
                    Node::List(items) => Node::List(items.clone()),
                    Node::Map(entries) => Node::Map(entries.clone()),
                },
                at: shared.at.clone(),
                depth: shared.depth,
                weight: shared.weight,
            });
            Some(Document { root, comments })
        }
        None => Some(Document { root: Value::null(0..0), comments }),
    }
}

fn scan_error(report: &mut Report<'_>, error: &ScanError) {
    let start = error.marker().byte_offset().unwrap_or(0);
    let text = error.kind().to_string();
    let hint = if text.contains("anchor") {
        "an alias `*x` needs an anchor `&x` before it; a value that begins with `*` or `&` needs quotes"
    } else {
        "the file is not YAML from here on; look for indentation, a missing quote or bracket"
    };
    report.error_with(&(start..start + 1), text, hint);
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    anchors: HashMap<usize, Rc<Value>>,
    comments: Vec<Range<usize>>,
    root: Option<Rc<Value>>,
    documents: usize,
    /// Values that a walk over all that has been read would meet.
    spent: u64,
}

impl Builder {
    /// Takes one event; `None` stops.
    fn event(&mut self, event: Event<'_>, at: At, report: &mut Report<'_>) -> Option<()> {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) => {}
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    report.error_with(
                        &at,
                        "a second document begins here",
                        "a topology file holds one lab; take the `---` away",
                    );
                    return None;
                }
            }
            Event::Comment(..) => self.comments.push(at),
            Event::Scalar(text, style, anchor, tag) => {
                let mut plain = style == ScalarStyle::Plain;
                if let Some(tag) = tag {
                    match tag.core_suffix() {
                        Some("str") => plain = false,
                        Some("null" | "bool" | "int" | "float") => {}
                        _ => {
                            report.error(&at, "tags (`!...`) have no meaning in a topology file");
                            return None;
                        }
                    }
                }
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let node =
                    if null { Node::Null } else { Node::Scalar { text: text.into_owned(), plain } };
                let value = Rc::new(Value { node, at, depth: 1, weight: 1 });
                self.spent += 1;
                self.value(value, anchor, report)?;
            }
            Event::SequenceStart(_, anchor, _) => {
                self.stack.push(Open::List { items: Vec::new(), at, anchor });
            }
            Event::MappingStart(_, anchor, _) => {
                self.stack.push(Open::Map {
                    entries: Vec::new(),
                    merges: Vec::new(),
                    key: None,
                    at,
                    anchor,
                });
            }
            Event::SequenceEnd => {
                if let Some(Open::List { items, at: begun, anchor }) = self.stack.pop() {
                    self.spent += 1;
                    let depth = 1 + items.iter().map(|item| item.depth).max().unwrap_or(0);
                    let weight = sum(items.iter().map(|item| item.weight));
                    let at = begun.start..at.end.max(begun.end);
                    let value = Rc::new(Value { node: Node::List(items), at, depth, weight });
                    self.value(value, anchor, report)?;
                }
            }
            Event::MappingEnd => {
                if let Some(Open::Map { entries, merges, at: begun, anchor, .. }) = self.stack.pop()
                {
                    let own = entries.len();
                    let entries = merge(entries, &merges, report);
                    let merged = entries.iter().skip(own).map(|e| e.value.weight);
                    self.spent = self.spent.saturating_add(sum(merged));
                    let depth = 1 + entries.iter().map(|e| e.value.depth).max().unwrap_or(0);
                    let weight = sum(entries.iter().map(|e| e.value.weight));
                    let at = begun.start..at.end.max(begun.end);
                    let value = Rc::new(Value { node: Node::Map(entries), at, depth, weight });
                    self.value(value, anchor, report)?;
                }
            }
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(shared) => {
                    let value = Rc::clone(shared);
                    self.spent = self.spent.saturating_add(value.weight);
                    self.value(value, 0, report)?;
                }
                None => {
                    report.error(&at, "the alias stands within the value it names");
                    return None;
                }
            },
            Event::UnresolvedAlias(name) => {
                report.error(&at, format!("no anchor `&{name}` stands before this alias"));
                return None;
            }
            // Nothing else is emitted today; what a later version adds carries no values.
            _ => {}
        }
        Some(())
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, value: Rc<Value>, anchor: usize, report: &mut Report<'_>) -> Option<()> {
        if value.depth > DEEPEST {
            report.error(&value.at, "values are nested more than 64 deep");
            return None;
        }
        if self.spent > MOST_VALUES {
            report.error_with(
                &value.at,
                "the aliases expand to more than 4,000,000 values",
                "anchors that hold aliases multiply; write less with them",
            );
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&value));
        }
        match self.stack.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Map { entries, merges, key, .. }) => match key.take() {
                None => {
                    let (text, plain) = match &value.node {
                        Node::Scalar { text, plain } => (text.as_str(), *plain),
                        Node::Null => ("null", false),
                        Node::List(_) | Node::Map(_) => {
                            report.error(&value.at, "a key is a single value, not a list or map");
                            return None;
                        }
                    };
                    *key = Some((Rc::from(text), value.at.clone(), plain && text == "<<"));
                }
                Some((_, _, true)) => merges.push(value),
                Some((text, key_at, false)) => {
                    entries.push(Entry { key: text, key_at, value });
                }
            },
        }
        Some(())
    }
}

fn sum(weights: impl Iterator<Item = u64>) -> u64 {
    weights.fold(1, u64::saturating_add)
}

/// Refuses duplicates and applies merge keys: what the map itself says wins, then earlier merges.
fn merge(entries: Vec<Entry>, merges: &[Rc<Value>], report: &mut Report<'_>) -> Vec<Entry> {
    let mut seen: HashMap<Rc<str>, At> = HashMap::new();
    let mut kept = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(first) = seen.get(&entry.key) {
            let text = format!("`{}` is given twice", entry.key);
            report.error_twice(&entry.key_at, text, "first given here", first);
            continue;
        }
        seen.insert(Rc::clone(&entry.key), entry.key_at.clone());
        kept.push(entry);
    }
    let mut have: HashSet<Rc<str>> = seen.into_keys().collect();
    let mut take = |value: &Value, report: &mut Report<'_>| match &value.node {
        Node::Map(entries) => {
            for entry in entries {
                if have.insert(Rc::clone(&entry.key)) {
                    kept.push(entry.clone());
                }
            }
        }
        _ => report.error(&value.at, "`<<` takes a map, or a list of maps"),
    };
    for value in merges {
        match &value.node {
            Node::List(items) => items.iter().for_each(|item| take(item, report)),
            _ => take(value, report),
        }
    }
    kept
}
