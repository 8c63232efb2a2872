//! Links and addresses: the control network, names, ports, MAC addresses, long names, links going down.
#![allow(clippy::unwrap_used)] // helpers of tests

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{LINK, SOON, lab, node, pair, up};

#[test]
fn t79_nodes_reach_the_host_and_outside_by_the_control_network() {
    needs!(Root, Program("ping"), Program("busybox"));
    let host = Host::new();
    // "Outside" is one more network namespace, reached by a route of the host's as the internet would be.
    let outside = Outside::new(&host);
    up(&host, &lab("one", "a:", ""));
    let address = node(&host, "a")["ipv4"].as_str().expect("a has a control address").to_owned();
    host.run("ping", &["-c1", "-W2", &address]).ok();
    let gateway = address.rsplit_once('.').unwrap().0.to_owned() + ".1";
    assert!(host.ping("a", &gateway), "the host from the node");
    assert!(host.ping("a", "198.51.100.2"), "outside, through NAT");
    drop(outside);
}

/// A namespace that stands for the world outside of the host.
struct Outside(std::process::Child);

impl Outside {
    fn new(host: &Host) -> Outside {
        let script = "ip link set lo up; until ip link show out1 >/dev/null 2>&1; do sleep 0.01; done; \
                      ip addr add 198.51.100.2/24 dev out1; ip link set out1 up; exec sleep 1000";
        let child = host.command("unshare").args(["-n", "sh", "-c", script]).spawn().unwrap();
        let pid = eventually("outside", SOON, || {
            host.processes()
                .into_iter()
                .find(|p| p.argv.iter().any(|a| a.contains("198.51.100.2/24")))
                .map(|p| p.inner)
        });
        host.run("ip", &["link", "add", "out0", "type", "veth", "peer", "name", "out1"]).ok();
        host.run("ip", &["addr", "add", "198.51.100.1/24", "dev", "out0"]).ok();
        host.run("ip", &["link", "set", "out0", "up"]).ok();
        eventually("outside has its own network", SOON, || {
            let moved = host.run("ip", &["link", "set", "out1", "netns", &pid.to_string()]);
            (moved.code == 0).then_some(())
        });
        eventually("outside answers", SOON, || {
            (host.run("ping", &["-c1", "-W1", "198.51.100.2"]).code == 0).then_some(())
        });
        Outside(child)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it ends with the host at the latest
        let _ = self.0.wait();
    }
}

#[test]
fn t79_a_port_forward_works_and_goes_with_the_node() {
    needs!(Root, Program("busybox"), Program("nft"));
    let host = Host::new();
    let port = host.free_port();
    let text = lab(
        "one",
        &format!("a:\n  ports: [\"{port}:80\"]\n  cmd: busybox httpd -f -p 80 -h /etc"),
        "",
    );
    up(&host, &text);
    let ask = || {
        host.run(
            "busybox",
            &[
                "timeout",
                "2",
                "busybox",
                "wget",
                "-qO-",
                &format!("http://127.0.0.1:{port}/hostname"),
            ],
        )
    };
    eventually("the node answers on the forwarded port", SOON, || (ask().code == 0).then_some(()));
    let rules = || host.run("nft", &["list", "ruleset"]).ok().stdout.contains(&port.to_string());
    assert!(rules());
    host.vnode(&["halt", "a"]).ok();
    assert!(!rules(), "the rule is gone after halt");
    host.vnode(&["boot", "a"]).ok();
    assert!(rules());
    host.vnode(&["destroy", "a"]).ok();
    assert!(!rules(), "the rule is gone after destroy");
}

#[test]
fn nodes_know_each_other_by_name() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    up(&host, &lab("names", "a:\nb:", ""));
    assert!(host.ping("a", "b"));
    assert!(host.ping("b", "a"));
    assert_eq!(host.exec("a", &["hostname"]).ok().stdout.trim(), "a");
    let own = |kind: &str, node: &str| host.state_dir().join("labs/names").join(kind).join(node);
    host.vnode(&["destroy", "b"]).ok();
    for kind in ["hostname", "resolv.conf"] {
        assert!(own(kind, "a").is_file() && !own(kind, "b").exists(), "{kind}");
    }
}

#[test]
fn t80_frames_with_a_foreign_control_address_are_dropped() {
    needs!(Root, Program("ping"), Program("ip"));
    let host = Host::new();
    up(&host, &lab("spoof", "a: {privileged: true}\nb:", ""));
    let address = |name: &str| node(&host, name)["ipv4"].as_str().unwrap().to_owned();
    let (a, b) = (address("a"), address("b"));
    let host_address = a.rsplit_once('.').unwrap().0.to_owned() + ".1";
    host.vnode(&["halt", "b"]).ok();
    assert!(host.ping("a", &host_address));
    host.exec("a", &["ip", "addr", "add", &format!("{b}/24"), "dev", "eth0"]).ok();
    let spoofed = host.exec("a", &["ping", "-c1", "-W1", "-I", &b, &host_address]);
    assert_ne!(spoofed.code, 0, "another node's IP address");
    host.exec("a", &["ip", "addr", "del", &format!("{b}/24"), "dev", "eth0"]).ok();
    host.exec("a", &["ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"]).ok();
    let spoofed = host.exec("a", &["ping", "-c1", "-W1", &host_address]);
    assert_ne!(spoofed.code, 0, "another MAC address");
}

#[test]
fn t82_long_interface_names_work_and_do_not_collide() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let text = lab(
        "long",
        "a:\nb:",
        "- endpoints: [\"a:GigabitEthernet0/0/0/1\", \"b:GigabitEthernet0/0/0/2\"]\n  ipv4: [10.0.0.1/24, 10.0.0.2/24]\n\
         - endpoints: [\"a:GigabitEthernet0/0/0/3\", \"b:GigabitEthernet0/0/0/4\"]\n  ipv4: [10.0.1.1/24, 10.0.1.2/24]",
    );
    up(&host, &text);
    assert!(host.ping("a", "10.0.0.2"));
    assert!(host.ping("a", "10.0.1.2"));
    let links = host.vnode(&["link", "ls"]).ok().stdout;
    assert!(links.contains("GigabitEthernet0/0/0/1"), "{links}");
}

#[test]
fn t83_the_default_route_goes_by_the_control_network() {
    needs!(Root, Program("ip"));
    let host = Host::new();
    up(&host, &pair("two", ""));
    let routes = host.exec("a", &["ip", "route", "show", "default"]).ok().stdout;
    assert!(routes.contains("dev eth0"), "{routes}");
    let address = node(&host, "a")["ipv4"].as_str().unwrap().to_owned();
    let own = host.exec("a", &["ip", "-o", "addr", "show", "eth0"]).ok().stdout;
    assert!(own.contains(&address), "{own}");
}

#[test]
fn t84_mac_addresses_are_stable_and_unique_and_explicit_ones_honoured() {
    needs!(Root, Program("ip"));
    let host = Host::new();
    let text = lab(
        "macs",
        "a:\nb:",
        "- type: veth\n  endpoints:\n    - {node: a, interface: eth1, mac: \"02:11:22:33:44:55\"}\n    - {node: b, interface: eth1}\n\
         - endpoints: [\"a:eth2\", \"b:eth2\"]",
    );
    let file = up(&host, &text);
    let mac = |name: &str, interface: &str| {
        host.exec(name, &["cat", &format!("/sys/class/net/{interface}/address")])
            .ok()
            .stdout
            .trim()
            .to_owned()
    };
    let all = || {
        vec![
            mac("a", "eth1"),
            mac("a", "eth2"),
            mac("b", "eth1"),
            mac("b", "eth2"),
            mac("a", "eth0"),
        ]
    };
    let first = all();
    assert_eq!(first[0], "02:11:22:33:44:55");
    let mut unique = first.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), first.len(), "{first:?}");
    host.vnode(&["reboot", "a"]).ok();
    assert_eq!(all(), first, "after a reboot");
    host.vnode(&["down", &file]).ok();
    host.vnode(&["up", &file]).ok();
    assert_eq!(all(), first, "after down and up");
}

#[test]
fn a_link_goes_down_and_up_while_it_carries_traffic() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    up(&host, &pair("two", ""));
    assert!(host.ping("a", "10.0.0.2"));
    host.vnode(&["link", "down", LINK]).ok();
    assert!(!host.ping("a", "10.0.0.2"));
    let shown = host.vnode(&["link", "ls", "--json"]).ok().json();
    assert!(shown.as_array().unwrap().iter().any(|l| l["down"] == true), "{shown}");
    host.vnode(&["link", "up", LINK]).ok();
    assert!(host.ping("a", "10.0.0.2"));
}

#[test]
fn ipv6_works_on_links_and_the_control_network() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    up(&host, &pair("two", "ipv6: [\"fd00::1/64\", \"fd00::2/64\"]"));
    eventually("IPv6 on the link", SOON, || host.ping("a", "fd00::2").then_some(()));
    let control =
        node(&host, "b")["ipv6"].as_str().expect("b has an IPv6 control address").to_owned();
    eventually("IPv6 on the control network", SOON, || host.ping("a", &control).then_some(()));
}

#[test]
fn capture_writes_a_pcap_that_others_read() {
    needs!(Root, Program("ping"), Program("tcpdump"));
    let host = Host::new();
    up(&host, &pair("two", ""));
    let file = host.dir().join("out.pcap");
    let mut capture = host
        .vnode_command(&["capture", "a:eth1"])
        .stdout(std::fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    eventually("frames are in the file", SOON, || {
        host.ping("a", "10.0.0.2");
        let read = host.run("tcpdump", &["-n", "-r", &file.display().to_string()]);
        read.stdout.contains("ICMP echo request").then_some(())
    });
    capture.kill().unwrap();
    capture.wait().unwrap();
}

#[test]
fn t81_vxlan_ends_meet_over_another_machine() {
    needs!(Root, Program("ping"), Program("ip"), Program("tcpdump"));
    let host = Host::new();
    let text = lab(
        "far",
        "a:",
        "- type: vxlan\n  endpoint: {node: a, interface: eth1, ipv4: 10.0.0.1/24}\n  remote: 198.51.100.2\n  vni: 100\n  dst-port: 4789\n  src-port: 50000",
    );
    let outside = Outside::new(&host);
    up(&host, &text);
    // The other machine joins by hand, as any VXLAN end can.
    let pid = host
        .processes()
        .into_iter()
        .find(|p| p.argv.iter().any(|a| a == "1000"))
        .map(|p| p.inner.to_string())
        .unwrap();
    for line in [
        "ip link add vx0 type vxlan id 100 remote 198.51.100.1 dstport 4789",
        "ip addr add 10.0.0.2/24 dev vx0",
        "ip link set vx0 up",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        host.run("nsenter", &[&["-t", &pid, "-n"][..], &words].concat()).ok();
    }
    eventually("the far end answers", SOON, || host.ping("a", "10.0.0.2").then_some(()));
    // A link that is down is silent both ways, though its far end is not ours to cut.
    let link = host.vnode(&["link", "ls", "--json"]).ok().json()[0]["link"].clone();
    let link = link.as_str().expect("a link has a name").to_owned();
    host.vnode(&["link", "down", &link]).ok();
    let heard = || {
        let line = ["-t", &pid, "-n", "ip", "-j", "-s", "link", "show", "vx0"];
        let shown = host.run("nsenter", &line).ok().json();
        shown[0]["stats64"]["rx"]["packets"].as_u64().expect("a number")
    };
    let before = heard();
    assert!(!host.ping("a", "10.0.0.2"));
    assert_eq!(heard(), before, "what the node sends is cut, too");
    host.vnode(&["link", "up", &link]).ok();
    eventually("the far end answers again", SOON, || host.ping("a", "10.0.0.2").then_some(()));
    // What the far end gets has the port that was asked for.
    let mut watched = host.command("nsenter");
    let capture = [
        "tcpdump",
        "-Z",
        "root",
        "-l",
        "-n",
        "-i",
        "out1",
        "-c1",
        "udp and src port 50000 and dst port 4789",
    ];
    watched.args(["-t", &pid, "-n"]).args(capture);
    let watched = watched.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut watched = watched.spawn().unwrap();
    let seen = eventually("a frame with the source port", SOON, || {
        host.ping("a", "10.0.0.2");
        watched.try_wait().unwrap()
    });
    assert!(seen.success(), "tcpdump: {seen}");
    drop(outside);
}
