//! The namespace the daemon lives in, and the bridges it makes there.

use std::time::Instant;

use ipnet::IpNet;

use crate::netlink::{Batch, rtnl};
use crate::ownership::Mark;
use crate::{Error, Features, Mac, Ns, Owner, Result, interface, state};

/// The host's network namespace. Cheap to clone, usable from any thread.
#[derive(Debug, Clone)]
pub struct Host {
    ns: Ns,
}

/// A bridge in the host's namespace.
#[derive(Debug, Clone)]
pub struct BridgeSpec {
    /// Kernel name; see [`crate::host_name`].
    pub name: String,
    /// Addresses the host has on it; empty for a LAN the host takes no part in.
    pub addresses: Vec<IpNet>,
    /// `None` leaves the kernel's 1500.
    pub mtu: Option<u32>,
    /// Seconds until a learned address is forgotten; 0 makes the bridge a hub. `None` is the kernel's 300.
    pub ageing_s: Option<u32>,
    pub owner: Owner,
    /// What it is for, in the mark: `lan lan1`.
    pub what: String,
}

/// Attributes of a bridge (`linux/if_link.h`).
mod attribute {
    pub(super) const FORWARD_DELAY: u16 = 1;
    pub(super) const AGEING_TIME: u16 = 4;
    pub(super) const STP_STATE: u16 = 5;
    pub(super) const GROUP_FWD_MASK: u16 = 10;
    pub(super) const MCAST_SNOOPING: u16 = 23;
}

/// Link-local protocols a LAN carries like a wire would: LLDP and the others of 01-80-C2-00-00-0x, except 0 to 2 (spanning
/// tree, pause frames, LACP), which the kernel does not allow to be forwarded.
const FORWARD_MASK: u16 = 0xfff8;

impl Host {
    /// Uses `ns` as the host's namespace; a test gives one it made.
    pub fn new(ns: Ns) -> Host {
        Host { ns }
    }

    /// The namespace itself.
    pub fn ns(&self) -> &Ns {
        &self.ns
    }

    /// What the kernel can do; probed once in the life of the process.
    ///
    /// # Errors
    /// When no scratch namespace can be made.
    pub fn features(&self) -> Result<Features> {
        Features::get()
    }

    /// Makes the bridge, or brings an existing one of ours to `spec` (addresses no longer in it are removed). Returns its
    /// interface index. The bridge is up; its Ethernet address is a function of its name. It neither runs the spanning tree
    /// protocol nor snoops on multicast, and passes LLDP: a LAN of a lab is a wire, not a switch with opinions.
    ///
    /// # Errors
    /// [`Error::Foreign`] when an interface of that name is there and not ours.
    pub fn ensure_bridge(&self, spec: &BridgeSpec) -> Result<u32> {
        let name = spec.name.as_str();
        let mut batch = Batch::new();
        let options = |message: &mut crate::netlink::Message<'_>| {
            message.nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "bridge").nest(libc::IFLA_INFO_DATA, |data| {
                    data.u32(attribute::STP_STATE, 0)
                        .u32(attribute::FORWARD_DELAY, 0)
                        .bytes(attribute::GROUP_FWD_MASK, &FORWARD_MASK.to_ne_bytes())
                        .u8(attribute::MCAST_SNOOPING, 0);
                    if let Some(seconds) = spec.ageing_s {
                        // In hundredths of a second.
                        data.u32(attribute::AGEING_TIME, seconds.saturating_mul(100));
                    }
                });
            });
        };
        let mut before = Vec::new();
        match state::interface(&self.ns, name)? {
            None => {
                let what = format!("make bridge `{name}` for {}", spec.what);
                let mut message = rtnl::create_link(&mut batch, name, what);
                // Without an address of its own a bridge takes that of its ports, and changes it as they come and go.
                message.mac(Some(Mac::from_name(name))).mtu(spec.mtu);
                options(&mut message);
            }
            Some(found) => {
                if found.alias.as_deref().and_then(Mark::parse).is_none()
                    || found.kind.as_deref() != Some("bridge")
                {
                    return Err(Error::Foreign { name: name.into() });
                }
                before = state::addresses(&self.ns, found.index)?;
                let what = format!("change bridge `{name}`");
                let mut message = rtnl::set_link(&mut batch, name, None, what);
                message.mtu(spec.mtu);
                options(&mut message);
            }
        }
        self.mark(&mut batch, name, &spec.owner, &spec.what, spec.addresses.is_empty());
        self.ns.change(&batch)?;
        let index = self.ns.need(name)?;
        let mut batch = Batch::new();
        for address in &before {
            let link_local =
                matches!(address, IpNet::V6(net) if net.addr().is_unicast_link_local());
            if !spec.addresses.contains(address) && !link_local {
                let what = format!("remove address {address} from bridge `{name}`");
                rtnl::remove_address(&mut batch, index, *address, what);
            }
        }
        interface::configure(&mut batch, name, index, &spec.addresses, Some(true), &[], "");
        self.ns.change(&batch)?;
        Ok(index)
    }

    /// Fails when an interface of the host has this name: the mark that follows a refused creation in the same send would
    /// otherwise fall on somebody else's interface.
    pub(crate) fn must_be_free(&self, name: &str, action: &str) -> Result<()> {
        match self.ns.index(name)? {
            None => Ok(()),
            Some(_) => Err(Error::Refused {
                action: action.into(),
                source: crate::netlink::Refused {
                    errno: libc::EEXIST,
                    text: Some(format!("the host has an interface `{name}`")),
                },
            }),
        }
    }

    /// As [`must_be_free`](Self::must_be_free), for an end that is marked: one of the very same mark is taken away. It is
    /// the far end of a pair whose namespace the kernel is still ending, or what a crash left before the same work.
    pub(crate) fn make_room(
        &self,
        name: &str,
        owner: &Owner,
        what: &str,
        action: &str,
    ) -> Result<()> {
        if self.ns.index(name)?.is_none() {
            return Ok(());
        }
        let mark = state::alias(&self.ns, name)?.flatten().as_deref().and_then(Mark::parse);
        let same = mark.is_some_and(|mark| {
            mark.what == what
                && mark.owner.instance == owner.instance
                && mark.owner.lab == owner.lab
        });
        if !same {
            return self.must_be_free(name, action);
        }
        let mut batch = Batch::new();
        rtnl::delete_link(&mut batch, name);
        self.ns.change(&batch)
    }

    /// Adds the messages that mark `name` as ours to a batch that has just made it.
    pub(crate) fn mark(
        &self,
        batch: &mut Batch,
        name: &str,
        owner: &Owner,
        what: &str,
        silent: bool,
    ) {
        rtnl::set_link(batch, name, None, format!("mark interface `{name}` as ours"))
            .joined()
            .bytes(libc::IFLA_IFALIAS, owner.mark(what).as_bytes());
        if silent && crate::features::has_ipv6() {
            rtnl::set_link(batch, name, None, format!("keep interface `{name}` silent"))
                .joined()
                .no_link_local()
                // An interface whose MTU is below 1280 has no IPv6 to begin with.
                .tolerate(&[libc::EAFNOSUPPORT]);
        }
    }

    /// Removes an interface of ours; the other end of a pair goes with it. `false` when there is none.
    ///
    /// # Errors
    /// [`Error::Foreign`] when it does not bear a mark.
    pub fn remove_link(&self, name: &str) -> Result<bool> {
        match state::alias(&self.ns, name)? {
            None => Ok(false),
            Some(alias) if alias.as_deref().and_then(Mark::parse).is_none() => {
                Err(Error::Foreign { name: name.into() })
            }
            Some(_) => {
                let mut batch = Batch::new();
                rtnl::delete_link(&mut batch, name);
                self.ns.change(&batch)?;
                Ok(true)
            }
        }
    }

    /// Removes many interfaces of ours in few sends; missing ones are passed over.
    ///
    /// # Errors
    /// Unmarked ones are left, and the first is named after all others are gone.
    pub fn remove_links(&self, names: &[&str]) -> Result<()> {
        let mut batch = Batch::new();
        let mut foreign = None;
        for name in names {
            match state::alias(&self.ns, name)? {
                None => {}
                Some(alias) if alias.as_deref().and_then(Mark::parse).is_none() => {
                    foreign.get_or_insert(name);
                }
                Some(_) => rtnl::delete_link(&mut batch, name),
            }
        }
        self.ns.change(&batch)?;
        match foreign {
            None => Ok(()),
            Some(name) => Err(Error::Foreign { name: name.to_string() }),
        }
    }

    /// Waits, by notification and not by polling, until none of the interfaces is there: a pair whose node's namespace ends
    /// goes some time after it.
    ///
    /// # Errors
    /// [`Error::Deadline`].
    pub fn wait_gone(&self, names: &[&str], deadline: Instant) -> Result<()> {
        let present = |names: &mut Vec<&str>| -> Result<()> {
            let mut left = Vec::new();
            for name in names.drain(..) {
                if self.ns.has_interface(name)? {
                    left.push(name);
                }
            }
            *names = left;
            Ok(())
        };
        let mut names = names.to_vec();
        present(&mut names)?;
        if names.is_empty() {
            return Ok(());
        }
        // Subscribed before the second look: nothing is missed between them.
        let mut socket = self.ns.socket(libc::NETLINK_ROUTE, libc::RTMGRP_LINK as u32)?;
        present(&mut names)?;
        while !names.is_empty() {
            let mut gone = false;
            let heard = socket.wait(deadline, |header, _| {
                gone |= header.kind == libc::RTM_DELLINK;
            });
            match heard {
                Ok(true) => {}
                Ok(false) => {
                    return Err(Error::Deadline {
                        what: format!("the removal of interface `{}`", names[0]),
                    });
                }
                // Notifications were lost in a storm of them: look again.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => gone = true,
                Err(source) => {
                    return Err(Error::Socket { what: "removed interfaces".into(), source });
                }
            }
            if gone {
                present(&mut names)?;
            }
        }
        Ok(())
    }

    /// Attaches a port of ours to a bridge, ours or not (the `bridge` kind of a topology names one of the host's).
    ///
    /// # Errors
    /// [`Error::NoInterface`] without the bridge; [`Error::Refused`], "Exchange full" when the bridge has 1,023 ports.
    pub fn attach(&self, port: &str, bridge: &str) -> Result<()> {
        let index = self.ns.need(bridge)?;
        let mut batch = Batch::new();
        let what = format!("attach interface `{port}` to bridge `{bridge}`");
        rtnl::set_link(&mut batch, port, None, what).u32(libc::IFLA_MASTER, index);
        self.ns.change(&batch)
    }

    /// An interface of the host whose network overlaps `net`, with that network: subnets of labs must not hide the host's.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn overlaps(&self, net: IpNet) -> Result<Option<(String, IpNet)>> {
        for interface in state::interfaces(&self.ns)? {
            let overlapping =
                |other: &&IpNet| other.contains(&net.trunc()) || net.contains(&other.trunc());
            if let Some(found) = interface.addresses.iter().find(overlapping) {
                return Ok(Some((interface.name, *found)));
            }
        }
        Ok(None)
    }
}
