//! Prefixes and addresses as netlab gives them: from pools, in the order of the file.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::{attributes, unmapped, word};
use crate::parse::short;
use crate::report::{At, Report};
use crate::yaml::{Entry, Node as Yaml, Value};

/// netlab's own, without an `addressing` of the file's.
const POOLS: &[(&str, &str, u8)] = &[("lan", "172.16.0.0/16", 24), ("p2p", "10.1.0.0/16", 30)];

/// The prefixes of one link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) ipv4: Option<Ipv4Net>,
    pub(super) ipv6: Option<Ipv6Net>,
}

#[derive(Debug, Clone, Default)]
struct Pool {
    ipv4: Option<Ipv4Net>,
    ipv6: Option<Ipv6Net>,
    prefix: u8,
    prefix6: u8,
    next: u32,
}

#[derive(Debug)]
pub(super) struct Pools(HashMap<String, Pool>);

impl Default for Pools {
    fn default() -> Self {
        let pools = POOLS.iter().map(|(name, net, prefix)| {
            let pool =
                Pool { ipv4: net.parse().ok(), prefix: *prefix, prefix6: 64, ..Pool::default() };
            ((*name).to_owned(), pool)
        });
        Self(pools.collect())
    }
}

impl Pools {
    /// Reads `addressing`.
    pub(super) fn read(&mut self, entry: &Entry, report: &mut Report<'_>) {
        let Yaml::Map(pools) = &entry.value.node else {
            report.error(&entry.value.at, "`addressing` is a map of pools");
            return;
        };
        for entry in pools {
            let fresh = Pool { prefix: 24, prefix6: 64, ..Pool::default() };
            let pool = self.0.entry(entry.key.to_string()).or_insert(fresh);
            let Yaml::Map(entries) = &entry.value.node else { continue };
            let all = attributes(entries, &[]);
            // A family that a pool is given without the other has the other no more.
            if all.iter().any(|one| matches!(one.path.as_str(), "ipv4" | "ipv6")) {
                (pool.ipv4, pool.ipv6) = (None, None);
            }
            for one in all {
                let given = word(one.value, &one.path, report).unwrap_or_default();
                let bad = match one.path.as_str() {
                    "ipv4" if is_no(given) => false,
                    "ipv6" if is_no(given) => false,
                    "ipv4" => set(&mut pool.ipv4, given.parse().ok()),
                    "ipv6" => set(&mut pool.ipv6, given.parse().ok()),
                    "prefix" => put(&mut pool.prefix, given, 31),
                    "prefix6" => put(&mut pool.prefix6, given, 127),
                    "unnumbered" => {
                        (pool.ipv4, pool.ipv6) = (None, None);
                        false
                    }
                    _ => {
                        let what =
                            format!("`{}` of the pool `{}`", short(&one.path), short(&entry.key));
                        unmapped(report, &one.at, what);
                        false
                    }
                };
                if bad {
                    let text = format!("`{}: {}` is no prefix", one.path, short(given));
                    report.error(&one.value.at, text);
                }
            }
        }
    }

    /// The next prefixes of a pool; `None` when it is used up or not there.
    pub(super) fn next(&mut self, name: &str) -> Option<Prefixes> {
        let pool = self.0.get_mut(name)?;
        let number = pool.next;
        pool.next += 1;
        let mut prefixes = Prefixes::default();
        if let Some(net) = pool.ipv4 {
            let length = pool.prefix.max(net.prefix_len());
            let first = u64::from(u32::from(net.network())) + (u64::from(number) << (32 - length));
            let first = Ipv4Addr::from(u32::try_from(first).ok()?);
            prefixes.ipv4 =
                Some(Ipv4Net::new(first, length).ok().filter(|_| net.contains(&first))?);
        }
        if let Some(net) = pool.ipv6 {
            let length = pool.prefix6.max(net.prefix_len());
            let step = u128::from(number).checked_shl(u32::from(128 - length))?;
            let first = Ipv6Addr::from(u128::from(net.network()).checked_add(step)?);
            prefixes.ipv6 =
                Some(Ipv6Net::new(first, length).ok().filter(|_| net.contains(&first))?);
        }
        Some(prefixes)
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    *place = value;
    place.is_none()
}

fn put(place: &mut u8, given: &str, most: u8) -> bool {
    match given.parse::<u8>().ok().filter(|length| (1..=most).contains(length)) {
        Some(length) => *place = length,
        None => return true,
    }
    false
}

pub(super) fn is_no(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "false" | "no" | "off")
}

pub(super) fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on")
}

impl Prefixes {
    /// Reads a link's `prefix`: one of IPv4, a map of both, or `false`.
    pub(super) fn read(value: &Value, report: &mut Report<'_>) -> Option<Self> {
        let mut prefixes = Self::default();
        let mut given: Vec<(&str, &str, &At)> = Vec::new();
        match &value.node {
            Yaml::Scalar { text, .. } => given.push(("ipv4", text, &value.at)),
            Yaml::Map(entries) => {
                for entry in entries {
                    match (&*entry.key, &entry.value.node) {
                        (family @ ("ipv4" | "ipv6"), Yaml::Scalar { text, .. }) => {
                            given.push((family, text, &entry.value.at));
                        }
                        // How the addresses are given out follows from the nodes.
                        (other, _) => {
                            let what = format!("`prefix.{}`", short(other));
                            unmapped(report, &entry.key_at, what);
                        }
                    }
                }
            }
            _ => {
                report.error(&value.at, format!("`prefix` is a prefix, not {}", value.describe()));
                return None;
            }
        }
        for (family, text, at) in given {
            let bad = match family {
                // Without addresses, but in use.
                _ if is_no(text) || is_yes(text) => false,
                "ipv4" => set(&mut prefixes.ipv4, text.parse().ok()),
                _ => set(&mut prefixes.ipv6, text.parse().ok()),
            };
            if bad {
                let text = format!("`{}` is no prefix of {family}", short(text));
                report.error_with(at, text, "write it with its length, as in 192.168.22.0/24");
            }
        }
        Some(prefixes)
    }

    /// The address with this number, with the prefix' length; `None` where there is none.
    pub(super) fn nth(&self, number: u32) -> (Option<String>, Option<String>) {
        let ipv4 = self.ipv4.and_then(|net| {
            let address = u32::from(net.network()).checked_add(number).map(Ipv4Addr::from)?;
            let last = net.prefix_len() < 31 && address == net.broadcast();
            (net.contains(&address) && !last).then(|| format!("{address}/{}", net.prefix_len()))
        });
        let ipv6 = self.ipv6.and_then(|net| {
            let address = u128::from(net.network()).checked_add(u128::from(number))?;
            let address = Ipv6Addr::from(address);
            net.contains(&address).then(|| format!("{address}/{}", net.prefix_len()))
        });
        (ipv4, ipv6)
    }
}
