//! The management network.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::keys;
use crate::model::{Mgmt, default_ipv4, default_ipv6};
use crate::parse::fields::{Fields, boolean, count, short, text};
use crate::report::Report;
use crate::yaml::Value;

/// Reads `mgmt`; absent is containerlab's default.
pub(crate) fn read(value: Option<&Value>, report: &mut Report<'_>) -> Mgmt {
    let mut mgmt = Mgmt::default();
    let Some(value) = value else { return mgmt };
    let fields = Fields::read(value, "`mgmt`", keys::MGMT, report);
    mgmt.span = report.span(&value.at);
    if let Some(name) = word(&fields, "network", report) {
        mgmt.network = name;
    }
    mgmt.bridge = word(&fields, "bridge", report);
    if let Some(bridge) = &mgmt.bridge
        && bridge.len() > 15
        && let Some(entry) = fields.get("bridge")
    {
        report.error(
            &entry.value.at,
            format!(
                "`{}` is longer than the 15 characters an interface's name may have",
                short(bridge)
            ),
        );
    }
    if let Some(bridge) = &mgmt.bridge
        && (bridge == "." || bridge == ".." || bridge.contains(':'))
        && let Some(entry) = fields.get("bridge")
    {
        report.error(&entry.value.at, format!("`{}` is no name for an interface", short(bridge)));
    }
    // As containerlab has it: a file that names one subnet has only that one.
    if fields.get("ipv4-subnet").is_some() || fields.get("ipv6-subnet").is_some() {
        mgmt.ipv4_subnet = None;
        mgmt.ipv6_subnet = None;
    }
    if let Some(entry) = fields.get("ipv4-subnet") {
        match text(&entry.value, "ipv4-subnet", report) {
            Some("auto") => {
                mgmt.ipv4_auto = true;
                mgmt.ipv4_subnet = Some(default_ipv4());
            }
            Some("") | None => {}
            Some(given) => match given.parse::<Ipv4Net>() {
                Ok(net) if net.prefix_len() <= 30 => {
                    if net.addr() != net.network() {
                        report.warn(
                            &entry.value.at,
                            format!("`{given}` names a host; the subnet is {}", net.trunc()),
                        );
                    }
                    mgmt.ipv4_subnet = Some(net.trunc());
                }
                Ok(_) => report
                    .error(&entry.value.at, format!("the subnet `{given}` has no room for nodes")),
                Err(_) => report.error_with(
                    &entry.value.at,
                    format!("`{}` is no IPv4 subnet", short(given)),
                    "write it as `172.20.20.0/24`, `auto`, or \"\" for none",
                ),
            },
        }
    }
    if let Some(entry) = fields.get("ipv6-subnet") {
        match text(&entry.value, "ipv6-subnet", report) {
            Some("auto") => {
                mgmt.ipv6_auto = true;
                mgmt.ipv6_subnet = Some(default_ipv6());
            }
            Some("") | None => {}
            Some(given) => match given.parse::<Ipv6Net>() {
                Ok(net) if net.prefix_len() <= 126 => {
                    if net.addr() != net.network() {
                        report.warn(
                            &entry.value.at,
                            format!("`{given}` names a host; the subnet is {}", net.trunc()),
                        );
                    }
                    mgmt.ipv6_subnet = Some(net.trunc());
                }
                Ok(_) => report
                    .error(&entry.value.at, format!("the subnet `{given}` has no room for nodes")),
                Err(_) => report.error_with(
                    &entry.value.at,
                    format!("`{}` is no IPv6 subnet", short(given)),
                    "write it as `3fff:172:20:20::/64`, `auto`, or \"\" for none",
                ),
            },
        }
    }
    mgmt.ipv4_gateway = parsed::<Ipv4Addr>(&fields, "ipv4-gw", "an IPv4 address", report);
    mgmt.ipv6_gateway = parsed::<Ipv6Addr>(&fields, "ipv6-gw", "an IPv6 address", report);
    mgmt.ipv4_range = parsed::<Ipv4Net>(&fields, "ipv4-range", "an IPv4 prefix", report);
    mgmt.ipv6_range = parsed::<Ipv6Net>(&fields, "ipv6-range", "an IPv6 prefix", report);
    within(&fields, &mgmt, report);
    mgmt.mtu = fields
        .get("mtu")
        .and_then(|entry| count(&entry.value, "mtu", 68..=65_535, report))
        .and_then(|mtu| u32::try_from(mtu).ok())
        .filter(|mtu| *mtu > 0);
    if let Some(entry) = fields.get("external-access") {
        mgmt.external_access = boolean(&entry.value, "external-access", report).unwrap_or(true);
    }
    if let Some(entry) = fields.get("skip-when-unused") {
        mgmt.skip_when_unused = boolean(&entry.value, "skip-when-unused", report).unwrap_or(false);
    }
    mgmt
}

/// Gateways and ranges lie in their subnets.
fn within(fields: &Fields<'_>, mgmt: &Mgmt, report: &mut Report<'_>) {
    let v4 = |net: Option<Ipv4Net>, in_it: &dyn Fn(Ipv4Net) -> bool| net.is_some_and(in_it);
    let v6 = |net: Option<Ipv6Net>, in_it: &dyn Fn(Ipv6Net) -> bool| net.is_some_and(in_it);
    let checks = [
        (
            "ipv4-gw",
            mgmt.ipv4_gateway.is_none_or(|gw| v4(mgmt.ipv4_subnet, &|net| net.contains(&gw))),
        ),
        (
            "ipv6-gw",
            mgmt.ipv6_gateway.is_none_or(|gw| v6(mgmt.ipv6_subnet, &|net| net.contains(&gw))),
        ),
        (
            "ipv4-range",
            mgmt.ipv4_range.is_none_or(|range| v4(mgmt.ipv4_subnet, &|net| net.contains(&range))),
        ),
        (
            "ipv6-range",
            mgmt.ipv6_range.is_none_or(|range| v6(mgmt.ipv6_subnet, &|net| net.contains(&range))),
        ),
    ];
    for (name, good) in checks {
        if !good && let Some(entry) = fields.get(name) {
            let family = &name[..4];
            let subnet = match family {
                "ipv4" => mgmt.ipv4_subnet.map(|net| net.to_string()),
                _ => mgmt.ipv6_subnet.map(|net| net.to_string()),
            };
            let text = match subnet {
                Some(subnet) => format!("`{name}` lies outside the subnet {subnet}"),
                None => format!("`{name}` is given, but there is no `{family}-subnet`"),
            };
            report.error(&entry.value.at, text);
        }
    }
}

fn word(fields: &Fields<'_>, name: &str, report: &mut Report<'_>) -> Option<String> {
    let entry = fields.get(name)?;
    let given = text(&entry.value, name, report)?;
    if given.is_empty() {
        return None;
    }
    if given.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') || given.len() > 128 {
        report.error(&entry.value.at, format!("`{}` is no name for a network", short(given)));
        return None;
    }
    Some(given.to_owned())
}

fn parsed<T: FromStr>(
    fields: &Fields<'_>,
    name: &str,
    what: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    let entry = fields.get(name)?;
    let given = text(&entry.value, name, report)?;
    if given.is_empty() {
        return None;
    }
    let parsed = given.parse().ok();
    if parsed.is_none() {
        report.error(&entry.value.at, format!("`{name}: {}` is not {what}", short(given)));
    }
    parsed
}
