//! guest-network-get-interfaces.

use std::{
    ffi::CStr,
    net::{Ipv4Addr, Ipv6Addr},
};

use serde_json::{Map, Value, json};

use super::{Args, CommandError, Guest, read_text, reason};
use crate::context::Context;

pub(super) fn commands() -> Vec<Guest> {
    vec![Guest::now("guest-network-get-interfaces", interfaces)]
}

/// One interface as it is gathered.
#[derive(Default)]
struct Interface {
    name: String,
    hardware: Option<String>,
    addresses: Vec<Value>,
}

fn interfaces(context: &Context, args: Args) -> Result<Value, CommandError> {
    args.finish()?;
    let found = gather()
        .map_err(|error| CommandError::failed(format!("getifaddrs failed: {}", reason(&error))))?;
    let counters = read_text(context, "/proc/self/net/dev").unwrap_or_default();
    let describe = |interface: Interface| {
        let mut members = Map::new();
        if let Some(statistics) = statistics(&counters, &interface.name) {
            members.insert("statistics".to_owned(), statistics);
        }
        members.insert("name".to_owned(), interface.name.into());
        if let Some(hardware) = interface.hardware {
            members.insert("hardware-address".to_owned(), hardware.into());
        }
        if !interface.addresses.is_empty() {
            members.insert("ip-addresses".to_owned(), interface.addresses.into());
        }
        Value::Object(members)
    };
    Ok(found.into_iter().map(describe).collect())
}

/// Asks the kernel for all interfaces and addresses.
fn gather() -> std::io::Result<Vec<Interface>> {
    let mut found: Vec<Interface> = Vec::new();
    let mut list = std::ptr::null_mut();
    // SAFETY: the call writes a list's head, freed below by its own function.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let mut entry = list;
    // SAFETY: each entry is either null or a valid element of the list, which is not freed before the loop's end.
    while let Some(item) = unsafe { entry.as_ref() } {
        entry = item.ifa_next;
        // SAFETY: the name is a string that ends with zero, as getifaddrs promises.
        let name = unsafe { CStr::from_ptr(item.ifa_name) }.to_string_lossy().into_owned();
        let index = found.iter().position(|i| i.name == name).unwrap_or_else(|| {
            found.push(Interface { name, ..Interface::default() });
            found.len() - 1
        });
        let interface = &mut found[index];
        // SAFETY: an address is null or points to at least its family.
        let Some(address) = (unsafe { item.ifa_addr.as_ref() }) else { continue };
        match i32::from(address.sa_family) {
            libc::AF_INET => {
                // SAFETY: the family says which structure it is; the mask, if any, is of the same family.
                let (v4, mask) = unsafe {
                    (
                        &*item.ifa_addr.cast::<libc::sockaddr_in>(),
                        item.ifa_netmask.cast::<libc::sockaddr_in>().as_ref(),
                    )
                };
                let prefix = mask.map_or(0, |mask| mask.sin_addr.s_addr.count_ones());
                let text = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).to_string();
                interface.addresses.push(ip("ipv4", text, prefix));
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let (v6, mask) = unsafe {
                    (
                        &*item.ifa_addr.cast::<libc::sockaddr_in6>(),
                        item.ifa_netmask.cast::<libc::sockaddr_in6>().as_ref(),
                    )
                };
                let ones = |mask: &libc::sockaddr_in6| {
                    mask.sin6_addr.s6_addr.iter().map(|byte| byte.count_ones()).sum()
                };
                let text = Ipv6Addr::from(v6.sin6_addr.s6_addr).to_string();
                interface.addresses.push(ip("ipv6", text, mask.map_or(0, ones)));
            }
            libc::AF_PACKET => {
                // SAFETY: as above.
                let link = unsafe { &*item.ifa_addr.cast::<libc::sockaddr_ll>() };
                // Only addresses of Ethernet's length; a tunnel may have none, or its peer's IP address.
                if link.sll_halen == 6 {
                    let bytes = link.sll_addr[..6].iter().map(|byte| format!("{byte:02x}"));
                    interface.hardware = Some(bytes.collect::<Vec<_>>().join(":"));
                }
            }
            _ => {}
        }
    }
    // SAFETY: the list came from getifaddrs and is used no more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

fn ip(kind: &str, address: String, prefix: u32) -> Value {
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
