//! A link end taken down and up again: everything that arrives at it is dropped, while the interface, its addresses, routes
//! and shaper stay as they are. Both ends blocked is a link that is down (T-67).
//!
//! It is an nftables table of the `netdev` family in the end's namespace, with one chain for each blocked interface, hooked
//! to its ingress with policy drop: every ethertype, with or without netem. Frames a capture shows have arrived, so it shows
//! them before they are dropped.

use crate::nft::{self, Chain, Family, Hook, Transaction};
use crate::{Error, Ns, Result};

/// Name of the table in every namespace that has a blocked end.
const TABLE: &str = "vnode_block";
const COMMENT: &str = "vnode: link ends that are down; made and removed by vnode link down|up";
/// Before anything else at ingress.
const PRIORITY: i32 = -500;

/// Drops whatever arrives at `interface` from now on. Idempotent.
///
/// # Errors
/// [`Error::NoInterface`]; [`Error::Unsupported`] where the kernel lacks nftables or its `netdev` family.
pub fn block(ns: &Ns, interface: &str) -> Result<()> {
    ns.need(interface)?;
    let mut transaction = Transaction::new();
    transaction.table(Family::Netdev, TABLE, COMMENT);
    let hook =
        Hook { kind: "filter", number: 0, priority: PRIORITY, drop: true, device: Some(interface) };
    transaction.chain(Family::Netdev, TABLE, Chain { name: interface, hook: Some(hook) });
    match transaction.commit(ns) {
        Err(Error::Refused { source, .. })
            if matches!(source.errno, libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOENT) =>
        {
            Err(Error::Unsupported {
                what: format!("taking the link at `{interface}` down"),
                feature: "nftables with its netdev family".into(),
                hint: "load or build nf_tables with CONFIG_NF_TABLES_NETDEV".into(),
            })
        }
        other => other,
    }
}

/// Lets frames in again; the table goes with its last chain. Idempotent, and right for an interface that is gone: newer
/// kernels keep its chain, and would block the next interface of that name.
///
/// # Errors
/// When the kernel refuses.
pub fn unblock(ns: &Ns, interface: &str) -> Result<()> {
    let chains = ours(ns)?;
    let blocked = chains.iter().any(|chain| chain == interface);
    if !blocked && (!chains.is_empty() || !nft::has_table(ns, Family::Netdev, TABLE)?) {
        return Ok(());
    }
    let mut transaction = Transaction::new();
    if blocked {
        transaction.remove_chain(Family::Netdev, TABLE, interface);
    }
    if chains.iter().all(|chain| chain == interface) {
        transaction.remove_table(Family::Netdev, TABLE);
    }
    transaction.commit(ns)
}

/// Names of our chains, which are those of the blocked interfaces.
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
pub fn is_blocked(ns: &Ns, interface: &str) -> Result<bool> {
    let chains = nft::base_chains(ns)?;
    Ok(chains.iter().any(|chain| {
        chain.family == Family::Netdev.number()
            && chain.table == TABLE
            && chain.name == interface
            && chain.policy == 0
    }))
}
