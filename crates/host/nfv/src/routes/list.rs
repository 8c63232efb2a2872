//! Lists: filtered, cut to the members asked for, in pages (SOL013, 5).

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::filter::{Filter, Selector};
use crate::problem::Problem;

/// Name of the parameter that a page's link to the next carries.
const MARKER: &str = "nextpage_opaque_marker";

/// Entries as a bare array, which is what clients read. They are in the order of their identifiers.
pub(super) fn page(
    path: &str,
    query: &[(String, String)],
    entries: impl Iterator<Item = Value>,
    most: usize,
    always: &[&str],
) -> Result<Response, Problem> {
    let mut filter = Filter::default();
    let mut after = None;
    for (key, value) in query {
        match key.as_str() {
            "filter" => filter = Filter::parse(value)?,
            MARKER => after = Some(value.as_str()),
            "fields" | "exclude_fields" | "all_fields" | "exclude_default" => {}
            other => {
                return Err(Problem::bad(format!("`{other}` is no parameter of a list"))
                    .coded("bad-parameter"));
            }
        }
    }
    let selector = Selector::parse(query)?;
    let id = |entry: &Value| entry["id"].as_str().unwrap_or_default().to_owned();
    let mut wanted = entries
        .filter(|entry| after.is_none_or(|after| id(entry).as_str() > after))
        .filter(|entry| filter.admits(entry))
        .peekable();
    let shown: Vec<Value> = wanted.by_ref().take(most).collect();
    let next = wanted.peek().is_some().then(|| shown.last().map(id)).flatten();
    let shown: Vec<Value> = shown.into_iter().map(|entry| selector.apply(entry, always)).collect();
    let Some(marker) = next else { return Ok(Json(shown).into_response()) };
    let mut url = format!("{path}?");
    for (key, value) in query.iter().filter(|(key, _)| key != MARKER) {
        url.push_str(&format!("{key}={}&", escaped(value)));
    }
    let link = format!("<{url}{MARKER}={marker}>; rel=\"next\"");
    Ok(([(header::LINK, link)], Json(shown)).into_response())
}

/// RFC 3986's unreserved characters as they are, all others by their bytes.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
