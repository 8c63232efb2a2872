//! guest-network-get-interfaces.

use ipnet::IpNet;
use serde_json::{Map, Value, json};
use vnode_netconf::kernel::{self, Link};

use super::{Args, CommandError, Guest, read_text};
use crate::context::Context;

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::now("guest-network-get-interfaces", interfaces)]
}

fn interfaces(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let found = kernel::all_links().map_err(|error| {
        CommandError::failed("cannot list the network interfaces").with_source(error)
    })?;
    let counters = read_text(context, "/proc/self/net/dev").unwrap_or_default();
    let describe = |interface: Link| {
        let mut members = Map::new();
        if let Some(statistics) = statistics(&counters, &interface.name) {
            members.insert("statistics".to_owned(), statistics);
        }
        members.insert("name".to_owned(), interface.name.into());
        if let Some(hardware) = interface.hardware {
            members.insert("hardware-address".to_owned(), hardware.to_string().into());
        }
        if !interface.addresses.is_empty() {
            let addresses: Vec<Value> = interface.addresses.iter().map(ip).collect();
            members.insert("ip-addresses".to_owned(), addresses.into());
        }
        Value::Object(members)
    };
    Ok(found.into_iter().map(describe).collect())
}

fn ip(net: &IpNet) -> Value {
    let kind = if net.addr().is_ipv4() { "ipv4" } else { "ipv6" };
    let (address, prefix) = (net.addr().to_string(), net.prefix_len());
    json!({ "ip-address-type": kind, "ip-address": address, "prefix": prefix })
}

/// Counters of an interface out of `/proc/net/dev`.
fn statistics(table: &str, name: &str) -> Option<Value> {
    let (_, counters) = table
        .lines()
        .filter_map(|line| line.trim_start().split_once(':'))
        .find(|(interface, _)| *interface == name)?;
    let numbers: Vec<u64> =
        counters.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
    // Eight columns of what came, then eight of what went.
    let (
        &[rx_bytes, rx_packets, rx_errs, rx_dropped, ..],
        Some(&[tx_bytes, tx_packets, tx_errs, tx_dropped, ..]),
    ) = (&*numbers, numbers.get(8..))
    else {
        return None;
    };
    Some(json!({
        "rx-bytes": rx_bytes, "rx-packets": rx_packets, "rx-errs": rx_errs, "rx-dropped": rx_dropped,
        "tx-bytes": tx_bytes, "tx-packets": tx_packets, "tx-errs": tx_errs, "tx-dropped": tx_dropped,
    }))
}
