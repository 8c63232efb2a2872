//! Results for people.

use std::fmt::Write;

use serde_json::Value;

use crate::verbs::Request;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

/// One event, or one line of a log.
pub(super) fn item(value: &Value) -> String {
    if let Some(data) = value["data"].as_str() {
        return format!(
            "{} {} {}: {}",
            text(value, "t"),
            text(value, "script"),
            text(value, "stream"),
            escaped(data)
        );
    }
    let mut out = format!(
        "{:6} {} {} {}",
        value["seq"],
        text(value, "time"),
        text(value, "kind"),
        text(value, "subject")
    );
    for (key, word) in value["data"].as_object().into_iter().flatten() {
        if !word.is_null() {
            let _ = write!(
                out,
                " {key}={}",
                word.as_str().map_or_else(|| word.to_string(), str::to_owned)
            );
        }
    }
    out
}

/// What scripts print must not drive a terminal.
fn escaped(data: &str) -> String {
    let plain = data.trim_end_matches(['\n', '\r']);
    plain
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' { c.escape_default().to_string() } else { c.to_string() }
        })
        .collect()
}

/// The result of a request.
pub(super) fn result(request: &Request, value: &Value) -> String {
    let mut out = String::new();
    match request {
        Request::Ls => {
            let _ = writeln!(
                out,
                "{:20} {:12} {:16} {:9} PIDS",
                "INSTANCE", "VERSION", "STATE", "WATCH"
            );
            for instance in value["instances"].as_array().into_iter().flatten() {
                let pids: Vec<String> = instance["pids"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(Value::to_string)
                    .collect();
                let _ = writeln!(
                    out,
                    "{:20} {:12} {:16} {:9} {}",
                    text(instance, "name"),
                    text(instance, "version"),
                    text(instance, "state"),
                    text(instance, "watch"),
                    pids.join(" ")
                );
            }
            let _ = writeln!(out, "\n{:20} {:12} {:>8} DIGEST", "PACKAGE", "VERSION", "BYTES");
            for package in value["packages"].as_array().into_iter().flatten() {
                let _ = writeln!(
                    out,
                    "{:20} {:12} {:>8} {:.16}",
                    text(package, "name"),
                    text(package, "version"),
                    package["size"],
                    text(package, "digest")
                );
            }
        }
        Request::Push { .. } => {
            let known = if value["known"] == true { " (was here already)" } else { "" };
            let _ = writeln!(out, "{} {}{known}", text(value, "name"), text(value, "version"));
            for warning in value["warnings"].as_array().into_iter().flatten() {
                let _ = writeln!(out, "warning: {}", warning.as_str().unwrap_or_default());
            }
        }
        Request::Process { .. } => out = text(value, "state").to_owned(),
        Request::Operations { .. } => {
            for op in value.as_array().into_iter().flatten() {
                let _ = writeln!(
                    out,
                    "{} {:20} {:14} {:12} {}",
                    text(op, "id"),
                    text(op, "instance_name"),
                    text(op, "operation"),
                    text(op, "state"),
                    op["error"]["detail"].as_str().unwrap_or_default()
                );
            }
        }
        _ if value["operation"].is_string() && value["state"].is_string() => {
            let _ = writeln!(
                out,
                "{} of {}: {}",
                text(value, "operation"),
                text(value, "instance_name"),
                text(value, "state")
            );
            for warning in value["warnings"].as_array().into_iter().flatten() {
                let _ = writeln!(out, "warning: {}", warning.as_str().unwrap_or_default());
            }
        }
        _ if value.as_object().is_some_and(serde_json::Map::is_empty) => {}
        _ => out = serde_json::to_string_pretty(value).unwrap_or_default(),
    }
    out
}
