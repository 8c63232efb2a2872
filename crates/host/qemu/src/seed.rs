//! What the guest is told at boot: its name, addresses and keys. Two ways stand side by side: lines in QEMU's firmware
//! configuration, which the images of `vnode image build` read, and a small file system as cloud-init and our own agent
//! look for it. The same as files, in the form of each cloud, is what the control network's metadata service shows.

use std::net::IpAddr;
use std::path::Path;

use serde_json::{Value, json};
use vnode_driver::{Machine, MountKind, NodeSpec, Result, Seed};

use crate::fat::Volume;
use crate::nic::Nic;
use crate::shell::{GIVEN, GIVEN_INSIDE, io, machine};

const IMAGE: &str = "seed.img";
const LINES: &str = "network";
const HOSTS: &str = "hosts";
/// Under `/sys/firmware/qemu_fw_cfg/by_name/` in the guest.
const KEY: &str = "opt/vnode/network";
const HOSTS_KEY: &str = "opt/vnode/hosts";
/// Where cloud-init's NoCloud finds all else, as it reads it from the serial number.
const SERVICE: &str = "ds=nocloud-net;s=http://169.254.169.254/nocloud/";
/// Largest user data: as cloud-init and the clouds have it.
const MOST_USER_DATA: u64 = 1 << 20;

/// Whether the user data that are named can be had.
pub(crate) fn check(spec: &NodeSpec) -> Result<()> {
    machine(spec)?.user_data.iter().try_for_each(|path| read(spec, path).map(drop))
}

/// Writes what the next boot finds.
pub(crate) fn write(spec: &NodeSpec, dir: &Path, nics: &[Nic]) -> Result<()> {
    let machine = machine(spec)?;
    let folder = dir.join(GIVEN);
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(io(format!("write {}", path.display())))
    };
    let names = Names::of(spec)?;
    put(LINES, lines(spec, nics, &names).as_bytes())?;
    put(HOSTS, names.hosts.as_bytes())?;
    let user_data = match &machine.user_data {
        Some(path) => read(spec, path)?,
        None => own_user_data(&names).into_bytes(),
    };
    // Both are YAML to their readers, and JSON is YAML.
    let instance = json!({ "instance-id": spec.uuid, "local-hostname": spec.hostname }).to_string();
    let network = network_v2(nics, &names).to_string();
    let meta =
        json!({ "uuid": spec.uuid, "hostname": spec.hostname, "name": spec.node }).to_string();
    let openstack = openstack(nics, &names).to_string();
    for (name, text) in [
        ("meta-data", &instance),
        ("network-config", &network),
        ("meta_data.json", &meta),
        ("network_data.json", &openstack),
    ] {
        put(name, text.as_bytes())?;
    }
    put("user-data", &user_data)?;
    let volume = match machine.seed {
        Seed::None | Seed::Metadata => return Ok(()),
        Seed::Nocloud => {
            let mut volume = Volume::new("CIDATA");
            volume.add("meta-data", instance.into_bytes());
            volume.add("network-config", network.into_bytes());
            volume.add("user-data", user_data);
            volume
        }
        Seed::ConfigDrive => {
            let mut volume = Volume::new("config-2");
            volume.add("openstack/latest/meta_data.json", meta.into_bytes());
            volume.add("openstack/latest/network_data.json", openstack.into_bytes());
            volume.add("openstack/latest/user_data", user_data);
            volume
        }
    };
    put(IMAGE, &volume.build().map_err(io("make the machine's seed"))?)
}

/// What containers have as `/etc/hosts` and `/etc/resolv.conf`.
#[derive(Debug, Default)]
struct Names {
    hosts: String,
    servers: Vec<IpAddr>,
    search: Vec<String>,
}

impl Names {
    /// As it is at this moment: a machine cannot have the host's file itself.
    fn of(spec: &NodeSpec) -> Result<Self> {
        let text = |target: &str| -> Result<String> {
            let bound = spec.mounts.iter().find(|mount| mount.target == target);
            match bound.map(|mount| &mount.kind) {
                Some(MountKind::Bind { source, .. }) => {
                    Ok(String::from_utf8_lossy(&read(spec, source)?).into_owned())
                }
                _ => Ok(String::new()),
            }
        };
        let mut names = Self { hosts: text("/etc/hosts")?, ..Self::default() };
        if names.hosts.is_empty() {
            names.hosts.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost\n");
        }
        for line in text("/etc/resolv.conf")?.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                // One of a scope is the host's alone.
                Some("nameserver") => {
                    names.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("search" | "domain") => names.search.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        Ok(names)
    }
}

/// The user data of a machine that has none of its own: the lab's names.
fn own_user_data(names: &Names) -> String {
    let file = json!({ "path": "/etc/hosts", "permissions": "0644", "content": names.hosts });
    format!("#cloud-config\n{}\n", json!({ "write_files": [file] }))
}

fn read(spec: &NodeSpec, path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let fail = || io(format!("read {}", path.display()));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail())?;
    file.take(MOST_USER_DATA + 1).read_to_end(&mut bytes).map_err(fail())?;
    if bytes.len() as u64 > MOST_USER_DATA {
        return Err(vnode_driver::Error::Invalid {
            node: spec.node.clone(),
            what: format!("{} has more than {MOST_USER_DATA} bytes", path.display()),
        });
    }
    Ok(bytes)
}

/// One thing a line, words between blanks: what a shell of a few lines can read.
fn lines(spec: &NodeSpec, nics: &[Nic], names: &Names) -> String {
    let mut text = format!("hostname {}\n", spec.hostname);
    for server in &names.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !names.search.is_empty() {
        text.push_str(&format!("search {}\n", names.search.join(" ")));
    }
    for nic in nics {
        text.push_str(&format!("link {} {} {}\n", nic.mac, nic.name, nic.mtu));
        for address in &nic.addresses {
            text.push_str(&format!("address {} {address}\n", nic.name));
        }
        for gateway in &nic.gateways {
            text.push_str(&format!("gateway {} {gateway}\n", nic.name));
        }
    }
    text
}

/// Netplan's form, which NoCloud's `network-config` takes.
fn network_v2(nics: &[Nic], names: &Names) -> Value {
    let mut ethernets = serde_json::Map::new();
    // The form knows servers of an interface only: those of the way out.
    let out = nics.iter().find(|nic| !nic.gateways.is_empty()).or(nics.first());
    for nic in nics {
        let routes: Vec<Value> = nic
            .gateways
            .iter()
            .map(
                |via| json!({ "to": if via.is_ipv4() { "0.0.0.0/0" } else { "::/0" }, "via": via }),
            )
            .collect();
        let mut about = json!({
                "match": { "macaddress": nic.mac.to_string() },
                "set-name": nic.name,
                "mtu": nic.mtu,
                "dhcp4": false,
                "dhcp6": false,
                "addresses": nic.addresses,
                "routes": routes,
        });
        if out.is_some_and(|out| out.name == nic.name) && !names.servers.is_empty() {
            about["nameservers"] = json!({ "addresses": names.servers, "search": names.search });
        }
        ethernets.insert(nic.name.clone(), about);
    }
    json!({ "version": 2, "ethernets": ethernets })
}

/// OpenStack's `network_data.json`.
fn openstack(nics: &[Nic], names: &Names) -> Value {
    let links: Vec<Value> = nics
        .iter()
        .map(|nic| {
            json!({
                "id": nic.name,
                "name": nic.name,
                "type": "phy",
                "ethernet_mac_address": nic.mac.to_string(),
                "mtu": nic.mtu,
            })
        })
        .collect();
    let mut networks = Vec::new();
    for nic in nics {
        for (number, net) in nic.addresses.iter().enumerate() {
            let v4 = net.addr().is_ipv4();
            let routes: Vec<Value> = nic
                .gateways
                .iter()
                .filter(|via| via.is_ipv4() == v4)
                .map(|via| {
                    let any = if v4 { "0.0.0.0" } else { "::" };
                    json!({ "network": any, "netmask": any, "gateway": via })
                })
                .collect();
            networks.push(json!({
                "id": format!("{}-{number}", nic.name),
                "link": nic.name,
                "type": if v4 { "ipv4" } else { "ipv6" },
                "ip_address": net.addr(),
                "netmask": net.netmask(),
                "routes": routes,
            }));
        }
    }
    let services: Vec<Value> =
        names.servers.iter().map(|server| json!({ "type": "dns", "address": server })).collect();
    json!({ "links": links, "networks": networks, "services": services })
}

/// QEMU's arguments for the seed.
pub(crate) fn arguments(machine: &Machine, bus: &str, all: &mut Vec<String>) {
    let mut add = |words: [String; 2]| all.extend(words);
    for (key, file) in [(KEY, LINES), (HOSTS_KEY, HOSTS)] {
        add(["-fw_cfg".to_owned(), format!("name={key},file={GIVEN_INSIDE}/{file}")]);
    }
    if machine.seed == Seed::Metadata {
        add(["-smbios".to_owned(), format!("type=1,serial={SERVICE}")]);
    }
    if matches!(machine.seed, Seed::Nocloud | Seed::ConfigDrive) {
        add([
            "-blockdev".to_owned(),
            format!(
                "driver=raw,node-name=seed,read-only=on,file.driver=file,file.filename={GIVEN_INSIDE}/{IMAGE}"
            ),
        ]);
        add(["-device".to_owned(), format!("virtio-blk-{bus},id=seed,drive=seed,serial=seed")]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_reach_every_form_of_seed() {
        let names = Names {
            hosts: "10.0.0.1\ta\n".to_owned(),
            servers: vec!["192.0.2.1".parse().unwrap()],
            search: vec!["lab".to_owned()],
        };
        let nic = |name: &str, gateways: Vec<IpAddr>| Nic {
            name: name.to_owned(),
            tap: String::new(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            mtu: 1500,
            addresses: Vec::new(),
            gateways,
        };
        let nics = [nic("eth0", Vec::new()), nic("eth1", vec!["10.0.0.9".parse().unwrap()])];
        let network = network_v2(&nics, &names);
        assert!(network["ethernets"]["eth0"]["nameservers"].is_null());
        let servers = &network["ethernets"]["eth1"]["nameservers"];
        assert_eq!(*servers, json!({ "addresses": ["192.0.2.1"], "search": ["lab"] }));
        let services = &openstack(&nics, &names)["services"];
        assert_eq!(*services, json!([{ "type": "dns", "address": "192.0.2.1" }]));
        let text = own_user_data(&names);
        let value: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
        assert_eq!(value["write_files"][0]["content"], names.hosts);
    }
}
