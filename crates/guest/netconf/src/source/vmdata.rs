//! `vm-data` in XenStore: one JSON object for each interface below `vm-data/networking`, and `vm-data/hostname`.
//!
//! The format is that of OpenStack's XenAPI driver, with what its agents accepted besides.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Map, Value};

use super::value::{self, address, address_at, json, label, list, object, text};
use super::{MAX_INTERFACES, MAX_ROUTES};
use crate::address::{Mac, prefix4, prefix6};
use crate::error::{InputError, shown};
use crate::model::{Config, Description, Route, Select, Wanted};

/// Reads the nodes below `vm-data/networking` (name and content of each) and `vm-data/hostname`.
///
/// No node at all is no error: only the host name is then of interest. Two nodes for one interface: the later one counts.
///
/// # Errors
/// The first node that cannot be used.
pub fn read<'a>(
    nodes: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    hostname: Option<&str>,
) -> Result<Wanted, InputError> {
    let mut wanted = Wanted {
        hostname: hostname.map(str::trim).filter(|h| !h.is_empty()).map(str::to_owned),
        ..Wanted::default()
    };
    for (name, content) in nodes {
        let description = interface(&json(content)?, &mut wanted.warnings).inspect_err(
            |error| tracing::warn!(node = %shown(name), %error, "network description"),
        )?;
        wanted.descriptions.retain(|other| other.select != description.select);
        wanted.descriptions.push(description);
        if wanted.descriptions.len() > MAX_INTERFACES {
            return Err(InputError::TooMany { what: "interfaces", most: MAX_INTERFACES });
        }
    }
    Ok(wanted)
}

/// Reads one interface object.
///
/// # Errors
/// What the table of the OpenStack agent says, with its texts, and what it let through to break later.
pub fn interface(node: &Value, warnings: &mut Vec<String>) -> Result<Description, InputError> {
    let node = object(node, "networking")?;
    let mac = text(node, "mac")?.ok_or(InputError::NoMac)?;
    let select = match mac.parse::<Mac>() {
        Ok(mac) => Select::Mac(mac),
        // No interface can have such an address: the answer is that of an address nobody has.
        Err(_) => return Err(InputError::UnknownMac(shown(&mac.to_lowercase()))),
    };
    if is_empty(node.get("ips")) && is_empty(node.get("ip6s")) {
        return Err(InputError::NoAddresses);
    }
    let mut config = Config {
        label: text(node, "label")?.as_deref().and_then(label),
        gateway4: address_at(node, "gateway")?,
        // The later in this order wins, and null never wins: `gateway6`, `gateway_v6`, those of the addresses.
        gateway6: match address_at(node, "gateway_v6")? {
            Some(gateway) => Some(gateway),
            None => address_at(node, "gateway6")?,
        },
        ..Config::default()
    };
    for entry in enabled(list(node, "ips")?, "ips", warnings)? {
        let key = |key| InputError::Missing4 { key };
        let ip = text(entry, "ip")?.ok_or(key("ip"))?;
        let mask = text(entry, "netmask")?.ok_or(key("netmask"))?;
        let length = prefix4(&mask).ok_or_else(|| InputError::Mask(shown(&mask)))?;
        config.ip4s.push(net4("ip", &ip, length)?);
    }
    for entry in enabled(list(node, "ip6s")?, "ip6s", warnings)? {
        let ip = match text(entry, "address")? {
            Some(address) => address,
            None => text(entry, "ip")?.ok_or(InputError::MissingAddress6)?,
        };
        let mask = text(entry, "netmask")?.ok_or(InputError::MissingMask6)?;
        let length = prefix6(&mask).ok_or_else(|| InputError::Mask(shown(&mask)))?;
        config.ip6s.push(net6("ip", &ip, length)?);
        if let Some(gateway) = address_at(entry, "gateway")? {
            config.gateway6 = Some(gateway);
        }
    }
    for entry in value::list_or_null(node, "routes")?.iter().take(MAX_ROUTES + 1) {
        config.routes.push(route(object(entry, "routes")?)?);
    }
    for entry in value::list_or_null(node, "dns")? {
        let text =
            entry.as_str().ok_or(InputError::Type { key: "dns", wanted: "a list of strings" })?;
        config.dns.extend(value::server(text, warnings));
    }
    value::bounded(&config)?;
    config.tidy();
    Ok(Description { id: String::new(), select, config })
}

/// Python's idea of false, for a value that ought to be a list.
fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(Value::Bool(true)) => false,
    }
}

/// The entries that are enabled. An entry that does not say is not (as the OpenStack agent has it), with a warning.
fn enabled<'a>(
    list: &'a [Value],
    key: &'static str,
    warnings: &mut Vec<String>,
) -> Result<Vec<&'a Map<String, Value>>, InputError> {
    let mut kept = Vec::new();
    for entry in list {
        let entry = object(entry, key)?;
        let on = match entry.get("enabled") {
            None => {
                warnings.push(format!("an entry of `{key}` has no `enabled` and was left out"));
                false
            }
            Some(Value::Bool(on)) => *on,
            Some(Value::Number(number)) => number.as_f64().is_some_and(|n| n.trunc() != 0.0),
            Some(Value::String(text)) => match text.trim().parse::<i64>() {
                Ok(number) => number != 0,
                Err(_) => return Err(InputError::Enabled(shown(text))),
            },
            Some(other) => return Err(InputError::Enabled(shown(&other.to_string()))),
        };
        if on {
            kept.push(entry);
        }
    }
    Ok(kept)
}

fn route(entry: &Map<String, Value>) -> Result<Route, InputError> {
    let at = |key| text(entry, key)?.ok_or(InputError::MissingRoute { key });
    let (network, mask, gateway) = (at("route")?, at("netmask")?, at("gateway")?);
    super::vmdata::route_of(&network, &mask, &gateway)
}

/// A route from the texts of its network, mask and next hop.
pub(super) fn route_of(network: &str, mask: &str, gateway: &str) -> Result<Route, InputError> {
    let refused = || InputError::Mask(shown(mask));
    if network.contains(':') {
        let length = prefix6(mask).ok_or_else(refused)?;
        let gateway: Ipv6Addr = address("gateway", gateway)?;
        let destination = IpNet::V6(net6("route", network, length)?.trunc());
        Ok(Route { destination, gateway: gateway.into() })
    } else {
        let length = prefix4(mask).ok_or_else(refused)?;
        let gateway: Ipv4Addr = address("gateway", gateway)?;
        let destination = IpNet::V4(net4("route", network, length)?.trunc());
        Ok(Route { destination, gateway: gateway.into() })
    }
}

pub(super) fn net4(key: &'static str, text: &str, length: u8) -> Result<Ipv4Net, InputError> {
    Ipv4Net::new(address(key, text)?, length).map_err(|_| InputError::Mask(length.to_string()))
}

pub(super) fn net6(key: &'static str, text: &str, length: u8) -> Result<Ipv6Net, InputError> {
    Ipv6Net::new(address(key, text)?, length).map_err(|_| InputError::Mask(length.to_string()))
}
