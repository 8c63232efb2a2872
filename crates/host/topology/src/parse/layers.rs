//! Inheritance: node ← group ← kind ← defaults (`vnode-lifecycle` 7.3).

use std::collections::{BTreeMap, HashMap};

use crate::keys::{self, Key};
use crate::parse::fields::{Fields, text, text_map, texts};
use crate::report::{At, Report};
use crate::yaml::{Entry, Node as Yaml, Value};

/// Most items of one list of one node.
const MOST_ITEMS: usize = 1000;

/// What holds for nodes in general.
#[derive(Debug)]
pub(crate) struct Shared<'v> {
    pub(crate) kinds: HashMap<&'v str, Fields<'v>>,
    pub(crate) groups: HashMap<&'v str, Fields<'v>>,
    pub(crate) defaults: Fields<'v>,
}

impl<'v> Shared<'v> {
    pub(crate) fn read(topology: &Fields<'v>, report: &mut Report<'_>) -> Self {
        let named = |key: &str, report: &mut Report<'_>| {
            let mut all = HashMap::new();
            let Some(entry) = topology.get(key) else { return all };
            match &entry.value.node {
                Yaml::Map(entries) => {
                    for entry in entries {
                        let what = format!("`{key}.{}`", entry.key);
                        all.insert(
                            &*entry.key,
                            Fields::read(&entry.value, &what, keys::NODE, report),
                        );
                    }
                }
                _ => report.error(
                    &entry.value.at,
                    format!("`{key}` is a map, not {}", entry.value.describe()),
                ),
            }
            all
        };
        Self {
            kinds: named("kinds", report),
            groups: named("groups", report),
            defaults: match topology.get("defaults") {
                Some(entry) => Fields::read(&entry.value, "`defaults`", keys::NODE, report),
                None => Fields::empty(0..0),
            },
        }
    }

    /// The layers of one node with its kind, most specific first.
    pub(crate) fn layers<'s>(&'s self, own: &'s Fields<'v>) -> Layers<'s, 'v> {
        let named = |fields: &Fields<'v>, key: &str| -> Option<&'v Entry> {
            fields.get(key).filter(|entry| !is_empty(&entry.value))
        };
        let word = |entry: Option<&'v Entry>| match entry.map(|entry| &entry.value.node) {
            Some(Yaml::Scalar { text, .. }) => Some(text.as_str()),
            _ => None,
        };
        let own_kind = named(own, "kind");
        let of_kind = word(own_kind).and_then(|kind| self.kinds.get(kind));
        let group = named(own, "group")
            .or_else(|| of_kind.and_then(|fields| named(fields, "group")))
            .or_else(|| named(&self.defaults, "group"));
        let of_group = word(group).and_then(|group| self.groups.get(group));
        let kind = own_kind
            .or_else(|| of_group.and_then(|fields| named(fields, "kind")))
            .or_else(|| named(&self.defaults, "kind"));
        let of_kind = word(kind).and_then(|kind| self.kinds.get(kind));
        let list = [Some(own), of_group, of_kind, Some(&self.defaults)];
        Layers { list: list.into_iter().flatten().collect(), kind }
    }
}

/// The layers of one node, most specific first.
#[derive(Debug)]
pub(crate) struct Layers<'s, 'v> {
    list: Vec<&'s Fields<'v>>,
    /// Where its kind is written, in whichever layer.
    pub(crate) kind: Option<&'v Entry>,
}

impl<'v> Layers<'_, 'v> {
    /// Scalars: the most specific that is not empty.
    pub(crate) fn one(&self, name: &str) -> Option<&'v Entry> {
        self.list.iter().find_map(|fields| fields.get(name).filter(|entry| !is_empty(&entry.value)))
    }

    /// Every layer's value, most specific first.
    pub(crate) fn every(&self, name: &str) -> Vec<&'v Entry> {
        self.list.iter().filter_map(|fields| fields.get(name)).collect()
    }

    pub(crate) fn text(&self, name: &str, report: &mut Report<'_>) -> Option<(&'v str, At)> {
        let entry = self.one(name)?;
        text(&entry.value, name, report).map(|text| (text, entry.value.at.clone()))
    }

    /// Lists that are joined, general first.
    pub(crate) fn joined(&self, name: &str, report: &mut Report<'_>) -> Vec<(&'v str, At)> {
        let mut all = Vec::new();
        for entry in self.every(name).into_iter().rev() {
            all.extend(texts(&entry.value, name, report));
        }
        bounded(all, name, report)
    }

    /// Lists of which only the most specific counts.
    pub(crate) fn list(&self, name: &str, report: &mut Report<'_>) -> Vec<(&'v str, At)> {
        let list = self.one(name).map_or_else(Vec::new, |entry| texts(&entry.value, name, report));
        bounded(list, name, report)
    }

    /// Maps: merged, the most specific key wins.
    pub(crate) fn merged(
        &self,
        name: &str,
        report: &mut Report<'_>,
    ) -> BTreeMap<&'v str, (&'v str, At)> {
        let mut all = BTreeMap::new();
        for entry in self.every(name).into_iter().rev() {
            for (key, value, at) in text_map(&entry.value, name, report) {
                all.insert(key, (value, at));
            }
        }
        all
    }

    /// Maps with known keys: merged, the most specific key that is not null wins.
    pub(crate) fn given(
        &self,
        name: &str,
        table: &'static [Key],
        report: &mut Report<'_>,
    ) -> HashMap<&'static str, &'v Entry> {
        let mut all = HashMap::new();
        for layer in self.every(name) {
            let fields = Fields::read(&layer.value, &format!("`{name}`"), table, report);
            for (name, entry) in fields.names() {
                if !entry.value.is_null() {
                    all.entry(name).or_insert(entry);
                }
            }
        }
        all
    }
}

/// Refuses lists that no node has use for.
fn bounded<'v>(
    mut list: Vec<(&'v str, At)>,
    name: &str,
    report: &mut Report<'_>,
) -> Vec<(&'v str, At)> {
    if let Some((_, at)) = list.get(MOST_ITEMS) {
        report.error(at, format!("`{name}` has more than {MOST_ITEMS} items"));
        list.truncate(MOST_ITEMS);
    }
    list
}

fn is_empty(value: &Value) -> bool {
    matches!(&value.node, Yaml::Scalar { text, .. } if text.is_empty())
}
