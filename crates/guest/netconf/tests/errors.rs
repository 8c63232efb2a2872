//! Descriptions that cannot be used, and systems of all kinds: the texts, the choices.
#![allow(clippy::unwrap_used, reason = "fixtures fail by panicking")]

mod common;

use common::*;
use serde_json::{Value, json};
use vnode_netconf::{
    Backend, Conflicts, Content, Distribution, Family, MemoryView, Nic, Settings, bind, detect,
    plan, render::RenderError, source::vmdata,
};

fn text(node: Value) -> String {
    read(&[node]).unwrap_err().to_string()
}

fn ip4(entry: Value) -> Value {
    json!({"mac": "00:11:22:33:44:55", "ips": [entry]})
}

fn ip6(entry: Value) -> Value {
    json!({"mac": "00:11:22:33:44:55", "ip6s": [entry]})
}

fn route(entry: Value) -> Value {
    json!({"mac": "00:11:22:33:44:55", "routes": [entry],
        "ips": [{"ip": "192.0.2.1", "netmask": "255.255.255.0", "enabled": 1}]})
}

#[test]
fn ne_01_the_texts_of_the_openstack_agent() {
    let good = json!({"ip": "192.0.2.1", "netmask": "255.255.255.0", "enabled": 1});
    for node in [json!({"ips": [good]}), json!({"mac": "", "ips": [good]}), json!({"mac": null})] {
        assert_eq!(text(node), "No MAC found in config");
    }
    for node in [
        json!({"mac": "00:11:22:33:44:55"}),
        json!({"mac": "00:11:22:33:44:55", "ips": [], "ip6s": []}),
        json!({"mac": "00:11:22:33:44:55", "ips": null}),
    ] {
        assert_eq!(text(node), "No IPs found for interface");
    }
    let bad = ip4(json!({"ip": "192.0.2.1", "netmask": "255.255.255.0", "enabled": "yes"}));
    assert_eq!(text(bad), "Invalid value 'yes' for 'enabled' key");
    let bad = ip6(json!({"ip": "::1", "netmask": 64, "enabled": "on"}));
    assert_eq!(text(bad), "Invalid value 'on' for 'enabled' key");
    let bad = ip4(json!({"netmask": "255.255.255.0", "enabled": 1}));
    assert_eq!(text(bad), "Missing 'ip' key for IPv4 address");
    let bad = ip4(json!({"ip": "192.0.2.1", "enabled": 1}));
    assert_eq!(text(bad), "Missing 'netmask' key for IPv4 address");
    let bad = ip6(json!({"netmask": 64, "enabled": 1}));
    assert_eq!(text(bad), "Missing 'ip' or 'address' key for IPv6 address");
    let bad = ip6(json!({"ip": "2001:db8::1", "enabled": 1}));
    assert_eq!(text(bad), "Missing 'netmask' key for IPv6 address");
    let bad = ip4(json!({"ip": "192.0.2.1", "netmask": "255.0.255.0", "enabled": 1}));
    assert_eq!(text(bad), "'255.0.255.0'");
    let whole = json!({"route": "10.0.0.0", "netmask": "255.0.0.0", "gateway": "192.0.2.254"});
    for key in ["route", "netmask", "gateway"] {
        let mut bad = whole.clone();
        bad.as_object_mut().unwrap().remove(key);
        assert_eq!(text(route(bad)), format!("Missing '{key}' key for route"));
    }
    let error = vmdata::read([("x", &b"{\"mac\": "[..])], None).unwrap_err().to_string();
    assert!(error.contains("EOF while parsing"), "the decoder's own: {error}");
    let null = json!({"mac": "00:11:22:33:44:55", "ips": null,
        "ip6s": [{"ip": "2001:db8::1", "netmask": 64, "enabled": 1}]});
    assert_eq!(text(null), "'ips' is not a list");
    assert_eq!(text(json!([1])), "'networking' is not an object");
    assert_eq!(text(json!({"mac": "zz", "ips": [good]})), "Unknown interface MAC zz");

    let wanted = read(&[ip4(good)]).unwrap();
    let nics = [Nic::plain(1, "eth0", "00:11:22:33:44:66".parse().unwrap(), true)];
    assert_eq!(bind(&wanted.descriptions, &nics).missing.len(), 1);

    let none = plan(&MemoryView::default(), &Settings::default(), vec![i4()], None, &[]);
    assert_eq!(none.unwrap_err().to_string(), "Couldn't figure out my OS");
    let name = plan(&system("debian"), &Settings::default(), vec![i4()], Some("a b"), &[]);
    assert_eq!(name.unwrap_err().to_string(), "Invalid hostname");
    for backend in [Backend::ArchLegacy, Backend::RcConf] {
        for (first, second, family) in [(i4(), i4(), "IPv4"), (i6(), i6(), "IPv6")] {
            let second = vnode_netconf::Interface { name: "eth1".to_owned(), ..second };
            let view = system("freebsd");
            let both = vec![first, second];
            let error = plan(&view, &settings(backend, None), both, None, &[]).unwrap_err();
            assert_eq!(error.to_string(), format!("Multiple {family} default routes specified"));
        }
    }
}

#[test]
fn ne_01_what_is_no_error() {
    // All addresses disabled: written without.
    let off = interface(
        "eth0",
        json!({"ips": [{"ip": "192.0.2.1", "netmask": "255.255.255.0", "enabled": "0"}]}),
    );
    assert_eq!(off.config.addresses().count(), 0);
    for backend in Backend::ALL {
        let _written = files(&system("test"), backend, None, std::slice::from_ref(&off));
    }
    // Nothing but a name.
    let view = system("debian").with("/etc/network/interfaces", "auto lo\n").with("/sbin/ifup", "");
    let plan = plan(&view, &Settings::default(), Vec::new(), Some("web1"), &[]).unwrap();
    assert_eq!(contents(&plan).into_keys().collect::<Vec<_>>(), ["/etc/hostname"]);
    assert!(plan.steps.after.is_empty());
}

#[test]
fn r_a5_to_a7_forms_that_are_accepted() {
    let gateway6 = |node: Value| interface("eth0", node).config.gateway6.map(|g| g.to_string());
    let ip6s = |gateway: Value| json!([{"ip": "2001:db8::1", "netmask": "64", "enabled": true, "gateway": gateway}]);
    assert_eq!(
        gateway6(json!({"gateway6": "fe80::1", "ip6s": ip6s(json!(null))})).as_deref(),
        Some("fe80::1")
    );
    let both = json!({"gateway6": "fe80::1", "gateway_v6": "fe80::2", "ip6s": ip6s(json!(null))});
    assert_eq!(gateway6(both).as_deref(), Some("fe80::2"));
    let all =
        json!({"gateway6": "fe80::1", "gateway_v6": "fe80::2", "ip6s": ip6s(json!("fe80::3"))});
    assert_eq!(gateway6(all).as_deref(), Some("fe80::3"));
    let masks = interface(
        "eth0",
        json!({"ips": [{"ip": "192.0.2.1", "netmask": 24, "enabled": 1}, {"ip": "192.0.2.2", "netmask": "25", "enabled": true}],
            "ip6s": [{"address": "2001:db8::2", "ip": "2001:db8::3", "netmask": 64, "enabled": "1"}],
            "routes": [{"route": "2001:db8:1::", "netmask": "ffff:ffff:ffff::", "gateway": "2001:db8::9"}]}),
    );
    assert_eq!(masks.config.ip4s[0].prefix_len(), 24);
    assert_eq!(masks.config.ip4s[1].prefix_len(), 25);
    assert_eq!(masks.config.ip6s[0].addr().to_string(), "2001:db8::2", "`address` wins");
    assert_eq!(masks.config.routes[0].destination.to_string(), "2001:db8:1::/48");
    let wanted =
        read(&[json!({"mac": "00:11:22:33:44:55", "ips": [{"ip": "192.0.2.1", "netmask": 24}]})])
            .unwrap();
    assert_eq!(wanted.descriptions[0].config.addresses().count(), 0);
    assert_eq!(wanted.warnings.len(), 1, "missing `enabled` is said");
}

#[test]
fn nothing_gets_out_of_its_line() {
    let evil = interface(
        "eth0",
        json!({"label": "x\nup rm -rf /\n\"`$(id)", "dns": ["1.2.3.4\nup id", "$(id)"],
            "ips": [{"ip": "192.0.2.1", "netmask": "255.255.255.0", "enabled": 1}]}),
    );
    assert!(evil.config.dns.is_empty());
    for backend in Backend::ALL {
        for (path, text) in files(&system("test"), backend, None, std::slice::from_ref(&evil)) {
            for line in text.lines().filter(|line| line.contains("rm -rf")) {
                let json = path.ends_with("direct.json");
                assert!(json || line.starts_with("# Label "), "{path}: {line}");
            }
        }
    }
    for bad in ["192.0.2.1\nup id", "192.0.2.1;id", "$(id)", "::1", ""] {
        let node = ip4(json!({"ip": bad, "netmask": "255.255.255.0", "enabled": 1}));
        assert!(read(&[node]).is_err(), "{bad}");
    }
    let named = vnode_netconf::Interface { name: "a`id`".to_owned(), ..i4() };
    let result = plan(&system("debian"), &Settings::default(), vec![named], None, &[]);
    assert!(matches!(result, Err(RenderError::Name(_))));
}

#[test]
fn ne_05_many_addresses_and_routes() {
    let nodes: Vec<Value> = (0..5)
        .map(|n| {
            let ips: Vec<Value> = (1..=64)
                .map(|k| json!({"ip": format!("10.{n}.0.{k}"), "netmask": "255.255.0.0", "enabled": 1}))
                .collect();
            let routes: Vec<Value> = (0..200)
                .map(|k| json!({"route": format!("172.16.{k}.0"), "netmask": "255.255.255.0", "gateway": format!("10.{n}.0.254")}))
                .collect();
            json!({"mac": format!("00:11:22:33:44:5{n}"), "ips": ips, "routes": routes})
        })
        .collect();
    let wanted = read(&nodes).unwrap();
    let nics: Vec<Nic> = (0..5u32)
        .map(|n| {
            Nic::plain(
                n + 1,
                &format!("eth{n}"),
                format!("00:11:22:33:44:5{n}").parse().unwrap(),
                true,
            )
        })
        .collect();
    let interfaces = bind(&wanted.descriptions, &nics).interfaces;
    for backend in Backend::ALL {
        let all = files(&system("test").with("/etc/rc.conf", ""), backend, None, &interfaces);
        let text: String = all.values().map(String::as_str).collect();
        assert!(text.contains("10.4.0.64") && text.contains("172.16.199.0"), "{backend:?}");
    }
    let too_many: Vec<Value> = (0..2000)
        .map(|k| json!({"ip": format!("10.0.{}.{}", k / 250, k % 250), "netmask": 8, "enabled": 1}))
        .collect();
    let error = read(&[json!({"mac": "00:11:22:33:44:55", "ips": too_many})]).unwrap_err();
    assert!(error.to_string().contains("more than 1024"), "{error}");
}

#[test]
fn ne_07_what_stands_on_an_interface_is_not_taken_for_it() {
    let (wanted, mut nics) = g1();
    let derived = |kind: &str, name: &str| Nic {
        name: name.to_owned(),
        permanent: None,
        kind: Some(kind.to_owned()),
        stacked: kind != "bridge" && kind != "bond",
        ..nics[0].clone()
    };
    let more = [
        derived("vlan", "eth0.5"),
        derived("bridge", "br0"),
        derived("macvlan", "mv0"),
        derived("bond", "bond0"),
    ];
    nics.extend(more);
    let names: Vec<String> =
        bind(&wanted.descriptions, &nics).interfaces.into_iter().map(|i| i.name).collect();
    assert_eq!(names, ["eth0", "eth1"]);
    // A bond's member has the bond's address; its own decides.
    nics[0].mac = "02:00:00:00:00:01".parse().unwrap();
    assert!(bind(&wanted.descriptions, &nics).missing.is_empty());
    // A veth pair with both ends here stands on nothing.
    let veth = Nic { kind: Some("veth".to_owned()), permanent: None, ..nics[1].clone() };
    assert!(veth.is_candidate());
}

#[test]
fn ne_08_a_rival_netplan_file_is_moved_or_refused_never_merged() {
    let rival = "network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: true}\n";
    let path = "/etc/netplan/50-cloud-init.yaml";
    let view = system("ubuntu").with(path, rival).with("/etc/cloud/cloud.cfg.d/05_x.cfg", "");
    let plan_with = |view: &MemoryView, conflicts| {
        let settings = Settings { conflicts, ..settings(Backend::Netplan, None) };
        plan(view, &settings, g1_interfaces(), None, &[])
    };
    let moved = plan_with(&view, Conflicts::Move).unwrap();
    let change = moved.changes.iter().find(|c| c.path == path).unwrap();
    assert_eq!(change.new, Content::Absent);
    assert!(contents(&moved).contains_key("/etc/cloud/cloud.cfg.d/99-vnode-agent-network.cfg"));
    let refused = plan_with(&view, Conflicts::Refuse).unwrap_err().to_string();
    assert!(refused.contains(path) && refused.contains("`eth0`"), "{refused}");

    for (text, rivals) in [
        (
            "network: {ethernets: {any: {match: {macaddress: '40:40:8F:1E:A0:0A'}, dhcp4: true}}}\n",
            true,
        ),
        ("network: {ethernets: {any: {match: {name: 'eth*'}, dhcp4: true}}}\n", true),
        ("network: {ethernets: {any: {match: {name: 'en*'}, dhcp4: true}}}\n", false),
        ("network: {renderer: networkd}\n", false),
    ] {
        let plan = plan_with(&system("ubuntu").with(path, text), Conflicts::Move).unwrap();
        assert_eq!(plan.changes.iter().any(|c| c.path == path), rivals, "{text}");
    }
    // What is not ours is not lost with it.
    let both = "network: {ethernets: {eth0: {dhcp4: true}, eth9: {dhcp4: true}}}\n";
    let refused = plan_with(&system("ubuntu").with(path, both), Conflicts::Move).unwrap_err();
    assert!(refused.to_string().contains("`eth9`"), "{refused}");
    let broken = plan_with(&system("ubuntu").with(path, "a: [\n"), Conflicts::Move).unwrap_err();
    assert!(broken.to_string().contains(path), "{broken}");

    let networkd = "/etc/systemd/network/10-cloud-init-eth0.network";
    let later = "/etc/systemd/network/50-default.network";
    let view = system("arch")
        .with(networkd, "[Match]\nName=eth0\n[Network]\nDHCP=yes\n")
        .with(later, "[Match]\nName=e*\n[Network]\nDHCP=yes\n");
    let plan = plan(&view, &settings(Backend::Networkd, None), g1_interfaces(), None, &[]).unwrap();
    let gone = |path: &str| plan.changes.iter().any(|c| c.path == path);
    assert!(gone(networkd) && !gone(later));
}

fn found(view: &MemoryView) -> (Option<Family>, Backend) {
    let distribution: Option<Distribution> = detect::distribution(view);
    (distribution.as_ref().map(|d| d.family), detect::backend(view, distribution.as_ref()))
}

#[test]
fn systems_are_told_by_their_files() {
    let release = |id: &str, like: &str| {
        MemoryView::default().with(
            "/etc/os-release",
            format!("NAME=x\nID={id}\nID_LIKE=\"{like}\"\nVERSION_ID=\"9\"\n"),
        )
    };
    let wants = "/etc/systemd/system/multi-user.target.wants";
    let debian =
        release("debian", "").with("/etc/network/interfaces", "").with("/usr/sbin/ifup", "");
    let cases = [
        (debian.clone(), Family::Debian, Backend::Ifupdown),
        (
            debian.clone().with("/usr/sbin/netplan", "").with("/etc/netplan/x.yaml", ""),
            Family::Debian,
            Backend::Netplan,
        ),
        (
            debian
                .with_link(&format!("{wants}/NetworkManager.service"), "/lib/x")
                .with("/usr/bin/nmcli", ""),
            Family::Debian,
            Backend::NetworkManager,
        ),
        (
            release("arch", "")
                .with_link(&format!("{wants}/systemd-networkd.service"), "/usr/lib/x"),
            Family::Arch,
            Backend::Networkd,
        ),
        (release("arch", "").with("/usr/bin/netctl", ""), Family::Arch, Backend::ArchNetctl),
        (
            release("opensuse-leap", "suse opensuse").with("/usr/sbin/wicked", ""),
            Family::Suse,
            Backend::Suse,
        ),
        (
            release("rocky", "rhel centos fedora")
                .with("/etc/sysconfig/network-scripts/ifcfg-lo", ""),
            Family::RedHat,
            Backend::Ifcfg,
        ),
        (release("gentoo", "").with("/etc/conf.d/hostname", ""), Family::Gentoo, Backend::Netifrc),
        (release("freebsd", "").with("/etc/rc.conf", ""), Family::FreeBsd, Backend::RcConf),
        (
            release("alpine", "").with("/etc/network/interfaces", "").with("/sbin/ifup", ""),
            Family::Other,
            Backend::Ifupdown,
        ),
        (release("buildroot", ""), Family::Other, Backend::Direct),
        (MemoryView::default().with("/etc/arch-release", ""), Family::Arch, Backend::Direct),
        (
            MemoryView::default()
                .with("/etc/redhat-release", "")
                .with("/etc/sysconfig/network-scripts/ifcfg-eth0", ""),
            Family::RedHat,
            Backend::Ifcfg,
        ),
    ];
    for (view, family, backend) in cases {
        assert_eq!(found(&view), (Some(family), backend));
    }
    assert_eq!(found(&MemoryView::default()).0, None);
    // Red Hat 8 has profiles as ifcfg files: a keyfile beside them would compete.
    let redhat = |version: &str| {
        MemoryView::default()
            .with("/etc/os-release", format!("ID=rhel\nVERSION_ID=\"{version}\"\n"))
            .with("/etc/sysconfig/network-scripts/ifcfg-eth0", "")
            .with("/usr/bin/nmcli", "")
            .with("/run/NetworkManager/x", "")
    };
    assert_eq!(found(&redhat("8.6")).1, Backend::Ifcfg);
    assert_eq!(found(&redhat("9.4")).1, Backend::NetworkManager);
}

#[test]
fn a_plan_can_be_shown_before_it_is_done() {
    let view = system("debian").with("/etc/hosts", "127.0.0.1 localhost\n");
    let plan = planned(&view, Backend::Ifupdown, None, &[i4()]);
    let diff = plan.diff();
    assert!(diff.contains("--- a/etc/hosts\n+++ b/etc/hosts\n"), "{diff}");
    assert!(diff.contains("+192.0.2.42\tmyhostname\n"), "{diff}");
    let summary = plan.summary();
    let line = summary.lines().find(|line| line.ends_with("  /etc/hostname")).unwrap();
    assert_eq!(line.split("  ").next().unwrap().len(), 64, "R-A9: {summary}");
}
