//! Which interfaces are taken, and by what (T-98).

use std::collections::HashMap;

use crate::model::{Mac, NetworkMode, Node};
use crate::parse::fields::short;
use crate::report::{At, Report};

/// Interfaces of the lab's nodes and of the host.
#[derive(Debug)]
pub(crate) struct Wiring<'n> {
    nodes: HashMap<&'n str, usize>,
    /// Node whose network a node uses: its own, another's, or the host's (empty).
    owners: Vec<&'n str>,
    /// Nodes on the management network: there eth0 is taken.
    managed: Vec<bool>,
    used: HashMap<(String, String), At>,
    macs: HashMap<Mac, At>,
}

impl<'n> Wiring<'n> {
    pub(crate) fn new(nodes: &'n [Node]) -> Self {
        let index: HashMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
        let mut known: Vec<Option<&str>> = vec![None; nodes.len()];
        for from in 0..nodes.len() {
            // Each step is known afterwards, so that a long chain is walked once. Circles are
            // refused elsewhere; here they only must end.
            let mut path = vec![from];
            let owner = loop {
                let at = path[path.len() - 1];
                if let Some(owner) = known[at] {
                    break owner;
                }
                let next = match &nodes[at].network_mode {
                    NetworkMode::Host => break "",
                    NetworkMode::Node(other) => index.get(other.as_str()),
                    _ => None,
                };
                match next {
                    Some(next) if path.len() <= nodes.len() => path.push(*next),
                    _ => break nodes[at].name.as_str(),
                }
            };
            path.into_iter().for_each(|at| known[at] = Some(owner));
        }
        let owners = known.into_iter().map(Option::unwrap_or_default).collect();
        let managed =
            nodes.iter().map(|node| node.network_mode == NetworkMode::Management).collect();
        Self { nodes: index, owners, managed, used: HashMap::new(), macs: HashMap::new() }
    }

    /// Notes an Ethernet address; the same for two interfaces is seldom meant.
    pub(crate) fn mac(&mut self, mac: Mac, at: &At, report: &mut Report<'_>) {
        if self.macs.insert(mac, at.clone()).is_some_and(|first| first.start != at.start) {
            report.warn(at, format!("two interfaces have the Ethernet address {mac}"));
        }
    }

    /// Number of the node of that name.
    pub(crate) fn node(&self, name: &str) -> Option<usize> {
        self.nodes.get(name).copied()
    }

    /// Refuses an endpoint whose node is not in the lab.
    pub(crate) fn unknown(&self, name: &str, at: &At, report: &mut Report<'_>) {
        report.error_with(
            at,
            format!("there is no node `{}`", short(name)),
            "nodes of a lab stand under `topology.nodes`; `host`, `mgmt-net` and `macvlan` lead out of it",
        );
    }

    /// Takes an interface of a node, or of the host when `owner` is empty.
    pub(crate) fn take(&mut self, owner: &str, interface: &str, at: &At, report: &mut Report<'_>) {
        if owner == "macvlan" && !self.nodes.contains_key("macvlan") {
            return;
        }
        let place = match self.node(owner) {
            Some(node) => self.owners[node],
            None => "",
        };
        let whose =
            if place.is_empty() { "the host".to_owned() } else { format!("node `{place}`") };
        if interface == "lo" {
            report.error(at, "`lo` is every node's own loopback interface");
            return;
        }
        if interface == "eth0"
            && let Some(node) = self.node(place)
            && self.managed[node]
        {
            report.error_with(
                at,
                format!("`eth0` of {whose} is its management interface"),
                "name the interface eth1, or give the node `network-mode: none`",
            );
            return;
        }
        let key = (place.to_owned(), interface.to_owned());
        match self.used.get(&key) {
            Some(first) => {
                let text = format!("interface `{}` of {whose} is used twice", short(interface));
                report.error_twice(at, text, "first used here", &first.clone());
            }
            None => {
                self.used.insert(key, at.clone());
            }
        }
    }
}

/// Whether the text may name an interface; longer and stranger names than the kernel's get a short
/// one there.
pub(crate) fn is_interface(text: &str) -> bool {
    (1..=60).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
        && !matches!(text, "." | "..")
}
