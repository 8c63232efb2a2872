//! Kernel parameters of the host that labs need, and their old values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Host, Ns, Result, state};

/// Parameters [`root_prepare`] changed, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSysctls {
    pub changed: BTreeMap<String, Change>,
}

/// One parameter's values before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub old: String,
    pub new: String,
}

/// Sizes of the neighbour table, which all namespaces of a host share: a lab of a thousand nodes overflows the kernel's 1024.
const NEIGHBOURS: [(&str, u64); 3] =
    [("gc_thresh3", 65_536), ("gc_thresh2", 32_768), ("gc_thresh1", 8_192)];

/// Sets what the host needs for labs and returns what it changed. Keep the first answer: a second call changes nothing and
/// returns nothing.
///
/// * IPv4 and IPv6 forwarding on. Interfaces that take router advertisements are told to do so although forwarding
///   (`accept_ra` 2), or the host would lose its own IPv6 default route.
/// * Frames between ports of a bridge no longer pass the host's IP firewall (`bridge-nf-call-*` 0): that firewall and its
///   connection tracking know nothing of labs, and would drop, translate or mix up the traffic of equal subnets.
/// * Room for more neighbours, where there is less.
///
/// # Errors
/// [`Error::Sysctl`]; what was changed before it is changed back.
pub fn root_prepare(host: &Host) -> Result<SavedSysctls> {
    let mut saved = SavedSysctls::default();
    match prepare(host.ns(), &mut saved, true) {
        Ok(()) => Ok(saved),
        Err(error) => {
            if let Err(second) = root_restore(host, &saved) {
                tracing::warn!("cannot put kernel parameters back: {second}");
            }
            Err(error)
        }
    }
}

/// What [`root_prepare`] would change now, and to what: written down before it is done, so that a crash in between
/// loses no old value. Changes nothing.
///
/// # Errors
/// [`Error::Sysctl`].
pub fn root_plan(host: &Host) -> Result<SavedSysctls> {
    let mut planned = SavedSysctls::default();
    prepare(host.ns(), &mut planned, false)?;
    Ok(planned)
}

fn prepare(ns: &Ns, saved: &mut SavedSysctls, write: bool) -> Result<()> {
    let set = |ns: &Ns,
               saved: &mut SavedSysctls,
               path: String,
               wanted: &dyn Fn(&str) -> Option<String>| {
        change(ns, saved, path, wanted, write)
    };
    for word in ["iptables", "ip6tables", "arptables"] {
        set(ns, saved, format!("net/bridge/bridge-nf-call-{word}"), &|_| Some("0".into()))?;
    }
    for (name, least) in NEIGHBOURS {
        for family in ["ipv4", "ipv6"] {
            let path = format!("net/{family}/neigh/default/{name}");
            let raise = |old: &str| old.parse().ok().filter(|old: &u64| *old < least);
            set(ns, saved, path, &|old| raise(old).map(|_| least.to_string()))?;
        }
    }
    set(ns, saved, "net/ipv4/ip_forward".into(), &|_| Some("1".into()))?;
    if ns.sysctl_read("net/ipv6/conf/all/forwarding").is_ok_and(|value| value == "0") {
        for interface in state::interfaces(ns)? {
            let path = format!("net/ipv6/conf/{}/accept_ra", interface.name);
            set(ns, saved, path, &|old| (old == "1").then(|| "2".into()))?;
        }
    }
    set(ns, saved, "net/ipv6/conf/all/forwarding".into(), &|_| Some("1".into()))
}

/// Sets one parameter to what `wanted` makes of its value; one the kernel does not have is passed over.
fn change(
    ns: &Ns,
    saved: &mut SavedSysctls,
    path: String,
    wanted: &dyn Fn(&str) -> Option<String>,
    write: bool,
) -> Result<()> {
    let old = match ns.sysctl_read(&path) {
        Ok(old) => old,
        Err(Error::Sysctl { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    match wanted(&old) {
        Some(new) if new != old => {
            if write {
                ns.sysctl_write(&path, &new)?;
            }
            saved.changed.insert(path, Change { old, new });
        }
        _ => {}
    }
    Ok(())
}

/// Puts old values back, each only while it still has the value [`root_prepare`] gave it.
///
/// # Errors
/// The first parameter that could not be put back; the others are all the same.
pub fn root_restore(host: &Host, saved: &SavedSysctls) -> Result<()> {
    let mut first = None;
    // Forwarding sorts after the parameters of single interfaces, and goes off before them.
    for (path, change) in saved.changed.iter().rev() {
        match host.ns().sysctl_read(path) {
            Ok(value) if value == change.new => {
                if let Err(error) = host.ns().sysctl_write(path, &change.old) {
                    first.get_or_insert(error);
                }
            }
            // Somebody else has set it since, or it went with its interface.
            _ => {}
        }
    }
    first.map_or(Ok(()), Err)
}
