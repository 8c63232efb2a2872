//! Binds, volumes, ports and devices: lists of small texts with colons.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use crate::model::{Bind, Device, Port, PortProtocol};
use crate::parse::fields::short;
use crate::report::{At, Report};

/// Most ports that one range may stand for.
const MOST_PORTS: u16 = 1024;

/// `source:destination[:options]`, or `destination` alone for an empty folder.
pub(crate) fn bind(
    given: &str,
    at: &At,
    folder: &Path,
    home: Option<&str>,
    report: &mut Report<'_>,
) -> Option<Bind> {
    let mut parts = given.splitn(3, ':');
    let first = parts.next().unwrap_or("");
    let (source, destination, options) = match (parts.next(), parts.next()) {
        (None, _) => (None, first, ""),
        (Some(destination), options) => (Some(first), destination, options.unwrap_or("")),
    };
    let destination = destination_path(destination, given, at, report)?;
    let (mut bind, named) = (
        Bind { source: None, destination, read_only: false, options: Vec::new(), volume: None },
        source,
    );
    if let Some(named) = named {
        if named.is_empty() {
            report.error(at, format!("the bind `{}` has no source", short(given)));
            return None;
        }
        bind.source = Some(host_path(named, folder, home));
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => bind.read_only = true,
            "rw" => bind.read_only = false,
            other => bind.options.push(other.to_owned()),
        }
    }
    Some(bind)
}

/// `[name:]destination[:options]`; a name that is a path makes it a bind.
pub(crate) fn volume(
    given: &str,
    at: &At,
    folder: &Path,
    home: Option<&str>,
    report: &mut Report<'_>,
) -> Option<Bind> {
    let first = given.split(':').next().unwrap_or("");
    let mut bind = bind(given, at, folder, home, report)?;
    let path_like = first.starts_with(['/', '.', '~']);
    if bind.source.is_some() && !path_like {
        if !is_volume_name(first) {
            report.error_with(
                at,
                format!("`{}` is no name of a volume", short(first)),
                "begin with a letter or digit, then also `.`, `-`, `_`; at most 64 characters",
            );
            return None;
        }
        bind.source = None;
        bind.volume = Some(first.to_owned());
    }
    Some(bind)
}

/// Docker's rule for names of volumes, and short enough for a file name.
fn is_volume_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

fn destination_path(
    destination: &str,
    given: &str,
    at: &At,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    let path = clean(Path::new(destination));
    if !destination.starts_with('/') || path == Path::new("/") {
        report.error_with(
            at,
            format!("the bind `{}` has no absolute path in the node", short(given)),
            "write `source:/path/in/node[:ro]`",
        );
        return None;
    }
    Some(path)
}

/// A path of the host as absolute path: `~` is the caller's home, other relative paths start from
/// the folder of the file.
pub(crate) fn host_path(given: &str, folder: &Path, home: Option<&str>) -> PathBuf {
    let path = match (given.strip_prefix('~'), home) {
        (Some(""), Some(home)) => PathBuf::from(home),
        (Some(rest), Some(home)) if rest.starts_with('/') => {
            Path::new(home).join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(given),
    };
    clean(&folder.join(path))
}

/// Takes `.` and `..` away by the letters; links are for who opens the path.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                cleaned.pop();
            }
            other => cleaned.push(other),
        }
    }
    cleaned
}

/// `[address:]host:node[/protocol]`, each a port or a range of ports; `node` alone lets the host
/// choose its port.
pub(crate) fn ports(given: &str, at: &At, report: &mut Report<'_>) -> Vec<Port> {
    match parse_ports(given) {
        Some(ports) => ports,
        None => {
            report.error_with(
                at,
                format!("`{}` is no port", short(given)),
                "write `[address:]host port:node port[/tcp|udp|sctp]`, as in `8080:80`",
            );
            Vec::new()
        }
    }
}

fn parse_ports(given: &str) -> Option<Vec<Port>> {
    let (rest, protocol) = match given.rsplit_once('/') {
        None => (given, PortProtocol::Tcp),
        Some((rest, protocol)) => {
            let protocol = match protocol.to_ascii_lowercase().as_str() {
                "tcp" => PortProtocol::Tcp,
                "udp" => PortProtocol::Udp,
                "sctp" => PortProtocol::Sctp,
                _ => return None,
            };
            (rest, protocol)
        }
    };
    let (left, node) = match rest.rsplit_once(':') {
        None => (None, rest),
        Some((left, node)) => (Some(left), node),
    };
    let node = range(node)?;
    let (address, host) = match left {
        None => (None, None),
        Some(left) => match left.rsplit_once(':') {
            // `[2001:db8::1]:80:80`, `127.0.0.1:80:80`, `127.0.0.1::80`.
            Some((address, host)) => {
                let address = address.trim_start_matches('[').trim_end_matches(']');
                (Some(address.parse::<IpAddr>().ok()?), Some(host).filter(|h| !h.is_empty()))
            }
            None => (None, Some(left)),
        },
    };
    let host = match host {
        None => None,
        Some(host) => Some(range(host)?),
    };
    let length = node.1 - node.0;
    if length >= MOST_PORTS || host.is_some_and(|host| host.1 - host.0 != length) {
        return None;
    }
    let ports = (0..=length).map(|step| Port {
        address,
        host: host.map_or(0, |host| host.0 + step),
        node: node.0 + step,
        protocol,
    });
    Some(ports.collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (low, high) = match text.split_once('-') {
        None => (port(text)?, port(text)?),
        Some((low, high)) => (port(low)?, port(high)?),
    };
    (low <= high).then_some((low, high))
}

/// `path[:path in node[:rwm]]`.
pub(crate) fn device(given: &str, at: &At, report: &mut Report<'_>) -> Option<Device> {
    let parts: Vec<&str> = given.split(':').collect();
    let permitted = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let (host, node, permissions) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, permissions] if !permissions.starts_with('/') => (*host, *host, *permissions),
        [host, node] => (*host, *node, "rwm"),
        [host, node, permissions] => (*host, *node, *permissions),
        _ => ("", "", ""),
    };
    if !host.starts_with('/') || !node.starts_with('/') || !permitted(permissions) {
        report.error_with(
            at,
            format!("`{}` is no device", short(given)),
            "write `/dev/name[:/dev/name in node[:rwm]]`",
        );
        return None;
    }
    Some(Device {
        host: clean(Path::new(host)),
        node: clean(Path::new(node)),
        permissions: permissions.to_owned(),
    })
}

/// Whether the text is a list of processors such as `0-2,4`.
pub(crate) fn is_cpu_set(text: &str) -> bool {
    !text.is_empty()
        && text.split(',').all(|part| {
            let number = |text: &str| text.trim().parse::<u16>().ok();
            match part.split_once('-') {
                None => number(part).is_some(),
                Some((low, high)) => {
                    matches!((number(low), number(high)), (Some(low), Some(high)) if low <= high)
                }
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_all_forms() {
        let one = |text: &str| {
            let ports = parse_ports(text).unwrap();
            assert_eq!(ports.len(), 1);
            ports.into_iter().next().unwrap()
        };
        assert_eq!(one("8080:80").host, 8080);
        assert_eq!(one("8080:80/udp").protocol, PortProtocol::Udp);
        assert_eq!(one("127.0.0.1:8080:80").address, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(one("[::1]:8080:80/SCTP").address, Some("::1".parse().unwrap()));
        assert_eq!(one("80").host, 0);
        assert_eq!(one("127.0.0.1::80").host, 0);
        assert_eq!(parse_ports("8000-8002:80-82").unwrap()[2].node, 82);
        for bad in [
            "",
            "0:80",
            "x:80",
            "80:x",
            "80:80/quic",
            "1-3:1-2",
            "3-1:3-1",
            "1-65535:1-65535",
            "70000:1",
        ] {
            assert!(parse_ports(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn host_paths_are_absolute() {
        let folder = Path::new("/labs/one");
        assert_eq!(host_path("a/./b", folder, None), Path::new("/labs/one/a/b"));
        assert_eq!(host_path("../../../../x", folder, None), Path::new("/x"));
        assert_eq!(host_path("/etc/x", folder, None), Path::new("/etc/x"));
        assert_eq!(host_path("~/x", folder, Some("/root")), Path::new("/root/x"));
        assert_eq!(host_path("~x", folder, Some("/root")), Path::new("/labs/one/~x"));
    }

    #[test]
    fn cpu_sets() {
        assert!(is_cpu_set("0-2,4"));
        for bad in ["", "2-0", "a", "0,", "0-"] {
            assert!(!is_cpu_set(bad), "{bad}");
        }
    }
}
