//! The machine's network interfaces: one for each of the namespace's, in the order of their names.

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use vnode_driver::nic::{Nic, network};
use vnode_driver::{Instance, Result};
use vnode_network::{Ns, TapSpec, state};

use crate::shell::{GIVEN, io};

/// In the folder of what the daemon writes.
const TAPS: &str = "taps.json";
/// Names of taps begin so; no interface of a user's does.
const TAP: &str = "vnt-";

/// Interfaces of the namespace that are the machine's.
pub(crate) fn find(ns: &Ns) -> Result<Vec<Nic>> {
    vnode_driver::nic::find(
        ns,
        |interface| interface.name.starts_with(TAP),
        |interface| format!("{TAP}{}", interface.index),
    )
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
