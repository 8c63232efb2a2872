//! Links between two places: veth pairs whose ends are born where they belong, shaped before the first frame can pass.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use vnode_protocol::impairment::Impairment;

use crate::impair::{self, Context};
use crate::netlink::{Batch, rtnl};
use crate::ns::first_failure;
use crate::{Error, Host, Mac, Ns, Owner, Result, interface};

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

impl<'a> End<'a> {
    fn ns(&self, host: &'a Host) -> &'a Ns {
        match self.place {
            Place::Node(ns) => ns,
            Place::Host { .. } => host.ns(),
        }
    }

    fn shaped(&self) -> Option<&'a Impairment> {
        self.impairment.filter(|impairment| !impair::is_perfect(impairment))
    }
}

impl<'a> PairSpec<'a> {
    /// The end whose namespace's socket makes the pair, and the other. An end on the host comes first: a bridge can be named
    /// for the first end only, and older kernels look for a name clash in the socket's own namespace.
    fn ordered(&'a self) -> [&'a End<'a>; 2] {
        match (&self.a.place, &self.b.place) {
            (Place::Node(_), Place::Host { .. }) => [&self.b, &self.a],
            _ => [&self.a, &self.b],
        }
    }

    fn ends(&'a self) -> [&'a End<'a>; 2] {
        [&self.a, &self.b]
    }
}

/// Work of one namespace: what is asked of it in one send.
struct Group<'a> {
    ns: &'a Ns,
    batch: Batch,
    /// Pair that each message belongs to.
    pairs: Vec<usize>,
}

/// Groups in the order their namespaces first appear.
#[derive(Default)]
struct Groups<'a> {
    order: Vec<Group<'a>>,
    by_id: HashMap<(u64, u64), usize>,
}

impl<'a> Groups<'a> {
    fn of(&mut self, ns: &'a Ns) -> &mut Group<'a> {
        let order = &mut self.order;
        let at = *self.by_id.entry(ns.id()).or_insert_with(|| {
            order.push(Group { ns, batch: Batch::new(), pairs: Vec::new() });
            order.len() - 1
        });
        &mut self.order[at]
    }
}

impl Group<'_> {
    fn belongs_to(&mut self, pair: usize) {
        self.pairs.resize(self.batch.len(), pair);
    }
}

impl Host {
    /// Makes one pair; see [`Host::link_pairs`].
    ///
    /// # Errors
    /// As [`Host::link_pairs`].
    pub fn link_pair(&self, pair: &PairSpec<'_>) -> Result<()> {
        self.link_pairs(std::slice::from_ref(pair))
    }

    /// Makes pairs in few sends: all in one batch, then for each namespace one batch of shapers (where there are any), and
    /// one of addresses, up, routes. No end goes up before the shapers of all are in place.
    ///
    /// # Errors
    /// The first refusal, with the link, the interface and the kernel's words; [`Error::Impairment`] for a shaper. Pairs
    /// made by this call are removed again when any part fails.
    pub fn link_pairs(&self, pairs: &[PairSpec<'_>]) -> Result<()> {
        for pair in pairs {
            for end in pair.ends() {
                if let Some(impairment) = end.impairment {
                    let context = Context { link: pair.link, end: end.name };
                    impair::check(&self.features()?, impairment, &context)?;
                }
            }
        }
        let mut made = vec![false; pairs.len()];
        let outcome = self
            .create(pairs, &mut made)
            .and_then(|()| self.shape(pairs))
            .and_then(|()| self.settle(pairs));
        if outcome.is_err() {
            self.roll_back(pairs, &made);
        }
        outcome
    }

    fn create(&self, pairs: &[PairSpec<'_>], made: &mut [bool]) -> Result<()> {
        let mut bridges = HashMap::new();
        let mut groups = Groups::default();
        for (at, pair) in pairs.iter().enumerate() {
            let [first, second] = pair.ordered();
            let what = format!("make link `{}`", pair.link);
            for end in [first, second] {
                if let Place::Host { owner, what: purpose, .. } = end.place {
                    self.make_room(end.name, owner, purpose, &what)?;
                }
            }
            let master = match first.place {
                Place::Host { bridge: Some(bridge), .. } => Some(match bridges.get(bridge) {
                    Some(index) => *index,
                    None => {
                        let index = self.ns().need(bridge)?;
                        bridges.insert(bridge, index);
                        index
                    }
                }),
                _ => None,
            };
            let group = groups.of(first.ns(self));
            let mut message = rtnl::create_link(&mut group.batch, first.name, what);
            message.mac(first.mac).mtu(pair.mtu).one_queue();
            if let Some(master) = master {
                message.u32(libc::IFLA_MASTER, master);
            }
            message.nest(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                    data.nest_after(PEER, &rtnl::link_header(0, 0, 0), |peer| {
                        peer.text(libc::IFLA_IFNAME, second.name)
                            .mac(second.mac)
                            .mtu(pair.mtu)
                            .one_queue()
                            .namespace(second.ns(self));
                    });
                });
            });
            group.belongs_to(at);
            // The marks follow in the same send: no unmarked interface is left by a process killed here.
            for end in [first, second] {
                if let Place::Host { owner, what, bridge } = end.place {
                    let silent = bridge.is_some() || end.addresses.is_empty();
                    self.mark(&mut group.batch, end.name, owner, what, silent);
                    group.belongs_to(at);
                }
            }
        }
        let mut first = None;
        for group in &groups.order {
            let failures = match group.ns.attempt(&group.batch) {
                Ok(failures) => failures,
                Err(error) => {
                    // How far the kernel got is unknown, so all of the group count as made: names on the host are
                    // functions of what they are for, and those in nodes were free or the node is ours.
                    group.pairs.iter().for_each(|pair| made[*pair] = true);
                    first.get_or_insert(error);
                    continue;
                }
            };
            let mut refused: HashSet<usize> = HashSet::new();
            for failure in failures {
                refused.extend(failure.index.map(|index| group.pairs[index]));
                first.get_or_insert(Error::Refused {
                    action: failure.what,
                    source: failure.refused,
                });
            }
            for pair in &group.pairs {
                made[*pair] |= !refused.contains(pair);
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn shape(&self, pairs: &[PairSpec<'_>]) -> Result<()> {
        for pair in pairs {
            let shaped = pair.ends().iter().any(|end| end.shaped().is_some());
            for end in pair.ends() {
                let ns = end.ns(self);
                if shaped {
                    ns.plain_frames(end.name)?;
                }
                if let Some(impairment) = end.shaped() {
                    let context = Context { link: pair.link, end: end.name };
                    impair::install(ns, end.name, impairment, &context)?;
                }
            }
        }
        Ok(())
    }

    fn settle(&self, pairs: &[PairSpec<'_>]) -> Result<()> {
        let mut groups = Groups::default();
        for pair in pairs {
            let [first, second] = pair.ordered();
            // The host's ends first: when the node's end goes up the way behind it is whole.
            for end in [first, second] {
                let ns = end.ns(self);
                let batch = &mut groups.of(ns).batch;
                if let (Place::Host { bridge: Some(bridge), .. }, true) =
                    (&end.place, std::ptr::eq(end, second))
                {
                    let what = format!("attach interface `{}` to bridge `{bridge}`", end.name);
                    let master = self.ns().need(bridge)?;
                    rtnl::set_link(batch, end.name, None, what).u32(libc::IFLA_MASTER, master);
                }
                if let Some(alternative) = end.alternative_name {
                    rtnl::alternative_name(batch, end.name, alternative);
                }
                let up = end.up.then_some(true);
                if end.addresses.is_empty() && end.routes.is_empty() {
                    if up.is_some() {
                        let what =
                            format!("take interface `{}` up (link `{}`)", end.name, pair.link);
                        rtnl::set_link(batch, end.name, up, what);
                    }
                } else {
                    let index = ns.need(end.name)?;
                    let batch = &mut groups.of(ns).batch;
                    interface::configure(
                        batch,
                        end.name,
                        index,
                        end.addresses,
                        up,
                        end.routes,
                        pair.link,
                    );
                }
            }
        }
        let mut failures = Vec::new();
        for group in &groups.order {
            failures.extend(group.ns.attempt(&group.batch)?);
        }
        first_failure(failures)
    }

    /// Removes what was made; the failure that led here is what the caller hears of.
    fn roll_back(&self, pairs: &[PairSpec<'_>], made: &[bool]) {
        let mut groups = Groups::default();
        for (pair, _) in pairs.iter().zip(made).filter(|(_, made)| **made) {
            let [first, _] = pair.ordered();
            rtnl::delete_link(&mut groups.of(first.ns(self)).batch, first.name);
        }
        for group in &groups.order {
            match group.ns.attempt(&group.batch) {
                Ok(failures) => {
                    for failure in failures {
                        tracing::warn!("cannot {}: {}", failure.what, failure.refused);
                    }
                }
                Err(error) => tracing::warn!("cannot remove links again: {error}"),
            }
        }
    }
}

/// `VETH_INFO_PEER` of `linux/veth.h`.
const PEER: u16 = 1;
