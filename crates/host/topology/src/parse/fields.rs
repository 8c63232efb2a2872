//! Maps with known keys, and single values of known form.

use std::collections::HashMap;

use crate::keys::{Acted, Key};
use crate::report::{At, Report};
use crate::yaml::{Entry, Node, Value};

/// A map whose keys were checked against a table; deprecated underscores are dashes here.
#[derive(Debug)]
pub(crate) struct Fields<'v> {
    by_name: HashMap<&'static str, &'v Entry>,
    pub(crate) at: At,
}

impl<'v> Fields<'v> {
    /// Nothing given.
    pub(crate) fn empty(at: At) -> Self {
        Self { by_name: HashMap::new(), at }
    }

    /// Takes a map apart. Keys that vnode does not act on are warned of; keys that look like a
    /// mistyped known one are refused. Null is an empty map.
    pub(crate) fn read(
        value: &'v Value,
        what: &str,
        table: &'static [Key],
        report: &mut Report<'_>,
    ) -> Self {
        let mut fields = Self::empty(value.at.clone());
        let entries = match &value.node {
            Node::Map(entries) => entries,
            Node::Null => return fields,
            _ => {
                report.error(&value.at, format!("{what} is a map, not {}", value.describe()));
                return fields;
            }
        };
        for entry in entries {
            fields.take(entry, what, table, report);
        }
        fields
    }

    fn take(
        &mut self,
        entry: &'v Entry,
        what: &str,
        table: &'static [Key],
        report: &mut Report<'_>,
    ) {
        let dashed = entry.key.replace('_', "-");
        let Some(key) = table.iter().find(|key| key.name == dashed) else {
            unknown(entry, what, table, report);
            return;
        };
        if let Acted::No(why) = key.acted
            && !entry.value.is_null()
        {
            report.warn_with(
                &entry.key_at,
                format!("`{}` of {what} is not acted on", entry.key),
                why,
            );
        }
        match self.by_name.get(key.name) {
            None => {
                self.by_name.insert(key.name, entry);
            }
            Some(first) if first.value.same(&entry.value) => {}
            Some(first) => report.error_twice(
                &entry.key_at,
                format!(
                    "`{}` and `{}` are the same key with different values",
                    first.key, entry.key
                ),
                format!("`{}` given here", first.key),
                &first.key_at.clone(),
            ),
        }
    }

    /// The value of a key, unless it is null or not given.
    pub(crate) fn get(&self, name: &str) -> Option<&'v Entry> {
        self.by_name.get(name).copied().filter(|entry| !entry.value.is_null())
    }

    /// Names of the keys given.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &'v Entry)> + '_ {
        self.by_name.iter().map(|(name, entry)| (*name, *entry))
    }
}

fn unknown(entry: &Entry, what: &str, table: &[Key], report: &mut Report<'_>) {
    let dashed = entry.key.replace('_', "-");
    let table = if report.may_suggest() { table } else { &[] };
    let near = table
        .iter()
        .filter(|key| key.name.len().abs_diff(dashed.len()) <= 2)
        .map(|key| (distance(key.name, &dashed), key.name))
        .filter(|(distance, name)| *distance <= if name.len() < 5 { 1 } else { 2 })
        .min();
    match near {
        Some((_, name)) => report.error_with(
            &entry.key_at,
            format!("unknown key `{}` of {what}", entry.key),
            format!("did you mean `{name}`?"),
        ),
        None => report.warn_with(
            &entry.key_at,
            format!("unknown key `{}` of {what} is not acted on", entry.key),
            "neither vnode nor the containerlab it knows has such a key",
        ),
    }
}

/// Letters to change, add or take away to make one word of the other; for short words.
fn distance(first: &str, second: &str) -> usize {
    let second: Vec<char> = second.chars().take(40).collect();
    let mut row: Vec<usize> = (0..=second.len()).collect();
    for (i, a) in first.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in second.iter().enumerate() {
            let change = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Single value as written.
pub(crate) fn text<'v>(value: &'v Value, what: &str, report: &mut Report<'_>) -> Option<&'v str> {
    match &value.node {
        Node::Scalar { text, .. } => Some(text),
        Node::Null => Some(""),
        _ => {
            report
                .error(&value.at, format!("`{what}` is a single value, not {}", value.describe()));
            None
        }
    }
}

pub(crate) fn boolean(value: &Value, what: &str, report: &mut Report<'_>) -> Option<bool> {
    let text = text(value, what, report)?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => {
            report.error(&value.at, format!("`{what}` is true or false, not `{}`", short(text)));
            None
        }
    }
}

/// A whole number between two bounds.
pub(crate) fn count(
    value: &Value,
    what: &str,
    bounds: std::ops::RangeInclusive<u64>,
    report: &mut Report<'_>,
) -> Option<u64> {
    let text = text(value, what, report)?;
    match text.trim().parse::<u64>() {
        Ok(number) if bounds.contains(&number) => Some(number),
        _ => {
            let (low, high) = (bounds.start(), bounds.end());
            report.error(
                &value.at,
                format!("`{what}` is a whole number from {low} to {high}, not `{}`", short(text)),
            );
            None
        }
    }
}

/// A list of single values with their places; null is an empty list.
pub(crate) fn texts<'v>(
    value: &'v Value,
    what: &str,
    report: &mut Report<'_>,
) -> Vec<(&'v str, At)> {
    match &value.node {
        Node::List(items) => items
            .iter()
            .filter_map(|item| text(item, what, report).map(|text| (text, item.at.clone())))
            .collect(),
        Node::Null => Vec::new(),
        _ => {
            report.error_with(
                &value.at,
                format!("`{what}` is a list, not {}", value.describe()),
                "write each item on a line of its own, after `- `",
            );
            Vec::new()
        }
    }
}

/// A map of names to single values; null is an empty map.
pub(crate) fn text_map<'v>(
    value: &'v Value,
    what: &str,
    report: &mut Report<'_>,
) -> Vec<(&'v str, &'v str, At)> {
    match &value.node {
        Node::Map(entries) => entries
            .iter()
            .filter_map(|entry| {
                let text = text(&entry.value, &entry.key, report)?;
                Some((&*entry.key, text, entry.key_at.clone()))
            })
            .collect(),
        Node::Null => Vec::new(),
        _ => {
            report.error(&value.at, format!("`{what}` is a map, not {}", value.describe()));
            Vec::new()
        }
    }
}

/// A number of bytes as Docker's users write it: `512MB`, `1G` (decimal), `1GiB` (binary).
pub(crate) fn bytes(value: &Value, what: &str, report: &mut Report<'_>) -> Option<u64> {
    let written = text(value, what, report)?;
    let parsed = parse_bytes(written);
    if parsed.is_none() {
        report.error_with(
            &value.at,
            format!("`{what}` is a size, not `{}`", short(written)),
            "write a number with b, kB, MB, GB (decimal) or KiB, MiB, GiB (binary)",
        );
    }
    parsed
}

pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u64 = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).filter(|bytes| *bytes > 0);
    }
    let number: f64 = number.parse().ok()?;
    let bytes = (number * unit as f64).round();
    (1.0..9e18).contains(&bytes).then_some(bytes as u64)
}

/// Text from the file for a message: bounded, on one line.
pub(crate) fn short(text: &str) -> String {
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(61).collect();
    if line.chars().count() > 60 { line.chars().take(60).chain(['…']).collect() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("1G"), Some(1_000_000_000));
        assert_eq!(parse_bytes("1.5 GiB"), Some(1_610_612_736));
        assert_eq!(parse_bytes("512mb"), Some(512_000_000));
        assert_eq!(parse_bytes("77"), Some(77));
        for bad in ["", "G", "1x", "-1", "1..5g", "0", "99999999999999999999t"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn distances() {
        assert_eq!(distance("impair", "impiar"), 2);
        assert_eq!(distance("image", "image"), 0);
        assert_eq!(distance("cpu-set", "cpuset"), 1);
    }
}
