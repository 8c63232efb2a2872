//! What is told of lists, images and events: tables, or the daemon's JSON.

use serde_json::{Value, json};

use crate::output::table::Rows;
use crate::{Context, Result};

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

pub(super) fn lists(all: &Value, context: &Context) -> Result {
    context.output.table(all, || lists_rows(all)).map(|()| 0)
}

fn lists_rows(all: &Value) -> Rows {
    let mut rows = Rows::new(&["LIST", "TITLE", "VERSION", "EXPIRES", "STATE", "ADDRESS"]);
    for list in all.as_array().into_iter().flatten() {
        let state = if list["settings"]["paused"] == json!(true) {
            "paused".to_owned()
        } else if list["expired"] == json!(true) {
            "expired".to_owned()
        } else {
            match list["last"]["exit_code"].as_u64() {
                Some(0 | 32) if list["ends_soon"] == json!(true) => "ends soon".to_owned(),
                Some(0 | 32) => "good".to_owned(),
                Some(code) => format!("refused ({code})"),
                None => String::new(),
            }
        };
        rows.add(vec![
            text(&list["identifier"]),
            text(&list["title"]),
            text(&list["current"]["version"]),
            expires(&list["current"]["expires"]),
            state,
            text(&list["uri"]),
        ]);
    }
    rows
}

pub(super) fn listed(all: &Value, context: &Context) -> Result {
    context.output.table(all, || listed_rows(all)).map(|()| 0)
}

fn listed_rows(all: &Value) -> Rows {
    let mut rows = Rows::new(&["IMAGE", "TITLE", "VERSION", "SIZE", "STATE", "LIST"]);
    for view in all.as_array().into_iter().flatten() {
        let is = |key: &str| view[key] == json!(true);
        let state = match (is("cached"), is("subscribed"), is("available")) {
            (true, ..) if !view["unusable"].is_null() => "cached, no node can use it",
            (true, ..) => "cached",
            (_, true, true) if is("outdated") => "wanted, an older one is cached",
            (_, true, true) => "wanted",
            (_, _, true) => "offered",
            (_, true, false) => "wanted, not offered",
            _ => "",
        };
        rows.add(vec![
            text(&view["identifier"]),
            text(&view["image"]["title"]),
            text(&view["image"]["version"]),
            view["image"]["size"].as_u64().map(crate::commands::image::bytes).unwrap_or_default(),
            state.to_owned(),
            text(&view["list"]),
        ]);
    }
    rows
}

/// A tag of a registry has no end; its list is given the last day there is.
fn expires(time: &Value) -> String {
    let time = text(time);
    if time.starts_with("9999-") { "never".to_owned() } else { time }
}

pub(super) fn events(all: &Value, context: &Context) -> Result {
    context.output.table(all, || events_rows(all)).map(|()| 0)
}

fn events_rows(all: &Value) -> Rows {
    let mut rows = Rows::new(&["FOR", "EVENT", "IMAGE", "QUEUED", "TRIES", "STATE", "ERROR"]);
    let state = |event: &Value| {
        if event["given_up"] == json!(true) { "given up" } else { "waits" }.to_owned()
    };
    for event in all["handler"].as_array().into_iter().flatten() {
        let variables = event["environment"].as_array().into_iter().flatten();
        let image = variables.filter(|v| v[0] == json!("VMCATCHER_EVENT_DC_IDENTIFIER"));
        rows.add(vec![
            "handler".to_owned(),
            text(&event["kind"]),
            image.map(|v| text(&v[1])).next().unwrap_or_default(),
            text(&event["queued"]),
            text(&event["attempts"]),
            state(event),
            text(&event["error"]),
        ]);
    }
    for event in all["publishers"].as_array().into_iter().flatten() {
        let change = &event["change"];
        let image = if change["new"].is_null() { &change["image"] } else { &change["new"] };
        rows.add(vec![
            text(&event["publisher"]),
            text(&change["change"]),
            text(&image["image"]["identifier"]),
            text(&event["queued"]),
            text(&event["attempts"]),
            state(event),
            text(&event["error"]),
        ]);
    }
    rows
}

pub(super) fn migrated(done: &Value, context: &Context) -> Result {
    if context.output.json {
        context.output.json(done)?;
        return Ok(0);
    }
    let count = |key: &str| done[key].as_array().map_or(0, Vec::len);
    context.output.line(&format!(
        "{} subscriptions, {} endorsers, {} images, {} cached files",
        count("subscriptions"),
        count("endorsers"),
        done["images"],
        count("cached"),
    ))?;
    for note in done["notes"].as_array().into_iter().flatten() {
        context.output.note(&text(note));
    }
    Ok(0)
}
