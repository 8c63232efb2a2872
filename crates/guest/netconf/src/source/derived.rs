//! VLANs, bonds and bridges of seeds: words that are known, and parts that are there.

use serde_json::{Map, Value};

use super::value::text;
use crate::address::Mac;
use crate::error::{InputError, shown};
use crate::model::{Bond, Bridge, Description, Kind, Vlan, unique};

/// The kernel's modes by their numbers.
const MODES: [&str; 7] = [
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
];
const HASHES: [&str; 6] = ["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"];

pub(super) fn vlan(parent: Option<String>, tag: Option<String>) -> Result<Kind, InputError> {
    let parent = parent.ok_or(InputError::Part { what: "a VLAN needs the interface below it" })?;
    let tag = tag.ok_or(InputError::Part { what: "a VLAN needs its number" })?;
    match tag.parse() {
        Ok(tag @ 1..=4094) => Ok(Kind::Vlan(Vlan { parent, tag })),
        _ => Err(InputError::Unsupported { what: "the VLAN number", value: shown(&tag) }),
    }
}

/// Parameters by their names in the source, in whichever spelling: `bond-mode`, `bond_mode`, `mode`.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    of: &'a Map<String, Value>,
    prefix: &'static str,
}

impl<'a> Parameters<'a> {
    pub(super) fn new(of: &'a Map<String, Value>, prefix: &'static str) -> Self {
        Self { of, prefix }
    }

    fn get(&self, names: &[&str]) -> Result<Option<String>, InputError> {
        for (key, value) in self.of {
            let key = key.replace('_', "-");
            let bare = key.strip_prefix(self.prefix).unwrap_or(&key);
            if names.contains(&bare) {
                return match value {
                    Value::Bool(truth) => Ok(Some(truth.to_string())),
                    _ => {
                        let one: Map<String, Value> =
                            std::iter::once(("parameter".to_owned(), value.clone())).collect();
                        text(&one, "parameter")
                    }
                };
            }
        }
        Ok(None)
    }

    /// A bond of these members.
    pub(super) fn bond(
        &self,
        members: Vec<String>,
        mac: Option<String>,
    ) -> Result<Kind, InputError> {
        let unsupported = |what, value: &str| InputError::Unsupported { what, value: shown(value) };
        let mode = match self.get(&["mode"])? {
            None => MODES[0].to_owned(),
            Some(word) => word
                .parse::<usize>()
                .ok()
                .and_then(|number| MODES.get(number).copied())
                .or_else(|| MODES.into_iter().find(|mode| *mode == word))
                .ok_or_else(|| unsupported("the bond mode", &word))?
                .to_owned(),
        };
        let look_ms = match self.get(&["miimon", "mii-monitor-interval"])? {
            None => None,
            Some(word) => {
                let number = word.strip_suffix("ms").unwrap_or(&word);
                Some(number.parse().map_err(|_| unsupported("the interval", &word))?)
            }
        };
        let hash = match self.get(&["xmit-hash-policy", "transmit-hash-policy"])? {
            Some(word) if !HASHES.contains(&word.as_str()) => {
                return Err(unsupported("the hash policy", &word));
            }
            hash => hash,
        };
        let fast = match self.get(&["lacp-rate"])?.as_deref() {
            None | Some("slow" | "0") => false,
            Some("fast" | "1") => true,
            Some(word) => return Err(unsupported("the LACP rate", word)),
        };
        let mac = mac
            .map(|mac| mac.parse::<Mac>().map_err(|_| unsupported("the bond's address", &mac)))
            .transpose()?;
        Ok(Kind::Bond(Bond { members, mode, look_ms, hash, fast, mac }))
    }

    /// A bridge with these ports.
    pub(super) fn bridge(&self, members: Vec<String>) -> Result<Kind, InputError> {
        // cloud-init and netplan let it take part unless told otherwise.
        let stp = match self.get(&["stp"])?.as_deref() {
            None | Some("true" | "on" | "yes" | "1") => true,
            Some("false" | "off" | "no" | "0") => false,
            Some(word) => {
                let value = shown(word);
                return Err(InputError::Unsupported { what: "the bridge's `stp`", value });
            }
        };
        Ok(Kind::Bridge(Bridge { members, stp }))
    }
}

/// Whether everything stands on something that is described, nothing on itself, and no member has addresses or a second
/// master.
pub(super) fn check(descriptions: &mut [Description]) -> Result<(), InputError> {
    for description in &mut *descriptions {
        if let Kind::Bond(Bond { members, .. }) | Kind::Bridge(Bridge { members, .. }) =
            &mut description.config.kind
        {
            unique(members);
        }
    }
    let descriptions = &*descriptions;
    let find = |id: &str| descriptions.iter().find(|d| !id.is_empty() && d.id == id);
    let mut masters: Vec<&str> = Vec::new();
    for description in descriptions {
        let kind = &description.config.kind;
        if matches!(kind, Kind::Bond(bond) if bond.members.is_empty()) {
            return Err(InputError::Part { what: "a bond needs its members" });
        }
        for below in kind.below() {
            let Some(below) = find(below) else {
                return Err(InputError::UnknownName(shown(below)));
            };
            if !kind.members().contains(&below.id) {
                continue;
            }
            let config = &below.config;
            let own = config.addresses().next().is_some()
                || config.dhcp4
                || config.dhcp6
                || config.all_routes().next().is_some();
            if own || masters.contains(&below.id.as_str()) {
                return Err(InputError::Member { name: shown(&below.id) });
            }
            masters.push(&below.id);
        }
    }
    // What stands on nothing that is left is taken away; what is left at the end stands on itself.
    let mut left: Vec<&Description> = descriptions.iter().collect();
    loop {
        let before = left.len();
        let standing: Vec<String> = left.iter().map(|d| d.id.clone()).collect();
        left.retain(|d| d.config.kind.below().iter().any(|below| standing.contains(below)));
        if left.is_empty() {
            return Ok(());
        }
        if left.len() == before {
            return Err(InputError::Part { what: "an interface stands on itself" });
        }
    }
}
