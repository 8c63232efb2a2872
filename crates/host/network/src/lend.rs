//! Interfaces of the host lent to a node and taken back.

use serde::{Deserialize, Serialize};

use crate::error::not_built;
use crate::{Host, Ns, Result};

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
    pub fn plan_lend(&self, _interface: &str, _node_name: &str) -> Result<Lent> {
        not_built("lend")
    }

    /// Moves the interface into the node under its name there, and takes it up.
    pub fn lend(&self, _lent: &Lent, _node: &Ns) -> Result<()> {
        not_built("lend")
    }

    /// Moves it back under its own name and state. Does nothing when it is back already. (A physical interface comes back by
    /// itself when the node's namespace ends; a virtual one ends with it: give back before the node goes.)
    pub fn take_back(&self, _lent: &Lent, _node: &Ns) -> Result<()> {
        not_built("lend")
    }
}
