//! The OpenStack agent's JSON form: `{"name": ..., "value": ...}` in, `{"message": ..., "returncode": ...}` out.
//!
//! Texts, codes, order and spacing of an answer are those of openstack-guest-agents-unix, byte for byte, since
//! clients match them. Where the original gave no answer at all (a body that is no object), this one does.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

use super::{Answer, MessageParser, Session};
use crate::{
    command::{Class, CommandError, Form},
    limits::Limits,
};

/// Largest body, bytes, where a channel's `request-bytes` does not say otherwise (R-J6).
pub const BODY_BYTES: usize = 64 << 10;
/// Deepest nesting of a body.
const DEPTH_MAX: usize = 64;

const MALFORMED: &str = "Request is malformed";
const NO_NAME: &str = "Request is missing 'name' key";
const NO_BODY: &str = "Internal error with request";

/// The parser.
pub fn parser() -> Option<Arc<dyn MessageParser>> {
    Some(Arc::new(Openstack))
}

#[derive(Debug)]
struct Openstack;

impl MessageParser for Openstack {
    fn form(&self) -> Form {
        Form::Openstack
    }

    fn handle<'a>(
        &'a self,
        body: Option<&'a [u8]>,
        answer_bytes: usize,
        session: &'a Session,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let refused = |message| Answer {
                body: response("500", message, answer_bytes).into_bytes(),
                after: Vec::new(),
            };
            let Some(body) = body else { return refused(NO_BODY) };
            let request = match read(body, &session.limits) {
                Ok(request) => request,
                Err(message) => return refused(message),
            };
            let called =
                session.commands.call(&session.context, &request.name, request.value).await;
            let body = match &called.result {
                Ok(value) => answer(value, answer_bytes),
                Err(error) => {
                    let (code, message) = failure(error, &request.name);
                    response(&code, &message, answer_bytes)
                }
            };
            Answer { body: body.into_bytes(), after: called.after }
        })
    }
}

/// A request that has a name.
#[derive(Clone, PartialEq)]
pub struct Request {
    pub name: String,
    /// The empty string when there was none.
    pub value: Value,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the value: it may be a secret.
        f.debug_struct("Request").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads a body.
///
/// # Errors
/// The message of the answer, whose code is 500.
pub fn read(body: &[u8], limits: &Limits) -> Result<Request, &'static str> {
    let mut limits = limits.clone();
    limits.depth = limits.depth.min(DEPTH_MAX);
    limits.check(body).map_err(|_| MALFORMED)?;
    let text = std::str::from_utf8(body).map_err(|_| MALFORMED)?;
    let members: Members = serde_json::from_str(text).map_err(|_| MALFORMED)?;
    let name = match members.name {
        Some(Value::String(name)) => name,
        Some(_) => return Err(MALFORMED),
        None => return Err(NO_NAME),
    };
    let value = members.value.map_or_else(|| Ok(Value::String(String::new())), exact)?;
    Ok(Request { name, value })
}

/// The value as it is. An integer too large for JSON's usual reading (a public key has 107 bits) becomes its
/// digits: commands take digits wherever they take such a number.
fn exact(raw: &RawValue) -> Result<Value, &'static str> {
    let text = raw.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let integer = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if integer && text.parse::<i64>().is_err() && text.parse::<u64>().is_err() {
        return Ok(Value::String(text.to_owned()));
    }
    serde_json::from_str(text).map_err(|_| MALFORMED)
}

/// What counts of the object; of members given twice the last one, as in Python.
#[derive(Default)]
struct Members<'a> {
    name: Option<Value>,
    value: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Members::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "name" => members.name = Some(map.next_value()?),
                        "value" => members.value = Some(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A command's success as an answer.
fn answer(value: &Value, limit: usize) -> String {
    match value {
        Value::String(message) => response("0", message, limit),
        Value::Null => response("0", "", limit),
        Value::Object(object) if object.contains_key("returncode") => {
            let text = |name: &str| match object.get(name) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            response(&text("returncode"), &text("message"), limit)
        }
        other => response("0", &other.to_string(), limit),
    }
}

/// Code and message of a failure.
fn failure(error: &CommandError, name: &str) -> (String, String) {
    match (error.code(), error.class()) {
        (Some(code), _) => (code.to_owned(), error.message().to_owned()),
        (None, Class::Unknown | Class::Disabled) => {
            ("404".to_owned(), format!("No such agent command '{name}'"))
        }
        (None, _) => ("500".to_owned(), error.message().to_owned()),
    }
}

/// The answer's text, at most `limit` bytes: a longer message is cut between characters and ends in `...`.
#[must_use]
pub fn response(code: &str, message: &str, limit: usize) -> String {
    const START: &str = "{\"message\": \"";
    const MIDDLE: &str = "\", \"returncode\": \"";
    const END: &str = "\"}";
    const DOTS: &str = "...";
    let code = escaped(code);
    let room = limit.saturating_sub(START.len() + MIDDLE.len() + code.len() + END.len());
    // Clients take the four characters `\r\n` out of a message; so there are none to take out.
    let message = message.replace("\r\n", "\n");
    let mut text = String::from(START);
    // Where it can be cut so that the dots still fit.
    let mut cut = text.len();
    for character in message.chars() {
        escape(character, &mut text);
        let length = text.len() - START.len();
        if length + DOTS.len() <= room {
            cut = text.len();
        }
        if length > room {
            text.truncate(cut);
            text.push_str(&DOTS[..DOTS.len().min(room)]);
            break;
        }
    }
    text.push_str(MIDDLE);
    text.push_str(&code);
    text.push_str(END);
    text
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    text.chars().for_each(|c| escape(c, &mut out));
    out
}

/// As Python's `json.dumps` does: whatever is not printable ASCII becomes `\uXXXX`.
fn escape(character: char, out: &mut String) {
    use std::fmt::Write as _;
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        ' '..='~' => out.push(character),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a string can be written to");
            }
        }
    }
}

#[cfg(test)]
mod tests;
