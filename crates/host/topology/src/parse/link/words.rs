//! Words of a link's end: Ethernet addresses, prefixes, variables.

use std::collections::BTreeMap;

use crate::model::Mac;
use crate::parse::fields::{Fields, short, text};
use crate::report::Report;
use crate::yaml::{Entry, Node as Yaml, Value};

/// An Ethernet address that an interface may have.
pub(crate) fn mac(entry: &Entry, report: &mut Report<'_>) -> Option<Mac> {
    let given = text(&entry.value, "mac", report)?;
    match Mac::parse(given) {
        Some(mac) if !mac.is_group() && mac != Mac([0; 6]) => Some(mac),
        Some(_) => {
            report
                .error(&entry.value.at, format!("`{given}` cannot be an interface's own address"));
            None
        }
        None => {
            report.error_with(
                &entry.value.at,
                format!("`mac: {}` is no Ethernet address", short(given)),
                "write six pairs of hexadecimal digits, as in 02:00:00:00:00:01",
            );
            None
        }
    }
}

/// An address with its prefix length.
pub(crate) fn prefix<T: std::str::FromStr>(
    value: &Value,
    key: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    let given = text(value, key, report)?;
    let parsed = given.parse().ok();
    if parsed.is_none() {
        let example = if key == "ipv4" { "10.0.0.1/24" } else { "2001:db8::1/64" };
        report.error_with(
            &value.at,
            format!("`{key}: {}` is no address with prefix length", short(given)),
            format!("write it as {example}"),
        );
    }
    parsed
}

pub(super) fn vars(
    fields: &Fields<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<String, serde_json::Value> {
    let Some(entry) = fields.get("vars") else { return BTreeMap::new() };
    match &entry.value.node {
        Yaml::Map(entries) => {
            entries.iter().map(|e| (e.key.to_string(), e.value.to_json())).collect()
        }
        _ => {
            report
                .error(&entry.value.at, format!("`vars` is a map, not {}", entry.value.describe()));
            BTreeMap::new()
        }
    }
}
