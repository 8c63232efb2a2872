//! Events of a node's functions become events of ours, each once.
//!
//! What a node says is taken for what it is: bounded in size, number and form, under the node's own name.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::{Instant, sleep_until};
use vnode_driver::Reader;
use vnode_event::Draft;

use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::record;
use crate::registry::NodeEntry;

/// Bytes of a line.
const LINE: u64 = 256 << 10;
/// Bytes of what an event tells beside its kind and subject.
const DATA: usize = 16 << 10;
/// Lines that are taken in by one commit.
const TOGETHER: u32 = 64;
/// Lines of one node at once, whatever they tell; more wait in the node.
const BURST: u32 = 500;
/// After these, one for each such time.
const EACH: Duration = Duration::from_millis(50);
/// Bytes of a kind, of a subject.
const WORD: usize = 200;

/// Up to where the events of a node are ours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Names the journal that `after` counts in.
    pub(super) journal: String,
    pub(super) after: u64,
}

/// How fast a node may tell; it outlasts the agent's program, which the node may end as it likes.
#[derive(Debug)]
pub(super) struct Pace {
    /// When what was told is paid for.
    paid: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { paid: Instant::now() }
    }

    /// Takes lines on account; until when the next must wait.
    fn take(&mut self, lines: u32, now: Instant) -> Option<Instant> {
        self.paid = self.paid.max(now) + EACH * lines;
        (self.paid > now + EACH * BURST).then(|| self.paid - EACH * BURST)
    }
}

/// Where a node's cursor is stored.
pub(crate) fn key(lab: &str, node: &str) -> String {
    format!("functions/{lab}/{node}")
}

/// Where we are with a node; `None`: it never had a service.
pub(super) async fn load(inner: &Inner, entry: &NodeEntry) -> Result<Option<Cursor>> {
    let key = entry.with(|record| key(&record.lab, &record.node));
    let stored = inner.store.get(&key).await;
    let stored = stored.map_err(|source| Error::failed("cannot read the store").because(source))?;
    stored.map(|entry| record::read(&key, &entry.value)).transpose()
}

/// The first item: which journal this is, and where it goes on.
#[derive(Debug, Deserialize)]
struct First {
    journal: String,
    after: u64,
}

/// An event as an agent tells it.
#[derive(Debug, Deserialize)]
struct Told {
    seq: u64,
    time: String,
    kind: String,
    subject: String,
    #[serde(default)]
    operation: Option<String>,
    #[serde(default)]
    data: Value,
}

/// A line: an item, or the end.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Item(Value),
    Result {},
    Error(Value),
}

/// Copies until the agent ends; `true`: there was a service.
pub(super) async fn copy(
    inner: &Arc<Inner>,
    entry: &NodeEntry,
    mut cursor: Cursor,
    pace: &mut Pace,
    from: Reader,
) -> Result<bool> {
    let mut from = BufReader::with_capacity(64 << 10, from);
    let mut line = Vec::new();
    let Some(first) = next(&mut from, &mut line).await? else { return Ok(false) };
    let first: First = item(&first)?.ok_or_else(|| wrong("it ends before it begins"))?;
    if first.journal.len() > WORD {
        return Err(wrong("its journal's name is too long"));
    }
    let begun = Cursor { journal: first.journal, after: first.after };
    if begun != cursor {
        cursor = begun;
        keep(inner, entry, &cursor, &[]).await?;
    }
    let mut warned = false;
    loop {
        let mut drafts = Vec::new();
        let (before, mut lines) = (cursor.after, 0);
        let over = loop {
            let Some(text) = next(&mut from, &mut line).await? else { break true };
            let Some(told) = item::<Told>(&text)? else { break true };
            lines += 1;
            if told.seq > cursor.after {
                cursor.after = told.seq;
                let draft = draft(entry, told);
                if draft.is_none() && !std::mem::replace(&mut warned, true) {
                    tracing::warn!(node = %entry.subject(), "its agent tells of what is no function");
                }
                drafts.extend(draft);
            }
            // What has come already is kept with it.
            if lines >= TOGETHER || !from.buffer().contains(&b'\n') {
                break false;
            }
        };
        if cursor.after != before {
            keep(inner, entry, &cursor, &drafts).await?;
        }
        if over {
            return Ok(true);
        }
        if let Some(until) = pace.take(lines, Instant::now()) {
            sleep_until(until).await;
        }
    }
}

/// One line; `None` at the end.
async fn next(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> Result<Option<Vec<u8>>> {
    line.clear();
    let read = (&mut *from).take(LINE).read_until(b'\n', line).await;
    read.map_err(|source| Error::failed("cannot hear the agent").because(source))?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(std::mem::take(line))),
        Some(_) if line.len() as u64 >= LINE => Err(wrong("a line has no end")),
        // It was cut off: the rest is told again.
        Some(_) => Ok(None),
    }
}

/// What a line tells; `None` when it is the last.
fn item<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<Option<T>> {
    let unread = |source| wrong("a line cannot be read").because(source);
    match serde_json::from_slice(line).map_err(unread)? {
        Line::Item(value) => serde_json::from_value(value).map(Some).map_err(unread),
        Line::Result {} => Ok(None),
        Line::Error(value) => {
            let text: String =
                value["detail"].as_str().unwrap_or_default().chars().take(WORD).collect();
            Err(wrong(&format!("it refuses: {}", text.escape_debug())))
        }
    }
}

fn wrong(what: &str) -> Error {
    Error::failed(format!("the agent's service: {what}"))
}

/// The event under the node's name; nothing when it is none of a function's.
fn draft(entry: &NodeEntry, told: Told) -> Option<Draft> {
    let plain = |text: &str| text.len() <= WORD && text.bytes().all(|byte| byte.is_ascii_graphic());
    let ours = told.kind.starts_with("vnf.") && told.subject.starts_with("vnf/");
    if !ours || !plain(&told.kind) || !plain(&told.subject) || !plain(&told.time) {
        return None;
    }
    let mut data = match told.data {
        Value::Object(data) => data,
        Value::Null => serde_json::Map::new(),
        other => serde_json::Map::from_iter([("told".to_owned(), other)]),
    };
    if Value::Object(data.clone()).to_string().len() > DATA {
        data = serde_json::Map::from_iter([("left_out".to_owned(), json!("too long"))]);
    }
    data.insert("at".to_owned(), told.time.into());
    // The agent's own, which only the agent knows.
    if let Some(operation) = told.operation.filter(|id| plain(id)) {
        data.insert("function_operation".to_owned(), operation.into());
    }
    let subject = format!("{}/{}", entry.subject(), told.subject);
    Some(Draft::new(told.kind, subject).data(Value::Object(data)))
}

/// Stores events and how far they go, in one commit.
async fn keep(
    inner: &Arc<Inner>,
    entry: &NodeEntry,
    cursor: &Cursor,
    drafts: &[Draft],
) -> Result<()> {
    let failed = |source| Error::failed("cannot keep events").because(source);
    let mut reserved = inner.events.changes_for(drafts).map_err(failed)?;
    let mut changes = reserved.take_changes();
    let key = entry.with(|record| key(&record.lab, &record.node));
    changes.push(record::put(key, cursor));
    inner.save(changes).await?;
    reserved.publish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_may_tell_much_at_once_and_little_for_long() {
        let now = Instant::now();
        let mut pace = Pace { paid: now };
        assert_eq!(pace.take(BURST, now), None);
        assert_eq!(pace.take(1, now), Some(now + EACH), "and what gives no event counts too");
        let later = now + EACH * 2;
        assert_eq!(pace.take(1, later), None, "after a while it may go on");
        assert_eq!(pace.take(1, later), Some(later + EACH));
    }
}
