//! netlab's nodes: their device, image, limits, and what is said for groups of them.

use std::collections::{BTreeSet, HashMap};

use super::super::draft::{Draft, Map, put};
use super::{Attribute, attributes, unmapped, word};
use crate::emit::Yaml as Out;
use crate::parse::short;
use crate::report::{At, Report};
use crate::yaml::{Entry, Node as Yaml, Value};

/// Largest number that netlab gives a node.
const MOST_IDS: u32 = 65_535;

/// Devices that are hosts: their links are LANs to netlab.
const HOSTS: &[&str] = &["linux", "none"];

/// What later readers ask of nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// Device of all nodes without one, and of members of groups.
    device: Option<String>,
    of_group: HashMap<String, String>,
    known: HashMap<String, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    id: u32,
    host: bool,
}

/// `defaults` beside its device, which is read on its own.
pub(super) fn defaults(value: &Value, report: &mut Report<'_>) {
    let Yaml::Map(entries) = &value.node else { return };
    for one in attributes(entries, &[]) {
        if one.path != "device" {
            unmapped(report, &one.at, format_args!("`defaults.{}`", short(&one.path)));
        }
    }
}

impl Nodes {
    pub(super) fn new(entries: &[Entry], report: &mut Report<'_>) -> Self {
        let mut nodes = Self::default();
        for entry in entries {
            match (&*entry.key, &entry.value.node) {
                ("defaults.device", Yaml::Scalar { text, .. }) => nodes.device = Some(text.clone()),
                ("defaults", Yaml::Map(inner)) => {
                    let device = inner.iter().find(|entry| &*entry.key == "device");
                    if let Some(device) = device {
                        nodes.device = word(&device.value, "device", report).map(str::to_owned);
                    }
                }
                ("groups", Yaml::Map(groups)) => nodes.groups(groups, report),
                _ => {}
            }
        }
        nodes
    }

    /// Of a group its members and their device.
    fn groups(&mut self, groups: &[Entry], report: &mut Report<'_>) {
        for group in groups {
            let Yaml::Map(entries) = &group.value.node else {
                unmapped(report, &group.key_at, format_args!("the group `{}`", short(&group.key)));
                continue;
            };
            let all = attributes(entries, &[]);
            let find = |path: &str| all.iter().find(|one| one.path == path);
            let device = find("device").and_then(|one| word(one.value, "device", report));
            if let (Some(device), Some(members)) = (device, find("members"))
                && let Yaml::List(items) = &members.value.node
            {
                for item in items {
                    if let Some(member) = word(item, "members", report) {
                        self.of_group.insert(member.to_owned(), device.to_owned());
                    }
                }
            }
            for one in all.iter().filter(|one| !matches!(one.path.as_str(), "members" | "device")) {
                let what = format!("`{}` of the group `{}`", short(&one.path), short(&group.key));
                unmapped(report, &one.at, what);
            }
        }
    }

    /// Reads `nodes`: a list of names or maps, or a map.
    pub(super) fn read(&mut self, value: &Value, draft: &mut Draft, report: &mut Report<'_>) {
        let mut found: Vec<(&str, &At, &[Entry])> = Vec::new();
        match &value.node {
            Yaml::Map(entries) => {
                for entry in entries {
                    match &entry.value.node {
                        Yaml::Map(keys) => found.push((&entry.key, &entry.key_at, keys)),
                        Yaml::Null => found.push((&entry.key, &entry.key_at, &[])),
                        _ => report.error(
                            &entry.value.at,
                            format!("a node is a map, not {}", entry.value.describe()),
                        ),
                    }
                }
            }
            Yaml::List(items) => {
                for item in items {
                    match &item.node {
                        Yaml::Scalar { text, .. } => found.push((text, &item.at, &[])),
                        Yaml::Map(keys) => match keys.iter().find(|entry| &*entry.key == "name") {
                            Some(entry) => {
                                if let Some(name) = word(&entry.value, "name", report) {
                                    found.push((name, &entry.value.at, keys));
                                }
                            }
                            None => report.error(&item.at, "the node has no `name`"),
                        },
                        _ => report.error(
                            &item.at,
                            format!("a node is a name or a map, not {}", item.describe()),
                        ),
                    }
                }
            }
            _ => report.error_with(
                &value.at,
                format!("`nodes` is a list or a map, not {}", value.describe()),
                "write `nodes: [r1, r2]`",
            ),
        }
        self.number(&found, report);
        for (name, at, keys) in found {
            self.one(name, at, keys, draft, report);
        }
    }

    /// Numbers as netlab gives them: those asked for, the others in order.
    fn number(&mut self, found: &[(&str, &At, &[Entry])], report: &mut Report<'_>) {
        let mut taken = BTreeSet::new();
        let mut asked: Vec<Option<u32>> = Vec::new();
        for (_, _, keys) in found {
            let entry = keys.iter().find(|entry| &*entry.key == "id");
            let id = entry.and_then(|entry| {
                let given = word(&entry.value, "id", report)?;
                let id = given.parse().ok().filter(|id| (1..=MOST_IDS).contains(id));
                if id.is_none() {
                    let text =
                        format!("`id` is a number from 1 to {MOST_IDS}, not `{}`", short(given));
                    report.error(&entry.value.at, text);
                }
                id
            });
            if let (Some(id), Some(entry)) = (id, entry)
                && !taken.insert(id)
            {
                report.error(&entry.value.at, format!("two nodes have the id {id}"));
            }
            asked.push(id);
        }
        let mut next = 1;
        for ((name, ..), id) in found.iter().zip(asked) {
            let id = id.unwrap_or_else(|| {
                while taken.contains(&next) {
                    next += 1;
                }
                next += 1;
                next - 1
            });
            self.known.insert((*name).to_owned(), Known { id, host: false });
        }
    }

    fn one(
        &mut self,
        name: &str,
        at: &At,
        keys: &[Entry],
        draft: &mut Draft,
        report: &mut Report<'_>,
    ) {
        let Some(map) = draft.node(name, at, report) else { return };
        let (mut device, mut device_at) = (None, at.clone());
        let (mut image, mut host) = (false, None);
        for one in attributes(keys, &["clab.binds", "clab.env"]) {
            match one.path.as_str() {
                "name" | "id" => {}
                "device" => {
                    device = word(one.value, "device", report).map(str::to_owned);
                    device_at = one.value.at.clone();
                }
                "image" | "box" | "clab.image" => {
                    if let Some(given) = word(one.value, "image", report) {
                        put(map, "image", Out::text(given));
                        image = true;
                    }
                }
                "role" => host = word(one.value, "role", report).map(|role| role == "host"),
                _ => attribute(map, name, &one, report),
            }
        }
        let device =
            device.or_else(|| self.of_group.get(name).cloned()).or_else(|| self.device.clone());
        let is_host = device.as_deref().is_none_or(|device| HOSTS.contains(&device));
        if let Some(known) = self.known.get_mut(name) {
            known.host = host.unwrap_or(is_host && device.is_some());
        }
        if let Some(device) = device.filter(|_| !is_host && !image) {
            let text = format!(
                "the device `{}` of node `{name}`, which is made on this machine's own root, is not mapped",
                short(&device)
            );
            report.warn_with(&device_at, text, "give the node its container's `image`");
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    pub(super) fn id(&self, name: &str) -> u32 {
        self.known.get(name).map_or(0, |known| known.id)
    }

    pub(super) fn is_host(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|known| known.host)
    }
}

/// What is said of a node beside its device.
fn attribute(map: &mut Map, node: &str, one: &Attribute<'_>, report: &mut Report<'_>) {
    match (one.path.as_str(), &one.value.node) {
        // netlab's is in megabytes.
        ("memory", Yaml::Scalar { text, .. }) if text.parse::<u32>().is_ok() => {
            put(map, "memory", Out::text(format!("{text}MiB")));
        }
        ("cpu", Yaml::Scalar { text, .. })
            if text.parse::<f64>().is_ok_and(|cpu| cpu > 0.0 && cpu < 1e4) =>
        {
            put(map, "cpu", Out::bare(text));
        }
        ("memory" | "cpu", _) => {
            report.error(&one.value.at, format!("`{}` of node `{node}` is no number", one.path));
        }
        // A map of files of ours to paths of the node, or a list as containerlab has it.
        ("clab.binds", Yaml::Map(entries)) => {
            let pairs = entries.iter().filter_map(|entry| {
                let path = word(&entry.value, "binds", report)?;
                Some(Out::text(format!("{}:{path}", entry.key)))
            });
            put(map, "binds", Out::List(pairs.collect()));
        }
        ("clab.binds" | "clab.ports" | "clab.exec", Yaml::List(items)) => {
            let key = one.path.trim_start_matches("clab.");
            let items = items.iter().filter_map(|item| word(item, key, report).map(Out::text));
            put(map, key, Out::List(items.collect()));
        }
        ("clab.env", Yaml::Map(entries)) => {
            let pairs = entries.iter().filter_map(|entry| {
                Some((entry.key.to_string(), Out::text(word(&entry.value, "env", report)?)))
            });
            put(map, "env", Out::Map(pairs.collect()));
        }
        ("clab.cmd", Yaml::Scalar { text, .. }) => put(map, "cmd", Out::text(text)),
        _ => unmapped(report, &one.at, format_args!("`{}` of node `{node}`", short(&one.path))),
    }
}
