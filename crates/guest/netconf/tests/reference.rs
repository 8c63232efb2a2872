//! The reference inputs G1 and G2 for every back-end.
#![allow(clippy::unwrap_used, reason = "fixtures fail by panicking")]

mod common;

use common::*;
use vnode_netconf::{Backend, Form, MemoryView};

const COMPATIBLE: Option<Form> = Some(Form::Compatible);

#[test]
fn g1_00_normalised() {
    let [eth0, eth1] = &g1_interfaces()[..] else { panic!("two interfaces") };
    let text = |list: &[ipnet::Ipv4Net]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(&eth0.config.ip4s), ["192.0.2.42/24", "192.0.2.43/24"]);
    assert_eq!(eth0.config.ip6s.len(), 2);
    assert_eq!(eth0.config.gateway6.unwrap().to_string(), "fe80::def");
    assert_eq!(eth0.config.dns.len(), 2);
    assert!(eth0.up && !eth1.up);
    assert_eq!(text(&eth1.config.ip4s), ["10.177.97.10/19"]);
    assert_eq!((eth1.config.gateway4, eth1.config.gateway6), (None, None));
    assert_eq!(eth1.config.routes[0].destination.to_string(), "10.176.0.0/13");
    assert_eq!(eth1.config.routes[1].destination.to_string(), "10.191.192.0/18");
}

#[test]
fn g1_01_debian_as_the_openstack_agent_wrote_it() {
    let all = files(&system("debian"), Backend::Ifupdown, COMPATIBLE, &g1_interfaces());
    let expected = "\
# Used by ifup(8) and ifdown(8). See the interfaces(5) manpage or
# /usr/share/doc/ifupdown/examples for more information.
# The loopback network interface
auto lo
iface lo inet loopback

# Label public
auto eth0
iface eth0 inet static
    address 192.0.2.42
    netmask 255.255.255.0
    gateway 192.0.2.1
iface eth0 inet6 static
    address 2001:db8::42
    netmask 64
    gateway fe80::def
    dns-nameservers 203.0.113.5 203.0.113.6

# Label public
auto eth0:1
iface eth0:1 inet static
    address 192.0.2.43
    netmask 255.255.255.0
iface eth0:1 inet6 static
    address 2001:db8::43
    netmask 64

# Label private
auto eth1
iface eth1 inet static
    address 10.177.97.10
    netmask 255.255.224.0
    post-up route add -net 10.176.0.0 netmask 255.248.0.0 gw 10.177.96.1 || true
    pre-down route del -net 10.176.0.0 netmask 255.248.0.0 gw 10.177.96.1 || true
    post-up route add -net 10.191.192.0 netmask 255.255.192.0 gw 10.177.96.1 || true
    pre-down route del -net 10.191.192.0 netmask 255.255.192.0 gw 10.177.96.1 || true
";
    assert_eq!(all["/etc/network/interfaces"], expected);
    assert_eq!(all["/etc/hostname"], "myhostname\n");
}

#[test]
fn g1_02_redhat() {
    let folder = "/etc/sysconfig/network-scripts";
    let all = files(&system("centos"), Backend::Ifcfg, COMPATIBLE, &g1_interfaces());
    let expected = "\
# Automatically generated, do not edit

# Label public
DEVICE=eth0
BOOTPROTO=static
HWADDR=40:40:8f:1e:a0:0a
IPADDR=192.0.2.42
NETMASK=255.255.255.0
DEFROUTE=yes
GATEWAY=192.0.2.1
IPV6INIT=yes
IPV6_AUTOCONF=no
IPV6ADDR=2001:db8::42/64
IPV6ADDR_SECONDARIES=\"2001:db8::43/64\"
IPV6_DEFAULTGW=fe80::def%eth0
DNS1=203.0.113.5
DNS2=203.0.113.6
ONBOOT=yes
NM_CONTROLLED=no
";
    assert_eq!(all[&format!("{folder}/ifcfg-eth0")], expected);
    let expected = "\
# Automatically generated, do not edit

# Label public
DEVICE=eth0:1
BOOTPROTO=static
HWADDR=40:40:8f:1e:a0:0a
IPADDR=192.0.2.43
NETMASK=255.255.255.0
ONBOOT=yes
NM_CONTROLLED=no
";
    assert_eq!(all[&format!("{folder}/ifcfg-eth0:1")], expected);
    let routes = "\
ADDRESS0=10.176.0.0
NETMASK0=255.248.0.0
GATEWAY0=10.177.96.1
ADDRESS1=10.191.192.0
NETMASK1=255.255.192.0
GATEWAY1=10.177.96.1
";
    assert_eq!(all[&format!("{folder}/route-eth1")], routes);
    assert!(!all.contains_key(&format!("{folder}/route-eth0")));

    let view = system("rocky")
        .with(&format!("{folder}/ifcfg-eth0"), "IPADDR=1.2.3.4\nNM_CONTROLLED=no\nZONE=trusted\n")
        .with(&format!("{folder}/ifcfg-eth0:1"), "IPADDR=1.2.3.5\n")
        .with(&format!("{folder}/ifcfg-eth7"), "BOOTPROTO=dhcp\n");
    let plan = planned(&view, Backend::Ifcfg, None, &g1_interfaces());
    let modern = "\
# Automatically generated, do not edit

# Label public
DEVICE=eth0
BOOTPROTO=static
HWADDR=40:40:8f:1e:a0:0a
IPADDR=192.0.2.42
PREFIX=24
DEFROUTE=yes
GATEWAY=192.0.2.1
IPADDR1=192.0.2.43
PREFIX1=24
IPV6INIT=yes
IPV6_AUTOCONF=no
IPV6ADDR=2001:db8::42/64
IPV6ADDR_SECONDARIES=\"2001:db8::43/64\"
IPV6_DEFAULTGW=fe80::def%eth0
DNS1=203.0.113.5
DNS2=203.0.113.6
ONBOOT=yes
ZONE=trusted
";
    assert_eq!(contents(&plan)[&format!("{folder}/ifcfg-eth0")], modern);
    let gone: Vec<&str> = plan
        .changes
        .iter()
        .filter(|c| c.new == vnode_netconf::Content::Absent)
        .map(|c| c.path.as_str())
        .collect();
    assert_eq!(gone, [format!("{folder}/ifcfg-eth0:1")], "what is not ours stays");
}

#[test]
fn g1_03_suse() {
    let all = files(&system("sles"), Backend::Suse, None, &g1_interfaces());
    let folder = "/etc/sysconfig/network";
    let expected = "\
# Automatically generated, do not edit

# Label public
BOOTPROTO='static'
IPADDR='192.0.2.42'
NETMASK='255.255.255.0'
IPADDR_0='192.0.2.43'
NETMASK_0='255.255.255.0'
LABEL_0='0'
IPADDR_1='2001:db8::42'
PREFIXLEN_1='64'
LABEL_1='1'
IPADDR_2='2001:db8::43'
PREFIXLEN_2='64'
LABEL_2='2'
STARTMODE='auto'
USERCONTROL='no'
";
    assert_eq!(all[&format!("{folder}/ifcfg-eth0")], expected);
    let expected = "default 192.0.2.1 - -\ndefault fe80::def - -\n";
    assert_eq!(all[&format!("{folder}/ifroute-eth0")], expected);
    let expected = "\
10.176.0.0 10.177.96.1 255.248.0.0 eth1
10.191.192.0 10.177.96.1 255.255.192.0 eth1
";
    assert_eq!(all[&format!("{folder}/ifroute-eth1")], expected);
    assert_eq!(all["/etc/HOSTNAME"], "myhostname\n");
}

#[test]
fn g1_04_gentoo() {
    let view = system("gentoo").with("/sbin/rc", "").with("/sbin/ip", "");
    let plan = planned(&view, Backend::Netifrc, None, &g1_interfaces());
    let expected = "\
# Automatically generated, do not edit

modules=\"iproute2\"

# Label public
config_eth0=\"
  192.0.2.42/24
  192.0.2.43/24
  2001:db8::42/64
  2001:db8::43/64
\"

routes_eth0=\"
  default via 192.0.2.1
  default via fe80::def
\"

dns_servers_eth0=\"203.0.113.5
203.0.113.6\"

# Label private
config_eth1=\"
  10.177.97.10/19
\"

routes_eth1=\"
  10.176.0.0/13 via 10.177.96.1
  10.191.192.0/18 via 10.177.96.1
\"

";
    assert_eq!(contents(&plan)["/etc/conf.d/net"], expected);
    let link = plan.changes.iter().find(|c| c.path == "/etc/init.d/net.eth0").unwrap();
    assert_eq!(link.new, vnode_netconf::Content::Link { target: "net.lo".to_owned() });
}

#[test]
fn g1_05_arch() {
    let all = files(
        &system("arch").with("/etc/rc.conf", ""),
        Backend::ArchLegacy,
        None,
        &g1_interfaces(),
    );
    let expected = "\
eth0=\"eth0 192.0.2.42 netmask 255.255.255.0 add 2001:db8::42/64\"
eth0_1=\"eth0:1 192.0.2.43 netmask 255.255.255.0 add 2001:db8::43/64\"
eth1=\"eth1 10.177.97.10 netmask 255.255.224.0\"
INTERFACES=(eth0 eth0_1 eth1)
eth1_route0=\"-net 10.176.0.0 netmask 255.248.0.0 gw 10.177.96.1\"
eth1_route1=\"-net 10.191.192.0 netmask 255.255.192.0 gw 10.177.96.1\"
gateway=\"default gw 192.0.2.1\"
gateway6=\"default gw fe80::def\"
ROUTES=(eth1_route0 eth1_route1 gateway gateway6)
HOSTNAME=\"myhostname\"
";
    assert_eq!(all["/etc/rc.conf"], expected);

    let all = files(&system("arch"), Backend::ArchNetctl, None, &g1_interfaces());
    let expected = "\
# Label public
Connection=ethernet
Interface=eth0
IP=static
Address=('192.0.2.42/24' '192.0.2.43/24')
Gateway=192.0.2.1
IP6=static
Address6=('2001:db8::42/64' '2001:db8::43/64')
Gateway6=fe80::def
DNS=('203.0.113.5' '203.0.113.6')
";
    assert_eq!(all["/etc/netctl/eth0"], expected);
    assert!(all["/etc/hosts"].contains("192.0.2.42\tmyhostname"));

    let old = "a=\"b\"\nINTERFACES=(a !c)\nc=\"d\"\n";
    let view = system("arch").with("/etc/rc.conf", old);
    let all = files(&view, Backend::ArchNetcfg, None, &g1_interfaces());
    let expected = "\
#a=\"b\"
#INTERFACES=(a !c)
#c=\"d\"
NETWORKS=(eth0 eth1)
HOSTNAME=\"myhostname\"
";
    assert_eq!(all["/etc/rc.conf"], expected);
    let profile = &all["/etc/network.d/eth0"];
    assert!(profile.ends_with(
        "POST_UP=\"ip addr add 192.0.2.43/255.255.255.0 dev eth0; ip addr add 2001:db8::43/64 dev eth0\"\n\
         PRE_DOWN=\"ip addr del 2001:db8::43/64 dev eth0; ip addr del 192.0.2.43/255.255.255.0 dev eth0\"\n"
    ), "{profile}");
}

#[test]
fn g1_06_freebsd() {
    let mut interfaces = g1_interfaces();
    interfaces[0].name = "xn0".to_owned();
    interfaces[1].name = "xn1".to_owned();
    let view = system("freebsd").with("/etc/rc.conf", "sshd_enable=\"YES\"\n");
    let all = files(&view, Backend::RcConf, None, &interfaces);
    let expected = "\
sshd_enable=\"YES\"
dhcpd_enable=\"NO\"
hostname=myhostname
# Label public
ifconfig_xn0=\"192.0.2.42 netmask 255.255.255.0 up\"
ipv6_ifconfig_xn0=\"2001:db8::42/64\"
ifconfig_xn0_alias0=\"192.0.2.43 netmask 255.255.255.0\"
ipv6_ifconfig_xn0_alias0=\"2001:db8::43/64\"
# Label private
ifconfig_xn1=\"10.177.97.10 netmask 255.255.224.0 up\"
route_lan0=\"-net 10.176.0.0 -netmask 255.248.0.0 10.177.96.1\"
route_lan1=\"-net 10.191.192.0 -netmask 255.255.192.0 10.177.96.1\"
static_routes=\"lan0 lan1\"
ipv6_enable=\"YES\"
ipv6_network_interfaces=\"xn0\"
defaultrouter=\"192.0.2.1\"
ipv6_defaultrouter=\"fe80::def%xn0\"
";
    assert_eq!(all["/etc/rc.conf"], expected);
    let all = files(&view, Backend::RcConf, Some(Form::Modern), &interfaces);
    let expected = "\
sshd_enable=\"YES\"
dhcpd_enable=\"NO\"
hostname=myhostname
# Label public
ifconfig_xn0=\"inet 192.0.2.42 netmask 255.255.255.0\"
ifconfig_xn0_ipv6=\"inet6 2001:db8::42 prefixlen 64 -accept_rtadv\"
ifconfig_xn0_alias0=\"inet 192.0.2.43 netmask 255.255.255.0\"
ifconfig_xn0_alias1=\"inet6 2001:db8::43 prefixlen 64\"
# Label private
ifconfig_xn1=\"inet 10.177.97.10 netmask 255.255.224.0\"
route_lan0=\"-net 10.176.0.0 -netmask 255.248.0.0 10.177.96.1\"
route_lan1=\"-net 10.191.192.0 -netmask 255.255.192.0 10.177.96.1\"
static_routes=\"lan0 lan1\"
defaultrouter=\"192.0.2.1\"
ipv6_defaultrouter=\"fe80::def%xn0\"
";
    assert_eq!(all["/etc/rc.conf"], expected);
}

#[test]
fn g1_07_netplan() {
    let all = files(&system("ubuntu"), Backend::Netplan, None, &g1_interfaces());
    let expected = include_str!("data/g1.netplan.yaml");
    assert_eq!(all["/etc/netplan/90-vnode-agent.yaml"], expected);
    let all = files(&system("ubuntu"), Backend::CloudInit, None, &g1_interfaces());
    let without =
        expected.replace("      set-name: eth0\n", "").replace("      set-name: eth1\n", "");
    assert_eq!(all["/etc/cloud/cloud.cfg.d/99-vnode-agent-network.cfg"], without);
}

#[test]
fn g1_08_network_manager_and_networkd() {
    let all = files(&system("fedora"), Backend::NetworkManager, None, &g1_interfaces());
    let folder = "/etc/NetworkManager/system-connections";
    let expected = "\
# Label private
[connection]
id=vnode-agent-eth1
uuid=UUID
type=ethernet
autoconnect-priority=100
interface-name=eth1

[ethernet]
mac-address=40:40:A2:87:6E:26

[ipv4]
method=manual
address1=10.177.97.10/19
route1=10.176.0.0/13,10.177.96.1
route2=10.191.192.0/18,10.177.96.1

[ipv6]
method=disabled
";
    let profile = &all[&format!("{folder}/vnode-agent-eth1.nmconnection")];
    let uuid = profile.lines().find_map(|line| line.strip_prefix("uuid=")).unwrap();
    assert_eq!(uuid.as_bytes()[14], b'5', "a version 5 UUID: {uuid}");
    assert_eq!(profile.replace(uuid, "UUID"), expected);

    let all = files(&system("arch"), Backend::Networkd, None, &g1_interfaces());
    let expected = "\
# Label public
[Match]
PermanentMACAddress=40:40:8f:1e:a0:0a

[Network]
Address=192.0.2.42/24
Address=192.0.2.43/24
Address=2001:db8::42/64
Address=2001:db8::43/64
DNS=203.0.113.5
DNS=203.0.113.6
IPv6AcceptRA=no
LinkLocalAddressing=ipv6

[Route]
Destination=0.0.0.0/0
Gateway=192.0.2.1

[Route]
Destination=::/0
Gateway=fe80::def
";
    assert_eq!(all["/etc/systemd/network/10-vnode-agent-eth0.network"], expected);
}

#[test]
fn g1_09_ifupdown_modern() {
    let all = files(&system("debian"), Backend::Ifupdown, None, &g1_interfaces());
    let expected = include_str!("data/g1.interfaces");
    assert_eq!(all["/etc/network/interfaces"], expected);
}

#[test]
fn g1_10_resolv_conf() {
    let all = files(&system("debian"), Backend::Ifupdown, None, &g1_interfaces());
    let expected =
        "# Automatically generated, do not edit\nnameserver 203.0.113.5\nnameserver 203.0.113.6\n";
    assert_eq!(all["/etc/resolv.conf"], expected);
    // A link is somebody else's.
    let view =
        system("debian").with_link("/etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf");
    let all = files(&view, Backend::Ifupdown, None, &g1_interfaces());
    assert!(!all.keys().any(|path| path.contains("resolv")), "{:?}", all.keys());
}

/// Every back-end that keeps interfaces in files writes the same again without a change, and takes its own files as its own.
#[test]
fn ne_02_a_second_time_nothing_changes() {
    for backend in Backend::ALL {
        for form in [None, Some(Form::Compatible), Some(Form::Modern)] {
            let view = MemoryView::default()
                .with("/etc/os-release", "ID=test\n")
                .with("/etc/hosts", "127.0.0.1 localhost\n192.0.2.42 old\n");
            let first = planned(&view, backend, form, &g1_interfaces());
            assert!(!first.changes.is_empty());
            let view = after(&view, &first);
            let second = planned(&view, backend, form, &g1_interfaces());
            assert_eq!(second.diff(), "", "{backend:?} {form:?}");
            assert!(second.changed.is_empty(), "{backend:?}");
            let steps = (second.steps.before.len(), second.steps.after.len());
            assert_eq!(steps, (0, 0), "{backend:?} {form:?}");
        }
    }
}

#[test]
fn r_a2_only_what_changed_is_touched() {
    for backend in [
        Backend::Ifupdown,
        Backend::Netifrc,
        Backend::Networkd,
        Backend::NetworkManager,
        Backend::Ifcfg,
        Backend::Suse,
        Backend::Direct,
        Backend::Netplan,
    ] {
        let view = system("test");
        let first = planned(&view, backend, None, &g1_interfaces());
        let mut changed = g1_interfaces();
        changed[1].config.ip4s[0] = "10.177.97.11/19".parse().unwrap();
        let second = planned(&after(&view, &first), backend, None, &changed);
        assert_eq!(second.changed, ["eth1"], "{backend:?}");
        let text = format!("{:?}", second.steps);
        assert!(!text.contains("eth0"), "{backend:?}: {text}");
    }
}

#[test]
fn g2_01_the_default_route_is_not_said_twice() {
    for backend in Backend::ALL {
        let all = files(&system("test").with("/etc/rc.conf", ""), backend, None, &[g2()]);
        for (path, text) in all {
            assert!(
                !text.contains("-net 0.0.0.0") && !text.contains("ADDRESS0=0.0.0.0"),
                "{path}\n{text}"
            );
            assert!(text.matches("0.0.0.0/0").count() <= 1, "{path}\n{text}");
        }
    }
}

#[test]
fn g2_02_to_05_no_route_and_no_address_is_lost() {
    let of = |backend, path: &str| {
        let view = system("test").with("/etc/rc.conf", "").with("/sbin/rc", "");
        files(&view, backend, COMPATIBLE, &[g2()]).remove(path).unwrap()
    };
    let debian = of(Backend::Ifupdown, "/etc/network/interfaces");
    let (first, alias) = debian.split_once("auto eth0:1").unwrap();
    assert!(first.contains("route add -net 10.0.0.0 netmask 255.0.0.0 gw 192.0.2.1"), "G2-2");
    assert!(!alias.contains("route add"), "G2-2");
    let redhat = of(Backend::Ifcfg, "/etc/sysconfig/network-scripts/route-eth0");
    assert_eq!(redhat, "ADDRESS0=10.0.0.0\nNETMASK0=255.0.0.0\nGATEWAY0=192.0.2.1\n", "G2-3");
    assert!(
        of(Backend::Netifrc, "/etc/conf.d/net").contains("  10.0.0.0/8 via 192.0.2.1\n"),
        "G2-4"
    );
    let netcfg = of(Backend::ArchNetcfg, "/etc/network.d/eth0");
    assert!(netcfg.contains("ROUTES=(\"10.0.0.0/255.0.0.0 via 192.0.2.1\")"), "G2-4 {netcfg}");
    let netctl = of(Backend::ArchNetctl, "/etc/netctl/eth0");
    assert!(netctl.contains("Routes=('10.0.0.0/8 via 192.0.2.1')"), "G2-4");
    assert!(netctl.contains("Address=('192.0.2.42/24' '192.0.2.43/24')"), "G2-5");
}

/// What is run when both interfaces change, and nothing else.
#[test]
fn r_a1_each_back_end_is_told_in_its_own_way() {
    use vnode_netconf::render::Step;
    let shown = |steps: &[Step]| -> Vec<String> {
        let one = |step: &Step| match step {
            Step::Program(program) => program.argv.join(" "),
            Step::Flush { interface } => format!("(flush {interface})"),
            Step::Direct(interfaces) => format!("(set {} interfaces)", interfaces.len()),
        };
        steps.iter().map(one).collect()
    };
    let keyfiles = "/etc/NetworkManager/system-connections/vnode-agent";
    let cases: Vec<(Backend, MemoryView, Vec<&str>, Vec<String>)> = vec![
        (Backend::Netplan, system("ubuntu"), vec![], vec!["netplan apply".to_owned()]),
        (
            Backend::NetworkManager,
            system("fedora"),
            vec![],
            ["eth0", "eth1"]
                .iter()
                .flat_map(|name| {
                    [
                        format!("nmcli connection load {keyfiles}-{name}.nmconnection"),
                        format!("nmcli --wait 10 connection up id vnode-agent-{name}"),
                    ]
                })
                .collect(),
        ),
        (
            Backend::Networkd,
            system("arch"),
            vec![],
            ["reload", "reconfigure eth0", "reconfigure eth1"]
                .map(|w| format!("networkctl {w}"))
                .to_vec(),
        ),
        (
            Backend::Suse,
            system("sles").with("/usr/sbin/wicked", ""),
            vec![],
            ["wicked ifreload eth0", "wicked ifreload eth1", "netconfig update -f"]
                .map(str::to_owned)
                .to_vec(),
        ),
        (Backend::Suse, system("sles"), vec![], vec!["/etc/init.d/network restart".to_owned()]),
        (
            Backend::Ifcfg,
            system("centos").with("/usr/sbin/ifup", ""),
            vec!["ifdown eth0", "ifdown eth1"],
            ["(flush eth0)", "ifup eth0", "(flush eth1)", "ifup eth1"].map(str::to_owned).to_vec(),
        ),
        (
            Backend::Ifupdown,
            system("debian").with(
                "/etc/network/interfaces",
                "auto lo eth0\niface eth0 inet dhcp\niface eth9 inet dhcp\n",
            ),
            vec!["ifdown -f eth0"],
            ["(flush eth0)", "ifup eth0", "(flush eth1)", "ifup eth1"].map(str::to_owned).to_vec(),
        ),
        (
            Backend::Netifrc,
            system("gentoo"),
            vec![],
            [
                "(flush eth0)",
                "/etc/init.d/net.eth0 restart",
                "(flush eth1)",
                "/etc/init.d/net.eth1 restart",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        (
            Backend::ArchNetctl,
            system("arch"),
            vec![],
            ["restart eth0", "reenable eth0", "restart eth1", "reenable eth1"]
                .map(|w| format!("netctl {w}"))
                .to_vec(),
        ),
        (
            Backend::ArchNetcfg,
            system("arch"),
            vec!["/usr/bin/netcfg -d eth0"],
            ["-u eth0", "-u eth1"].map(|w| format!("/usr/bin/netcfg {w}")).to_vec(),
        ),
        (
            Backend::ArchLegacy,
            system("arch"),
            vec!["/etc/rc.d/network stop"],
            vec!["/etc/rc.d/network start".to_owned()],
        ),
        (
            Backend::RcConf,
            system("freebsd").with("/etc/rc.d/network_ipv6", ""),
            vec![],
            [
                "/bin/sh /etc/rc.d/netif restart",
                "/etc/rc.d/network_ipv6 restart",
                "/bin/sh /etc/rc.d/routing restart",
            ]
            .map(str::to_owned)
            .to_vec(),
        ),
        (
            Backend::Direct,
            system("buildroot").with("/sbin/resolvconf", ""),
            vec![],
            vec!["(set 2 interfaces)".to_owned(), "resolvconf -a eth0.vnode-agent".to_owned()],
        ),
        (Backend::CloudInit, system("ubuntu"), vec![], vec![]),
    ];
    for (backend, view, before, after) in cases {
        let plan = planned(&view, backend, None, &g1_interfaces());
        assert_eq!(shown(&plan.steps.before), before, "{backend:?}");
        assert_eq!(shown(&plan.steps.after), after, "{backend:?}");
        // Another name changes no interface.
        let view = common::after(&view, &plan);
        let renamed = vnode_netconf::plan(
            &view,
            &settings(backend, None),
            g1_interfaces(),
            Some("other"),
            &[],
        )
        .unwrap();
        let files = contents(&renamed);
        assert!(!files.is_empty(), "{backend:?}");
        assert!(renamed.changed.is_empty(), "{backend:?}");
        assert!(renamed.steps.after.is_empty(), "{backend:?} {:?}", renamed.steps);
    }
}
