//! A NoCloud seed: `network-config` of version 1 or 2, and the name in `meta-data`. YAML, as cloud-init documents it.

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::configdrive::{push_route, with_mask};
use super::derived::{self, Parameters};
use super::value::{address_at, bounded, domain, list_or_null, object, server, text};
use super::vmdata::{net4, net6, route_of};
use super::{MAX_INTERFACES, yaml};
use crate::address::{Mac, prefix4, prefix6};
use crate::error::{InputError, shown};
use crate::model::{Config, Description, Kind, Route, Select, Wanted};

/// Reads `network-config`, and the name in `meta-data` where that is given.
///
/// # Errors
/// When a text is no YAML, has another version, or describes what is neither Ethernet nor a VLAN, bond or bridge of it.
pub fn read(network_config: &[u8], meta_data: Option<&[u8]>) -> Result<Wanted, InputError> {
    let mut wanted = Wanted::default();
    if let Some(meta_data) = meta_data {
        wanted.hostname = hostname(meta_data)?;
    }
    let tree = yaml::parse(network_config)?;
    let tree = tree.get("network").unwrap_or(&tree);
    let tree = object(tree, "network")?;
    match tree.get("version").and_then(Value::as_i64) {
        Some(1) => version1(tree, &mut wanted)?,
        Some(2) => version2(tree, &mut wanted)?,
        _ => {
            let value = tree.get("version").map_or_else(|| "none".to_owned(), Value::to_string);
            return Err(InputError::Unsupported { what: "the version", value: shown(&value) });
        }
    }
    for description in &mut wanted.descriptions {
        bounded(&description.config)?;
        description.config.tidy();
    }
    derived::check(&mut wanted.descriptions)?;
    Ok(wanted)
}

/// The name in `meta-data`: `local-hostname`, or `hostname`.
///
/// # Errors
/// When the text is no YAML map.
pub fn hostname(meta_data: &[u8]) -> Result<Option<String>, InputError> {
    let tree = yaml::parse(meta_data)?;
    if tree.is_null() {
        return Ok(None);
    }
    let tree = object(&tree, "meta-data")?;
    Ok(match text(tree, "local-hostname")? {
        Some(name) => Some(name),
        None => text(tree, "hostname")?,
    })
}

/// What `meta-data` says of the instance beside its name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Instance {
    pub id: Option<String>,
    /// `public-keys`, each as it is written: with its options.
    pub keys: Vec<String>,
}

/// Which instance `meta-data` is for, and who may log in. Keys are a list, one text of a line for each, or a map of names to
/// either or to a map with `openssh-key`.
///
/// # Errors
/// When the text is no YAML map.
pub fn instance(meta_data: &[u8]) -> Result<Instance, InputError> {
    let tree = yaml::parse(meta_data)?;
    if tree.is_null() {
        return Ok(Instance::default());
    }
    let tree = object(&tree, "meta-data")?;
    let mut keys = Vec::new();
    if let Some(found) = tree.get("public-keys").or_else(|| tree.get("public_keys")) {
        keys_in(found, &mut keys);
    }
    Ok(Instance { id: text(tree, "instance-id")?, keys })
}

fn keys_in(found: &Value, keys: &mut Vec<String>) {
    match found {
        Value::String(text) => {
            let lines = text.lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            keys.extend(lines.map(str::to_owned));
        }
        Value::Array(list) => list.iter().for_each(|one| keys_in(one, keys)),
        Value::Object(map) => match map.get("openssh-key") {
            Some(key) => keys_in(key, keys),
            None => map.values().for_each(|one| keys_in(one, keys)),
        },
        _ => {}
    }
}

fn select(mac: Option<String>, name: Option<String>) -> Result<Select, InputError> {
    match (mac, name) {
        (Some(mac), _) => match mac.parse::<Mac>() {
            Ok(mac) => Ok(Select::Mac(mac)),
            Err(_) => Err(InputError::UnknownMac(shown(&mac.to_lowercase()))),
        },
        (None, Some(name)) => Ok(Select::Name(name)),
        (None, None) => Err(InputError::NoMac),
    }
}

fn mtu(object: &Map<String, Value>) -> Option<u32> {
    object.get("mtu").and_then(Value::as_u64).and_then(|mtu| u32::try_from(mtu).ok())
}

fn truth(object: &Map<String, Value>, key: &str) -> Option<bool> {
    object.get(key).and_then(Value::as_bool)
}

/// A list, or one string for a list of one.
fn strings(object: &Map<String, Value>, key: &'static str) -> Result<Vec<String>, InputError> {
    if let Some(Value::String(one)) = object.get(key) {
        return Ok(one.split([' ', ',']).filter(|s| !s.is_empty()).map(str::to_owned).collect());
    }
    let list = list_or_null(object, key)?;
    Ok(list.iter().filter_map(|entry| entry.as_str().map(str::to_owned)).collect())
}

fn push_address(config: &mut Config, ip: &str, mask: Option<String>) -> Result<(), InputError> {
    let six = ip.contains(':');
    let (ip, mask) = with_mask(ip, mask).ok_or(match six {
        true => InputError::MissingMask6,
        false => InputError::Missing4 { key: "netmask" },
    })?;
    let refused = || InputError::Mask(shown(&mask));
    if six {
        config.ip6s.push(net6("address", &ip, prefix6(&mask).ok_or_else(refused)?)?);
    } else {
        config.ip4s.push(net4("address", &ip, prefix4(&mask).ok_or_else(refused)?)?);
    }
    Ok(())
}

fn version1(tree: &Map<String, Value>, wanted: &mut Wanted) -> Result<(), InputError> {
    let (mut servers, mut search) = (Vec::new(), Vec::new());
    let mut names = Vec::new();
    let mut routes = Vec::new();
    for entry in list_or_null(tree, "config")? {
        let entry = object(entry, "config")?;
        let kind = text(entry, "type")?.unwrap_or_default();
        match kind.as_str() {
            "physical" | "vlan" | "bond" | "bridge" => {
                let name = text(entry, "name")?;
                let kind = kind1(entry, &kind)?;
                let mut config = Config { kind, mtu_bytes: mtu(entry), ..Config::default() };
                for subnet in list_or_null(entry, "subnets")? {
                    subnet1(object(subnet, "subnets")?, &mut config, &mut wanted.warnings)?;
                }
                names.push(name.clone());
                let id = name.clone().unwrap_or_default();
                let select = match config.kind {
                    Kind::Physical => select(text(entry, "mac_address")?, name)?,
                    _ => select(None, name)?,
                };
                push(wanted, Description { id, select, config })?;
            }
            "nameserver" => {
                for one in strings(entry, "address")? {
                    let server = server(&one, &mut wanted.warnings);
                    let of = text(entry, "interface")?;
                    servers.extend(server.map(|server| (of, server)));
                }
                for one in strings(entry, "search")? {
                    search.extend(domain(&one, &mut wanted.warnings));
                }
            }
            "route" => {
                let destination =
                    text(entry, "destination")?.ok_or(InputError::MissingRoute { key: "route" })?;
                routes.push(route1(entry, &destination)?);
            }
            "loopback" => {}
            other => {
                return Err(InputError::Unsupported { what: "the type", value: shown(other) });
            }
        }
    }
    for (at, description) in wanted.descriptions.iter_mut().enumerate() {
        let config = &mut description.config;
        for (of, server) in &servers {
            if of.is_none() || *of == names[at] {
                config.dns.push(*server);
            }
        }
        config.search.extend(search.iter().cloned());
        // A route for no interface in particular goes where its gateway is.
        for route in &routes {
            let near = |net: IpNet| net.contains(&route.gateway);
            if config.addresses().any(near) {
                push_route(config, *route);
            }
        }
    }
    Ok(())
}

/// What an entry of version 1 is made of.
fn kind1(entry: &Map<String, Value>, kind: &str) -> Result<Kind, InputError> {
    let none = Map::new();
    let given = entry.get("params").and_then(Value::as_object).unwrap_or(&none);
    match kind {
        "vlan" => derived::vlan(text(entry, "vlan_link")?, text(entry, "vlan_id")?),
        "bond" => {
            let members = strings(entry, "bond_interfaces")?;
            Parameters::new(given, "bond-").bond(members, text(entry, "mac_address")?)
        }
        "bridge" => {
            let members = strings(entry, "bridge_interfaces")?;
            Parameters::new(given, "bridge-").bridge(members)
        }
        _ => Ok(Kind::Physical),
    }
}

fn push(wanted: &mut Wanted, description: Description) -> Result<(), InputError> {
    wanted.descriptions.push(description);
    if wanted.descriptions.len() > MAX_INTERFACES {
        return Err(InputError::TooMany { what: "interfaces", most: MAX_INTERFACES });
    }
    Ok(())
}

fn route1(entry: &Map<String, Value>, destination: &str) -> Result<Route, InputError> {
    let gateway = text(entry, "gateway")?.ok_or(InputError::MissingRoute { key: "gateway" })?;
    let (network, mask) = with_mask(destination, text(entry, "netmask")?)
        .ok_or(InputError::MissingRoute { key: "netmask" })?;
    route_of(&network, &mask, &gateway)
}

fn subnet1(
    subnet: &Map<String, Value>,
    config: &mut Config,
    warnings: &mut Vec<String>,
) -> Result<(), InputError> {
    let kind = text(subnet, "type")?.unwrap_or_default();
    match kind.as_str() {
        "dhcp" | "dhcp4" => config.dhcp4 = true,
        "dhcp6" | "ipv6_dhcpv6-stateful" => config.dhcp6 = true,
        "ipv6_dhcpv6-stateless" => (config.accept_ra, config.dhcp6) = (true, true),
        "ipv6_slaac" => config.accept_ra = true,
        "manual" => {}
        "static" | "static6" => {
            let ip = text(subnet, "address")?.ok_or(InputError::Missing4 { key: "ip" })?;
            push_address(config, &ip, text(subnet, "netmask")?)?;
            if ip.contains(':') {
                config.gateway6 = address_at(subnet, "gateway")?.or(config.gateway6);
            } else {
                config.gateway4 = address_at(subnet, "gateway")?.or(config.gateway4);
            }
        }
        other => {
            return Err(InputError::Unsupported { what: "the subnet type", value: shown(other) });
        }
    }
    for one in strings(subnet, "dns_nameservers")? {
        config.dns.extend(server(&one, warnings));
    }
    for one in strings(subnet, "dns_search")? {
        config.search.extend(domain(&one, warnings));
    }
    for route in list_or_null(subnet, "routes")? {
        let route = object(route, "routes")?;
        let destination = match text(route, "network")? {
            Some(network) => network,
            None => text(route, "destination")?.ok_or(InputError::MissingRoute { key: "route" })?,
        };
        push_route(config, route1(route, &destination)?);
    }
    Ok(())
}

/// The sections of version 2 that we know.
const SECTIONS: [&str; 4] = ["ethernets", "bonds", "bridges", "vlans"];

fn version2(tree: &Map<String, Value>, wanted: &mut Wanted) -> Result<(), InputError> {
    for kind in ["wifis", "tunnels", "vrfs", "modems"] {
        let any = tree.get(kind).and_then(Value::as_object).is_some_and(|map| !map.is_empty());
        if any {
            return Err(InputError::Unsupported { what: "the section", value: kind.to_owned() });
        }
    }
    for section in SECTIONS {
        let Some(entries) = tree.get(section).filter(|v| !v.is_null()) else { continue };
        for (id, entry) in object(entries, section)? {
            one_of_version2(section, id, object(entry, section)?, wanted)?;
        }
    }
    Ok(())
}

/// What an entry of version 2 is made of.
fn kind2(section: &str, entry: &Map<String, Value>) -> Result<Kind, InputError> {
    let none = Map::new();
    let given = entry.get("parameters").and_then(Value::as_object).unwrap_or(&none);
    match section {
        "vlans" => derived::vlan(text(entry, "link")?, text(entry, "id")?),
        "bonds" => {
            let members = strings(entry, "interfaces")?;
            Parameters::new(given, "").bond(members, text(entry, "macaddress")?)
        }
        "bridges" => Parameters::new(given, "").bridge(strings(entry, "interfaces")?),
        _ => Ok(Kind::Physical),
    }
}

fn one_of_version2(
    section: &str,
    id: &str,
    entry: &Map<String, Value>,
    wanted: &mut Wanted,
) -> Result<(), InputError> {
    let kind = kind2(section, entry)?;
    let none = Map::new();
    let matched = match kind {
        Kind::Physical => entry.get("match").and_then(Value::as_object).unwrap_or(&none),
        _ => &none,
    };
    let mac = text(matched, "macaddress")?;
    let name = match text(matched, "name")? {
        Some(pattern) if pattern.contains(['*', '?', '[']) && mac.is_none() => {
            let value = shown(&pattern);
            return Err(InputError::Unsupported { what: "the name pattern", value });
        }
        Some(name) => name,
        None => id.to_owned(),
    };
    let mut config = Config {
        kind,
        dhcp4: truth(entry, "dhcp4").unwrap_or(false),
        dhcp6: truth(entry, "dhcp6").unwrap_or(false),
        accept_ra: truth(entry, "accept-ra").unwrap_or(false),
        gateway4: address_at(entry, "gateway4")?,
        gateway6: address_at(entry, "gateway6")?,
        mtu_bytes: mtu(entry),
        ..Config::default()
    };
    for one in list_or_null(entry, "addresses")? {
        // An address may be a map of one key with options.
        let text = one.as_str().or_else(|| one.as_object()?.keys().next().map(String::as_str));
        let text =
            text.ok_or(InputError::Type { key: "addresses", wanted: "a list of addresses" })?;
        push_address(&mut config, text, None)?;
    }
    if let Some(servers) = entry.get("nameservers").and_then(Value::as_object) {
        for one in strings(servers, "addresses")? {
            config.dns.extend(server(&one, &mut wanted.warnings));
        }
        for one in strings(servers, "search")? {
            config.search.extend(domain(&one, &mut wanted.warnings));
        }
    }
    for route in list_or_null(entry, "routes")? {
        let route = object(route, "routes")?;
        let via = text(route, "via")?.ok_or(InputError::MissingRoute { key: "gateway" })?;
        let to = text(route, "to")?.ok_or(InputError::MissingRoute { key: "route" })?;
        let to = match (to.as_str(), via.contains(':')) {
            ("default", true) => "::/0".to_owned(),
            ("default", false) => "0.0.0.0/0".to_owned(),
            _ => to,
        };
        let whole = if to.contains(':') { "128" } else { "32" };
        let (network, mask) = with_mask(&to, Some(whole.to_owned()))
            .ok_or(InputError::MissingRoute { key: "netmask" })?;
        push_route(&mut config, route_of(&network, &mask, &via)?);
    }
    push(wanted, Description { id: id.to_owned(), select: select(mac, Some(name))?, config })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_every_form_of_a_seed_whole_and_only_when_they_are_meant() {
        let of = |text: &str| instance(text.as_bytes()).unwrap();
        let list = of(
            "instance-id: i-1 # a comment\npublic-keys:\n  - ssh-ed25519 AAAA a@b\n  #  - ssh-rsa XXXX left\n  \
                       - 'restrict,command=\"/bin/backup\" ssh-rsa BBBB c'\nlocal-hostname: x\n",
        );
        assert_eq!(list.id.as_deref(), Some("i-1"));
        assert_eq!(
            list.keys,
            ["ssh-ed25519 AAAA a@b", "restrict,command=\"/bin/backup\" ssh-rsa BBBB c"]
        );
        let flow = of("public-keys: [\"ssh-rsa A a\", \"ecdsa-sha2-nistp256 C d\"]\n");
        assert_eq!(flow.keys, ["ssh-rsa A a", "ecdsa-sha2-nistp256 C d"]);
        assert_eq!(of("public-keys:\n  0:\n    openssh-key: ssh-rsa D e\n").keys, ["ssh-rsa D e"]);
        assert_eq!(of("public-keys:\n  me: ssh-rsa D e\n").keys, ["ssh-rsa D e"]);
        assert_eq!(of("public-keys: |\n  ssh-rsa D e\n  ssh-rsa F g\n").keys.len(), 2);
        assert_eq!(of("other: ssh-rsa AAAA\ninstance-id:\n"), Instance::default());
        assert_eq!(of("instance-id: 7\n").id.as_deref(), Some("7"));
    }

    #[test]
    fn version_1_as_cloud_init_documents_it() {
        let text = b"version: 1
config:
  - type: physical
    name: eth0
    mac_address: 'c0:d6:9f:2c:e8:80'
    mtu: 1400
    subnets:
      - type: static
        address: 192.168.23.14/27
        gateway: 192.168.23.1
        dns_nameservers: [192.168.23.2, 8.8.8.8]
        dns_search: [exemplary.maas]
      - type: dhcp6
  - type: physical
    name: eth1
    subnets:
      - type: static
        address: 10.0.0.2
        netmask: 255.255.255.0
  - type: route
    destination: 192.168.24.0/24
    gateway: 10.0.0.1
  - type: nameserver
    address: [9.9.9.9]
    search: example.com
";
        let wanted = read(text, Some(b"instance-id: i\nlocal-hostname: web1\n")).unwrap();
        assert_eq!(wanted.hostname.as_deref(), Some("web1"));
        let [first, second] = &wanted.descriptions[..] else { panic!("{wanted:?}") };
        assert_eq!(first.select, Select::Mac("c0:d6:9f:2c:e8:80".parse().unwrap()));
        assert_eq!(first.config.gateway4.unwrap().to_string(), "192.168.23.1");
        assert_eq!(first.config.dns.len(), 3);
        assert_eq!(first.config.search, ["exemplary.maas", "example.com"]);
        assert!(first.config.dhcp6 && !first.config.dhcp4);
        assert_eq!(second.select, Select::Name("eth1".to_owned()));
        assert_eq!(second.config.routes[0].destination.to_string(), "192.168.24.0/24");
    }

    #[test]
    fn version_2_with_and_without_its_outer_key() {
        let inner = "version: 2
ethernets:
  id0:
    match: {macaddress: '52:54:00:12:34:00'}
    set-name: lan0
    addresses: [192.168.14.2/24, '2001:1::1/64']
    gateway4: 192.168.14.1
    nameservers: {search: [foo.local], addresses: [8.8.8.8]}
    routes:
      - {to: default, via: '2001:1::2'}
      - {to: 10.1.2.3, via: 192.168.14.9}
  eth1:
    dhcp4: yes
";
        let outer: String = std::iter::once("network:\n".to_owned())
            .chain(inner.lines().map(|l| format!("  {l}\n")))
            .collect();
        for text in [inner, outer.as_str()] {
            let wanted = read(text.as_bytes(), None).unwrap();
            assert_eq!(wanted.descriptions.len(), 2);
            let eth1 = wanted.descriptions.iter().find(|d| d.config.dhcp4).unwrap();
            assert_eq!(eth1.select, Select::Name("eth1".to_owned()));
            let first = wanted.descriptions.iter().find(|d| !d.config.dhcp4).unwrap();
            assert_eq!(first.config.gateway6.unwrap().to_string(), "2001:1::2");
            assert_eq!(first.config.routes[0].destination.to_string(), "10.1.2.3/32");
        }
    }

    #[test]
    fn what_we_cannot_do_is_said() {
        let wifi = b"version: 2\nwifis: {wlan0: {access-points: {}}}\n";
        assert!(read(wifi, None).unwrap_err().to_string().contains("`wifis`"));
        assert!(read(b"version: 3\n", None).is_err());
        assert!(read(b"[1]", None).is_err());
    }
}
