//! netlab's lab topologies: nodes, links, their addresses, and the `tc` keys of links and interfaces.
//!
//! netlab makes a data model of the file and configures every device from it; what is taken over here is what lies below
//! that: containers, wires, addresses, impairments. Keys may be written with dots (`tc.delay`) as netlab has them.

mod address;
mod link;
mod node;

use std::rc::Rc;

use crate::parse::short;
use crate::report::{At, Report};
use crate::yaml::{self, Entry, Node as Yaml, Value};

use super::draft::Draft;
use address::Pools;
use node::Nodes;

/// Keys of the file that say nothing of nodes and wires.
const PLAIN: &[&str] = &["version", "message", "provider"];

/// A key with its whole path, such as `clab.binds`, and its value.
#[derive(Debug, Clone)]
pub(super) struct Attribute<'v> {
    pub(super) path: String,
    pub(super) at: At,
    pub(super) value: &'v Rc<Value>,
}

/// The attributes of a map. Maps within it are taken apart, but for those of these paths.
pub(super) fn attributes<'v>(entries: &'v [Entry], whole: &[&str]) -> Vec<Attribute<'v>> {
    fn take<'v>(before: &str, entries: &'v [Entry], whole: &[&str], all: &mut Vec<Attribute<'v>>) {
        for entry in entries {
            let path = format!("{before}{}", entry.key);
            match &entry.value.node {
                Yaml::Map(inner) if !inner.is_empty() && !whole.contains(&path.as_str()) => {
                    take(&format!("{path}."), inner, whole, all);
                }
                _ => all.push(Attribute { path, at: entry.key_at.clone(), value: &entry.value }),
            }
        }
    }
    let mut all = Vec::new();
    take("", entries, whole, &mut all);
    all
}

/// Lists something that has no meaning here.
pub(super) fn unmapped(report: &mut Report<'_>, at: &At, what: impl std::fmt::Display) {
    report.warn(at, format!("{what} is not mapped"));
}

/// A single value as written; an error otherwise.
pub(super) fn word<'v>(value: &'v Value, what: &str, report: &mut Report<'_>) -> Option<&'v str> {
    match &value.node {
        Yaml::Scalar { text, .. } => Some(text),
        _ => {
            let text = format!("`{}` is a single value, not {}", short(what), value.describe());
            report.error(&value.at, text);
            None
        }
    }
}

/// Reads a topology.
pub(super) fn read(report: &mut Report<'_>) -> Draft {
    let mut draft = Draft::default();
    let Some(document) = yaml::parse(report) else { return draft };
    let Yaml::Map(entries) = &document.root.node else {
        let text = format!("the file is a map, not {}", document.root.describe());
        report.error_with(&document.root.at, text, "it needs `nodes` and `links`");
        return draft;
    };
    let find = |name: &str| entries.iter().find(|entry| &*entry.key == name);
    draft.name =
        find("name").and_then(|entry| word(&entry.value, "name", report)).map(str::to_owned);
    let mut pools = Pools::default();
    for entry in entries {
        match &*entry.key {
            "name" | "nodes" | "links" | "groups" => {}
            "addressing" => pools.read(entry, report),
            "defaults" => node::defaults(&entry.value, report),
            key if key == "defaults.device" || PLAIN.contains(&key) => {}
            key => {
                unmapped(report, &entry.key_at, format_args!("`{}` of the topology", short(key)))
            }
        }
    }
    let mut nodes = Nodes::new(entries, report);
    if let Some(entry) = find("nodes") {
        nodes.read(&entry.value, &mut draft, report);
    } else {
        report.error_with(
            &document.root.at,
            "the topology has no `nodes`",
            "write `nodes: [r1, r2]`",
        );
    }
    if let Some(entry) = find("links") {
        link::Reader { nodes: &nodes, pools, draft: &mut draft, next: Default::default() }
            .read(&entry.value, report);
    }
    draft
}
