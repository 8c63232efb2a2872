//! Which distribution a root file system holds, and who configures its network. Pure: only looks at files.

use serde::{Deserialize, Serialize};

use crate::text;
use crate::view::View;

/// Distributions that keep their files in the same places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    Debian,
    RedHat,
    Suse,
    Gentoo,
    Arch,
    FreeBsd,
    /// Anything else: `/etc/hostname`, and whatever back-end is found.
    Other,
}

/// A distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    pub family: Family,
    /// Its own name for itself, as `ID` in `os-release`.
    pub id: String,
    /// `VERSION_ID`; empty when it has none.
    pub version: String,
}

/// Who configures the network: one for each form of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    Netplan,
    NetworkManager,
    Networkd,
    /// `/etc/sysconfig/network/ifcfg-*`, by wicked or by SUSE's older scripts.
    Suse,
    /// `/etc/sysconfig/network-scripts/ifcfg-*`.
    Ifcfg,
    Ifupdown,
    Netifrc,
    ArchNetctl,
    ArchNetcfg,
    ArchLegacy,
    /// FreeBSD's `/etc/rc.conf`.
    RcConf,
    /// Nobody: the agent sets addresses and routes itself.
    Direct,
    /// A network-config document of version 2 for cloud-init; only when it is asked for.
    CloudInit,
}

impl Backend {
    /// Every back-end.
    pub const ALL: [Backend; 13] = [
        Backend::Netplan,
        Backend::NetworkManager,
        Backend::Networkd,
        Backend::Suse,
        Backend::Ifcfg,
        Backend::Ifupdown,
        Backend::Netifrc,
        Backend::ArchNetctl,
        Backend::ArchNetcfg,
        Backend::ArchLegacy,
        Backend::RcConf,
        Backend::Direct,
        Backend::CloudInit,
    ];

    /// The name in settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Netplan => "netplan",
            Backend::NetworkManager => "network-manager",
            Backend::Networkd => "networkd",
            Backend::Suse => "suse",
            Backend::Ifcfg => "ifcfg",
            Backend::Ifupdown => "ifupdown",
            Backend::Netifrc => "netifrc",
            Backend::ArchNetctl => "arch-netctl",
            Backend::ArchNetcfg => "arch-netcfg",
            Backend::ArchLegacy => "arch-legacy",
            Backend::RcConf => "rc-conf",
            Backend::Direct => "direct",
            Backend::CloudInit => "cloud-init",
        }
    }
}

impl std::str::FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Backend::ALL.into_iter().find(|backend| backend.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Backend::ALL.iter().map(|b| b.name()).collect();
            format!("`{text}` is no network back-end; there are {}", names.join(", "))
        })
    }
}

/// The distribution; `None` when nothing says which.
pub fn distribution(view: &dyn View) -> Option<Distribution> {
    let release = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| view.read(path).ok().flatten());
    if let Some(release) = release
        && let Some(id) = text::value(&release, "ID").filter(|id| !id.is_empty())
    {
        let like = text::value(&release, "ID_LIKE").unwrap_or_default();
        let family = std::iter::once(id.as_str())
            .chain(like.split_whitespace())
            .find_map(family_of)
            .unwrap_or(Family::Other);
        let version = text::value(&release, "VERSION_ID").unwrap_or_default();
        return Some(Distribution { family, id, version });
    }
    // Systems older than os-release.
    let by_file = [
        ("/etc/arch-release", Family::Arch, "arch"),
        ("/etc/gentoo-release", Family::Gentoo, "gentoo"),
        ("/etc/redhat-release", Family::RedHat, "redhat"),
        ("/etc/SuSE-release", Family::Suse, "suse"),
        ("/etc/debian_version", Family::Debian, "debian"),
        ("/bin/freebsd-version", Family::FreeBsd, "freebsd"),
    ];
    by_file.into_iter().find(|(path, ..)| view.exists(path)).map(|(_, family, id)| Distribution {
        family,
        id: id.to_owned(),
        version: String::new(),
    })
}

fn family_of(id: &str) -> Option<Family> {
    Some(match id.to_ascii_lowercase().as_str() {
        "debian" | "ubuntu" => Family::Debian,
        "rhel" | "redhat" | "centos" | "fedora" | "ol" | "oracle" | "rocky" | "almalinux"
        | "amzn" => Family::RedHat,
        "suse" | "opensuse" | "sles" | "sled" | "opensuse-leap" | "opensuse-tumbleweed" => {
            Family::Suse
        }
        "gentoo" => Family::Gentoo,
        "arch" => Family::Arch,
        "freebsd" => Family::FreeBsd,
        _ => return None,
    })
}

/// Who configures the network, the first that is found in the specification's order.
pub fn backend(view: &dyn View, distribution: Option<&Distribution>) -> Backend {
    let family = distribution.map(|d| d.family);
    let has_ifcfg = |folder: &str| {
        view.list(folder).is_ok_and(|names| names.iter().any(|n| n.starts_with("ifcfg-")))
    };
    let manager = is_enabled(view, "NetworkManager") || view.exists("/run/NetworkManager");
    if view.has_program("netplan") && view.exists("/etc/netplan") {
        return Backend::Netplan;
    }
    if manager && view.has_program("nmcli") && !keeps_ifcfg(view, distribution) {
        return Backend::NetworkManager;
    }
    if is_enabled(view, "systemd-networkd") || view.exists("/run/systemd/netif/state") {
        return Backend::Networkd;
    }
    if view.has_program("wicked") || has_ifcfg("/etc/sysconfig/network") {
        return Backend::Suse;
    }
    if view.exists("/etc/sysconfig/network-scripts") {
        return Backend::Ifcfg;
    }
    if view.exists("/etc/network/interfaces") && view.has_program("ifup") {
        return Backend::Ifupdown;
    }
    if family == Some(Family::FreeBsd) {
        return Backend::RcConf;
    }
    if family == Some(Family::Gentoo) && view.exists("/etc/conf.d") {
        return Backend::Netifrc;
    }
    if family == Some(Family::Arch) {
        if view.has_program("netctl") {
            return Backend::ArchNetctl;
        }
        if view.has_program("netcfg") {
            return Backend::ArchNetcfg;
        }
        if view.exists("/etc/rc.d/network") {
            return Backend::ArchLegacy;
        }
    }
    Backend::Direct
}

/// A systemd unit is wanted by some target.
fn is_enabled(view: &dyn View, unit: &str) -> bool {
    let service = format!("{unit}.service");
    ["/etc/systemd/system", "/usr/lib/systemd/system"].iter().any(|root| {
        let Ok(names) = view.list(root) else { return false };
        names
            .iter()
            .filter(|name| name.ends_with(".wants"))
            .any(|wants| view.kind(&format!("{root}/{wants}/{service}")).is_some())
    })
}

/// NetworkManager of Red Hat before 9 wrote ifcfg files by default (keyfiles since its version 1.36): one set of files is
/// kept, not two that compete.
fn keeps_ifcfg(view: &dyn View, distribution: Option<&Distribution>) -> bool {
    let Some(distribution) = distribution.filter(|d| d.family == Family::RedHat) else {
        return false;
    };
    let major: Option<u32> = distribution.version.split('.').next().and_then(|v| v.parse().ok());
    let last = if distribution.id == "fedora" { 35 } else { 8 };
    major.is_some_and(|major| major <= last)
        && view
            .list("/etc/sysconfig/network-scripts")
            .is_ok_and(|names| names.iter().any(|n| n.starts_with("ifcfg-") && n != "ifcfg-lo"))
}
