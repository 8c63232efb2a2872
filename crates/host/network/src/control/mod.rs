//! The control network of a lab: a bridge with the host as gateway, address translation to the outside, port forwards to
//! nodes, isolation from other labs, and protection against spoofing.
//!
//! Each lab has two nftables tables of its own, both named `vnode_<hash>` and marked as ours: one of the `inet` family
//! (`rules`) and one of the `bridge` family (`guard`). Nodes and forwards are elements of their sets: adding one touches no
//! rule, and costs the same with a thousand others.

mod forward;
mod guard;
mod rules;
mod sysctl;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::netlink::{Batch, rtnl};
use crate::nft::{self, Family, Transaction};
use crate::{BridgeSpec, Error, Host, Mac, Owner, Result, state};

pub use forward::{Forward, Protocol};
pub use sysctl::{Change, SavedSysctls, root_plan, root_prepare, root_restore};

/// Beginning of every control bridge's name: by it one lab's rules know another lab's bridge.
const BRIDGE_PREFIX: &str = "vnc";
/// Port of the gateway's address that nodes reach as port 80 of [`METADATA`].
pub const METADATA_PORT: u16 = 8775;
/// Where the clouds' metadata are; only what comes from a lab is led to the lab's gateway, the host's own is left alone.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Hook number of forwarded packets (`NF_INET_FORWARD`).
const FORWARD_HOOK: u32 = 2;

/// A lab's control network.
#[derive(Debug, Clone)]
pub struct ControlSpec {
    pub owner: Owner,
    /// The host's address in each subnet with the subnet's prefix, `172.20.20.1/24`; at most one of each family.
    pub gateways: Vec<IpNet>,
    pub mtu: Option<u32>,
    /// Nodes reach the outside through the host's address (masquerading).
    pub nat: bool,
    /// Others that have a route may open connections to nodes; else only port forwards let them in. Other labs never may.
    pub external_access: bool,
}

/// One node on the control network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPort {
    /// Kernel name of the host's end of the node's control link.
    pub port: String,
    /// The node's only permitted Ethernet address.
    pub mac: Mac,
    /// The node's only permitted addresses.
    pub addresses: Vec<IpAddr>,
}

/// A rule set of somebody else that drops what a control network forwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardConflict {
    /// `ip filter FORWARD`
    pub chain: String,
    /// What to do about it, in words.
    pub hint: String,
}

/// A lab's control network in the kernel.
#[derive(Debug, Clone)]
pub struct Control {
    host: Host,
    /// Kernel name of the bridge.
    pub bridge: String,
    /// Name of the lab's nftables tables (one `inet`, one `bridge`).
    pub table: String,
}

/// Kernel name of the control bridge of a lab, whether it exists or not.
pub fn bridge_name(owner: &Owner) -> String {
    format!("{BRIDGE_PREFIX}{}", crate::name::digest(&parts(owner), 12))
}

/// Name of the nftables tables of a lab.
pub fn table_name(owner: &Owner) -> String {
    format!("vnode_{}", crate::name::digest(&parts(owner), 12))
}

fn parts(owner: &Owner) -> [&str; 3] {
    [&owner.instance, &owner.lab, "control"]
}

impl Control {
    /// A handle of a lab's control network, made earlier or not.
    pub fn open(host: &Host, owner: &Owner) -> Control {
        Control { host: host.clone(), bridge: bridge_name(owner), table: table_name(owner) }
    }

    /// Makes the network or brings it to `spec`; nodes and forwards of an existing one stay.
    ///
    /// # Errors
    /// [`Error::Invalid`] for two gateways of one family; [`Error::Unsupported`] where the kernel lacks nftables; else the
    /// kernel's refusal.
    pub fn ensure(host: &Host, spec: &ControlSpec) -> Result<Control> {
        let v4 = spec.gateways.iter().filter(|net| net.addr().is_ipv4()).count();
        if v4 > 1 || spec.gateways.len() - v4 > 1 {
            return Err(Error::Invalid {
                what: format!("control network of lab `{}`", spec.owner.lab),
                reason: "more than one subnet of a family".into(),
            });
        }
        let features = host.features()?;
        if !features.nft_nat || !features.nft_bridge {
            return Err(Error::Unsupported {
                what: format!("the control network of lab `{}`", spec.owner.lab),
                feature: "nftables with NAT and its bridge family".into(),
                hint: "load or build nf_tables, nft_masq, nft_fib_inet, and \
                       CONFIG_NF_TABLES_BRIDGE"
                    .into(),
            });
        }
        let control = Control::open(host, &spec.owner);
        host.ensure_bridge(&BridgeSpec {
            name: control.bridge.clone(),
            addresses: spec.gateways.clone(),
            mtu: spec.mtu,
            ageing_s: None,
            owner: spec.owner.clone(),
            what: "control network".into(),
        })?;
        // Lets connections of the host to 127.0.0.1 be forwarded to a node; the rules keep nodes from using it.
        let path = format!("net/ipv4/conf/{}/route_localnet", control.bridge);
        host.ns().sysctl_write(&path, "1")?;
        let mut transaction = Transaction::new();
        let mark = spec.owner.mark("control network");
        rules::write(&mut transaction, &control, spec, &mark);
        guard::write(&mut transaction, &control.table, &mark);
        transaction.commit(host.ns())?;
        Ok(control)
    }

    /// Gives the bridge this name beside its own, and no other: `ip link show`, `tcpdump -i` and their like find it by it. Rules
    /// of packet filters match its own name only.
    ///
    /// # Errors
    /// [`Error::Invalid`] when another interface of the host has the name; else the kernel's refusal.
    pub fn also_named(&self, alias: Option<&str>) -> Result<()> {
        let ns = self.host.ns();
        let Some(bridge) = state::interface(ns, &self.bridge)? else {
            return Err(Error::Invalid {
                what: format!("bridge `{}`", self.bridge),
                reason: "there is none of that name".into(),
            });
        };
        let mut batch = Batch::new();
        for old in &bridge.alternative_names {
            if Some(old.as_str()) != alias {
                rtnl::remove_alternative_name(&mut batch, &self.bridge, old);
            }
        }
        if let Some(alias) =
            alias.filter(|alias| !bridge.alternative_names.iter().any(|n| n == alias))
        {
            if ns.index(alias)?.is_some() {
                return Err(Error::Invalid {
                    what: format!("the name `{alias}` of a control network's bridge"),
                    reason: "the host has an interface of that name, and vnode takes over none that it did not make".into(),
                });
            }
            rtnl::alternative_name(&mut batch, &self.bridge, alias);
        }
        ns.change(&batch)
    }

    /// Lets nodes use their ports, with their own addresses only. One transaction, and idempotent. Call it before the port
    /// is made: a port the guard does not know is not guarded.
    ///
    /// # Errors
    /// The kernel's refusal; none of the nodes has been added then.
    pub fn add_nodes(&self, ports: &[ControlPort]) -> Result<()> {
        let mut transaction = Transaction::new();
        guard::add(&mut transaction, &self.table, ports);
        transaction.commit(self.host.ns())?;
        // Another node may have had the address: the host would go on speaking to that one for a minute.
        let mut batch = Batch::new();
        if let Some(index) = self.host.ns().index(&self.bridge)? {
            for address in ports.iter().flat_map(|port| &port.addresses) {
                rtnl::forget_neighbour(&mut batch, index, *address);
            }
        }
        self.host.ns().change(&batch)
    }

    /// Takes back what [`Control::add_nodes`] permitted; idempotent. Remove the ports themselves first. The cost does not
    /// depend on how many other nodes there are.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn forget_nodes(&self, ports: &[ControlPort]) -> Result<()> {
        let mut transaction = Transaction::new();
        guard::forget(&mut transaction, &self.table, ports);
        match transaction.commit(self.host.ns()) {
            // Some of it was not there: look what is.
            Err(Error::Refused { source, .. }) if source.errno == libc::ENOENT => {
                let names: Vec<&str> = ports.iter().map(|port| port.port.as_str()).collect();
                self.remove_nodes(&names)
            }
            other => other,
        }
    }

    /// Forgets ports and all that was permitted to them, whatever it was; idempotent. Lists all nodes of the network: prefer
    /// [`Control::forget_nodes`]. Remove the ports themselves first.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn remove_nodes(&self, ports: &[&str]) -> Result<()> {
        let mut transaction = Transaction::new();
        guard::remove(&mut transaction, self.host.ns(), &self.table, ports)?;
        transaction.commit(self.host.ns())
    }

    /// Forwards ports. One transaction: all or none. Forwards in force already are success.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a port of the host is forwarded to another place already, or addresses are of two families.
    pub fn add_forwards(&self, forwards: &[Forward]) -> Result<()> {
        let mut transaction = Transaction::new();
        for forward in forwards {
            let (set, element) = forward.element()?;
            transaction.add_elements(Family::Inet, &self.table, set, &[element]);
        }
        match transaction.commit(self.host.ns()) {
            Err(Error::Refused { source, .. }) if source.errno == libc::EEXIST => {
                let taken = self.forwards()?;
                let clash = forwards.iter().find(|one| {
                    taken.iter().any(|other| one.key() == other.key() && one != &other)
                });
                Err(Error::Invalid {
                    what: match clash {
                        Some(forward) => format!("port forward {forward}"),
                        None => "port forwards".into(),
                    },
                    reason: "the host's port is forwarded to another place already".into(),
                })
            }
            other => other,
        }
    }

    /// Ends forwards; idempotent. Connections made through them end with the node.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn remove_forwards(&self, forwards: &[Forward]) -> Result<()> {
        let ns = self.host.ns();
        let mut transaction = Transaction::new();
        for forward in forwards {
            let (set, element) = forward.element()?;
            // The kernel removes by key alone, and the port may lead elsewhere by now.
            if nft::value(ns, Family::Inet, &self.table, set, &element.key)? == element.data {
                transaction.remove_elements(Family::Inet, &self.table, set, &[element]);
            }
        }
        transaction.commit(self.host.ns())
    }

    /// The forwards in force.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn forwards(&self) -> Result<Vec<Forward>> {
        let mut found = Vec::new();
        for set in forward::MAPS {
            let elements = nft::elements(self.host.ns(), Family::Inet, &self.table, set.name)?;
            found.extend(
                elements.iter().filter_map(|(key, data)| Forward::parse(set.name, key, data)),
            );
        }
        Ok(found)
    }

    /// Removes tables and bridge; idempotent. The nodes' ports are removed with their nodes, not here.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn remove(&self) -> Result<()> {
        let ns = self.host.ns();
        let tables = nft::tables(ns)?;
        let mut transaction = Transaction::new();
        for table in tables.iter().filter(|table| table.name == self.table) {
            if let Some(family @ (Family::Inet | Family::Bridge)) = table.family {
                transaction.remove_table(family, &table.name);
            }
        }
        transaction.commit(ns)?;
        self.host.remove_link(&self.bridge)?;
        Ok(())
    }
}

/// Chains of others whose policy is to drop forwarded packets: an accept of ours cannot overrule them.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn forward_policy_conflict(host: &Host) -> Result<Vec<ForwardConflict>> {
    let mut found = Vec::new();
    for chain in nft::base_chains(host.ns())? {
        let family = match chain.family {
            1 => "inet",
            2 => "ip",
            10 => "ip6",
            _ => continue,
        };
        if chain.hook != FORWARD_HOOK || chain.policy != 0 {
            continue;
        }
        let docker = family != "inet" && chain.table == "filter" && chain.name == "FORWARD";
        let program = if family == "ip6" { "ip6tables" } else { "iptables" };
        let hint = if docker {
            format!(
                "let labs through: `{program} -I FORWARD -i {BRIDGE_PREFIX}+ -j ACCEPT` and the \
                 same with `-o` (with Docker in the chain DOCKER-USER)"
            )
        } else {
            format!(
                "add rules to it that accept interfaces named \"{BRIDGE_PREFIX}*\", \
                 as input and as output"
            )
        };
        found.push(ForwardConflict {
            chain: format!("{family} {} {}", chain.table, chain.name),
            hint,
        });
    }
    Ok(found)
}
