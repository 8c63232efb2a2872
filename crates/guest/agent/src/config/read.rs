//! Reading TOML against the table of keys; every fault is found, each with its place.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::keys::{Key, Kind};

/// Deepest nesting of a `[command.NAME]` table.
const DEPTH: usize = 16;

/// Something wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: PathBuf,
    /// From 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// In characters, from 1; 0 when it is about the file as a whole.
    pub column: usize,
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.text),
            line => write!(f, "{}:{line}:{}: {}", self.file.display(), self.column, self.text),
        }
    }
}

/// One file that is being read.
#[derive(Debug)]
pub(super) struct Reader<'i> {
    pub(super) file: &'i Path,
    pub(super) text: &'i str,
    pub(super) faults: Vec<Fault>,
}

/// One table of it.
pub(super) struct Table<'t, 'i> {
    pub(super) entries: &'t DeTable<'i>,
    pub(super) span: Range<usize>,
}

impl<'t, 'i> Table<'t, 'i> {
    pub(super) fn get(&self, name: &str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.entries.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }
}

impl<'i> Reader<'i> {
    pub(super) fn new(file: &'i Path, text: &'i str) -> Self {
        Self { file, text, faults: Vec::new() }
    }

    pub(super) fn fault(&mut self, at: Range<usize>, text: impl Into<String>) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.faults.push(Fault {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text: text.into(),
        });
    }

    /// Names what is no key of this table, and what is near to it.
    pub(super) fn known(
        &mut self,
        table: &Table<'_, '_>,
        keys: &[Key],
        tables: &[&str],
        what: &str,
    ) {
        let names = || keys.iter().map(|key| key.name).chain(tables.iter().copied());
        for (key, _) in table.entries {
            let name = key.get_ref().as_ref();
            if names().any(|known| known == name) {
                continue;
            }
            let near = names().find(|known| near(name, known));
            let hint = near.map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
            self.fault(key.span(), format!("{what} has no key `{name}`{hint}"));
        }
        for key in keys {
            if let Some(value) = table.get(key.name)
                && let Some(fault) = misfit(key.kind, value.get_ref())
            {
                self.fault(value.span(), format!("`{}` {fault}", key.name));
            }
        }
    }

    pub(super) fn table<'t>(
        &mut self,
        value: &'t Spanned<DeValue<'i>>,
        name: &str,
    ) -> Option<Table<'t, 'i>> {
        match value.get_ref() {
            DeValue::Table(entries) => Some(Table { entries, span: value.span() }),
            _ => {
                self.fault(value.span(), format!("`{name}` is a table: write `[{name}]`"));
                None
            }
        }
    }

    /// As JSON, for what a command reads itself.
    pub(super) fn json(&mut self, value: &Spanned<DeValue<'i>>, depth: usize) -> Value {
        if depth > DEPTH {
            self.fault(value.span(), format!("nested deeper than {DEPTH} levels"));
            return Value::Null;
        }
        match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(_) => integer(value.get_ref()).map_or(Value::Null, Value::from),
            DeValue::Float(number) => {
                number.as_str().parse::<f64>().map_or(Value::Null, Value::from)
            }
            DeValue::Datetime(time) => Value::String(time.to_string()),
            DeValue::Array(items) => items.iter().map(|item| self.json(item, depth + 1)).collect(),
            DeValue::Table(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, item)| (key.get_ref().to_string(), self.json(item, depth + 1)))
                    .collect(),
            ),
        }
    }
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

pub(super) fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
}

pub(super) fn integers(value: &DeValue<'_>) -> Option<Vec<i64>> {
    value.as_array()?.iter().map(|item| integer(item.get_ref())).collect()
}

/// What is wrong with a value, if anything is.
fn misfit(kind: Kind, value: &DeValue<'_>) -> Option<String> {
    let within = |low, high| format!("is a whole number from {low} to {high}");
    match kind {
        Kind::Text => value.as_str().is_none().then(|| "is a text".to_owned()),
        Kind::Texts => texts(value).is_none().then(|| "is a list of texts".to_owned()),
        Kind::Bool => value.as_bool().is_none().then(|| "is true or false".to_owned()),
        Kind::Integer(low, high) => match integer(value) {
            Some(number) if (low..=high).contains(&number) => None,
            _ => Some(within(low, high)),
        },
        Kind::Integers(low, high) => match integers(value) {
            Some(numbers) if numbers.iter().all(|n| (low..=high).contains(n)) => None,
            _ => Some(format!("is a list; each {}", within(low, high))),
        },
        Kind::Word(words) => match value.as_str() {
            Some(text) if words.contains(&text) => None,
            _ => Some(format!("is one of {}", words.join(", "))),
        },
    }
}

/// Whether two names are at most two changes apart.
fn near(one: &str, other: &str) -> bool {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate().take(64) {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()] <= 2
}
