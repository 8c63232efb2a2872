//! What must be done to make one lab of another: for `apply` and its dry run (T-101).

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Far, Lab, Link, Member, Network, Node};

/// One difference between two labs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// Something of the lab as a whole (`name`, `prefix`, `mgmt`): all of it must be made anew.
    Lab {
        keys: Vec<String>,
    },
    NodeAdded {
        node: String,
    },
    NodeRemoved {
        node: String,
    },
    /// The node must be made anew, because these keys changed.
    NodeRecreated {
        node: String,
        keys: Vec<String>,
    },
    /// These keys changed, and can be changed while the node runs.
    NodeUpdated {
        node: String,
        keys: Vec<String>,
    },
    LinkAdded {
        link: String,
    },
    LinkRemoved {
        link: String,
    },
    /// The link must be made anew, because these keys changed.
    LinkRecreated {
        link: String,
        keys: Vec<String>,
    },
    /// Only impairments changed: of what the near end sends, of what the far end sends.
    LinkImpaired {
        link: String,
        near: bool,
        far: bool,
    },
    NetworkAdded {
        network: String,
    },
    NetworkRemoved {
        network: String,
    },
    /// The LAN must be made anew, because these keys changed.
    NetworkRecreated {
        network: String,
        keys: Vec<String>,
    },
    MemberAdded {
        network: String,
        member: String,
    },
    MemberRemoved {
        network: String,
        member: String,
    },
    MemberRecreated {
        network: String,
        member: String,
        keys: Vec<String>,
    },
    /// Only impairments changed: towards the LAN, from it.
    MemberImpaired {
        network: String,
        member: String,
        to_lan: bool,
        from_lan: bool,
    },
    /// The timeline is another one.
    Events,
}

/// Keys of a node that can change while it runs; all others make it anew.
const LIVE: &[&str] = &[
    "resources",
    "labels",
    "group",
    "restart-policy",
    "image-pull-policy",
    "healthcheck",
    "startup-delay",
    "stages",
    "auto-remove",
    "aliases",
];

/// What changes from `old` to `new`, removals first, then what is made anew, added and changed.
///
/// Links of a node that is made anew are not named for that alone: whoever makes the node makes its
/// ends of its links (T-102).
pub fn diff(old: &Lab, new: &Lab) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut keys = Vec::new();
    if old.name != new.name {
        keys.push("name".to_owned());
    }
    if old.prefix != new.prefix {
        keys.push("prefix".to_owned());
    }
    if old.mgmt != new.mgmt {
        keys.push("mgmt".to_owned());
    }
    if !keys.is_empty() {
        changes.push(Change::Lab { keys });
    }
    links(old, new, &mut changes);
    networks(old, new, &mut changes);
    nodes(old, new, &mut changes);
    if old.events != new.events {
        changes.push(Change::Events);
    }
    // A sort that keeps the order of the file within each rank.
    changes.sort_by_key(Change::rank);
    changes
}

impl Change {
    fn rank(&self) -> u8 {
        match self {
            Self::Lab { .. } => 0,
            Self::LinkRemoved { .. } | Self::MemberRemoved { .. } => 1,
            Self::NetworkRemoved { .. } => 2,
            Self::NodeRemoved { .. } => 3,
            Self::NodeRecreated { .. } => 4,
            Self::NodeAdded { .. } => 5,
            Self::NodeUpdated { .. } => 6,
            Self::NetworkRecreated { .. } => 7,
            Self::NetworkAdded { .. } => 8,
            Self::MemberRecreated { .. } | Self::LinkRecreated { .. } => 9,
            Self::MemberAdded { .. } | Self::LinkAdded { .. } => 10,
            Self::MemberImpaired { .. } | Self::LinkImpaired { .. } => 11,
            Self::Events => 12,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |keys: &[String]| keys.join(", ");
        let ways = |first: bool, second: bool| match (first, second) {
            (true, true) => " in both directions",
            _ => "",
        };
        match self {
            Self::Lab { keys } => write!(f, "lab: made anew ({} changed)", because(keys)),
            Self::NodeAdded { node } => write!(f, "node {node}: added"),
            Self::NodeRemoved { node } => write!(f, "node {node}: removed"),
            Self::NodeRecreated { node, keys } => {
                write!(f, "node {node}: made anew ({} changed)", because(keys))
            }
            Self::NodeUpdated { node, keys } => {
                write!(f, "node {node}: changed while it runs ({})", because(keys))
            }
            Self::LinkAdded { link } => write!(f, "link {link}: added"),
            Self::LinkRemoved { link } => write!(f, "link {link}: removed"),
            Self::LinkRecreated { link, keys } => {
                write!(f, "link {link}: made anew ({} changed)", because(keys))
            }
            Self::LinkImpaired { link, near, far } => {
                write!(f, "link {link}: impairment changed{}", ways(*near, *far))
            }
            Self::NetworkAdded { network } => write!(f, "network {network}: added"),
            Self::NetworkRemoved { network } => write!(f, "network {network}: removed"),
            Self::NetworkRecreated { network, keys } => {
                write!(f, "network {network}: made anew ({} changed)", because(keys))
            }
            Self::MemberAdded { network, member } => {
                write!(f, "network {network}: member {member} added")
            }
            Self::MemberRemoved { network, member } => {
                write!(f, "network {network}: member {member} removed")
            }
            Self::MemberRecreated { network, member, keys } => {
                write!(
                    f,
                    "network {network}: member {member} made anew ({} changed)",
                    because(keys)
                )
            }
            Self::MemberImpaired { network, member, to_lan, from_lan } => write!(
                f,
                "network {network}: impairment of member {member} changed{}",
                ways(*to_lan, *from_lan)
            ),
            Self::Events => f.write_str("timeline: changed"),
        }
    }
}

fn nodes(old: &Lab, new: &Lab, changes: &mut Vec<Change>) {
    let before: HashMap<&str, &Node> = old.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    let after: HashMap<&str, &Node> = new.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    for node in old.nodes.iter().filter(|node| !after.contains_key(node.name.as_str())) {
        changes.push(Change::NodeRemoved { node: node.name.clone() });
    }
    let mut anew = BTreeSet::new();
    let mut same_so_far: Vec<&Node> = Vec::new();
    for node in &new.nodes {
        let Some(before) = before.get(node.name.as_str()) else {
            changes.push(Change::NodeAdded { node: node.name.clone() });
            anew.insert(node.name.as_str());
            continue;
        };
        let keys = changed_keys(*before, node);
        let (live, dead): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| LIVE.contains(&key.as_str()));
        let node_name = node.name.clone();
        if !dead.is_empty() {
            let keys = dead.into_iter().chain(live).collect();
            changes.push(Change::NodeRecreated { node: node_name, keys });
            anew.insert(node.name.as_str());
            continue;
        }
        same_so_far.push(node);
        if !live.is_empty() {
            changes.push(Change::NodeUpdated { node: node_name, keys: live });
        }
    }
    // A node that lives in the network of one made anew is made anew with it.
    loop {
        let before = anew.len();
        same_so_far.retain(|node| match &node.network_mode {
            crate::model::NetworkMode::Node(owner) if anew.contains(owner.as_str()) => {
                anew.insert(node.name.as_str());
                changes.retain(|change| {
                    !matches!(change, Change::NodeUpdated { node: other, .. } if *other == node.name)
                });
                changes.push(Change::NodeRecreated {
                    node: node.name.clone(),
                    keys: vec!["network-mode".to_owned()],
                });
                false
            }
            _ => true,
        });
        if anew.len() == before {
            break;
        }
    }
}

fn links(old: &Lab, new: &Lab, changes: &mut Vec<Change>) {
    // The order of the ends is no difference.
    let key = |link: &Link| {
        let (near, far) = (link.near.name(), link.far_name());
        if near <= far { (near, far) } else { (far, near) }
    };
    let before: HashMap<_, &Link> = old.links.iter().map(|link| (key(link), link)).collect();
    let after: HashMap<_, &Link> = new.links.iter().map(|link| (key(link), link)).collect();
    for link in old.links.iter().filter(|link| !after.contains_key(&key(link))) {
        changes.push(Change::LinkRemoved { link: link.id.clone() });
    }
    for link in &new.links {
        let id = link.id.clone();
        let Some(before) = before.get(&key(link)) else {
            changes.push(Change::LinkAdded { link: id });
            continue;
        };
        let turned = turn_like(before, link);
        let before = turned.as_ref().unwrap_or(before);
        if before == link {
            continue;
        }
        let mut plain = (before.clone(), link.clone());
        for link in [&mut plain.0, &mut plain.1] {
            take_impairments(link);
            link.id.clear();
        }
        let keys = changed_keys(&plain.0, &plain.1);
        if !keys.is_empty() {
            changes.push(Change::LinkRecreated { link: id, keys });
            continue;
        }
        let near = before.near.impair != link.near.impair;
        let far = before.far_impair() != link.far_impair();
        if near || far {
            changes.push(Change::LinkImpaired { link: id, near, far });
        }
    }
}

/// The link with its ends the way `like` has them, where they are the other way round.
fn turn_like(link: &Link, like: &Link) -> Option<Link> {
    match &link.far {
        Far::Node { endpoint, stitch } if link.near.name() != like.near.name() => {
            let far = Far::Node { endpoint: link.near.clone(), stitch: *stitch };
            Some(Link { id: like.id.clone(), near: endpoint.clone(), far, ..link.clone() })
        }
        _ => None,
    }
}

fn take_impairments(link: &mut Link) {
    link.near.impair = Default::default();
    match &mut link.far {
        Far::Node { endpoint, .. } => endpoint.impair = Default::default(),
        Far::Host { impair, .. } | Far::Management { impair, .. } => *impair = Default::default(),
        Far::Macvlan { .. } | Far::Vxlan { .. } | Far::Dummy => {}
    }
}

fn networks(old: &Lab, new: &Lab, changes: &mut Vec<Change>) {
    for network in old.networks.iter().filter(|network| new.network(&network.name).is_none()) {
        changes.push(Change::NetworkRemoved { network: network.name.clone() });
    }
    for network in &new.networks {
        let name = network.name.clone();
        match old.network(&network.name) {
            None => changes.push(Change::NetworkAdded { network: name }),
            Some(before) if before.mtu != network.mtu => {
                changes
                    .push(Change::NetworkRecreated { network: name, keys: vec!["mtu".to_owned()] });
            }
            Some(before) => members(before, network, changes),
        }
    }
}

fn members(old: &Network, new: &Network, changes: &mut Vec<Change>) {
    let before: HashMap<String, &Member> = old.members.iter().map(|m| (m.name(), m)).collect();
    let after: HashMap<String, &Member> = new.members.iter().map(|m| (m.name(), m)).collect();
    let network = || new.name.clone();
    for member in old.members.iter().filter(|member| !after.contains_key(&member.name())) {
        changes.push(Change::MemberRemoved { network: network(), member: member.name() });
    }
    for member in &new.members {
        let name = member.name();
        let Some(before) = before.get(&name) else {
            changes.push(Change::MemberAdded { network: network(), member: name });
            continue;
        };
        let plain = |member: &Member| Member {
            to_lan: Default::default(),
            from_lan: Default::default(),
            ..member.clone()
        };
        let keys = changed_keys(&plain(before), &plain(member));
        if !keys.is_empty() {
            changes.push(Change::MemberRecreated { network: network(), member: name, keys });
            continue;
        }
        let to_lan = before.to_lan != member.to_lan;
        let from_lan = before.from_lan != member.from_lan;
        if to_lan || from_lan {
            changes.push(Change::MemberImpaired {
                network: network(),
                member: name,
                to_lan,
                from_lan,
            });
        }
    }
}

/// Keys, as the file has them, whose values differ. Compared as stored, so that no field a later
/// version adds can be forgotten here.
fn changed_keys<T: Serialize + PartialEq>(old: &T, new: &T) -> Vec<String> {
    if old == new {
        return Vec::new();
    }
    let (Value::Object(old), Value::Object(new)) = (plain_value(old), plain_value(new)) else {
        return vec!["definition".to_owned()];
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differ
        .map(|name| {
            let name = name.strip_suffix("_bytes").unwrap_or(name);
            name.strip_suffix("_s").unwrap_or(name).replace('_', "-")
        })
        .collect()
}

/// As stored, without the places in the file.
fn plain_value<T: Serialize>(thing: &T) -> Value {
    fn without_places(value: Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(
                map.into_iter()
                    .filter(|(key, value)| !(key == "span" && value.get("column").is_some()))
                    .map(|(key, value)| (key, without_places(value)))
                    .collect(),
            ),
            Value::Array(items) => Value::Array(items.into_iter().map(without_places).collect()),
            other => other,
        }
    }
    // Everything in the model has text keys and finite numbers, so it can be put as JSON.
    without_places(serde_json::to_value(thing).unwrap_or(Value::Null))
}

impl Lab {
    /// A short name for what the lab is, the same for the same lab wherever its text stands: for
    /// finding out whether a stored lab is the one of a file. Not a defence against forgery.
    pub fn fingerprint(&self) -> String {
        fingerprint(&plain_value(self))
    }
}

impl Node {
    /// As [`Lab::fingerprint`], of one node.
    pub fn fingerprint(&self) -> String {
        fingerprint(&plain_value(self))
    }
}

/// FNV-1a, 64 bits, over the JSON with its keys in order.
fn fingerprint(value: &Value) -> String {
    fn feed(hash: &mut u64, bytes: &[u8]) {
        for byte in bytes {
            *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    fn walk(hash: &mut u64, value: &Value) {
        match value {
            Value::Object(map) => {
                feed(hash, b"{");
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                for (key, value) in entries {
                    feed(hash, key.as_bytes());
                    feed(hash, b"\0");
                    walk(hash, value);
                }
                feed(hash, b"}");
            }
            Value::Array(items) => {
                feed(hash, b"[");
                items.iter().for_each(|item| walk(hash, item));
                feed(hash, b"]");
            }
            other => {
                feed(hash, other.to_string().as_bytes());
                feed(hash, b"\0");
            }
        }
    }
    let mut hash = 0xcbf2_9ce4_8422_2325;
    walk(&mut hash, value);
    format!("{hash:016x}")
}
