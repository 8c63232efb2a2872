//! Labs of two hosts, each with a daemon and a state of its own, joined by a VXLAN (T-81); and what stays the same when a
//! lab moves from one host to another (T-84).

use std::collections::BTreeMap;

use rustix::process::Signal;
use vnode_testkit::{Host, eventually, needs, needs_or_guest};
use vnode_tests::{SOON, assert_between, lab, node, pid, ping, state, tcp_mbit_between, up};

/// The hosts' addresses on the wire between them.
const OUTER: [&str; 2] = ["198.51.100.1", "198.51.100.2"];
/// The nodes, the first on the first host, and their addresses.
const NODES: [(&str, &str); 2] = [("a", "10.0.0.1"), ("b", "10.0.0.2")];

/// Two hosts with a wire between them, which stands for the network that real ones have.
fn hosts() -> [Host; 2] {
    let hosts = [Host::new(), Host::new()];
    hosts[0].wire(&hosts[1], "wire");
    for (host, address) in hosts.iter().zip(OUTER) {
        // What IPv6 adds to it comes later, and would be taken for something left behind.
        let off = "echo 1 >/proc/sys/net/ipv6/conf/wire/disable_ipv6";
        host.run("sh", &["-c", off]).ok();
        host.run("ip", &["addr", "add", &format!("{address}/24"), "dev", "wire"]).ok();
        host.run("ip", &["link", "set", "wire", "up"]).ok();
    }
    eventually("the hosts reach each other", SOON, || {
        (hosts[0].run("ping", &["-c1", "-W1", OUTER[1]]).code == 0).then_some(())
    });
    hosts
}

/// The part of the lab that is on one host: one node, and its end of the link, with more keys.
fn part(at: usize, more: &str) -> String {
    let ((name, address), remote) = (NODES[at], OUTER[1 - at]);
    let link = format!(
        "- type: vxlan\n  endpoint: {{node: {name}, interface: eth1, ipv4: {address}/24}}\n  \
         remote: {remote}\n  vni: 100\n  dst-port: 4789\n  {more}"
    );
    lab("far", &format!("{name}:"), &link)
}

fn both_up(hosts: &[Host; 2], more: &str) -> [String; 2] {
    let files = [0, 1].map(|at| up(&hosts[at], &part(at, more)));
    for at in [0, 1] {
        meets(hosts, at);
    }
    files
}

/// The node of that host reaches the other.
fn meets(hosts: &[Host; 2], at: usize) {
    let (name, far) = (NODES[at].0, NODES[1 - at].1);
    eventually(&format!("{name} reaches {far}"), SOON, || hosts[at].ping(name, far).then_some(()));
}

/// Whether an echo request with so many bytes of payload passes in one piece.
fn passes_whole(hosts: &[Host; 2], at: usize, payload: u32) -> bool {
    let size = payload.to_string();
    let (name, far) = (NODES[at].0, NODES[1 - at].1);
    let request = ["ping", "-n", "-c1", "-W2", "-M", "do", "-s", &size, far];
    hosts[at].exec(name, &request).code == 0
}

#[test]
fn t81_a_link_between_two_hosts_carries_what_its_mtu_says() {
    needs!(Root, Program("ping"), Program("ip"));
    let hosts = hosts();
    let before = hosts.each_ref().map(Host::snapshot);
    // 28 bytes of a packet are IP's and ICMP's. Undeclared, the MTU is what a wire of 1500 bytes leaves.
    for (more, mtu) in [("", 1450), ("mtu: 1400", 1400), ("mtu: 9000", 1450)] {
        let files = both_up(&hosts, more);
        for at in [0, 1] {
            let seen = hosts[at].exec(NODES[at].0, &["cat", "/sys/class/net/eth1/mtu"]).ok().stdout;
            assert_eq!(seen.trim(), mtu.to_string(), "{more}");
            assert!(passes_whole(&hosts, at, mtu - 28), "{more}: {mtu} bytes pass");
            assert!(!passes_whole(&hosts, at, mtu - 27), "{more}: one byte more does not");
        }
        for (host, file) in hosts.iter().zip(&files) {
            host.vnode(&["down", file]).ok();
        }
    }
    for (host, before) in hosts.iter().zip(&before) {
        host.assert_nothing_but_files(before);
    }
}

#[test]
fn t81_a_link_between_two_hosts_is_shaped_as_on_one() {
    /// Of 10 Mbit/s, what 50 bytes of each frame's outer headers do not count in.
    const GOODPUT: std::ops::RangeInclusive<f64> = 8.7..=10.3;
    needs!(Root, Program("iperf3"));
    let hosts = hosts();
    both_up(&hosts, "impair: {rate: 10mbit}");
    let best = |at: usize, least: f64| {
        let (from, (to, address)) = (NODES[at].0, NODES[1 - at]);
        // A busy machine may be slower than the link for once, never faster.
        (0..5).fold(0.0_f64, |best, _| {
            let ends = ((&hosts[at], from), (&hosts[1 - at], to));
            if best >= least {
                best
            } else {
                best.max(tcp_mbit_between(ends.0, ends.1, address, 3))
            }
        })
    };
    for at in [0, 1] {
        assert_between(&format!("from {}", NODES[at].0), best(at, *GOODPUT.start()), GOODPUT);
    }
    // Each host has its own end, and shapes what that sends.
    let links = hosts[0].vnode(&["link", "ls", "--json"]).ok().json();
    let link = links[0]["link"].as_str().expect("a link has a name");
    hosts[0].vnode(&["link", "set", link, "rate=2mbit"]).ok();
    assert_between("a slowed down", best(0, 1.7), 1.7..=2.1);
    assert_between("b as before", best(1, *GOODPUT.start()), GOODPUT);
}

#[test]
fn t81_delay_of_a_link_between_two_hosts() {
    needs_or_guest!(Root, Netem);
    let hosts = hosts();
    both_up(&hosts, "impair: {delay: 40ms}");
    for at in [0, 1] {
        let (name, far) = (NODES[at].0, NODES[1 - at].1);
        let rtt = ping(&hosts[at], name, &["-c", "5", "-i", "0.2"], far);
        assert_between("round trip", rtt.min_ms, 79.9..=95.0);
    }
}

#[test]
fn t81_each_host_is_cleaned_though_the_other_was_down() {
    needs!(Root, Program("ping"), Program("ip"));
    let hosts = hosts();
    let before = hosts.each_ref().map(Host::snapshot);
    for (how, signal) in [("killed", Signal::KILL), ("stopped", Signal::TERM)] {
        let files = both_up(&hosts, "");
        let first = pid(&hosts[1], "b");
        let daemon = hosts[1].daemon_process().expect("a daemon runs");
        daemon.signal(signal);
        eventually("the daemon ends", SOON, || daemon.is_gone().then_some(()));
        assert!(hosts[0].ping("a", "10.0.0.2"), "{how}: its end of the link stands");

        hosts[0].vnode(&["down", &files[0]]).ok();
        hosts[0].assert_nothing_but_files(&before[0]);
        assert!(hosts[1].daemon_process().is_none(), "{how}: nobody has started it");

        // The next daemon finds node and link as they were, with nobody at the far end.
        assert_eq!((state(&hosts[1], "b"), pid(&hosts[1], "b")), ("running".to_owned(), first));
        let links = hosts[1].vnode(&["link", "ls", "--json"]).ok().json();
        assert_eq!(links[0]["ends"][0]["node"], "b", "{how}: {links}");
        assert!(!hosts[1].ping("b", "10.0.0.1"), "{how}: the far end is gone");

        // And meets it when it comes back.
        hosts[0].vnode(&["up", &files[0]]).ok();
        meets(&hosts, 1);
        hosts[0].vnode(&["down", &files[0]]).ok();
        hosts[1].vnode(&["down", &files[1]]).ok();
        for (host, before) in hosts.iter().zip(&before) {
            host.assert_nothing_but_files(before);
        }
    }
}

/// The Ethernet addresses of all nodes' interfaces.
fn addresses(host: &Host, nodes: &[&str]) -> BTreeMap<String, String> {
    let of = |name: &&str| {
        let shell = "cd /sys/class/net && for i in eth*; do echo \"$i $(cat $i/address)\"; done";
        let text = host.exec(name, &["sh", "-c", shell]).ok().stdout;
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(i, mac)| (format!("{name}:{i}"), mac.to_owned())).collect::<Vec<_>>()
    };
    nodes.iter().flat_map(of).collect()
}

#[test]
fn t84_a_lab_has_the_same_mac_addresses_on_another_host() {
    const EXPLICIT: &str = "02:11:22:33:44:55";
    needs!(Root, Program("ping"));
    let hosts = [Host::new(), Host::new()];
    let text = lab(
        "moves",
        "a:\nb:",
        &format!(
            "- type: veth\n  endpoints:\n    - {{node: a, interface: eth1, mac: \"{EXPLICIT}\"}}\n    - {{node: b, interface: eth1}}\n\
             - type: vxlan\n  endpoint: {{node: a, interface: eth3}}\n  remote: 192.0.2.1\n  vni: 7\n  dst-port: 4789"
        ),
    ) + "  networks:\n    lan0:\n      members: [\"a:eth2\", \"b:eth2\"]\n";
    // The second host has work already: its numbers, subnets and objects are others.
    up(&hosts[1], &lab("resident", "a:\nc:", "- endpoints: [\"a:eth1\", \"c:eth1\"]"));
    let file = up(&hosts[0], &text);
    let first = addresses(&hosts[0], &["a", "b"]);
    assert_eq!(first.len(), 7, "{first:?}");
    assert_eq!(first["a:eth1"], EXPLICIT);
    let before = node(&hosts[0], "a");
    hosts[0].vnode(&["down", &file]).ok();

    up(&hosts[1], &text);
    let after = hosts[1].vnode(&["ps", "--json"]).ok().json();
    let after = after.as_array().expect("a list").iter().find(|n| n["lab"] == "moves").cloned();
    assert_ne!(before["vmid"], after.expect("it came up")["vmid"], "the hosts differ");
    let second = addresses(&hosts[1], &["moves/a", "moves/b"]);
    let second: BTreeMap<_, _> =
        second.into_iter().map(|(name, mac)| (name.replace("moves/", ""), mac)).collect();
    assert_eq!(second, first);
    // Of another lab none is the same, though node and interface are called alike.
    let resident = addresses(&hosts[1], &["resident/a", "resident/c"]);
    let shared: Vec<_> =
        resident.values().filter(|mac| second.values().any(|m| m == *mac)).collect();
    assert!(shared.is_empty(), "{shared:?}");
}
