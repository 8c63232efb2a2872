//! A node's own address on a network of the host: MACVLAN. And `dummy` interfaces.

use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vnode_protocol::impairment::Impairment;

use crate::impair::{self, Context};
use crate::netlink::{Batch, rtnl};
use crate::{Error, Host, Mac, Ns, Owner, Result, Route, host_name};

/// A MACVLAN child of an interface of the host, living in a node.
#[derive(Debug, Clone)]
pub struct MacvlanSpec<'a> {
    pub link: &'a str,
    /// Interface of the host.
    pub parent: &'a str,
    pub mode: MacvlanMode,
    pub owner: &'a Owner,
    pub ns: &'a Ns,
    /// Name inside the node.
    pub name: &'a str,
    pub alternative_name: Option<&'a str>,
    pub mac: Option<Mac>,
    pub mtu: Option<u32>,
    pub addresses: &'a [IpNet],
    pub routes: &'a [Route],
    /// Of what the node sends; in place before the interface is up.
    pub impairment: Option<&'a Impairment>,
}

/// A `dummy` interface in a node: up, carrying nothing.
#[derive(Debug, Clone)]
pub struct DummySpec<'a> {
    pub link: &'a str,
    pub ns: &'a Ns,
    pub name: &'a str,
    pub mac: Option<Mac>,
    pub mtu: Option<u32>,
    pub addresses: &'a [IpNet],
    pub impairment: Option<&'a Impairment>,
}

/// How children of one parent see each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacvlanMode {
    Private,
    Vepa,
    #[default]
    Bridge,
    Passthru,
    /// Only from senders that it is told of.
    Source,
}

impl MacvlanMode {
    /// `enum macvlan_mode` of `linux/if_link.h`.
    fn number(self) -> u32 {
        match self {
            MacvlanMode::Private => 1,
            MacvlanMode::Vepa => 2,
            MacvlanMode::Bridge => 4,
            MacvlanMode::Passthru => 8,
            MacvlanMode::Source => 16,
        }
    }
}

impl FromStr for MacvlanMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<MacvlanMode> {
        match text {
            "private" => Ok(MacvlanMode::Private),
            "vepa" => Ok(MacvlanMode::Vepa),
            "bridge" => Ok(MacvlanMode::Bridge),
            "passthru" => Ok(MacvlanMode::Passthru),
            "source" => Ok(MacvlanMode::Source),
            _ => Err(Error::Invalid {
                what: format!("macvlan mode `{}`", text.chars().take(40).collect::<String>()),
                reason: "the modes are bridge, vepa, private, passthru, source".into(),
            }),
        }
    }
}

impl Host {
    /// Makes the child and moves it into the node before it is up. It ends with the node's namespace, or by
    /// [`Ns::remove_interface`].
    ///
    /// # Errors
    /// [`Error::NoInterface`] without the parent; [`Error::Unsupported`] without the driver; [`Error::Refused`].
    pub fn create_macvlan(&self, spec: &MacvlanSpec<'_>) -> Result<()> {
        const MODE: u16 = 1; // IFLA_MACVLAN_MODE
        let parent = self.ns().need(spec.parent)?;
        // Under a name that cannot clash with one of the host's, until it is in the node.
        let (_, node) = spec.ns.id();
        let transit = host_name(&["macvlan", spec.parent, &node.to_string(), spec.name]);
        let mut batch = Batch::new();
        let what = format!("make a macvlan of `{}` for link `{}`", spec.parent, spec.link);
        self.must_be_free(&transit, &what)?;
        let mut message = rtnl::create_link(&mut batch, &transit, what);
        message.u32(libc::IFLA_LINK, parent).mac(spec.mac).mtu(spec.mtu);
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "macvlan").nest(libc::IFLA_INFO_DATA, |data| {
                data.u32(MODE, spec.mode.number());
            });
        });
        self.mark(&mut batch, &transit, spec.owner, &format!("macvlan {}", spec.link), false);
        self.ns().change(&batch).map_err(|error| missing_driver(error, spec.link, "macvlan"))?;
        if let Err(error) = self.ns().move_interface(&transit, spec.ns, spec.name) {
            if let Err(second) = self.remove_link(&transit) {
                tracing::warn!("cannot remove macvlan `{transit}` again: {second}");
            }
            return Err(error);
        }
        let mut batch = Batch::new();
        if let Some(alternative) = spec.alternative_name {
            rtnl::alternative_name(&mut batch, spec.name, alternative);
        }
        let settled = spec
            .ns
            .change(&batch)
            .and_then(|()| self.shape_alone(spec.link, spec.ns, spec.name, spec.impairment))
            .and_then(|()| spec.ns.configure(spec.name, spec.addresses, spec.routes));
        if settled.is_err()
            && let Err(second) = spec.ns.remove_interface(spec.name)
        {
            tracing::warn!("cannot remove macvlan `{}` again: {second}", spec.name);
        }
        settled
    }

    /// Makes a `dummy` interface.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the kernel has no dummy driver, or cannot do what the impairment asks.
    pub fn create_dummy(&self, spec: &DummySpec<'_>) -> Result<()> {
        let mut batch = Batch::new();
        let what = format!("make dummy interface `{}`", spec.name);
        let mut message = rtnl::create_link(&mut batch, spec.name, what);
        message.mac(spec.mac).mtu(spec.mtu).nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "dummy");
        });
        spec.ns.change(&batch).map_err(|error| missing_driver(error, spec.name, "dummy"))?;
        let settled = self
            .shape_alone(spec.link, spec.ns, spec.name, spec.impairment)
            .and_then(|()| spec.ns.configure(spec.name, spec.addresses, &[]));
        if settled.is_err()
            && let Err(second) = spec.ns.remove_interface(spec.name)
        {
            tracing::warn!("cannot remove dummy `{}` again: {second}", spec.name);
        }
        settled
    }

    /// Shapes what leaves an interface that is not up yet.
    fn shape_alone(
        &self,
        link: &str,
        ns: &Ns,
        name: &str,
        impairment: Option<&Impairment>,
    ) -> Result<()> {
        let Some(impairment) = impairment.filter(|impairment| !impairment.is_perfect()) else {
            return Ok(());
        };
        let context = Context { link, end: name };
        impair::check(&self.features()?, impairment, &context)?;
        ns.plain_frames(name)?;
        impair::install(ns, name, impairment, &context)
    }
}

/// "Operation not supported" at the making of an interface means that its driver is not there.
fn missing_driver(error: Error, what: &str, driver: &str) -> Error {
    match error {
        Error::Refused { source, .. } if source.errno == libc::EOPNOTSUPP => Error::Unsupported {
            what: format!("`{what}`"),
            feature: format!("the {driver} driver"),
            hint: format!("load or build the module `{driver}`"),
        },
        error => error,
    }
}
