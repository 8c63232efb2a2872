//! Facts about the guest, written where XAPI-based tool stacks look for them (R-X13).
//!
//! A connection of its own: the facts are nobody's answer, and whatever the daemon refuses of them is no fault
//! (libxl makes `control` read-only). Only what changed is written again.

use std::{collections::BTreeMap, os::fd::OwnedFd, path::Path, time::Duration};

use tokio::io::{Interest, unix::AsyncFd};
use vnode_beneath::{Dir, Scope};
use vnode_netconf::kernel;
use vnode_xenstore::{Backoff, Client, Error, Transaction};

use super::Settings;
use crate::command::openstack::VERSION;

/// How often the facts are looked at again: as often as others refresh the free memory.
const REFRESH: Duration = Duration::from_secs(60);
/// How long changes of addresses may go on before they are published.
const SETTLE: Duration = Duration::from_millis(100);
/// Addresses of one interface and family.
const ADDRESSES_MAX: usize = 10;
/// Largest file that is read.
const FILE_MAX: u64 = 64 << 10;

/// Nodes and values; what is not among them any more is removed below `attr/vif`.
type Facts = BTreeMap<String, String>;

/// Publishes until it is dropped.
pub(super) async fn run(settings: Settings) {
    let mut backoff = Backoff::new();
    let mut refused = false;
    loop {
        match serve(&settings, &mut backoff, &mut refused).await {
            Ok(never) => match never {},
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "facts are not published"
                );
            }
        }
        tokio::time::sleep(backoff.step()).await;
    }
}

async fn serve(
    settings: &Settings,
    backoff: &mut Backoff,
    refused: &mut bool,
) -> Result<std::convert::Infallible, Error> {
    let mut client = Client::connect(&settings.access()?).await?;
    backoff.reset();
    // What an earlier run, or the guest before it was copied, has left.
    let stale = settings.node("attr/vif");
    tolerate(client.rm(Transaction::NONE, &stale).await, refused)?;
    let mut published = Facts::new();
    let mut watch = watch();
    loop {
        let facts = facts(settings.root.as_deref().unwrap_or(Path::new("/")));
        publish(&mut client, settings, &mut published, facts, refused).await?;
        next_look(&mut watch).await;
    }
}

/// A socket that tells of changes to links and addresses; without one they are seen at the next look.
fn watch() -> Option<AsyncFd<OwnedFd>> {
    let opened = kernel::changes().map_err(std::io::Error::other);
    match opened.and_then(|socket| crate::exchange::fd::watch(socket, Interest::READABLE)) {
        Ok(socket) => Some(socket),
        Err(error) => {
            tracing::info!(%error, "new addresses are published a minute late");
            None
        }
    }
}

/// Waits until the facts have to be looked at again: some time has passed, or an address has changed.
async fn next_look(watch: &mut Option<AsyncFd<OwnedFd>>) {
    let changed = async {
        let Some(socket) = &*watch else { return std::future::pending().await };
        let mut ready = socket.readable().await.map_err(std::io::Error::other)?;
        // Changes come in bursts; one look is enough for all of them.
        tokio::time::sleep(SETTLE).await;
        kernel::take_changes(socket.get_ref()).map_err(std::io::Error::other)?;
        ready.clear_ready();
        Ok::<(), std::io::Error>(())
    };
    tokio::select! {
        changed = changed => if let Err(error) = changed {
            tracing::info!(%error, "new addresses are published a minute late");
            *watch = None;
        },
        () = tokio::time::sleep(REFRESH) => {}
    }
}

/// Writes what differs, and tells the tool stack to look.
async fn publish(
    client: &mut Client,
    settings: &Settings,
    published: &mut Facts,
    facts: Facts,
    refused: &mut bool,
) -> Result<(), Error> {
    let mut changed = false;
    for (path, value) in &facts {
        if published.get(path) != Some(value) {
            let node = settings.node(path);
            let written = client.write(Transaction::NONE, &node, value.as_bytes()).await;
            tolerate(written, refused)?;
            // Free memory is read when somebody wants to know it; it wakes nobody.
            changed |= path != "data/meminfo_free";
        }
    }
    for path in published.keys().filter(|path| !facts.contains_key(*path)) {
        tolerate(client.rm(Transaction::NONE, &settings.node(path)).await, refused)?;
        changed = true;
    }
    *published = facts;
    if changed {
        let seconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let node = settings.node("data/updated");
        let written = client.write(Transaction::NONE, &node, seconds.to_string().as_bytes()).await;
        tolerate(written, refused)?;
    }
    Ok(())
}

/// What the daemon refuses is left out, and said once.
fn tolerate(result: Result<(), Error>, refused: &mut bool) -> Result<(), Error> {
    match result {
        Err(error) if !error.is_broken() => {
            if !*refused && error.errno() != Some(vnode_xenstore::Errno::NoEntry) {
                tracing::info!(%error, "some facts cannot be published");
                *refused = true;
            }
            Ok(())
        }
        other => other,
    }
}

/// All that is known now.
fn facts(root: &Path) -> Facts {
    let mut facts = Facts::new();
    let mut put = |path: &str, value: String| {
        // One line, and no more than a node of ours may hold.
        let value: String = value.chars().filter(|c| !c.is_control()).take(250).collect();
        if !value.is_empty() {
            facts.insert(path.to_owned(), value);
        }
    };
    // A major version of 0 is taken for none by some.
    put("attr/PVAddons/MajorVersion", "1".to_owned());
    put("attr/PVAddons/MinorVersion", "0".to_owned());
    put("attr/PVAddons/MicroVersion", "0".to_owned());
    put("attr/PVAddons/BuildVersion", format!("vnode-agent {VERSION}"));
    let Ok(dir) = Dir::open_ambient(root, Scope::InRoot) else { return facts };
    let read = |path: &str| {
        let bytes = dir.read_to_limit(path, FILE_MAX).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut release = read("etc/os-release");
    if release.is_empty() {
        release = read("usr/lib/os-release");
    }
    let of = |name: &str| {
        release
            .lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
            .unwrap_or_default()
    };
    let version = of("VERSION_ID");
    let (major, minor) = version.split_once('.').unwrap_or((&version, "0"));
    put("data/os_name", of("PRETTY_NAME"));
    put("data/os_distro", of("ID"));
    put("data/os_majorver", major.to_owned());
    put("data/os_minorver", if major.is_empty() { String::new() } else { minor.to_owned() });
    put("data/os_uname", read("proc/sys/kernel/osrelease"));
    let memory = read("proc/meminfo");
    let amount = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().to_owned()
    };
    put("data/meminfo_total", amount("MemTotal"));
    put("data/meminfo_free", amount("MemFree"));
    let host = read("proc/sys/kernel/hostname");
    let host = host.trim();
    put("data/host_name_dns", host.to_owned());
    put(
        "data/domain",
        host.split_once('.').map(|(_, domain)| domain.to_owned()).unwrap_or_default(),
    );
    if dir.stat("proc/xen/balloon").is_ok() || dir.stat("sys/devices/system/xen_memory").is_ok() {
        put("control/feature-balloon", "1".to_owned());
    }
    for (path, address) in addresses(&dir) {
        put(&path, address);
    }
    facts
}

/// The addresses of the interfaces that are Xen's, by the number of the device.
fn addresses(dir: &Dir) -> Vec<(String, String)> {
    let number_of = |name: &str| -> Option<u32> {
        // `device/vif/0`
        let node = dir.read_to_limit(format!("sys/class/net/{name}/device/nodename"), 256).ok()?;
        std::str::from_utf8(&node).ok()?.trim().strip_prefix("device/vif/")?.parse().ok()
    };
    let Ok(state) = kernel::read(|name| number_of(name).is_some()) else {
        return Vec::new();
    };
    let mut nodes = Vec::new();
    for nic in &state.nics {
        let Some(number) = number_of(&nic.name) else { continue };
        let of_nic = state.addresses.iter().filter(|address| address.index == nic.index);
        let (v4, v6): (Vec<_>, Vec<_>) = of_nic.map(|a| a.net.addr()).partition(|a| a.is_ipv4());
        for (family, addresses) in [("ipv4", v4), ("ipv6", v6)] {
            for (n, address) in addresses.into_iter().take(ADDRESSES_MAX).enumerate() {
                nodes.push((format!("attr/vif/{number}/{family}/{n}"), address.to_string()));
            }
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use vnode_xenstore::memory::{Limits, Server};

    use super::*;

    fn root() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            (
                "etc/os-release",
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12.5\"\n",
            ),
            ("proc/sys/kernel/osrelease", "6.1.0-56-amd64\n"),
            ("proc/sys/kernel/hostname", "guest.example.com\n"),
            ("proc/meminfo", "MemTotal:  4096 kB\nMemFree:   1024 kB\n"),
            ("sys/class/net/lo/device/nodename", "device/vif/3\n"),
            ("proc/xen/balloon", ""),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_layout_of_xapi() {
        let dir = root();
        let facts = facts(dir.path());
        for (path, value) in [
            ("attr/PVAddons/MajorVersion", "1"),
            ("attr/PVAddons/MicroVersion", "0"),
            ("data/os_name", "Debian GNU/Linux 12 (bookworm)"),
            ("data/os_distro", "debian"),
            ("data/os_majorver", "12"),
            ("data/os_minorver", "5"),
            ("data/os_uname", "6.1.0-56-amd64"),
            ("data/meminfo_total", "4096"),
            ("data/meminfo_free", "1024"),
            ("data/host_name_dns", "guest.example.com"),
            ("data/domain", "example.com"),
            ("control/feature-balloon", "1"),
        ] {
            assert_eq!(facts.get(path).map(String::as_str), Some(value), "{path}");
        }
    }

    /// As a domain that may not write `control`, with what an earlier guest left; then something changes.
    #[tokio::test]
    async fn facts_are_written_once_and_what_is_stale_is_removed() {
        let dir = root();
        let server = Server::new(Limits::default());
        server.introduce(5);
        let socket = dir.path().join("socket");
        server.listen(&dir.path().join("dom0"), 0).unwrap();
        server.listen(&socket, 5).unwrap();
        let access = vnode_xenstore::Access::Socket(dir.path().join("dom0"));
        let mut host = Client::connect(&access).await.unwrap();
        let home = "/local/domain/5";
        let none = Transaction::NONE;
        host.set_permissions(none, &format!("{home}/control"), &["n0", "r5"]).await.unwrap();
        let stale = format!("{home}/attr/vif/7/ipv4/0");
        host.write(none, &stale, b"192.0.2.1").await.unwrap();

        let settings = Settings {
            path: Some(socket),
            root: Some(dir.path().to_owned()),
            ..Settings::default()
        };
        let task = tokio::spawn(run(settings.clone()));
        let start = std::time::Instant::now();
        while host.read(none, &format!("{home}/data/updated")).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "never published");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let value = host.read(none, &format!("{home}/data/os_distro")).await.unwrap();
        assert_eq!(value, b"debian");
        assert!(host.read(none, &stale).await.is_err());
        let balloon = format!("{home}/control/feature-balloon");
        assert!(host.read(none, &balloon).await.is_err(), "refused, and no fault");
        task.abort();

        let mut client = Client::connect(&settings.access().unwrap()).await.unwrap();
        let mut published = facts(dir.path());
        published.insert("attr/vif/0/ipv4/0".to_owned(), "192.0.2.2".to_owned());
        let before = server.trace().len();
        let mut refused = false;
        let now = facts(dir.path());
        publish(&mut client, &settings, &mut published, now.clone(), &mut refused).await.unwrap();
        let paths: Vec<String> =
            server.trace()[before..].iter().map(|handled| handled.path.clone()).collect();
        assert_eq!(paths, ["attr/vif/0/ipv4/0", "data/updated"]);
        let before = server.trace().len();
        publish(&mut client, &settings, &mut published, now, &mut refused).await.unwrap();
        assert_eq!(server.trace().len(), before, "nothing changed, nothing said");
    }
}
