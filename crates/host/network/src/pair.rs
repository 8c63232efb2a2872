//! Links between two places: veth pairs whose ends are born where they belong, shaped before the first frame can pass.

use std::net::IpAddr;

use ipnet::IpNet;
use vnode_protocol::impairment::Impairment;

use crate::error::not_built;
use crate::{Host, Mac, Ns, Owner, Result};

/// A veth pair.
#[derive(Debug, Clone)]
pub struct PairSpec<'a> {
    /// The link as the user knows it, `r1:eth1 -- r2:eth1`: named in errors.
    pub link: &'a str,
    pub a: End<'a>,
    pub b: End<'a>,
    /// Bytes; `None` leaves the kernel's 1500.
    pub mtu: Option<u32>,
}

/// One end of a pair.
#[derive(Debug, Clone)]
pub struct End<'a> {
    pub place: Place<'a>,
    /// Kernel name: [`crate::interface_name`] inside a node, [`crate::host_name`] on the host.
    pub name: &'a str,
    /// Name by which the interface can be found too (the user's, when `name` had to be shortened).
    pub alternative_name: Option<&'a str>,
    /// `None` leaves the kernel's random one.
    pub mac: Option<Mac>,
    /// Set before the interface goes up; IPv6 ones are usable at once (no duplicate address detection).
    pub addresses: &'a [IpNet],
    pub routes: &'a [Route],
    /// What happens to frames this end sends.
    pub impairment: Option<&'a Impairment>,
    /// Take the interface up when all else is in place.
    pub up: bool,
}

/// Where an end lives.
#[derive(Debug, Clone)]
pub enum Place<'a> {
    /// Inside a node.
    Node(&'a Ns),
    /// In the host's namespace, marked as ours; attached to a bridge where one is named.
    Host { bridge: Option<&'a str>, owner: &'a Owner, what: &'a str },
}

/// A route set through the interface it stands with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `0.0.0.0/0` and `::/0` are the default routes.
    pub to: IpNet,
    /// `None`: the destination is on the link.
    pub via: Option<IpAddr>,
    /// Lower is preferred. `None` is the kernel's choice (0 for IPv4, 1024 for IPv6).
    pub metric: Option<u32>,
}

impl Host {
    /// Makes one pair; see [`Host::link_pairs`].
    pub fn link_pair(&self, pair: &PairSpec<'_>) -> Result<()> {
        self.link_pairs(std::slice::from_ref(pair))
    }

    /// Makes pairs in few sends: all in one batch, then for each namespace one batch of shapers, addresses, routes, up.
    /// An end goes up only when its shaper is in place. The loopback interface of each node named is taken up too.
    ///
    /// # Errors
    /// The first refusal, with the link, the end and the kernel's words. Pairs made by this call are removed again when any
    /// part fails.
    pub fn link_pairs(&self, _pairs: &[PairSpec<'_>]) -> Result<()> {
        not_built("pairs")
    }
}

impl Ns {
    /// Adds addresses (those there already are kept) and routes to an interface.
    pub fn configure(
        &self,
        _interface: &str,
        _addresses: &[IpNet],
        _routes: &[Route],
    ) -> Result<()> {
        not_built("configure")
    }

    /// Takes an interface up or down as `ip link set` does. To cut a link and keep its configuration see [`crate::block`].
    pub fn set_up(&self, _interface: &str, _up: bool) -> Result<()> {
        not_built("configure")
    }

    /// Removes an interface inside a node; `false` when there is none.
    pub fn remove_interface(&self, _interface: &str) -> Result<bool> {
        not_built("configure")
    }
}
