//! `preconfig`: programs of the host that are given a node's root before it boots (T-37).

use crate::keys;
use crate::model::Preconfig;
use crate::parse::fields::{Fields, boolean, text};
use crate::report::Report;
use crate::yaml::{self, Entry, Value};

/// Most of one node.
const MOST: usize = 1000;

/// Reads the lists of one node's layers, joined, general first. `magic` puts in what stands for names and folders.
pub(crate) fn read(
    layers: &[&Entry],
    magic: impl Fn(&str) -> String,
    report: &mut Report<'_>,
) -> Vec<Preconfig> {
    let mut all = Vec::new();
    for layer in layers.iter().rev() {
        let yaml::Node::List(items) = &layer.value.node else {
            report.error_with(
                &layer.value.at,
                format!("`preconfig` is a list, not {}", layer.value.describe()),
                "write `- {command: ./prepare.sh, required: true}` below it",
            );
            continue;
        };
        for item in items {
            if all.len() >= MOST {
                report.error(&item.at, format!("`preconfig` has more than {MOST} items"));
                return all;
            }
            if let Some((command, required)) = one(item, report) {
                all.push(Preconfig { command: magic(command), required });
            }
        }
    }
    all
}

/// A command line, or a map with one.
fn one<'v>(item: &'v Value, report: &mut Report<'_>) -> Option<(&'v str, bool)> {
    let (command, required) = if let yaml::Node::Scalar { text, .. } = &item.node {
        (text.as_str(), false)
    } else {
        let fields = Fields::read(item, "`preconfig`", keys::PRECONFIG, report);
        let Some(command) = fields.get("command") else {
            report.error(&item.at, "`preconfig` names no `command`");
            return None;
        };
        let required = fields.get("required").and_then(|e| boolean(&e.value, "required", report));
        (text(&command.value, "command", report)?, required.unwrap_or(false))
    };
    if command.trim().is_empty() {
        report.error(&item.at, "the `command` of `preconfig` is empty");
        return None;
    }
    Some((command, required))
}
