//! guest-network-get-route: the kernel's tables as `/proc/net/route` and `/proc/net/ipv6_route` have them.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::{Args, CommandError, Guest, read_text};
use crate::context::Context;

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::now("guest-network-get-route", routes)]
}

fn routes(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let v4 = read_text(context, "/proc/self/net/route");
    let v6 = read_text(context, "/proc/self/net/ipv6_route");
    if v4.is_none() && v6.is_none() {
        return Err(CommandError::failed("cannot read /proc/net/route; is /proc mounted?"));
    }
    let (v4, v6) = (v4.unwrap_or_default(), v6.unwrap_or_default());
    Ok(v4.lines().skip(1).filter_map(route4).chain(v6.lines().filter_map(route6)).collect())
}

fn route4(line: &str) -> Option<Value> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let &[iface, destination, gateway, flags, refcnt, usage, metric, mask, mtu, window, irtt, ..] =
        &*words
    else {
        return None;
    };
    // The kernel prints the address as it lies in memory.
    let address = |hex: &str| {
        Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()).to_string())
    };
    let number = |text: &str| text.parse::<i64>().ok();
    Some(json!({
        "iface": iface,
        "destination": address(destination)?,
        "gateway": address(gateway)?,
        "mask": address(mask)?,
        "flags": i64::from_str_radix(flags, 16).ok()?,
        "refcnt": number(refcnt)?,
        "use": number(usage)?,
        "metric": number(metric)?,
        "mtu": number(mtu)?,
        "window": number(window)?,
        "irtt": number(irtt)?,
        "version": 4,
    }))
}

fn route6(line: &str) -> Option<Value> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let &[destination, prefix, source, source_prefix, next, metric, refcnt, usage, flags, iface] =
        &*words
    else {
        return None;
    };
    let hex = |text: &str| i64::from_str_radix(text, 16).ok();
    let address =
        |text: &str| Some(Ipv6Addr::from(u128::from_str_radix(text, 16).ok()?).to_string());
    Some(json!({
        "iface": iface,
        "destination": address(destination)?,
        "desprefixlen": hex(prefix)?.to_string(),
        "source": address(source)?,
        "srcprefixlen": hex(source_prefix)?.to_string(),
        "nexthop": address(next)?,
        "metric": hex(metric)?,
        "refcnt": hex(refcnt)?,
        "use": hex(usage)?,
        "flags": hex(flags)?,
        "version": 6,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_are_read() {
        let v4 = route4("eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0").unwrap();
        assert_eq!(v4["gateway"], "192.0.2.1");
        assert_eq!(v4["metric"], 100);
        let v6 = route6(
            "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
             fe800000000000000000000000000001 00000100 00000001 00000000 00000001     eth0",
        )
        .unwrap();
        assert_eq!(v6["destination"], "fd00::");
        assert_eq!(v6["desprefixlen"], "64");
        assert_eq!(v6["nexthop"], "fe80::1");
    }
}
