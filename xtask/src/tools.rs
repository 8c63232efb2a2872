//! Programs the tests ask for that must not be installed: unpacked from Debian's packages into the target directory.
//!
//! Installing `xen-utils` or `network-manager` would start services and change the machine. Unpacked, they are only
//! files: `vnode_testkit::tools` finds them and says which library path they want.

use std::path::Path;

use crate::setup::update;
use crate::shell::{self, command};

/// What is unpacked, beside whatever those packages need and this machine lacks. Names this Debian does not have are
/// left out with a word: releases name and split them differently.
const UNPACKED: &[&str] = &[
    // A real XenStore daemon, and the libraries it wants though it never calls them.
    "xen-utils-4.17",
    "libxenmisc4.17",
    "libxengnttab1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxencall1",
    "libxentoollog1",
    "libxendevicemodel1",
    // The agent that ours is compared with.
    "qemu-guest-agent",
    // Its clients: libvirt's daemon and `virsh`.
    "libvirt-daemon",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-driver-lxc",
    "libvirt-clients",
    // Oracles for the network files.
    "netplan.io",
    "netplan-generator",
    "libnetplan0",
    "network-manager",
    "ifupdown",
];
/// Written last, with the list above: a directory without it, or with another list, is made again.
const LIST: &str = "unpacked.list";

/// Clients of other people that the tests let speak to us, from the Python package index: the OpenStack client and its
/// plugin for network functions.
const PYTHON: &[&str] = &["python-openstackclient==10.5.0", "python-tackerclient==2.6.0"];

/// Whether the Python packages have been installed before.
pub(crate) fn python_is_there() -> bool {
    let list = shell::target().join("guest/python").join(LIST);
    std::fs::read_to_string(list).is_ok_and(|text| text == PYTHON.join("\n"))
}

/// Installs the Python packages into `guest/python` of the target directory, where `PYTHONPATH` leads to them. A test
/// whose client is not there says so and is skipped: nothing else hangs on the index.
pub(crate) fn python() -> Result<(), String> {
    let guest = shell::target().join("guest");
    let [partial, done] = ["python.partial", "python"].map(|name| guest.join(name));
    for dir in [&partial, &done] {
        clear(dir)?;
    }
    println!("installing for the tests: {}", PYTHON.join(" "));
    let target = partial.display().to_string();
    let mut args = vec!["install", "--quiet", "--disable-pip-version-check", "--target", &target];
    args.extend(PYTHON);
    shell::log(command("pip3", &args), "install-python")?;
    let list = partial.join(LIST);
    std::fs::write(&list, PYTHON.join("\n"))
        .map_err(|e| format!("cannot write {}: {e}", list.display()))?;
    std::fs::rename(&partial, &done)
        .map_err(|e| format!("cannot rename {}: {e}", partial.display()))
}

/// Whether all of the list has been unpacked before.
pub(crate) fn are_there() -> bool {
    let list = shell::target().join("guest/tools").join(LIST);
    std::fs::read_to_string(list).is_ok_and(|text| text == UNPACKED.join("\n"))
}

/// Unpacks the list into `guest/tools` of the target directory. The package index has to be fresh.
pub(crate) fn unpack() -> Result<(), String> {
    let known: Vec<&str> = UNPACKED.iter().copied().filter(|p| is_known(p)).collect();
    let unknown: Vec<&str> = UNPACKED.iter().copied().filter(|p| !known.contains(p)).collect();
    if !unknown.is_empty() {
        println!("not packaged here: {}", unknown.join(" "));
    }
    let guest = shell::target().join("guest");
    let [archives, partial, done] =
        ["tools.archives", "tools.partial", "tools"].map(|name| guest.join(name));
    for dir in [&archives, &partial, &done] {
        clear(dir)?;
    }
    for dir in [&archives, &partial] {
        std::fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    }
    let packages = with_needs(&known)?;
    println!("unpacking {} packages for the tests: {}", packages.len(), packages.join(" "));
    download(&packages, &archives)?;
    let mut entries: Vec<_> = std::fs::read_dir(&archives)
        .map_err(|e| format!("cannot read {}: {e}", archives.display()))?
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    let text = |path: &Path| path.display().to_string();
    for archive in &entries {
        let extract = command("dpkg-deb", &["--extract", &text(archive), &text(&partial)]);
        shell::read(extract)?;
    }
    let list = partial.join(LIST);
    std::fs::write(&list, UNPACKED.join("\n"))
        .map_err(|e| format!("cannot write {}: {e}", list.display()))?;
    std::fs::rename(&partial, &done)
        .map_err(|e| format!("cannot rename {}: {e}", partial.display()))?;
    clear(&archives)
}

/// The packages and everything they need that is not installed.
///
/// What is installed in another version is left alone: a second libc beside the first would not start.
fn with_needs(packages: &[&str]) -> Result<Vec<String>, String> {
    let mut args = vec!["--simulate", "--no-install-recommends", "install"];
    args.extend(packages);
    let plan = shell::read(command("apt-get", &args))?;
    let mut all: Vec<String> = packages.iter().map(|p| (*p).to_owned()).collect();
    // `Inst NAME (VERSION ...` is new, `Inst NAME [OLD] (NEW ...` an upgrade.
    for line in plan.lines().filter_map(|l| l.strip_prefix("Inst ")) {
        let mut words = line.split_whitespace();
        let (Some(name), Some(next)) = (words.next(), words.next()) else { continue };
        if next.starts_with('(') && !all.iter().any(|p| p == name) {
            all.push(name.to_owned());
        }
    }
    Ok(all)
}

fn is_known(package: &str) -> bool {
    let out = command("apt-cache", &["show", "--no-all-versions", package]).output();
    out.is_ok_and(|out| out.status.success() && !out.stdout.is_empty())
}

/// A second try helps when a mirror was in the middle of an update.
fn download(packages: &[String], dir: &Path) -> Result<(), String> {
    let fetch = || {
        let mut apt = command("apt-get", &["download", "-o", "APT::Sandbox::User=root"]);
        apt.args(packages).current_dir(dir);
        shell::log(apt, "tools-download")
    };
    fetch().or_else(|first| {
        println!("once more, because: {first}");
        update()?;
        fetch()
    })
}

fn clear(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {e}", dir.display()))
        }
        _ => Ok(()),
    }
}
