//! What we write, read by the programs that will read it: netplan's generator, nmcli, ifupdown. Unpacked from Debian's
//! packages, never installed.
#![allow(clippy::unwrap_used, reason = "fixtures fail by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "the programs under test are started as a user would"
)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::*;
use vnode_netconf::{Backend, Form, Interface};
use vnode_testkit::{needs, tools};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// netplan's generator over a root with this file, and the networkd files it made.
fn generated(yaml: &str) -> Result<Vec<(String, String)>, String> {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("etc/netplan");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("90-vnode-agent.yaml");
    std::fs::write(&file, yaml).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let out = tools::command("usr/libexec/netplan/generate")
        .unwrap()
        .arg("--root-dir")
        .arg(root.path())
        .output()
        .unwrap();
    if !out.status.success() || !out.stderr.is_empty() {
        return Err(said(&out));
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.path().join("run/systemd/network")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.push((name, std::fs::read_to_string(&path).unwrap()));
    }
    files.sort();
    Ok(files)
}

fn netplan(interfaces: &[Interface]) -> String {
    let mut all = files(&system("ubuntu"), Backend::Netplan, None, interfaces);
    all.remove("/etc/netplan/90-vnode-agent.yaml").unwrap()
}

#[test]
fn g1_07_netplan_reads_its_file() {
    needs!(Tool("usr/libexec/netplan/generate"));
    let made = generated(&netplan(&g1_interfaces())).unwrap();
    let of = |name: &str| {
        let found = made.iter().find(|(file, _)| file.contains(name) && file.ends_with(".network"));
        found.unwrap_or_else(|| panic!("{name} in {made:?}")).1.clone()
    };
    let eth0 = of("eth0");
    for line in [
        "PermanentMACAddress=40:40:8f:1e:a0:0a",
        "Address=192.0.2.42/24",
        "Address=192.0.2.43/24",
        "Address=2001:db8::42/64",
        "Address=2001:db8::43/64",
        "DNS=203.0.113.5",
        "DNS=203.0.113.6",
        "Destination=0.0.0.0/0",
        "Gateway=192.0.2.1",
        "Destination=::/0",
        "Gateway=fe80::def",
        "IPv6AcceptRA=no",
        "LinkLocalAddressing=ipv6",
    ] {
        assert!(eth0.lines().any(|l| l == line), "{line} in\n{eth0}");
    }
    assert!(of("eth1").contains("Destination=10.191.192.0/18\nGateway=10.177.96.1"));
    // What networkd is told by us says the same as what netplan tells it.
    let ours = files(&system("ubuntu"), Backend::Networkd, None, &g1_interfaces());
    let key_lines = |text: &str| {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|l| {
                ["Address=", "DNS=", "Destination=", "Gateway=", "IPv6AcceptRA="]
                    .iter()
                    .any(|k| l.starts_with(k))
            })
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let own = &ours["/etc/systemd/network/10-vnode-agent-eth0.network"];
    assert_eq!(key_lines(own), key_lines(&eth0));
}

#[test]
fn g2_netplan_and_gateways_off_the_link() {
    needs!(Tool("usr/libexec/netplan/generate"));
    generated(&netplan(&[g2()])).unwrap();
    let mut odd = i4();
    odd.config.ip4s = vec!["198.51.100.7/32".parse().unwrap()];
    odd.config.search = vec!["example.com".to_owned(), "on".to_owned()];
    odd.config.mtu_bytes = Some(1400);
    let made = generated(&netplan(&[odd])).unwrap();
    let text: String = made.iter().map(|(_, text)| text.as_str()).collect();
    assert!(text.contains("GatewayOnLink=true"), "{text}");
    // A proof that the generator looks: a bad address is refused with its place.
    let bad = netplan(&[i4()]).replace("192.0.2.42/24", "192.0.2.420/24");
    assert!(generated(&bad).unwrap_err().contains("192.0.2.420"));
}

/// A keyfile through nmcli and back, in nmcli's own form.
fn normal_form(profile: &str) -> String {
    let mut child = tools::command("usr/bin/nmcli")
        .unwrap()
        .args(["--offline", "connection", "modify", "connection.id", "renamed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), profile.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}\n{profile}", said(&out));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn g1_08_nmcli_keeps_all_of_a_profile() {
    needs!(Tool("usr/bin/nmcli"));
    let all = files(&system("fedora"), Backend::NetworkManager, None, &g1_interfaces());
    let folder = "/etc/NetworkManager/system-connections/vnode-agent";
    let eth0 = normal_form(&all[&format!("{folder}-eth0.nmconnection")]);
    for line in [
        "id=renamed",
        "mac-address=40:40:8F:1E:A0:0A",
        "address1=192.0.2.42/24,192.0.2.1",
        "address2=192.0.2.43/24",
        "dns=203.0.113.5;203.0.113.6;",
        "address1=2001:db8::42/64,fe80::def",
        "address2=2001:db8::43/64",
    ] {
        assert!(eth0.lines().any(|l| l == line), "{line} in\n{eth0}");
    }
    let eth1 = normal_form(&all[&format!("{folder}-eth1.nmconnection")]);
    for line in [
        "address1=10.177.97.10/19",
        "route1=10.176.0.0/13,10.177.96.1",
        "route2=10.191.192.0/18,10.177.96.1",
        "method=disabled",
    ] {
        assert!(eth1.lines().any(|l| l == line), "{line} in\n{eth1}");
    }
    let mut odd = g2();
    odd.config.ip4s = vec!["198.51.100.7/32".parse().unwrap()];
    let all = files(&system("fedora"), Backend::NetworkManager, None, &[odd]);
    let text = normal_form(&all[&format!("{folder}-eth0.nmconnection")]);
    assert!(text.contains("route1=10.0.0.0/8,192.0.2.1\nroute1_options=onlink=true"), "{text}");
}

/// `ifup` with nothing done: the commands it would run. It wants its state folder, so it gets one of its own.
fn ifup(text: &str) -> String {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("interfaces");
    std::fs::write(&file, text).unwrap();
    let out = tools::command("sbin/ifup")
        .or_else(|_| tools::command("usr/sbin/ifup"))
        .unwrap()
        .args(["-n", "-v", "-a", "--state-dir"])
        .arg(root.path())
        .arg("-i")
        .arg(&file)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}\n{text}", said(&out));
    said(&out)
}

fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}`, in this order, in\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn g1_09_ifup_would_do_all_of_it() {
    needs!(Tool("sbin/ifup"));
    let of = |form, interfaces: &[Interface]| {
        let mut all = files(&system("debian"), Backend::Ifupdown, form, interfaces);
        ifup(&all.remove("/etc/network/interfaces").unwrap())
    };
    let modern = of(None, &g1_interfaces());
    assert_in_order(
        &modern,
        &[
            "192.0.2.42",
            "default via 192.0.2.1",
            "192.0.2.43",
            "2001:db8::42",
            "default via fe80::def",
            "2001:db8::43",
            "10.177.97.10/255.255.224.0",
            "ip route replace 10.176.0.0/13 via 10.177.96.1 dev eth1",
            "ip route replace 10.191.192.0/18 via 10.177.96.1 dev eth1",
        ],
    );
    let compatible = of(Some(Form::Compatible), &g1_interfaces());
    assert_in_order(
        &compatible,
        &[
            "192.0.2.42",
            "default via 192.0.2.1",
            "192.0.2.43",
            "10.177.97.10",
            "route add -net 10.176.0.0",
        ],
    );
    of(None, &[g2()]);
    let mut dhcp = i4();
    dhcp.config = vnode_netconf::Config { dhcp4: true, mtu_bytes: Some(1400), ..dhcp.config };
    dhcp.config.ip4s.clear();
    of(None, &[dhcp]);
}

#[test]
fn ifquery_finds_what_others_wrote_beside_ours() {
    needs!(Tool("sbin/ifquery"));
    let old = "# mine\nauto lo eth0 eth9\niface lo inet loopback\n\n# the old one\niface eth0 inet dhcp\n    mtu 1300\n\n\
        # stays\niface eth9 inet static\n    address 10.9.9.9/24\n";
    let view = system("debian").with("/etc/network/interfaces", old);
    let plan = planned(&view, Backend::Ifupdown, None, &g1_interfaces());
    let text = &contents(&plan)["/etc/network/interfaces"];
    assert!(!text.contains("mtu 1300") && text.contains("# stays"), "{text}");
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("interfaces");
    std::fs::write(&file, text).unwrap();
    let query = |arguments: &[&str]| {
        let out = tools::command("sbin/ifquery")
            .unwrap()
            .arg("-i")
            .arg(Path::new(&file))
            .args(arguments)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", said(&out));
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(query(&["--list", "-a"]), "lo\neth9\neth0\neth1\n");
    assert!(query(&["eth9"]).contains("10.9.9.9"));
}

#[test]
fn shell_files_are_shell() {
    let view = system("gentoo").with("/sbin/ip", "").with("/etc/rc.conf", "");
    for backend in [
        Backend::Netifrc,
        Backend::RcConf,
        Backend::ArchLegacy,
        Backend::ArchNetctl,
        Backend::ArchNetcfg,
        Backend::Ifcfg,
        Backend::Suse,
    ] {
        for openrc in [false, true] {
            let view = if openrc { view.clone().with("/sbin/rc", "") } else { view.clone() };
            let all = files(&view, backend, None, &g1_interfaces());
            for (path, text) in all {
                let shell = ["/conf.d/", "rc.conf", "ifcfg", "netctl", "network.d", "config"];
                if !shell.iter().any(|part| path.contains(part)) {
                    continue;
                }
                let mut child = Command::new("bash")
                    .arg("-n")
                    .stdin(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap();
                std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes())
                    .unwrap();
                let out = child.wait_with_output().unwrap();
                assert!(out.status.success(), "{path}: {}\n{text}", said(&out));
            }
        }
    }
}

/// A seed with a bond of two devices, a VLAN on it, and a bridge of a third.
const KINDS: &[u8] = b"version: 2
ethernets:
  a: {match: {macaddress: '02:00:00:00:00:01'}}
  b: {match: {macaddress: '02:00:00:00:00:02'}}
  c: {match: {macaddress: '02:00:00:00:00:03'}}
bonds:
  bond0:
    interfaces: [a, b]
    parameters: {mode: 802.3ad, mii-monitor-interval: 100, transmit-hash-policy: layer3+4, lacp-rate: fast}
    addresses: [192.0.2.7/24]
vlans:
  bond0.5: {id: 5, link: bond0, addresses: [198.51.100.7/24], mtu: 1400}
bridges:
  br0: {interfaces: [c], parameters: {stp: false}, addresses: ['2001:db8::7/64'], gateway6: 2001:db8::1}
";

fn kinds() -> Vec<Interface> {
    let wanted = vnode_netconf::source::nocloud::read(KINDS, None).unwrap();
    let nic = |n: u32| {
        let mac = format!("02:00:00:00:00:0{n}").parse().unwrap();
        vnode_netconf::Nic::plain(n, &format!("eth{n}"), mac, false)
    };
    let bound = vnode_netconf::bind(&wanted.descriptions, &[nic(1), nic(2), nic(3)]);
    assert!(bound.missing.is_empty(), "{bound:?}");
    bound.interfaces
}

#[test]
fn netplan_makes_of_bonds_vlans_and_bridges_what_we_tell_networkd() {
    needs!(Tool("usr/libexec/netplan/generate"));
    let made = generated(&netplan(&kinds())).unwrap();
    let ours = files(&system("ubuntu"), Backend::Networkd, None, &kinds());
    let key_lines = |text: &str| {
        let keys = [
            "Address=",
            "Gateway=",
            "Bond=",
            "Bridge=",
            "VLAN=",
            "Kind=",
            "Id=",
            "Mode=",
            "MIIMonitorSec=",
            "TransmitHashPolicy=",
            "LACPTransmitRate=",
            "LinkLocalAddressing=",
            "MTUBytes=",
        ];
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| keys.iter().any(|key| line.starts_with(key)))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    for name in [
        "eth1.network",
        "eth2.network",
        "eth3.network",
        "bond0.network",
        "bond0.netdev",
        "bond0.5.network",
        "bond0.5.netdev",
        "br0.network",
        "br0.netdev",
    ] {
        let (_, theirs) = made
            .iter()
            .find(|(file, _)| file.ends_with(&format!("-{name}")))
            .unwrap_or_else(|| panic!("{name} in {made:?}"));
        let own = &ours[&format!("/etc/systemd/network/10-vnode-agent-{name}")];
        let same = |text: &str| {
            let mut lines = key_lines(text);
            // The MTU of a VLAN stands in its `.netdev` there, and in its `.network` here: both are read.
            lines.retain(|line| !line.starts_with("MTUBytes="));
            lines
        };
        assert_eq!(same(own), same(theirs), "{name}:\n{own}\n{theirs}");
    }
}

#[test]
fn nmcli_keeps_all_of_bonds_vlans_and_bridges() {
    needs!(Tool("usr/bin/nmcli"));
    let all = files(&system("fedora"), Backend::NetworkManager, None, &kinds());
    for (name, parts) in [
        ("eth1", &["master=bond0", "slave-type=bond"][..]),
        ("eth3", &["master=br0", "slave-type=bridge"]),
        (
            "bond0",
            &[
                "type=bond",
                "mode=802.3ad",
                "miimon=100",
                "xmit_hash_policy=layer3+4",
                "lacp_rate=fast",
                "address1=192.0.2.7/24",
            ],
        ),
        ("bond0.5", &["type=vlan", "id=5", "parent=bond0", "mtu=1400", "address1=198.51.100.7/24"]),
        ("br0", &["type=bridge", "stp=false", "address1=2001:db8::7/64,2001:db8::1"]),
    ] {
        let path =
            format!("/etc/NetworkManager/system-connections/vnode-agent-{name}.nmconnection");
        let kept = normal_form(&all[&path]);
        for part in parts {
            assert!(kept.lines().any(|line| line == *part), "{part} in\n{kept}");
        }
    }
    let uuids: std::collections::BTreeSet<&str> =
        all.values().filter_map(|text| text.lines().find(|l| l.starts_with("uuid="))).collect();
    assert_eq!(uuids.len(), 6, "each profile has its own");
}

#[test]
fn ifup_makes_vlans_and_the_others_are_said_for_their_packages() {
    let all = files(&system("debian"), Backend::Ifupdown, None, &kinds());
    let text = &all["/etc/network/interfaces"];
    for part in [
        "iface eth1 inet manual\n    bond-master bond0\n",
        "    bond-slaves eth1 eth2\n    bond-mode 802.3ad\n    bond-miimon 100\n    bond-xmit-hash-policy layer3+4\n    bond-lacp-rate fast\n",
        "    vlan-raw-device bond0\n",
        "iface eth3 inet manual\n",
        "    bridge-ports eth3\n    bridge-stp off\n",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    needs!(Tool("sbin/ifup"));
    assert_in_order(
        &ifup(text),
        &[
            "ip link add link bond0 name bond0.5 type vlan id 5",
            "ip addr add 198.51.100.7/255.255.255.0",
        ],
    );
}

#[test]
fn ifcfg_files_of_bonds_vlans_and_bridges() {
    let all = files(&system("centos"), Backend::Ifcfg, None, &kinds());
    let of = |name: &str| &all[&format!("/etc/sysconfig/network-scripts/ifcfg-{name}")];
    assert!(of("eth1").contains("MASTER=bond0\nSLAVE=yes\n"));
    assert!(of("eth3").contains("BRIDGE=br0\n"));
    assert!(of("bond0").contains(
        "BONDING_OPTS=\"mode=802.3ad miimon=100 xmit_hash_policy=layer3+4 lacp_rate=fast\"\n"
    ));
    assert!(of("bond0.5").contains("TYPE=Vlan\nVLAN=yes\nPHYSDEV=bond0\nVLAN_ID=5\n"));
    assert!(of("br0").contains("TYPE=Bridge\nSTP=off\n"));
}

#[test]
fn back_ends_that_know_no_bonds_say_so() {
    use vnode_netconf::{Settings, plan};
    for backend in [
        Backend::Suse,
        Backend::Netifrc,
        Backend::ArchNetctl,
        Backend::ArchNetcfg,
        Backend::ArchLegacy,
        Backend::RcConf,
        Backend::Direct,
    ] {
        let settings = Settings { backend: Some(backend), ..Settings::default() };
        let error = plan(&system("test"), &settings, kinds(), None, &[]).unwrap_err().to_string();
        assert!(error.contains("cannot do a bond, as `bond0` wants"), "{backend:?}: {error}");
    }
}
