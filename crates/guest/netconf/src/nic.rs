//! The network interfaces of this guest, and which description is for which.

use crate::address::Mac;
use crate::error::{InputError, shown};
use crate::model::{Description, Interface, Kind, Select};

/// One Ethernet interface, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// The kernel's number for it.
    pub index: u32,
    pub name: String,
    /// The address in use.
    pub mac: Mac,
    /// The address the device was made with, where the kernel knows one.
    pub permanent: Option<Mac>,
    /// Administratively up.
    pub up: bool,
    /// The kind of a software interface: `veth`, `vlan`, `bond`.
    pub kind: Option<String>,
    /// It stands on another interface of the same namespace (VLAN, macvlan).
    pub stacked: bool,
}

/// Kinds of interfaces made out of others, which often carry the address of one of those.
const DERIVED: &[&str] = &[
    "vlan", "bond", "bridge", "team", "macvlan", "macvtap", "ipvlan", "ipvtap", "vrf", "macsec",
    "hsr",
];

impl Nic {
    /// A plain interface, for tests and for rendering without a kernel.
    pub fn plain(index: u32, name: &str, mac: Mac, up: bool) -> Self {
        let name = name.to_owned();
        Self { index, name, mac, permanent: Some(mac), up, kind: None, stacked: false }
    }

    /// True for an interface a host's description can mean. What is made out of other interfaces is none, even when it
    /// has the same address.
    pub fn is_candidate(&self) -> bool {
        !self.stacked && !self.kind.as_deref().is_some_and(|kind| DERIVED.contains(&kind))
    }

    /// The address that decides: the permanent one where there is one, because a bond gives its members its own.
    pub fn identity(&self) -> Mac {
        self.permanent.unwrap_or(self.mac)
    }
}

/// Descriptions bound to interfaces, by interface name, and those for which there is no interface.
#[derive(Debug, Default)]
pub struct Bound {
    pub interfaces: Vec<Interface>,
    pub missing: Vec<Select>,
}

/// Finds the interface of each description. When several interfaces have the address, the last one listed is taken.
/// What is made out of others need not be there yet; what it is made of has to be.
pub fn bind(descriptions: &[Description], nics: &[Nic]) -> Bound {
    let mut bound = Bound::default();
    // What the source calls an interface, and the name it has here.
    let mut names: Vec<(&str, String)> = Vec::new();
    for description in descriptions.iter().filter(|d| d.config.kind == Kind::Physical) {
        let found = nics.iter().rev().find(|nic| match &description.select {
            Select::Mac(mac) => nic.is_candidate() && nic.identity() == *mac,
            Select::Name(name) => nic.name == *name,
        });
        let Some(nic) = found else {
            bound.missing.push(description.select.clone());
            continue;
        };
        names.push((&description.id, nic.name.clone()));
        bound.interfaces.retain(|other| other.name != nic.name);
        bound.interfaces.push(Interface {
            name: nic.name.clone(),
            mac: nic.identity(),
            permanent_mac: nic.permanent.is_some(),
            up: nic.up,
            config: description.config.clone(),
        });
    }
    let derived: Vec<&Description> =
        descriptions.iter().filter(|d| d.config.kind != Kind::Physical).collect();
    for description in &derived {
        if let Select::Name(name) = &description.select {
            names.push((&description.id, name.clone()));
        }
    }
    for description in derived {
        match made_of(description, &names, &bound.interfaces, nics) {
            Some(interface) => bound.interfaces.push(interface),
            None => bound.missing.push(description.select.clone()),
        }
    }
    bound.interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    bound
}

/// An interface made out of others, with those under the names they have here.
fn made_of(
    description: &Description,
    names: &[(&str, String)],
    bound: &[Interface],
    nics: &[Nic],
) -> Option<Interface> {
    let Select::Name(name) = &description.select else { return None };
    let mut config = description.config.clone();
    for below in config.kind.below_mut() {
        let (_, real) = names.iter().find(|(id, _)| *id == below.as_str())?;
        below.clone_from(real);
    }
    let there = nics.iter().find(|nic| nic.name == *name);
    let own = match &config.kind {
        Kind::Bond(bond) => bond.mac,
        _ => None,
    };
    let below = config.kind.below().first();
    let first = below.and_then(|first| bound.iter().find(|other| other.name == *first));
    let mac = own.or(there.map(|nic| nic.mac)).or(first.map(|first| first.mac));
    Some(Interface {
        name: name.clone(),
        // Nothing is found by it: the name is enough.
        mac: mac.unwrap_or(Mac([0; 6])),
        permanent_mac: false,
        up: there.is_some_and(|nic| nic.up),
        config,
    })
}

/// The error of a description that no interface fits.
pub(crate) fn unknown(select: &Select) -> InputError {
    match select {
        Select::Mac(mac) => InputError::UnknownMac(mac.to_string()),
        Select::Name(name) => InputError::UnknownName(shown(name)),
    }
}

/// True for names that can stand in every configuration file and on every command line without quoting.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 15
        && !name.starts_with(['-', '.'])
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
