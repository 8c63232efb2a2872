//! A node's own address on a network of the host: MACVLAN. And `dummy` interfaces.

use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::not_built;
use crate::{Error, Host, Mac, Ns, Result, Route};

/// A MACVLAN child of an interface of the host, living in a node.
#[derive(Debug, Clone)]
pub struct MacvlanSpec<'a> {
    pub link: &'a str,
    /// Interface of the host.
    pub parent: &'a str,
    pub mode: MacvlanMode,
    pub ns: &'a Ns,
    /// Name inside the node.
    pub name: &'a str,
    pub mac: Option<Mac>,
    pub mtu: Option<u32>,
    pub addresses: &'a [IpNet],
    pub routes: &'a [Route],
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
}

impl FromStr for MacvlanMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<MacvlanMode> {
        match text {
            "private" => Ok(MacvlanMode::Private),
            "vepa" => Ok(MacvlanMode::Vepa),
            "bridge" => Ok(MacvlanMode::Bridge),
            "passthru" => Ok(MacvlanMode::Passthru),
            _ => Err(Error::Invalid {
                what: format!("macvlan mode `{}`", text.chars().take(40).collect::<String>()),
                reason: "the modes are bridge, vepa, private, passthru".into(),
            }),
        }
    }
}

impl Host {
    /// Makes the child, born inside the node.
    pub fn create_macvlan(&self, _spec: &MacvlanSpec<'_>) -> Result<()> {
        not_built("macvlan")
    }
}

impl Ns {
    /// Makes a `dummy` interface: up, carrying nothing.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the kernel has no dummy driver.
    pub fn create_dummy(
        &self,
        _name: &str,
        _mac: Option<Mac>,
        _mtu: Option<u32>,
        _addresses: &[IpNet],
    ) -> Result<()> {
        not_built("dummy")
    }
}
