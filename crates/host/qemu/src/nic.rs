//! The machine's network interfaces: one for each of the namespace's, in the order of their names.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use vnode_driver::{Error, Instance, Result};
use vnode_network::{Mac, Ns, TapSpec, state};

use crate::shell::{GIVEN, io};

/// In the folder of what the daemon writes.
const TAPS: &str = "taps.json";
/// Names of taps begin so; no interface of a user's does.
const TAP: &str = "vnt-";

/// One interface of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nic {
    /// As in the topology; the guest gives it this name where its seed is read.
    pub(crate) name: String,
    pub(crate) tap: String,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<IpNet>,
    /// Of its default routes.
    pub(crate) gateways: Vec<IpAddr>,
}

pub(crate) fn network(error: vnode_network::Error) -> Error {
    Error::Io {
        doing: "set up the machine's network".to_owned(),
        source: std::io::Error::other(error),
    }
}

/// `eth2` before `eth10`.
fn natural(a: &str, b: &str) -> Ordering {
    let split = |name: &str| {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (word, number) = name.split_at(name.len() - digits);
        (word.to_owned(), number.parse::<u64>().unwrap_or(0))
    };
    split(a).cmp(&split(b))
}

/// Interfaces of the namespace that are the machine's.
pub(crate) fn find(ns: &Ns) -> Result<Vec<Nic>> {
    let found = state::interfaces(ns).map_err(network)?;
    let gateways = state::gateways(ns).map_err(network)?;
    let mut nics: Vec<Nic> = found
        .into_iter()
        .filter(|interface| interface.name != "lo" && !interface.name.starts_with(TAP))
        .filter_map(|interface| {
            Some(Nic {
                tap: format!("{TAP}{}", interface.index),
                mac: interface.mac?,
                mtu: interface.mtu,
                name: interface.name,
                addresses: interface
                    .addresses
                    .into_iter()
                    .filter(|net| !is_link_local(net))
                    .collect(),
                gateways: gateways
                    .iter()
                    .filter(|(index, _)| *index == interface.index)
                    .map(|(_, via)| *via)
                    .collect(),
            })
        })
        .collect();
    nics.sort_by(|a, b| natural(&a.name, &b.name));
    Ok(nics)
}

fn is_link_local(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

/// Makes the taps of a machine that is about to boot, and removes those of interfaces that are gone.
pub(crate) async fn prepare(
    shell: &dyn Instance,
    owner: u32,
    multiqueue: bool,
) -> Result<Vec<Nic>> {
    let ns = Ns::from_fd(shell.netns()?).map_err(network)?;
    let work = move || {
        let nics = find(&ns)?;
        let present = state::interfaces(&ns).map_err(network)?;
        for old in present.iter().filter(|interface| interface.name.starts_with(TAP)) {
            ns.remove_tap(&old.name, "").map_err(network)?;
        }
        for nic in &nics {
            let spec = TapSpec { name: &nic.tap, owner, multiqueue, interface: &nic.name };
            ns.create_tap(&spec).map_err(network)?;
        }
        ns.close_sockets();
        Ok(nics)
    };
    crate::blocking(work).await?
}

/// Writes down which tap is which interface's, for as long as this run of the machine lasts.
pub(crate) fn remember(dir: &Path, nics: &[Nic]) -> Result<()> {
    let taps: BTreeMap<&str, &str> =
        nics.iter().map(|nic| (nic.name.as_str(), nic.tap.as_str())).collect();
    let text = serde_json::to_vec(&taps).map_err(|e| io("write down the taps")(e.into()))?;
    let path = dir.join(GIVEN).join(TAPS);
    std::fs::write(&path, text).map_err(io(format!("write {}", path.display())))
}

/// Joins an interface that was made anew to the tap it had; nothing, when it had none.
pub(crate) fn rejoin(ns: &Ns, dir: &Path, interface: &str) -> Result<()> {
    let path = dir.join(GIVEN).join(TAPS);
    let taps: BTreeMap<String, String> = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|e| io(format!("read {}", path.display()))(e.into()))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(e) => return Err(io(format!("read {}", path.display()))(e)),
    };
    let Some(tap) = taps.get(interface) else { return Ok(()) };
    let joined = match ns.has_interface(tap).map_err(network)? {
        true => ns.join_tap(tap, interface).map_err(network),
        false => Ok(()),
    };
    ns.close_sockets();
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_numbered_as_people_count() {
        let mut names = ["eth10", "eth2", "ge1", "eth0", "eth1"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["eth0", "eth1", "eth2", "eth10", "ge1"]);
    }
}
