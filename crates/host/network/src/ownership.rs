//! Whose a kernel object is: every interface made in the host's namespace bears a mark as its alias, every nftables
//! table as its comment. Clean-up acts on marked objects only (T-09).
//!
//! The mark is `vnode:<instance>:<lab>:<what>:<operation>`, with `%` and `:` inside a part written `%25` and `%3a`.

use serde::{Deserialize, Serialize};

use crate::error::not_built;
use crate::{Host, Result};

/// Who makes an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Tells daemons on one host apart.
    pub instance: String,
    /// Lab the object belongs to.
    pub lab: String,
    /// Operation that makes it.
    pub operation: String,
}

/// An object of ours found in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    pub kind: OwnedKind,
    /// Its name in the kernel.
    pub name: String,
    pub lab: String,
    /// What it is for, e.g. `bridge lan1`.
    pub what: String,
    pub operation: String,
}

/// Kinds of objects that bear a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnedKind {
    /// A network interface.
    Link,
    /// An nftables table of the `inet` family.
    InetTable,
    /// An nftables table of the `bridge` family.
    BridgeTable,
}

/// Everything in the host's namespace that bears a mark of `instance`.
pub fn list_owned(_host: &Host, _instance: &str) -> Result<Vec<Owned>> {
    not_built("list_owned")
}

/// Removes one object found by [`list_owned`]. `false` when it is gone already or is no longer marked as ours.
pub fn remove(_host: &Host, _instance: &str, _owned: &Owned) -> Result<bool> {
    not_built("remove")
}
