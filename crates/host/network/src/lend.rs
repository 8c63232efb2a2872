//! Interfaces of the host lent to a node and taken back.

use serde::{Deserialize, Serialize};

use crate::netlink::{Batch, rtnl};
use crate::{Error, Host, Ns, Result, state};

/// What is needed to give an interface back to the host as it was; kept in the plan of the operation that lends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    /// Its name on the host.
    pub host_name: String,
    /// Its name in the node.
    pub node_name: String,
    pub was_up: bool,
}

impl Host {
    /// Looks at an interface before it is lent, so that the plan can hold what giving it back needs.
    ///
    /// # Errors
    /// [`Error::NoInterface`]; [`Error::Invalid`] for the loopback interface, or one that is a port of a bridge.
    pub fn plan_lend(&self, interface: &str, node_name: &str) -> Result<Lent> {
        let found = state::interface(self.ns(), interface)?.ok_or_else(|| Error::NoInterface {
            name: interface.into(),
            place: "the host".into(),
        })?;
        let refuse = |reason: &str| {
            Err(Error::Invalid {
                what: format!("host interface `{interface}`"),
                reason: reason.into(),
            })
        };
        if found.name == "lo" {
            return refuse("loopback cannot be lent to a node");
        }
        if found.master.is_some() {
            return refuse("it is a port of a bridge; take it out of the bridge first");
        }
        Ok(Lent { host_name: found.name, node_name: node_name.into(), was_up: found.up })
    }

    /// Moves the interface into the node under its name there, and takes it up. Does nothing when it is there already. Its
    /// addresses on the host are gone: the kernel drops them in the move.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Refused`].
    pub fn lend(&self, lent: &Lent, node: &Ns) -> Result<()> {
        if !self.ns().has_interface(&lent.host_name)? && node.has_interface(&lent.node_name)? {
            return Ok(());
        }
        self.ns().move_interface(&lent.host_name, node, &lent.node_name)?;
        node.set_up(&lent.node_name, true)
    }

    /// Moves it back under its own name and state. Does nothing when it is back already. (A physical interface comes back by
    /// itself when the node's namespace ends, under the name it had there; a virtual one ends with it: give back before the
    /// node goes.)
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::NoInterface`] when it is in neither place.
    pub fn take_back(&self, lent: &Lent, node: &Ns) -> Result<()> {
        if !node.has_interface(&lent.node_name)? {
            self.ns().need(&lent.host_name)?;
            return Ok(());
        }
        node.move_interface(&lent.node_name, self.ns(), &lent.host_name)?;
        match lent.was_up {
            true => self.ns().set_up(&lent.host_name, true),
            false => Ok(()),
        }
    }
}

impl Ns {
    /// Moves an interface to another namespace under another name; it arrives down.
    pub(crate) fn move_interface(&self, name: &str, to: &Ns, new_name: &str) -> Result<()> {
        let index = self.need(name)?;
        let mut batch = Batch::new();
        let down = format!("take interface `{name}` down");
        rtnl::set_link(&mut batch, name, Some(false), down);
        let what = format!("move interface `{name}` to another namespace as `{new_name}`");
        batch
            .message(libc::RTM_NEWLINK, 0, &rtnl::link_header(index, 0, 0), what)
            .namespace(to)
            .text(libc::IFLA_IFNAME, new_name);
        self.change(&batch)
    }
}
