//! Reading JSON trees whose members come in more than one form.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::error::{InputError, shown};
use crate::model::Config;
use crate::source::{MAX_ADDRESSES, MAX_ROUTES, MAX_SERVERS, MAX_TEXT};

/// Decodes a bounded JSON text.
pub(super) fn json(text: &[u8]) -> Result<Value, InputError> {
    if text.len() > MAX_TEXT {
        return Err(InputError::TooLong { most: MAX_TEXT });
    }
    serde_json::from_slice(text).map_err(InputError::Json)
}

pub(super) fn object<'a>(
    value: &'a Value,
    key: &'static str,
) -> Result<&'a Map<String, Value>, InputError> {
    value.as_object().ok_or(InputError::Type { key, wanted: "an object" })
}

/// A list that may be missing. Null is no list.
pub(super) fn list<'a>(
    object: &'a Map<String, Value>,
    key: &'static str,
) -> Result<&'a [Value], InputError> {
    match object.get(key) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(InputError::Type { key, wanted: "a list" }),
    }
}

/// A list that may be missing or null.
pub(super) fn list_or_null<'a>(
    object: &'a Map<String, Value>,
    key: &'static str,
) -> Result<&'a [Value], InputError> {
    match object.get(key) {
        Some(Value::Null) => Ok(&[]),
        _ => list(object, key),
    }
}

/// A string or a number as text; `None` when it is missing, null or empty.
pub(super) fn text(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<String>, InputError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(InputError::Type { key, wanted: "a string" }),
    }
}

/// An address; a zone (`fe80::1%eth0`) is dropped, because the interface says it.
pub(super) fn address<T: std::str::FromStr>(
    key: &'static str,
    text: &str,
) -> Result<T, InputError> {
    let bare = text.trim().split('%').next().unwrap_or_default();
    bare.parse().map_err(|_| InputError::Address { key, value: shown(text) })
}

/// An address that may be missing, null or empty.
pub(super) fn address_at<T: std::str::FromStr>(
    object: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<T>, InputError> {
    text(object, key)?.map(|text| address(key, &text)).transpose()
}

/// One line of printable text for a comment.
pub(super) fn label(text: &str) -> Option<String> {
    let line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// A server's address or nothing for a text that is none: servers are not worth failing for.
pub(super) fn server(text: &str, warnings: &mut Vec<String>) -> Option<IpAddr> {
    let server = text.trim().parse().ok();
    if server.is_none() {
        warnings.push(format!("name server `{}` is no address and was left out", shown(text)));
    }
    server
}

/// A domain to search, or nothing for a text that is none.
pub(super) fn domain(text: &str, warnings: &mut Vec<String>) -> Option<String> {
    let name = text.trim().trim_end_matches('.');
    let good = crate::hostname::is_valid(name);
    if !good {
        warnings.push(format!("search domain `{}` is no name and was left out", shown(text)));
    }
    good.then(|| name.to_owned())
}

/// Refuses more than the renderers, the kernel and our memory should be asked for.
pub(super) fn bounded(config: &Config) -> Result<(), InputError> {
    let too_many = |what, most| Err(InputError::TooMany { what, most });
    if config.ip4s.len() + config.ip6s.len() > MAX_ADDRESSES {
        return too_many("addresses for one interface", MAX_ADDRESSES);
    }
    if config.routes.len() > MAX_ROUTES {
        return too_many("routes for one interface", MAX_ROUTES);
    }
    if config.dns.len() > MAX_SERVERS || config.search.len() > MAX_SERVERS {
        return too_many("name servers or search domains for one interface", MAX_SERVERS);
    }
    Ok(())
}
