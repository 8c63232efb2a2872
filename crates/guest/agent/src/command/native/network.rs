//! network: interfaces with their addresses and counters, and routes.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use futures_util::future::BoxFuture;
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use vnode_netconf::kernel::{self, KernelError};

use super::failed;
use crate::{
    command::{Command, CommandError, Form},
    context::Context,
};

/// Most interfaces and routes that are listed.
const MOST: usize = 1024;

/// Tells the network's state.
#[derive(Debug)]
pub(super) struct Network;

impl Command for Network {
    fn name(&self) -> &str {
        "network"
    }

    fn form(&self) -> Form {
        Form::Native
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        _: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        Box::pin(async {
            let addresses = addresses().map_err(|error| failed("list the addresses", error))?;
            let names = context.root().open_dir("sys/class/net").and_then(|dir| dir.list(MOST));
            let mut names: Vec<String> = match names {
                Ok(names) => {
                    names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
                }
                // A container without /sys: what has addresses is there all the same.
                Err(error) if error.is_not_found() => addresses.keys().cloned().collect(),
                Err(error) => return Err(failed("list the interfaces", error)),
            };
            names.retain(|name| name != "bonding_masters");
            let interfaces: Vec<Value> =
                names.iter().map(|name| interface(context, name, addresses.get(name))).collect();
            Ok(json!({"interfaces": interfaces, "routes": routes(context)}))
        })
    }
}

fn interface(context: &Context, name: &str, addresses: Option<&Vec<Value>>) -> Value {
    let read = |file: &str| {
        let path = format!("sys/class/net/{name}/{file}");
        let bytes = context.root().read_to_limit(path, 4096).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    let number = |file: &str| read(file).and_then(|text| text.parse::<u64>().ok());
    let mut statistics = Map::new();
    for counter in ["bytes", "packets", "errors", "dropped"] {
        for direction in ["rx", "tx"] {
            let key = format!("{direction}_{counter}");
            if let Some(value) = number(&format!("statistics/{key}")) {
                statistics.insert(key, value.into());
            }
        }
    }
    let flags = read("flags")
        .and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok())
        .unwrap_or(0);
    json!({
        "name": name,
        "index": number("ifindex"),
        "mac": read("address").filter(|mac| !mac.is_empty()),
        "mtu_bytes": number("mtu"),
        "up": flags & 1 == 1,
        "carrier": read("carrier").map(|text| text == "1"),
        "addresses": addresses.cloned().unwrap_or_default(),
        "statistics": statistics,
    })
}

/// Addresses with their prefix, by interface.
fn addresses() -> Result<BTreeMap<String, Vec<Value>>, KernelError> {
    let described =
        |net: &IpNet| json!({"address": net.addr().to_string(), "prefix": net.prefix_len()});
    let links = kernel::all_links()?.into_iter().filter(|link| !link.addresses.is_empty());
    Ok(links.map(|link| (link.name, link.addresses.iter().map(described).collect())).collect())
}

fn routes(context: &Context) -> Value {
    let read = |name: &str| {
        let bytes = context.root().read_to_limit(name, 1 << 20).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut routes = Vec::new();
    if let Some(text) = read("proc/net/route") {
        routes.extend(text.lines().skip(1).filter_map(route4).take(MOST));
    }
    if let Some(text) = read("proc/net/ipv6_route") {
        routes.extend(text.lines().filter_map(route6).take(MOST));
    }
    routes.into()
}

/// A line of /proc/net/route: addresses are hexadecimal in the machine's byte order.
fn route4(line: &str) -> Option<Value> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let hex = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok();
    let address = |index: usize| Some(Ipv4Addr::from(u32::from_be(hex(index)?)));
    let (to, via, mask) = (address(1)?, address(2)?, hex(7)?);
    Some(json!({
        "to": format!("{to}/{}", mask.count_ones()),
        "via": (!via.is_unspecified()).then(|| via.to_string()),
        "interface": words.first()?,
        "metric": words.get(6)?.parse::<u32>().ok(),
    }))
}

/// A line of /proc/net/ipv6_route.
fn route6(line: &str) -> Option<Value> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address =
        |index: usize| u128::from_str_radix(words.get(index)?, 16).ok().map(Ipv6Addr::from);
    let number = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok();
    let (to, prefix, via) = (address(0)?, number(1)?, address(4)?);
    Some(json!({
        "to": format!("{to}/{prefix}"),
        "via": (!via.is_unspecified()).then(|| via.to_string()),
        "interface": words.get(9)?,
        "metric": number(5)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_as_the_kernel_writes_them() {
        let line = "eth0\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0";
        assert_eq!(
            route4(line).unwrap(),
            json!({"to": "0.0.0.0/0", "via": "10.0.2.1", "interface": "eth0", "metric": 100})
        );
        let line = "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
                    00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0";
        assert_eq!(
            route6(line).unwrap(),
            json!({"to": "fe80::/64", "via": null, "interface": "eth0", "metric": 256})
        );
    }

    #[test]
    fn the_loopback_has_its_address() {
        let addresses = addresses().unwrap();
        assert!(addresses.get("lo").is_none_or(|list| list[0]["address"] == "127.0.0.1"));
    }
}
