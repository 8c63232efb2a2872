//! LANs of any size: a bridge takes 1,023 ports, so a larger LAN is several bridges, and nobody sees it.
//!
//! Bridge 0 is the hub: every further bridge is joined to it by one pair. Members 0..1000 attach to bridge 0, the next
//! thousand to bridge 1, and so on; a LAN grows without any member being moved.

use crate::netlink::{Batch, rtnl};
use crate::{BridgeSpec, End, Error, Host, Owner, PairSpec, Place, Result, host_name};

/// Members attached to one bridge; the ports left over join bridges.
pub const MEMBERS_PER_BRIDGE: usize = 1000;
/// Bridges joined to the hub by the ports its own members leave, and the hub.
const BRIDGES_MAX: usize = 24;

/// `IFLA_BRPORT_LOCKED` of `linux/if_link.h`: takes frames only from addresses that the bridge has been told of.
const LOCKED: u16 = 39;
/// `IFLA_BRPORT_UNICAST_FLOOD`, `IFLA_BRPORT_MCAST_FLOOD` and `IFLA_BRPORT_BCAST_FLOOD`.
const FLOODS: [u16; 3] = [9, 27, 30];

/// A LAN between nodes.
#[derive(Debug, Clone)]
pub struct LanSpec {
    /// The user's name of the LAN, unique in the lab.
    pub name: String,
    /// Number of members to provide for; at most 24,000.
    pub members: usize,
    pub mtu: Option<u32>,
    /// As [`BridgeSpec::ageing_s`].
    pub ageing_s: Option<u32>,
    pub owner: Owner,
}

/// The bridges of a LAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// Kernel names, the hub first.
    pub bridges: Vec<String>,
}

impl Lan {
    /// How many bridges a LAN of `members` needs.
    pub fn bridge_count(members: usize) -> usize {
        members.div_ceil(MEMBERS_PER_BRIDGE).max(1)
    }

    /// The names the bridges of a LAN have, whether they exist or not: for plans written before the first effect.
    pub fn names(owner: &Owner, lan: &str, members: usize) -> Lan {
        let bridges = (0..Lan::bridge_count(members))
            .map(|at| host_name(&[&owner.instance, &owner.lab, "lan", lan, &at.to_string()]))
            .collect();
        Lan { bridges }
    }

    /// The pairs that join the bridges, both ends, the bridge's own end first.
    pub fn trunks(&self) -> Vec<String> {
        let ends =
            |bridge: &String| [host_name(&[bridge, "trunk"]), host_name(&[bridge, "trunk", "hub"])];
        self.bridges.iter().skip(1).flat_map(ends).collect()
    }

    /// The bridge that member number `member` attaches to.
    pub fn bridge_for(&self, member: usize) -> &str {
        &self.bridges[(member / MEMBERS_PER_BRIDGE).min(self.bridges.len() - 1)]
    }
}

impl Host {
    /// Makes the LAN's bridges and joins them, or brings them to `spec`; only ever adds bridges.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 24,000 members; else as [`Host::ensure_bridge`] and [`Host::link_pairs`].
    pub fn ensure_lan(&self, spec: &LanSpec) -> Result<Lan> {
        let lan = Lan::names(&spec.owner, &spec.name, spec.members);
        if lan.bridges.len() > BRIDGES_MAX {
            return Err(Error::Invalid {
                what: format!("LAN `{}`", spec.name),
                reason: format!("a LAN has at most {} members", BRIDGES_MAX * MEMBERS_PER_BRIDGE),
            });
        }
        let what = format!("lan {}", spec.name);
        for bridge in &lan.bridges {
            self.ensure_bridge(&BridgeSpec {
                name: bridge.clone(),
                addresses: Vec::new(),
                mtu: spec.mtu,
                ageing_s: spec.ageing_s,
                owner: spec.owner.clone(),
                what: what.clone(),
            })?;
        }
        let hub = lan.bridges[0].as_str();
        let link = format!("trunk of lan {}", spec.name);
        for bridge in &lan.bridges[1..] {
            let names = [host_name(&[bridge, "trunk"]), host_name(&[bridge, "trunk", "hub"])];
            if self.ns().has_interface(&names[0])? {
                continue;
            }
            let end = |name, bridge| End {
                place: Place::Host { bridge: Some(bridge), owner: &spec.owner, what: &what },
                name,
                alternative_name: None,
                mac: None,
                addresses: &[],
                routes: &[],
                impairment: None,
                up: true,
            };
            self.link_pair(&PairSpec {
                link: &link,
                a: end(&names[0], bridge.as_str()),
                b: end(&names[1], hub),
                mtu: spec.mtu,
            })?;
        }
        Ok(lan)
    }

    /// Makes the port of a member deaf and dumb, or takes that from it; its node's interface has a carrier all the same.
    ///
    /// For members whose nodes have not booted: the kernel of each says a dozen things of its own when its interface goes
    /// up (duplicate address detection, multicast listener reports, router solicitations), and a LAN that is wired member
    /// by member carries each of them to all that are there. In one of a thousand that is a third of all work.
    ///
    /// Kernels before 5.18 make it deaf only.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn set_waiting(&self, port: &str, waiting: bool) -> Result<()> {
        let mut batch = Batch::new();
        let what = match waiting {
            true => format!("have port `{port}` wait for its node"),
            false => format!("have port `{port}` serve its node"),
        };
        rtnl::set_link(&mut batch, port, None, what).nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_SLAVE_KIND, "bridge").nest(
                libc::IFLA_INFO_SLAVE_DATA,
                |data| {
                    FLOODS.iter().fold(data.u8(LOCKED, u8::from(waiting)), |data, flood| {
                        data.u8(*flood, u8::from(!waiting))
                    });
                },
            );
        });
        self.ns().change(&batch)
    }

    /// Removes the LAN's bridges and the pairs that join them; idempotent.
    ///
    /// # Errors
    /// As [`Host::remove_links`].
    pub fn remove_lan(&self, lan: &Lan) -> Result<()> {
        let trunks: Vec<String> =
            lan.bridges.iter().skip(1).map(|bridge| host_name(&[bridge, "trunk"])).collect();
        let names: Vec<&str> = trunks.iter().chain(&lan.bridges).map(String::as_str).collect();
        self.remove_links(&names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lan_grows_without_moving_members() {
        let owner = Owner { instance: "i".into(), lab: "l".into(), operation: "o".into() };
        assert_eq!([0, 1, 1000, 1001, 2500].map(Lan::bridge_count), [1, 1, 1, 2, 3]);
        let (small, large) = (Lan::names(&owner, "x", 10), Lan::names(&owner, "x", 2500));
        assert_eq!(small.bridge_for(9), large.bridge_for(9));
        assert_eq!(large.bridge_for(999), large.bridges[0]);
        assert_eq!(large.bridge_for(1000), large.bridges[1]);
        assert_eq!(large.bridge_for(2499), large.bridges[2]);
    }
}
