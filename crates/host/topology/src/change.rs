//! What a change of a node's definition asks of a running node: the one rule, for `apply` and its dry run (T-101).

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::model::Node;

/// What must be done to make one node of another; the keys that changed are named as the file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeChange {
    /// Nothing that the node could see.
    Nothing,
    /// Its limits are set while it runs.
    Limits,
    /// It gets a new disk and a new first process; its network namespace, links and addresses stay (T-102).
    Renew { keys: Vec<String> },
    /// Its network namespace is made anew, and so are its links.
    Recreate { keys: Vec<String> },
}

/// Keys that change nothing that a running node can see. The daemon acts on them when they matter next.
const QUIET: &[&str] = &[
    "auto-remove",
    "boot-timeout",
    "group",
    "image-pull-policy",
    "labels",
    "placement",
    "preconfig",
    "restart-policy",
    "startup-delay",
];
/// Keys that say what the network namespace is, or who holds it: that one may be made again in a user namespace. And what a
/// node's control group lets through, which is said once in the group's life.
const DEEP: &[&str] =
    &["backend", "devices", "kind", "libvirt", "network-mode", "pid-mode", "privileged"];

impl Node {
    /// What is to be done to a node defined so to make it one of `new`.
    pub fn change_to(&self, new: &Self) -> NodeChange {
        let keys = changed_keys(self, new);
        if keys.iter().any(|key| DEEP.contains(&key.as_str())) {
            return NodeChange::Recreate { keys };
        }
        let loud: Vec<String> =
            keys.into_iter().filter(|key| !QUIET.contains(&key.as_str())).collect();
        match loud.as_slice() {
            [] => NodeChange::Nothing,
            [only] if only == "resources" => NodeChange::Limits,
            _ => NodeChange::Renew { keys: loud },
        }
    }
}

/// Keys, as the file has them, whose values differ. Compared as stored, so that no field a later
/// version adds can be forgotten here.
fn changed_keys<T: Serialize + PartialEq>(old: &T, new: &T) -> Vec<String> {
    if old == new {
        return Vec::new();
    }
    let (Value::Object(old), Value::Object(new)) = (plain_value(old), plain_value(new)) else {
        return vec!["definition".to_owned()];
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differ
        .map(|name| {
            let name = name.strip_suffix("_bytes").unwrap_or(name);
            name.strip_suffix("_s").unwrap_or(name).replace('_', "-")
        })
        .collect()
}

/// As stored, without the places in the file.
fn plain_value<T: Serialize>(thing: &T) -> Value {
    fn without_places(value: Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(
                map.into_iter()
                    .filter(|(key, value)| !(key == "span" && value.get("column").is_some()))
                    .map(|(key, value)| (key, without_places(value)))
                    .collect(),
            ),
            Value::Array(items) => Value::Array(items.into_iter().map(without_places).collect()),
            other => other,
        }
    }
    // Everything in the model has text keys and finite numbers, so it can be put as JSON.
    without_places(serde_json::to_value(thing).unwrap_or(Value::Null))
}
