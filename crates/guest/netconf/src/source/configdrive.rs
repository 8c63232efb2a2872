//! OpenStack's config drive: `openstack/latest/network_data.json` and the name in `meta_data.json`.

use serde_json::{Map, Value};

use super::derived::{self, Parameters};
use super::value::{address_at, bounded, domain, json, label, list_or_null, object, server, text};
use super::vmdata::{net4, net6, route_of};
use super::{MAX_INTERFACES, MAX_ROUTES};
use crate::address::{Mac, prefix4, prefix6};
use crate::error::{InputError, shown};
use crate::model::{Config, Description, Kind, Select, Wanted};

/// Kinds of links that are one Ethernet interface of the guest.
const PHYSICAL: &[&str] = &[
    "phy",
    "ethernet",
    "bridge",
    "ovs",
    "tap",
    "vif",
    "hw_veb",
    "hostdev_physical",
    "vhostuser",
    "vhu",
    "ib_hostdev",
    "other",
    "dvs",
    "hyperv",
    "macvtap",
    "802.1qbg",
    "802.1qbh",
    "binding_failed",
    "unbound",
    "cascading",
    "distributed",
    "hostdev",
    "ovn",
    "midonet",
    "agilio_ovs",
    "vrouter",
];

/// Reads `network_data.json`, and the name in `meta_data.json` where that is given.
///
/// # Errors
/// When a text is not what it should be, or describes links of a kind we do not know.
pub fn read(network_data: &[u8], meta_data: Option<&[u8]>) -> Result<Wanted, InputError> {
    let mut wanted = Wanted::default();
    if let Some(meta_data) = meta_data {
        wanted.hostname = hostname(meta_data)?;
    }
    let tree = json(network_data)?;
    let tree = object(&tree, "network_data")?;
    let links = list_or_null(tree, "links")?;
    if links.len() > MAX_INTERFACES {
        return Err(InputError::TooMany { what: "interfaces", most: MAX_INTERFACES });
    }
    let mut bonds = 0;
    for link in links {
        let link = object(link, "links")?;
        wanted.descriptions.push(one_link(link, &wanted.descriptions, &mut bonds)?);
    }
    for network in list_or_null(tree, "networks")? {
        let network = object(network, "networks")?;
        let link = text(network, "link")?.unwrap_or_default();
        let Some(at) = wanted.descriptions.iter().position(|d| d.id == link) else {
            wanted
                .warnings
                .push(format!("network on link `{}`, which is not described", shown(&link)));
            continue;
        };
        let config = &mut wanted.descriptions[at].config;
        one_network(network, config, &mut wanted.warnings)?;
    }
    // Servers for all: they stand with every interface that has addresses, as on a host with one list.
    let mut servers = Vec::new();
    for service in list_or_null(tree, "services")? {
        servers.extend(dns_service(object(service, "services")?, &mut wanted.warnings)?);
    }
    for description in &mut wanted.descriptions {
        let config = &mut description.config;
        if config.addresses().next().is_some() && config.dns.is_empty() {
            config.dns.extend_from_slice(&servers);
        }
        bounded(config)?;
        config.tidy();
    }
    derived::check(&mut wanted.descriptions)?;
    Ok(wanted)
}

/// A link; `before` are those that stand above it in the list.
fn one_link(
    link: &Map<String, Value>,
    before: &[Description],
    bonds: &mut u32,
) -> Result<Description, InputError> {
    let id = text(link, "id")?.unwrap_or_default();
    let word = text(link, "type")?.unwrap_or_else(|| "phy".to_owned());
    let (kind, select) = match word.as_str() {
        "bond" => {
            let members = list_or_null(link, "bond_links")?.iter().filter_map(Value::as_str);
            let members = members.map(str::to_owned).collect();
            let mac = text(link, "ethernet_mac_address")?;
            let kind = Parameters::new(link, "bond-").bond(members, mac)?;
            // Its id may be any text; cloud-init numbers them too.
            *bonds += 1;
            (kind, Select::Name(format!("bond{}", *bonds - 1)))
        }
        "vlan" => {
            let parent = text(link, "vlan_link")?;
            let kind = derived::vlan(parent, text(link, "vlan_id")?)?;
            (kind.clone(), Select::Name(vlan_name(&kind, before)))
        }
        word if PHYSICAL.contains(&word) => {
            let mac = text(link, "ethernet_mac_address")?.ok_or(InputError::NoMac)?;
            let mac: Mac = mac.parse().map_err(|_| InputError::UnknownMac(shown(&mac)))?;
            (Kind::Physical, Select::Mac(mac))
        }
        word => return Err(InputError::Unsupported { what: "the link type", value: shown(word) }),
    };
    let mtu_bytes = link.get("mtu").and_then(Value::as_u64).and_then(|m| u32::try_from(m).ok());
    Ok(Description { id, select, config: Config { kind, mtu_bytes, ..Config::default() } })
}

/// `bond0.5` on a bond; `vlan5` on a device, whose name is not known before it is found.
fn vlan_name(kind: &Kind, before: &[Description]) -> String {
    let Kind::Vlan(vlan) = kind else { return String::new() };
    let parent = before.iter().find(|d| d.id == vlan.parent);
    match parent.map(|parent| &parent.select) {
        Some(Select::Name(parent)) => format!("{parent}.{}", vlan.tag),
        _ => {
            // Two devices may carry the same number.
            let name = format!("vlan{}", vlan.tag);
            let others = before.iter().filter(|d| match &d.select {
                Select::Name(other) => other.split('-').next() == Some(name.as_str()),
                Select::Mac(_) => false,
            });
            match others.count() {
                0 => name,
                n => format!("{name}-{n}"),
            }
        }
    }
}

/// The name in `meta_data.json`.
///
/// # Errors
/// When the text is no JSON object.
pub fn hostname(meta_data: &[u8]) -> Result<Option<String>, InputError> {
    let tree = json(meta_data)?;
    let tree = object(&tree, "meta_data")?;
    Ok(match text(tree, "hostname")? {
        Some(name) => Some(name),
        None => text(tree, "name")?,
    })
}

fn one_network(
    network: &Map<String, Value>,
    config: &mut Config,
    warnings: &mut Vec<String>,
) -> Result<(), InputError> {
    let kind = text(network, "type")?.unwrap_or_default();
    if config.label.is_none() {
        config.label = text(network, "id")?.as_deref().and_then(label);
    }
    match kind.as_str() {
        "ipv4_dhcp" => config.dhcp4 = true,
        "ipv6_dhcp" | "ipv6_dhcpv6-stateful" => config.dhcp6 = true,
        "ipv6_slaac" => config.accept_ra = true,
        "ipv6_dhcpv6-stateless" => (config.accept_ra, config.dhcp6) = (true, true),
        "ipv4" => {
            let ip = text(network, "ip_address")?.ok_or(InputError::Missing4 { key: "ip" })?;
            let (ip, mask) = with_mask(&ip, text(network, "netmask")?)
                .ok_or(InputError::Missing4 { key: "netmask" })?;
            let length = prefix4(&mask).ok_or_else(|| InputError::Mask(shown(&mask)))?;
            config.ip4s.push(net4("ip_address", &ip, length)?);
            if let Some(gateway) = address_at(network, "gateway")? {
                config.gateway4 = Some(gateway);
            }
        }
        "ipv6" => {
            let ip = text(network, "ip_address")?.ok_or(InputError::MissingAddress6)?;
            let (ip, mask) =
                with_mask(&ip, text(network, "netmask")?).ok_or(InputError::MissingMask6)?;
            let length = prefix6(&mask).ok_or_else(|| InputError::Mask(shown(&mask)))?;
            config.ip6s.push(net6("ip_address", &ip, length)?);
            if let Some(gateway) = address_at(network, "gateway")? {
                config.gateway6 = Some(gateway);
            }
        }
        other => {
            return Err(InputError::Unsupported { what: "the network type", value: shown(other) });
        }
    }
    for route in list_or_null(network, "routes")?.iter().take(MAX_ROUTES + 1) {
        let route = object(route, "routes")?;
        let at = |key| text(route, key)?.ok_or(InputError::MissingRoute { key });
        let (destination, gateway) = (at("network")?, at("gateway")?);
        let (destination, mask) = with_mask(&destination, text(route, "netmask")?)
            .ok_or(InputError::MissingRoute { key: "netmask" })?;
        push_route(config, route_of(&destination, &mask, &gateway)?);
    }
    for service in list_or_null(network, "services")? {
        config.dns.extend(dns_service(object(service, "services")?, warnings)?);
    }
    for entry in list_or_null(network, "dns_nameservers")? {
        config.dns.extend(entry.as_str().and_then(|text| server(text, warnings)));
    }
    for entry in list_or_null(network, "dns_search")? {
        config.search.extend(entry.as_str().and_then(|text| domain(text, warnings)));
    }
    Ok(())
}

/// A default route is the gateway, when there is none yet.
pub(super) fn push_route(config: &mut Config, route: crate::model::Route) {
    use std::net::IpAddr;
    match (route.destination.prefix_len(), route.gateway) {
        (0, IpAddr::V4(gateway)) if config.gateway4.is_none() => config.gateway4 = Some(gateway),
        (0, IpAddr::V6(gateway)) if config.gateway6.is_none() => config.gateway6 = Some(gateway),
        _ => config.routes.push(route),
    }
}

/// Address and mask; the mask may stand behind the address.
pub(super) fn with_mask(address: &str, mask: Option<String>) -> Option<(String, String)> {
    match address.split_once('/') {
        Some((address, length)) => Some((address.to_owned(), length.to_owned())),
        None => mask.map(|mask| (address.to_owned(), mask)),
    }
}

fn dns_service(
    service: &Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<Option<std::net::IpAddr>, InputError> {
    if text(service, "type")?.as_deref() != Some("dns") {
        return Ok(None);
    }
    let Some(at) = text(service, "address")? else { return Ok(None) };
    Ok(server(&at, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_networks_come_together() {
        let text = br#"{
            "links": [
                {"id": "tap1", "vif_id": "x", "type": "ovs", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:9c:bf:3d"},
                {"id": "tap2", "type": "phy", "mtu": null, "ethernet_mac_address": "fa:16:3e:d4:57:ad"}],
            "networks": [
                {"id": "network0", "link": "tap1", "type": "ipv4", "ip_address": "10.184.0.244",
                 "netmask": "255.255.240.0", "routes": [
                    {"network": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "11.0.0.1"},
                    {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.184.0.1"}], "network_id": "da5b"},
                {"id": "network1", "link": "tap1", "type": "ipv6", "ip_address": "2001:cdba::3257:9652/24",
                 "routes": [{"network": "::", "netmask": "::", "gateway": "fd00::1"}]},
                {"id": "network2", "link": "tap2", "type": "ipv4_dhcp"}],
            "services": [{"type": "dns", "address": "8.8.8.8"}]}"#;
        let wanted = read(text, Some(br#"{"hostname": "web1.novalocal", "uuid": "u"}"#)).unwrap();
        assert_eq!(wanted.hostname.as_deref(), Some("web1.novalocal"));
        let first = &wanted.descriptions[0].config;
        assert_eq!(first.ip4s[0].to_string(), "10.184.0.244/20");
        assert_eq!(first.ip6s[0].to_string(), "2001:cdba::3257:9652/24");
        assert_eq!(first.gateway4.unwrap().to_string(), "10.184.0.1");
        assert_eq!(first.gateway6.unwrap().to_string(), "fd00::1");
        assert_eq!(first.routes.len(), 1);
        assert_eq!(first.mtu_bytes, Some(1450));
        assert_eq!(first.dns.len(), 1);
        assert!(wanted.descriptions[1].config.dhcp4);
    }

    #[test]
    fn bonds_and_vlans_stand_on_links() {
        let text = br#"{"links": [
            {"id": "a", "type": "phy", "ethernet_mac_address": "fa:16:3e:9c:bf:01"},
            {"id": "b", "type": "phy", "ethernet_mac_address": "fa:16:3e:9c:bf:02"},
            {"id": "both", "type": "bond", "bond_links": ["a", "b"], "bond_mode": "802.3ad", "bond_miimon": 100,
             "bond_xmit_hash_policy": "layer3+4", "ethernet_mac_address": "fa:16:3e:9c:bf:01"},
            {"id": "v", "type": "vlan", "vlan_link": "both", "vlan_id": 101, "vlan_mac_address": "fa:16:3e:9c:bf:03"},
            {"id": "c", "type": "phy", "ethernet_mac_address": "fa:16:3e:9c:bf:04"},
            {"id": "w", "type": "vlan", "vlan_link": "c", "vlan_id": "5"}],
            "networks": [{"id": "n", "link": "v", "type": "ipv4", "ip_address": "192.0.2.7", "netmask": "255.255.255.0"}]}"#;
        let wanted = read(text, None).unwrap();
        let name = |at: usize| wanted.descriptions[at].select.to_string();
        assert_eq!(
            (name(2), name(3), name(5)),
            ("bond0".into(), "bond0.101".into(), "vlan5".into())
        );
        let Kind::Bond(bond) = &wanted.descriptions[2].config.kind else { panic!("no bond") };
        assert_eq!((bond.mode.as_str(), bond.look_ms), ("802.3ad", Some(100)));
        assert_eq!(bond.hash.as_deref(), Some("layer3+4"));
        assert_eq!(wanted.descriptions[3].config.ip4s.len(), 1);
    }

    #[test]
    fn what_stands_on_nothing_is_refused() {
        let link = |text: &str| {
            let all = format!(
                r#"{{"links": [{{"id": "a", "type": "phy", "ethernet_mac_address": "fa:16:3e:9c:bf:01"}}, {text}]}}"#
            );
            read(all.as_bytes(), None).unwrap_err().to_string()
        };
        assert_eq!(
            link(r#"{"id": "w", "type": "wormhole"}"#),
            "the link type `wormhole` is not supported"
        );
        let bond = r#"{"id": "b", "type": "bond", "bond_links": ["no"]}"#;
        assert_eq!(link(bond), "`no` names no interface of this guest");
        let bond = r#"{"id": "b", "type": "bond", "bond_links": ["a"], "bond_mode": "x\nup id"}"#;
        assert_eq!(link(bond), "the bond mode `x up id` is not supported");
        let vlan = r#"{"id": "v", "type": "vlan", "vlan_link": "v", "vlan_id": 5}"#;
        assert_eq!(link(vlan), "an interface stands on itself");
        let vlan = r#"{"id": "v", "type": "vlan", "vlan_link": "a", "vlan_id": 4095}"#;
        assert_eq!(link(vlan), "the VLAN number `4095` is not supported");
    }
}
