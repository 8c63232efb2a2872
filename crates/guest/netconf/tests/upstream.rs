//! The cases of the OpenStack agent's own tests: NI-1 to NI-14, FB-1 to FB-4. Bytes are compared.
#![allow(clippy::unwrap_used, reason = "fixtures fail by panicking")]

mod common;

use common::*;
use serde_json::{Value, json};
use vnode_netconf::{Backend, Form, Interface, MemoryView};

const COMPATIBLE: Option<Form> = Some(Form::Compatible);

fn one(view: &MemoryView, backend: Backend, interface: Interface, path: &str) -> String {
    files(view, backend, COMPATIBLE, &[interface]).remove(path).expect("the file is written")
}

#[test]
fn ni_01_redhat_ipv4() {
    let path = "/etc/sysconfig/network-scripts/ifcfg-eth0";
    let expected = [
        "# Automatically generated, do not edit",
        "",
        "# Label public",
        "DEVICE=eth0",
        "BOOTPROTO=static",
        "HWADDR=00:11:22:33:44:55",
        "IPADDR=192.0.2.42",
        "NETMASK=255.255.255.0",
        "DEFROUTE=yes",
        "GATEWAY=192.0.2.1",
        "DNS1=192.0.2.2",
        "ONBOOT=yes",
        "NM_CONTROLLED=no",
    ];
    assert_eq!(one(&system("centos"), Backend::Ifcfg, i4(), path), lines(&expected));
}

#[test]
fn ni_02_redhat_ipv6() {
    let path = "/etc/sysconfig/network-scripts/ifcfg-eth0";
    let expected = [
        "# Automatically generated, do not edit",
        "",
        "# Label public",
        "DEVICE=eth0",
        "BOOTPROTO=static",
        "HWADDR=00:11:22:33:44:55",
        "IPV6INIT=yes",
        "IPV6_AUTOCONF=no",
        "IPV6ADDR=2001:db8::42/96",
        "IPV6_DEFAULTGW=2001:db8::1%eth0",
        "DNS1=2001:db8::2",
        "ONBOOT=yes",
        "NM_CONTROLLED=no",
    ];
    let all = files(&system("centos"), Backend::Ifcfg, COMPATIBLE, &[i6()]);
    assert_eq!(all[path], lines(&expected));
    assert_eq!(all["/etc/sysconfig/network"], "NETWORKING_IPV6=yes\nHOSTNAME=myhostname\n");
}

const DEBIAN: [&str; 6] = [
    "# Used by ifup(8) and ifdown(8). See the interfaces(5) manpage or",
    "# /usr/share/doc/ifupdown/examples for more information.",
    "# The loopback network interface",
    "auto lo",
    "iface lo inet loopback",
    "",
];

#[test]
fn ni_03_debian_ipv4() {
    let expected = [
        "# Label public",
        "auto eth0",
        "iface eth0 inet static",
        "    address 192.0.2.42",
        "    netmask 255.255.255.0",
        "    gateway 192.0.2.1",
        "    dns-nameservers 192.0.2.2",
    ];
    let expected = lines(&DEBIAN) + &lines(&expected);
    let path = "/etc/network/interfaces";
    assert_eq!(one(&system("debian"), Backend::Ifupdown, i4(), path), expected);
}

#[test]
fn ni_04_debian_ipv6() {
    let expected = [
        "# Label public",
        "auto eth0",
        "iface eth0 inet6 static",
        "    address 2001:db8::42",
        "    netmask 96",
        "    gateway 2001:db8::1",
        "    dns-nameservers 2001:db8::2",
    ];
    let expected = lines(&DEBIAN) + &lines(&expected);
    let path = "/etc/network/interfaces";
    assert_eq!(one(&system("debian"), Backend::Ifupdown, i6(), path), expected);
}

/// `/etc/rc.conf` without the host name, which the OpenStack agent's tests leave out.
fn arch_rc(backend: Backend, old: &[&str], interface: Interface) -> String {
    let view = system("arch").with("/etc/rc.conf", lines(old));
    let new = one(&view, backend, interface, "/etc/rc.conf");
    new.strip_suffix("HOSTNAME=\"myhostname\"\n").expect("the name is last").to_owned()
}

#[test]
fn ni_05_arch_legacy_ipv4() {
    let old = [
        "eth0=\"eth0 192.0.2.250 netmask 255.255.255.0\"",
        "INTERFACES=(eth0)",
        "gateway=\"default gw 192.0.2.254\"",
        "ROUTES=(gateway)",
    ];
    let expected = [
        "eth0=\"eth0 192.0.2.42 netmask 255.255.255.0\"",
        "INTERFACES=(eth0)",
        "gateway=\"default gw 192.0.2.1\"",
        "ROUTES=(gateway)",
    ];
    assert_eq!(arch_rc(Backend::ArchLegacy, &old, i4()), lines(&expected));
}

#[test]
fn ni_06_arch_legacy_ipv6() {
    let old = [
        "eth0=\"eth0 add 2001:db8::fff0/96\"",
        "INTERFACES=(eth0)",
        "gateway6=\"default gw 2001:db8::fffe\"",
        "ROUTES=(gateway6)",
    ];
    let expected = [
        "eth0=\"eth0 add 2001:db8::42/96\"",
        "INTERFACES=(eth0)",
        "gateway6=\"default gw 2001:db8::1\"",
        "ROUTES=(gateway6)",
    ];
    assert_eq!(arch_rc(Backend::ArchLegacy, &old, i6()), lines(&expected));
}

#[test]
fn ni_07_arch_netcfg_ipv4() {
    let old = ["NETWORKS=()", "DAEMONS=(foo network bar)"];
    let expected = ["NETWORKS=(eth0)", "DAEMONS=(foo !network @net-profiles bar)"];
    assert_eq!(arch_rc(Backend::ArchNetcfg, &old, i4()), lines(&expected));
    let expected = [
        "# Label public",
        "CONNECTION=\"ethernet\"",
        "INTERFACE=eth0",
        "IP=\"static\"",
        "ADDR=\"192.0.2.42\"",
        "NETMASK=\"255.255.255.0\"",
        "GATEWAY=\"192.0.2.1\"",
        "DNS=(192.0.2.2)",
    ];
    let path = "/etc/network.d/eth0";
    assert_eq!(one(&system("arch"), Backend::ArchNetcfg, i4(), path), lines(&expected));
}

#[test]
fn ni_08_arch_netcfg_ipv6() {
    let expected = [
        "# Label public",
        "CONNECTION=\"ethernet\"",
        "INTERFACE=eth0",
        "IP6=\"static\"",
        "ADDR6=\"2001:db8::42/96\"",
        "GATEWAY6=\"2001:db8::1\"",
        "DNS=(2001:db8::2)",
    ];
    let path = "/etc/network.d/eth0";
    assert_eq!(one(&system("arch"), Backend::ArchNetcfg, i6(), path), lines(&expected));
}

/// Without the head comment; white space free.
fn gentoo(openrc: bool, interface: Interface) -> String {
    let mut view = system("gentoo").with("/sbin/ip", "");
    if openrc {
        view = view.with("/sbin/rc", "");
    }
    let text = one(&view, Backend::Netifrc, interface, "/etc/conf.d/net");
    squeezed(text.strip_prefix("# Automatically generated, do not edit\n").unwrap())
}

#[test]
fn ni_09_gentoo_legacy_ipv4() {
    assert_eq!(
        gentoo(false, i4()),
        "modules=\"iproute2\" # Label public config_eth0=( \"192.0.2.42 netmask 255.255.255.0\" ) \
         routes_eth0=( \"default via 192.0.2.1\" ) dns_servers_eth0=( \"192.0.2.2\" )"
    );
}

#[test]
fn ni_10_gentoo_legacy_ipv6() {
    assert_eq!(
        gentoo(false, i6()),
        "modules=\"iproute2\" # Label public config_eth0=( \"2001:db8::42/96\" ) \
         routes_eth0=( \"default via 2001:db8::1\" ) dns_servers_eth0=( \"2001:db8::2\" )"
    );
}

#[test]
fn ni_11_gentoo_openrc_ipv4() {
    assert_eq!(
        gentoo(true, i4()),
        "modules=\"iproute2\" # Label public config_eth0=\" 192.0.2.42/24 \" \
         routes_eth0=\" default via 192.0.2.1 \" dns_servers_eth0=\"192.0.2.2\""
    );
}

#[test]
fn ni_12_gentoo_openrc_ipv6() {
    assert_eq!(
        gentoo(true, i6()),
        "modules=\"iproute2\" # Label public config_eth0=\" 2001:db8::42/96 \" \
         routes_eth0=\" default via 2001:db8::1 \" dns_servers_eth0=\"2001:db8::2\""
    );
}

#[test]
fn ni_13_suse_ipv4() {
    let expected = [
        "# Automatically generated, do not edit",
        "",
        "# Label public",
        "BOOTPROTO='static'",
        "IPADDR='192.0.2.42'",
        "NETMASK='255.255.255.0'",
        "STARTMODE='auto'",
        "USERCONTROL='no'",
    ];
    let path = "/etc/sysconfig/network/ifcfg-eth0";
    let all = files(&system("opensuse"), Backend::Suse, None, &[i4()]);
    assert_eq!(all[path], lines(&expected));
    assert_eq!(all["/etc/sysconfig/network/ifroute-eth0"], "default 192.0.2.1 - -\n");
    let config = &all["/etc/sysconfig/network/config"];
    assert_eq!(config, "NETCONFIG_DNS_STATIC_SERVERS=\"192.0.2.2\"\n");
}

#[test]
fn ni_14_suse_ipv6() {
    let expected = [
        "# Automatically generated, do not edit",
        "",
        "# Label public",
        "BOOTPROTO='static'",
        "IPADDR='2001:db8::42'",
        "PREFIXLEN='96'",
        "STARTMODE='auto'",
        "USERCONTROL='no'",
    ];
    let path = "/etc/sysconfig/network/ifcfg-eth0";
    assert_eq!(one(&system("opensuse"), Backend::Suse, i6(), path), lines(&expected));
}

const OLD_RC: [&str; 12] = [
    "hostname=\"oldhostname\"",
    "check_quotas=\"NO\"",
    "ipv6_enable=\"YES\"",
    "pf_enable=\"YES\"",
    "pflog_enable=\"YES\"",
    "sshd_enable=\"YES\"",
    "ifconfig_re0=\"DHCP\"",
    "ifconfig_rl0=\"10.0.1.1 netmask 255.255.255.0 up\"",
    "ifconfig_rl0_alias0=\"10.0.1.2 netmask 255.255.255.255\"",
    "dhcpd_enable=\"YES\"",
    "dhcpd_flags=\"-q\"",
    "dhcpd_conf=\"/usr/local/etc/dhcpd.conf\"",
];
const KEPT: [&str; 7] = [
    "check_quotas=\"NO\"",
    "pf_enable=\"YES\"",
    "pflog_enable=\"YES\"",
    "sshd_enable=\"YES\"",
    "dhcpd_enable=\"NO\"",
    "hostname=myhostname",
    "# Label public",
];
const TAIL: [&str; 5] = [
    "# Label private",
    "ifconfig_xn1=\"192.168.2.30 netmask 255.255.224.0 up\"",
    "route_lan0=\"-net 10.176.0.0 -netmask 255.248.0.0 10.177.96.1\"",
    "route_lan1=\"-net 10.191.192.0 -netmask 255.255.192.0 10.177.96.1\"",
    "static_routes=\"lan0 lan1\"",
];
const SIX: [&str; 4] = [
    "ipv6_enable=\"YES\"",
    "ipv6_network_interfaces=\"xn0\"",
    "defaultrouter=\"10.127.31.1\"",
    "ipv6_defaultrouter=\"ffff::1%xn0\"",
];

fn freebsd(ips: &[(&str, &str)], ip6s: &[(&str, u8)]) -> (MemoryView, Vec<Interface>) {
    let view = system("freebsd").with("/etc/rc.conf", lines(&OLD_RC));
    let ips: Vec<Value> =
        ips.iter().map(|(ip, mask)| json!({"ip": ip, "netmask": mask, "enabled": 1})).collect();
    let mut node = json!({"label": "public", "gateway": "10.127.31.1",
        "dns": ["10.6.24.4", "10.6.24.5"], "ips": ips});
    if !ip6s.is_empty() {
        let ip6s: Vec<Value> =
            ip6s.iter().map(|(ip, m)| json!({"ip": ip, "netmask": m, "enabled": 1})).collect();
        node["ip6s"] = json!(ip6s);
        node["gateway6"] = json!("ffff::1");
    }
    let private = json!({"label": "private",
        "ips": [{"ip": "192.168.2.30", "netmask": "255.255.224.0", "enabled": 1}],
        "routes": [{"route": "10.176.0.0", "netmask": "255.248.0.0", "gateway": "10.177.96.1"},
                   {"route": "10.191.192.0", "netmask": "255.255.192.0", "gateway": "10.177.96.1"}]});
    (view, vec![interface("xn0", node), interface("xn1", private)])
}

fn freebsd_rc(ips: &[(&str, &str)], ip6s: &[(&str, u8)]) -> String {
    let (view, interfaces) = freebsd(ips, ip6s);
    let plan = planned(&view, Backend::RcConf, None, &interfaces);
    let all = contents(&plan);
    assert_eq!(
        all["/etc/resolv.conf"],
        "# Automatically generated, do not edit\nnameserver 10.6.24.4\nnameserver 10.6.24.5\n"
    );
    // A second time changes nothing.
    let again = planned(&after(&view, &plan), Backend::RcConf, None, &interfaces);
    assert!(again.changes.is_empty(), "{}", again.diff());
    all["/etc/rc.conf"].clone()
}

const FIRST: (&str, &str) = ("10.127.31.38", "255.255.255.0");
const MORE: [(&str, &str); 3] =
    [FIRST, ("10.127.32.38", "255.255.255.0"), ("10.127.32.39", "255.255.255.255")];

#[test]
fn fb_1_one_address() {
    let middle = ["ifconfig_xn0=\"10.127.31.38 netmask 255.255.255.0 up\""];
    let expected = lines(&KEPT) + &lines(&middle) + &lines(&TAIL) + &lines(&SIX[2..3]);
    assert_eq!(freebsd_rc(&[FIRST], &[]), expected);
}

#[test]
fn fb_2_aliases() {
    let middle = [
        "ifconfig_xn0=\"10.127.31.38 netmask 255.255.255.0 up\"",
        "ifconfig_xn0_alias0=\"10.127.32.38 netmask 255.255.255.0\"",
        "ifconfig_xn0_alias1=\"10.127.32.39 netmask 255.255.255.255\"",
    ];
    let expected = lines(&KEPT) + &lines(&middle) + &lines(&TAIL) + &lines(&SIX[2..3]);
    assert_eq!(freebsd_rc(&MORE, &[]), expected);
}

#[test]
fn fb_3_both_families() {
    let middle = [
        "ifconfig_xn0=\"10.127.31.38 netmask 255.255.255.0 up\"",
        "ipv6_ifconfig_xn0=\"ffff::2/96\"",
    ];
    let expected = lines(&KEPT) + &lines(&middle) + &lines(&TAIL) + &lines(&SIX);
    assert_eq!(freebsd_rc(&[FIRST], &[("ffff::2", 96)]), expected);
}

#[test]
fn fb_4_aliases_of_both_families() {
    let middle = [
        "ifconfig_xn0=\"10.127.31.38 netmask 255.255.255.0 up\"",
        "ipv6_ifconfig_xn0=\"ffff::2/96\"",
        "ifconfig_xn0_alias0=\"10.127.32.38 netmask 255.255.255.0\"",
        "ipv6_ifconfig_xn0_alias0=\"ffff::1:2/96\"",
        "ifconfig_xn0_alias1=\"10.127.32.39 netmask 255.255.255.255\"",
        "ipv6_ifconfig_xn0_alias1=\"ffff::1:3/128\"",
    ];
    let expected = lines(&KEPT) + &lines(&middle) + &lines(&TAIL) + &lines(&SIX);
    let six = [("ffff::2", 96), ("ffff::1:2", 96), ("ffff::1:3", 128)];
    assert_eq!(freebsd_rc(&MORE, &six), expected);
}
