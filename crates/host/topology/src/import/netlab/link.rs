//! netlab's links in all their forms, with their addresses and impairments.

use std::collections::HashMap;
use std::rc::Rc;

use vnode_protocol::impairment::Impairment;

use super::super::draft::{Draft, End, Wire};
use super::address::{Pools, Prefixes, is_no, is_yes};
use super::node::Nodes;
use super::{unmapped, word};
use crate::parse::short;
use crate::report::{At, Report};
use crate::yaml::{Entry, Node as Yaml, Value};

/// Deepest links within groups of links.
const DEEPEST: u32 = 4;

pub(super) struct Reader<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) pools: Pools,
    pub(super) draft: &'a mut Draft,
    /// Number of each node's last interface.
    pub(super) next: HashMap<String, u32>,
}

/// An end as it is written.
struct Attached<'v> {
    node: &'v str,
    at: At,
    keys: &'v [Entry],
}

impl Reader<'_> {
    /// Reads `links`: a list, or a map of lists.
    pub(super) fn read(&mut self, value: &Value, report: &mut Report<'_>) {
        self.list(value, &[], 0, report);
    }

    /// `shared` are the keys of the group a link is in.
    fn list(&mut self, value: &Value, shared: &[Entry], depth: u32, report: &mut Report<'_>) {
        match &value.node {
            Yaml::List(items) => {
                for item in items {
                    self.link(item, shared, depth, report);
                }
            }
            Yaml::Map(entries) if depth < DEEPEST => {
                for entry in entries {
                    self.list(&entry.value, shared, depth + 1, report);
                }
            }
            Yaml::Null => {}
            _ => report.error(&value.at, format!("`links` is a list, not {}", value.describe())),
        }
    }

    fn link(&mut self, item: &Rc<Value>, shared: &[Entry], depth: u32, report: &mut Report<'_>) {
        let mut ends: Vec<Attached<'_>> = Vec::new();
        let mut keys: Vec<&Entry> = Vec::new();
        match &item.node {
            Yaml::Scalar { text, .. } => {
                let Some(names) = self.parts(text) else {
                    let text = format!("`{}` names no nodes of this lab", short(text));
                    report.error_with(&item.at, text, "write `r1-r2`, or `[r1, r2, r3]`");
                    return;
                };
                let at = &item.at;
                ends.extend(names.into_iter().map(|node| Attached {
                    node,
                    at: at.clone(),
                    keys: &[],
                }));
            }
            Yaml::List(items) => {
                for item in items {
                    let Some(node) = word(item, "link", report) else { return };
                    ends.push(Attached { node, at: item.at.clone(), keys: &[] });
                }
            }
            Yaml::Map(entries) => {
                for entry in entries {
                    match &*entry.key {
                        "interfaces" => interfaces(&entry.value, &mut ends, report),
                        "members" | "group" => {}
                        key if self.nodes.has(key) => match &entry.value.node {
                            Yaml::Map(own) => {
                                ends.push(Attached {
                                    node: key,
                                    at: entry.key_at.clone(),
                                    keys: own,
                                });
                            }
                            _ => ends.push(Attached {
                                node: key,
                                at: entry.key_at.clone(),
                                keys: &[],
                            }),
                        },
                        _ => keys.push(entry),
                    }
                }
                if let Some(members) = entries.iter().find(|entry| &*entry.key == "members") {
                    if depth >= DEEPEST {
                        report.error(&members.key_at, "groups of links are nested too deep");
                        return;
                    }
                    let own: Vec<Entry> = keys.into_iter().chain(shared).cloned().collect();
                    self.list(&members.value, &own, depth + 1, report);
                    return;
                }
            }
            _ => {
                let text = format!("a link is a name, a list or a map, not {}", item.describe());
                report.error(&item.at, text);
                return;
            }
        }
        // What the link says itself wins over its group.
        for entry in shared {
            if !keys.iter().any(|own| own.key == entry.key) {
                keys.push(entry);
            }
        }
        self.wire(&item.at, ends, &keys, report);
    }

    /// `r1-r2`; names may have hyphens too.
    fn parts<'v>(&self, text: &'v str) -> Option<Vec<&'v str>> {
        let text = text.trim();
        if self.nodes.has(text) {
            return Some(vec![text]);
        }
        text.match_indices('-').find_map(|(at, _)| {
            let (one, other) = (text[..at].trim(), text[at + 1..].trim());
            (self.nodes.has(one) && self.nodes.has(other)).then(|| vec![one, other])
        })
    }

    fn wire(&mut self, at: &At, ends: Vec<Attached<'_>>, keys: &[&Entry], report: &mut Report<'_>) {
        let mut wire = Wire::default();
        let (mut impair, mut prefix, mut pool) = (Impairment::default(), None, None);
        for entry in keys {
            let value = &*entry.value;
            match &*entry.key {
                "tc" => tc(&mut impair, value, report),
                key if key.starts_with("tc.") => {
                    set(&mut impair, &key[3..], value, &entry.key_at, report)
                }
                "prefix" => prefix = Prefixes::read(value, report),
                "unnumbered" if word(value, "unnumbered", report).is_some_and(is_yes) => {
                    prefix = Some(Prefixes::default());
                }
                "pool" => pool = word(value, "pool", report),
                "name" => wire.name = word(value, "name", report).unwrap_or_default().to_owned(),
                "bridge" if wire.name.is_empty() => {
                    wire.name = word(value, "bridge", report).unwrap_or_default().to_owned();
                }
                "mtu" => wire.mtu = mtu(value, report),
                "disable" => {
                    if word(value, "disable", report).is_some_and(is_yes) {
                        return;
                    }
                }
                "type" => match word(value, "type", report) {
                    Some("lan" | "p2p" | "stub") | None => {}
                    Some(other) => {
                        unmapped(report, at, format_args!("a link of the type `{}`", short(other)));
                        return;
                    }
                },
                key => unmapped(report, &entry.key_at, format_args!("`{}` of a link", short(key))),
            }
        }
        let hosts = ends.iter().any(|end| self.nodes.is_host(end.node));
        let pool = pool.unwrap_or(if ends.len() == 2 && !hosts { "p2p" } else { "lan" });
        let prefix = prefix.or_else(|| {
            let next = self.pools.next(pool);
            if next.is_none() {
                report.error(at, format!("the pool `{}` has no further prefix", short(pool)));
            }
            next
        });
        let prefix = prefix.unwrap_or_default();
        // Numbers of nodes where they all fit, the order of the link else and between two routers.
        let fits = |id: u32| {
            let (ipv4, ipv6) = prefix.nth(id);
            prefix.ipv4.is_none_or(|_| ipv4.is_some()) && prefix.ipv6.is_none_or(|_| ipv6.is_some())
        };
        let by_id = pool != "p2p" && ends.iter().all(|end| fits(self.nodes.id(end.node)));
        for (number, end) in (1..).zip(&ends) {
            let number = if by_id { self.nodes.id(end.node) } else { number };
            let (ipv4, ipv6) = prefix.nth(number);
            let made =
                End { node: end.node.to_owned(), ipv4, ipv6, to: impair.clone(), ..End::default() };
            if let Some(made) = self.end(made, end, &prefix, report) {
                wire.ends.push(made);
            }
        }
        if ends.is_empty() {
            report.error(at, "the link has no nodes");
        }
        self.draft.wires.push(wire);
    }

    /// What is said of one end.
    fn end(
        &mut self,
        mut end: End,
        written: &Attached<'_>,
        prefix: &Prefixes,
        report: &mut Report<'_>,
    ) -> Option<End> {
        if !self.nodes.has(written.node) {
            report.error(&written.at, format!("there is no node `{}`", short(written.node)));
            return None;
        }
        let mut index = None;
        let mut at = written.at.clone();
        for entry in written.keys {
            let value = &*entry.value;
            match &*entry.key {
                "node" => {}
                "tc" => tc(&mut end.to, value, report),
                key if key.starts_with("tc.") => {
                    set(&mut end.to, &key[3..], value, &entry.key_at, report)
                }
                "ipv4" => end.ipv4 = address(value, prefix, true, report),
                "ipv6" => end.ipv6 = address(value, prefix, false, report),
                "ifname" => {
                    end.interface = word(value, "ifname", report)?.to_owned();
                    at = value.at.clone();
                }
                "ifindex" => {
                    let given = word(value, "ifindex", report)?;
                    index = given.parse::<u32>().ok().filter(|index| *index < 10_000);
                    if index.is_none() {
                        report.error(&value.at, format!("`{}` is no `ifindex`", short(given)));
                    }
                    at = value.at.clone();
                }
                key => {
                    let what = format!("`{}` of `{}` on a link", short(key), written.node);
                    unmapped(report, &entry.key_at, what);
                }
            }
        }
        if let Err(error) = end.to.check() {
            report.error(&written.at, error.to_string());
        }
        if end.interface.is_empty() {
            let next = self.next.entry(end.node.clone()).or_default();
            let mut number = index.unwrap_or(*next + 1);
            while index.is_none() && self.draft.uses(&end.node, &format!("eth{number}")) {
                number += 1;
            }
            *next = number;
            end.interface = format!("eth{number}");
        }
        self.draft.take(&end.node, &end.interface, &at, report).then_some(end)
    }
}

/// The older form, a list of maps that name their nodes.
fn interfaces<'v>(value: &'v Value, ends: &mut Vec<Attached<'v>>, report: &mut Report<'_>) {
    let Yaml::List(items) = &value.node else {
        report.error(&value.at, format!("`interfaces` is a list, not {}", value.describe()));
        return;
    };
    for item in items {
        let keys = match &item.node {
            Yaml::Scalar { text, .. } => {
                ends.push(Attached { node: text, at: item.at.clone(), keys: &[] });
                continue;
            }
            Yaml::Map(keys) => keys.as_slice(),
            _ => &[],
        };
        let node = keys.iter().find(|entry| &*entry.key == "node");
        match node.and_then(|entry| word(&entry.value, "node", report)) {
            Some(node) => ends.push(Attached { node, at: item.at.clone(), keys }),
            None => report.error(&item.at, "the interface names no `node`"),
        }
    }
}

fn mtu(value: &Value, report: &mut Report<'_>) -> Option<u64> {
    let given = word(value, "mtu", report)?;
    let mtu = given.parse().ok().filter(|mtu| (68..=65_535).contains(mtu));
    if mtu.is_none() {
        report.error(
            &value.at,
            format!("`mtu` is a number from 68 to 65535, not `{}`", short(given)),
        );
    }
    mtu
}

/// An end's own address: whole, without its length, or the number of one of the link's.
fn address(value: &Value, prefix: &Prefixes, v4: bool, report: &mut Report<'_>) -> Option<String> {
    let given = word(value, if v4 { "ipv4" } else { "ipv6" }, report)?;
    if is_no(given) || is_yes(given) {
        return None;
    }
    let found = match (given.parse::<u32>(), given.contains('/')) {
        (Ok(number), _) => {
            let (ipv4, ipv6) = prefix.nth(number);
            if v4 { ipv4 } else { ipv6 }
        }
        (_, true) if v4 => given.parse::<ipnet::Ipv4Net>().ok().map(|net| net.to_string()),
        (_, true) => given.parse::<ipnet::Ipv6Net>().ok().map(|net| net.to_string()),
        (_, false) if v4 => given
            .parse::<std::net::Ipv4Addr>()
            .ok()
            .map(|address| format!("{address}/{}", prefix.ipv4.map_or(32, |net| net.prefix_len()))),
        (_, false) => given.parse::<std::net::Ipv6Addr>().ok().map(|address| {
            format!("{address}/{}", prefix.ipv6.map_or(128, |net| net.prefix_len()))
        }),
    };
    if found.is_none() {
        report.error(&value.at, format!("`{}` is no address of this link", short(given)));
    }
    found
}

/// The map `tc` of a link or an end.
fn tc(impair: &mut Impairment, value: &Value, report: &mut Report<'_>) {
    match &value.node {
        Yaml::Map(entries) => {
            for entry in entries {
                set(impair, &entry.key, &entry.value, &entry.key_at, report);
            }
        }
        Yaml::Null => {}
        _ => report.error(&value.at, format!("`tc` is a map, not {}", value.describe())),
    }
}

/// One parameter: netlab's percentages and rates are bare numbers, the latter kbit/s.
fn set(impair: &mut Impairment, key: &str, value: &Value, at: &At, report: &mut Report<'_>) {
    let Some(given) = word(value, key, report) else { return };
    let bare = given.parse::<f64>().is_ok();
    let written = match key {
        "delay" | "jitter" if bare => format!("{given}ms"),
        "delay" | "jitter" => given.to_owned(),
        "loss" | "corrupt" | "duplicate" | "reorder" if bare => format!("{given}%"),
        "loss" | "corrupt" | "duplicate" | "reorder" => given.to_owned(),
        "rate" if bare => format!("{given}kbit"),
        "rate" => given.to_owned(),
        _ => return unmapped(report, at, format_args!("`tc.{}`", short(key))),
    };
    if let Err(error) = impair.set(key, &written) {
        report.error(&value.at, error.to_string());
    }
}
