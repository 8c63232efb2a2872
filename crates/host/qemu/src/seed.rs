//! What the guest is told at boot: its name, addresses and keys. Two ways stand side by side: lines in QEMU's firmware
//! configuration, which the images of `vnode image build` read, and a small file system as cloud-init and our own agent
//! look for it. The same as files, in the form of each cloud, is what the control network's metadata service shows.

use std::path::Path;

use serde_json::{Value, json};
use vnode_driver::{Machine, NodeSpec, Result, Seed};

use crate::fat::Volume;
use crate::nic::Nic;
use crate::shell::{GIVEN, GIVEN_INSIDE, io, machine};

const IMAGE: &str = "seed.img";
const LINES: &str = "network";
/// Under `/sys/firmware/qemu_fw_cfg/by_name/` in the guest.
const KEY: &str = "opt/vnode/network";
/// Where cloud-init's NoCloud finds all else, as it reads it from the serial number.
const SERVICE: &str = "ds=nocloud-net;s=http://169.254.169.254/nocloud/";
/// Largest user data: as cloud-init and the clouds have it.
const MOST_USER_DATA: u64 = 1 << 20;

/// Writes what the next boot finds.
pub(crate) fn write(spec: &NodeSpec, dir: &Path, nics: &[Nic]) -> Result<()> {
    let machine = machine(spec)?;
    let folder = dir.join(GIVEN);
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(io(format!("write {}", path.display())))
    };
    put(LINES, lines(spec, nics).as_bytes())?;
    let user_data = match &machine.user_data {
        Some(path) => read(spec, path)?,
        None => b"#cloud-config\n{}\n".to_vec(),
    };
    // Both are YAML to their readers, and JSON is YAML.
    let instance = json!({ "instance-id": spec.uuid, "local-hostname": spec.hostname }).to_string();
    let network = network_v2(nics).to_string();
    let meta =
        json!({ "uuid": spec.uuid, "hostname": spec.hostname, "name": spec.node }).to_string();
    let openstack = openstack(nics).to_string();
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

fn read(spec: &NodeSpec, path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let fail = || io(format!("read user data {}", path.display()));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail())?;
    file.take(MOST_USER_DATA + 1).read_to_end(&mut bytes).map_err(fail())?;
    if bytes.len() as u64 > MOST_USER_DATA {
        return Err(vnode_driver::Error::Invalid {
            node: spec.node.clone(),
            what: format!("user data {} has more than {MOST_USER_DATA} bytes", path.display()),
        });
    }
    Ok(bytes)
}

/// One thing a line, words between blanks: what a shell of a few lines can read.
fn lines(spec: &NodeSpec, nics: &[Nic]) -> String {
    let mut text = format!("hostname {}\n", spec.hostname);
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
fn network_v2(nics: &[Nic]) -> Value {
    let mut ethernets = serde_json::Map::new();
    for nic in nics {
        let routes: Vec<Value> = nic
            .gateways
            .iter()
            .map(
                |via| json!({ "to": if via.is_ipv4() { "0.0.0.0/0" } else { "::/0" }, "via": via }),
            )
            .collect();
        ethernets.insert(
            nic.name.clone(),
            json!({
                "match": { "macaddress": nic.mac.to_string() },
                "set-name": nic.name,
                "mtu": nic.mtu,
                "dhcp4": false,
                "dhcp6": false,
                "addresses": nic.addresses,
                "routes": routes,
            }),
        );
    }
    json!({ "version": 2, "ethernets": ethernets })
}

/// OpenStack's `network_data.json`.
fn openstack(nics: &[Nic]) -> Value {
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
    json!({ "links": links, "networks": networks, "services": [] })
}

/// QEMU's arguments for the seed.
pub(crate) fn arguments(machine: &Machine, bus: &str, all: &mut Vec<String>) {
    let mut add = |words: [String; 2]| all.extend(words);
    add(["-fw_cfg".to_owned(), format!("name={KEY},file={GIVEN_INSIDE}/{LINES}")]);
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
