//! What this kernel can do for networks.

use serde::{Deserialize, Serialize};

use crate::{Ns, Result};

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
    /// Tries every feature in a namespace made for it; some milliseconds. [`crate::Host::features`] keeps the answer.
    ///
    /// # Errors
    /// When no namespace can be made. A feature that is missing is no error.
    pub fn probe() -> Result<Features> {
        let _scratch = Ns::create()?;
        crate::error::not_built("probe")
    }
}
