//! A link end taken down and up again: everything that arrives at it is dropped, while the interface, its addresses, routes
//! and shaper stay as they are. Both ends blocked is a link that is down (T-67). Where the other end is nobody's that we can
//! reach (a tunnel, a macvlan), what the end sends is dropped as well.
//!
//! It is an nftables table of the `netdev` family in the end's namespace, with one chain for each blocked interface and way,
//! hooked to its ingress or egress with policy drop: every ethertype, with or without netem. Frames a capture shows have
//! arrived, so it shows them before they are dropped; those that are not let out it does not show.

use crate::nft::{self, Chain, Family, Hook, Transaction};
use crate::{Error, Ns, Result};

/// Name of the table in every namespace that has a blocked end.
const TABLE: &str = "vnode_block";
const COMMENT: &str = "vnode: link ends that are down; made and removed by vnode link down|up";
/// Before anything else at ingress.
const PRIORITY: i32 = -500;

/// What of an interface is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What arrives at it.
    In,
    /// What it sends.
    Out,
}

impl Way {
    /// No interface has a name with a slash.
    fn chain(self, interface: &str) -> String {
        match self {
            Self::In => interface.to_owned(),
            Self::Out => format!("{interface}/out"),
        }
    }

    /// Number of the hook (`NF_NETDEV_INGRESS`, `NF_NETDEV_EGRESS`).
    fn hook(self) -> u32 {
        match self {
            Self::In => 0,
            Self::Out => 1,
        }
    }

    fn feature(self) -> (&'static str, &'static str) {
        match self {
            Self::In => (
                "nftables with its netdev family",
                "load or build nf_tables with CONFIG_NF_TABLES_NETDEV",
            ),
            Self::Out => (
                "nftables with its egress hook",
                "Linux 5.16 or newer with CONFIG_NETFILTER_EGRESS has it",
            ),
        }
    }
}

/// Drops whatever goes that way at `interface` from now on. Idempotent.
///
/// # Errors
/// [`Error::NoInterface`]; [`Error::Unsupported`] where the kernel lacks nftables, its `netdev` family or its egress hook.
pub fn block(ns: &Ns, interface: &str, way: Way) -> Result<()> {
    ns.need(interface)?;
    let mut transaction = Transaction::new();
    transaction.table(Family::Netdev, TABLE, COMMENT);
    let hook = Hook {
        kind: "filter",
        number: way.hook(),
        priority: PRIORITY,
        drop: true,
        device: Some(interface),
    };
    let name = way.chain(interface);
    transaction.chain(Family::Netdev, TABLE, Chain { name: &name, hook: Some(hook) });
    match transaction.commit(ns) {
        Err(Error::Refused { source, .. })
            if matches!(
                source.errno,
                libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOENT | libc::EINVAL
            ) =>
        {
            let (feature, hint) = way.feature();
            Err(Error::Unsupported {
                what: format!("taking the link at `{interface}` down"),
                feature: feature.into(),
                hint: hint.into(),
            })
        }
        other => other,
    }
}

/// Lets frames through that way again. Idempotent.
///
/// # Errors
/// When the kernel refuses.
pub fn unblock(ns: &Ns, interface: &str, way: Way) -> Result<()> {
    remove(ns, &[way.chain(interface)])
}

/// Lets frames through both ways again. Right for an interface that is gone as well: newer kernels keep its chains, and would
/// block the next interface of that name.
///
/// # Errors
/// When the kernel refuses.
pub fn forget(ns: &Ns, interface: &str) -> Result<()> {
    forget_all(ns, [interface])
}

/// Forgets all of these interfaces in one go.
///
/// # Errors
/// When the kernel refuses.
pub fn forget_all<'a>(ns: &Ns, interfaces: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let both = |interface| [Way::In.chain(interface), Way::Out.chain(interface)];
    remove(ns, &interfaces.into_iter().flat_map(both).collect::<Vec<String>>())
}

/// Forgets interfaces that are not there: what blocks one that is gone is nobody's, and would block the next of its name.
/// The names of what was removed, or with `dry_run` would be.
///
/// # Errors
/// When the kernel refuses.
pub fn sweep(ns: &Ns, dry_run: bool) -> Result<Vec<String>> {
    let mut stale = ours(ns)?;
    let mut there = std::collections::HashSet::new();
    if !stale.is_empty() {
        there.extend(crate::state::interfaces(ns)?.into_iter().map(|interface| interface.name));
    }
    stale.retain(|chain| !there.contains(chain.split('/').next().unwrap_or(chain)));
    if !dry_run && !stale.is_empty() {
        remove(ns, &stale)?;
    }
    Ok(stale)
}

/// Removes those chains that are there; the table goes with the last.
fn remove(ns: &Ns, names: &[String]) -> Result<()> {
    let (gone, left): (Vec<String>, Vec<String>) =
        ours(ns)?.into_iter().partition(|chain| names.contains(chain));
    if gone.is_empty() && (!left.is_empty() || !nft::has_table(ns, Family::Netdev, TABLE)?) {
        return Ok(());
    }
    let mut transaction = Transaction::new();
    for chain in &gone {
        transaction.remove_chain(Family::Netdev, TABLE, chain);
    }
    if left.is_empty() {
        transaction.remove_table(Family::Netdev, TABLE);
    }
    transaction.commit(ns)
}

/// Names of our chains.
fn ours(ns: &Ns) -> Result<Vec<String>> {
    let chains = nft::base_chains(ns)?;
    let ours =
        |chain: &nft::BaseChain| chain.family == Family::Netdev.number() && chain.table == TABLE;
    Ok(chains.into_iter().filter(ours).map(|chain| chain.name).collect())
}

/// Whether [`block`] is in force.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn is_blocked(ns: &Ns, interface: &str, way: Way) -> Result<bool> {
    let name = way.chain(interface);
    let chains = nft::base_chains(ns)?;
    Ok(chains.iter().any(|chain| {
        chain.family == Family::Netdev.number()
            && chain.table == TABLE
            && chain.name == name
            && chain.policy == 0
    }))
}
