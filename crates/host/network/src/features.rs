//! What this kernel can do for networks.

use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::netlink::{Batch, rtnl};
use crate::nft::{self, Chain, Family, Hook, Rule, Transaction};
use crate::{Ns, Result, impair};

/// Kernel features found by trying them in a scratch namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Delay, loss, duplicates, reordering, corruption (`sch_netem`).
    pub netem: bool,
    /// Rate limits (`sch_tbf`).
    pub tbf: bool,
    pub bridge: bool,
    pub veth: bool,
    pub vxlan: bool,
    pub macvlan: bool,
    pub dummy: bool,
    /// nftables with address translation in the `inet` family: control networks.
    pub nft_nat: bool,
    /// nftables in the `bridge` family: protection against spoofing.
    pub nft_bridge: bool,
    /// nftables in the `netdev` family: links taken down and up.
    pub nft_netdev: bool,
    /// The kernel has IPv6.
    pub ipv6: bool,
}

impl Features {
    /// Tries every feature in a namespace made for it; some milliseconds, and the kernel loads modules for it.
    ///
    /// # Errors
    /// When no namespace can be made or the kernel cannot be asked. A feature that is missing is no error.
    pub fn probe() -> Result<Features> {
        let scratch = Ns::create()?;
        let (netem, tbf) = impair::probe(&scratch)?;
        let veth = has_link(&scratch, "veth", None)?;
        // A macvlan needs a parent: the pair just made.
        let parent = if veth { scratch.index("try-veth")? } else { None };
        let netdev_hook = |device| Hook {
            kind: "filter",
            number: 0,
            priority: 0,
            drop: false,
            device: Some(device),
        };
        let nat_hook = Hook { kind: "nat", number: 4, priority: 100, drop: false, device: None };
        let bridge_hook =
            Hook { kind: "filter", number: 0, priority: 0, drop: false, device: None };
        Ok(Features {
            netem,
            tbf,
            veth,
            bridge: has_link(&scratch, "bridge", None)?,
            vxlan: has_link(&scratch, "vxlan", None)?,
            macvlan: parent.is_some() && has_link(&scratch, "macvlan", parent)?,
            dummy: has_link(&scratch, "dummy", None)?,
            nft_nat: has_chain(&scratch, Family::Inet, nat_hook, Some(&Rule::new().masquerade()))?,
            nft_bridge: has_chain(&scratch, Family::Bridge, bridge_hook, None)?,
            nft_netdev: has_chain(&scratch, Family::Netdev, netdev_hook("lo"), None)?,
            ipv6: has_ipv6(),
        })
    }

    /// As [`Features::probe`], which is done once in the life of the process.
    ///
    /// # Errors
    /// As [`Features::probe`]; the next call tries again.
    pub fn get() -> Result<Features> {
        static FEATURES: OnceLock<Features> = OnceLock::new();
        match FEATURES.get() {
            Some(features) => Ok(*features),
            None => {
                let features = Features::probe()?;
                Ok(*FEATURES.get_or_init(|| features))
            }
        }
    }
}

/// Whether the kernel has IPv6 at all (it may be disabled at boot).
pub(crate) fn has_ipv6() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| Path::new("/proc/net/if_inet6").exists())
}

fn has_link(ns: &Ns, kind: &str, parent: Option<u32>) -> Result<bool> {
    let mut batch = Batch::new();
    let mut message = rtnl::create_link(&mut batch, &format!("try-{kind}"), "try".into());
    if let Some(parent) = parent {
        message.u32(libc::IFLA_LINK, parent);
    }
    message.nest(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, kind);
        if kind == "vxlan" {
            // IFLA_VXLAN_ID, and a port (IFLA_VXLAN_PORT, big-endian): without one old kernels warn.
            info.nest(libc::IFLA_INFO_DATA, |data| {
                data.u32(1, 1).bytes(15, &4789u16.to_be_bytes());
            });
        }
    });
    Ok(ns.attempt(&batch)?.is_empty())
}

fn has_chain(ns: &Ns, family: Family, hook: Hook<'_>, rule: Option<&Rule>) -> Result<bool> {
    let mut transaction = Transaction::new();
    transaction.table(family, "try", "");
    transaction.chain(family, "try", Chain { name: "try", hook: Some(hook) });
    if let Some(rule) = rule {
        transaction.rule(family, "try", "try", rule);
    }
    match transaction.commit(ns) {
        Ok(()) => nft::has_table(ns, family, "try"),
        // No nf_tables at all shows as a protocol that is not there.
        Err(crate::Error::Refused { .. } | crate::Error::Namespace { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
