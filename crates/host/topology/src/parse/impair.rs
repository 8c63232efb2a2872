//! Impairments in the file.

use vnode_protocol::impairment::Impairment;

use crate::parse::fields::{short, text};
use crate::report::Report;
use crate::yaml::{Node, Value};

/// `base` with the parameters changed that `value` names. `none` instead of a map is a perfect link.
pub(crate) fn read(base: &Impairment, value: &Value, report: &mut Report<'_>) -> Impairment {
    let mut impairment = base.clone();
    match &value.node {
        Node::Scalar { text, .. } if text.eq_ignore_ascii_case("none") => {
            return Impairment::default();
        }
        _ => {}
    }
    for (key, given) in parameters(value, report) {
        // Checked by `parameters` already.
        if impairment.set(&key, &given).is_err() {
            return impairment;
        }
    }
    if let Err(error) = impairment.check() {
        report.error(&value.at, error.to_string());
    }
    impairment
}

/// The parameters named, checked one by one.
pub(crate) fn parameters(value: &Value, report: &mut Report<'_>) -> Vec<(String, String)> {
    let entries = match &value.node {
        Node::Map(entries) => entries,
        Node::Null => return Vec::new(),
        _ => {
            report.error_with(
                &value.at,
                format!("an impairment is a map, not {}", value.describe()),
                "write `impair: {delay: 10ms, loss: 0.1%, rate: 100mbit}`",
            );
            return Vec::new();
        }
    };
    let mut scratch = Impairment::default();
    let mut pairs: Vec<(String, String, crate::report::At)> = Vec::new();
    for entry in entries {
        let Some(given) = text(&entry.value, &entry.key, report) else { continue };
        let given = if entry.value.is_null() { "none" } else { given };
        let key = entry.key.replace('_', "-");
        let meaning = key.trim_end_matches("-ratio").to_owned();
        if let Some((other, _, at)) =
            pairs.iter().find(|(other, ..)| other.trim_end_matches("-ratio") == meaning)
        {
            report.error_twice(
                &entry.key_at,
                format!("`{}` and `{other}` set the same parameter", short(&entry.key)),
                "first set here",
                &at.clone(),
            );
            continue;
        }
        match scratch.set(&key, given) {
            Ok(warning) => {
                if let Some(warning) = warning {
                    report.warn(&entry.value.at, warning.to_string());
                }
                pairs.push((key, given.to_owned(), entry.key_at.clone()));
            }
            Err(error) => {
                let unknown_key =
                    matches!(error, vnode_protocol::impairment::ParseError::UnknownKey { .. });
                let at = if unknown_key { &entry.key_at } else { &entry.value.at };
                report.error(at, error.to_string());
            }
        }
    }
    pairs.into_iter().map(|(key, given, _)| (key, given)).collect()
}
