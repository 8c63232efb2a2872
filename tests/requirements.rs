//! What the specification requires of everything, seen from outside.

use vnode_testkit::{Host, needs};
use vnode_tests::{lab, node, up};

/// A lab with one of everything that is made in the host's network.
fn mixed(name: &str) -> String {
    lab(
        name,
        "a: {ports: [\"18081:80\"]}\nb:",
        "- endpoints: [\"a:eth1\", \"b:eth1\"]\n  ipv4: [10.0.0.1/24, 10.0.0.2/24]\n  impair: {rate: 50mbit}\n\
         - type: host\n  endpoint: {node: a, interface: eth2}\n  host-interface: to-a",
    ) + "  networks:\n    lan0:\n      members: [\"a:eth3\", \"b:eth3\"]\n"
}

#[test]
fn r15_every_object_in_the_kernel_says_whose_it_is() {
    needs!(Root, Program("ip"), Program("nft"));
    let host = Host::new();
    let _daemon = host.start_daemon(&[]);
    let before = host.snapshot();
    let names = || {
        let all = host.run("ip", &["-j", "-d", "link", "show"]).ok().json();
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().map(|link| {
            let text = |key: &str| link[key].as_str().unwrap_or_default().to_owned();
            (text("ifname"), text("ifalias"))
        })
    };
    let foreign: Vec<String> = names().map(|(name, _)| name).collect();
    up(&host, &mixed("marked"));
    let operations = host.vnode(&["op", "ls", "--json"]).ok().json();
    let id = operations[0]["id"].as_str().expect("there was one").to_owned();
    let mut instance = String::new();
    let mut ours = 0;
    for (name, alias) in names().filter(|(name, _)| !foreign.contains(name)) {
        let parts: Vec<&str> = alias.split(':').collect();
        let [vnode, whose, lab, what, operation] = parts[..] else { panic!("{name}: `{alias}`") };
        assert_eq!((vnode, lab, operation), ("vnode", "marked", id.as_str()), "{name}: {alias}");
        assert!(!what.is_empty(), "{name}: {alias}");
        assert!(instance.is_empty() || instance == whose, "{name}: {alias}");
        instance = whose.to_owned();
        ours += 1;
    }
    assert!(ours >= 4, "a bridge for each network and an end for each node: {ours}");
    // Tables of the packet filter have it as their comment; nothing of ours is in another's table.
    let rules = host.run("nft", &["list", "ruleset"]).ok().stdout;
    let mut tables = 0;
    for (at, line) in rules.lines().enumerate().filter(|(_, line)| line.starts_with("table ")) {
        let next = rules.lines().nth(at + 1).unwrap_or_default().trim().to_owned();
        assert!(next.starts_with(&format!("comment \"vnode:{instance}:marked:")), "{line}\n{next}");
        tables += 1;
    }
    assert!(tables > 0, "{rules}");
    // Control groups by their names; networks of nodes have none, the monitors' descriptors hold them.
    let groups = host.run("cat", &[&format!("/proc/{}/cgroup", vnode_tests::pid(&host, "a"))]);
    assert!(groups.ok().stdout.contains(&format!("/vnode-{instance}/marked:a")));
    let after = host.snapshot();
    let new: Vec<&str> =
        after.of("cgroup").into_iter().filter(|g| !before.of("cgroup").contains(g)).collect();
    assert!(new.iter().all(|group| group.contains(&format!("vnode-{instance}"))), "{new:?}");
    // Of a node's, the one that its processes are found by also says which operation made it, where no node can write.
    for node in ["a", "b"] {
        let own = new.iter().filter(|group| group.ends_with(&format!("/marked:{node}")));
        let marks = own.filter_map(|group| {
            let mut mark = [0; 256];
            let length = rustix::fs::getxattr(*group, "trusted.vnode", &mut mark[..]).ok()?;
            Some(String::from_utf8_lossy(&mark[..length]).into_owned())
        });
        let marks: Vec<String> = marks.collect();
        assert_eq!(marks, [format!("vnode:{instance}:marked:node {node}:{id}")], "{new:?}");
    }
    host.vnode(&["down", "marked"]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn r17_nodes_are_made_wired_and_taken_away_without_any_program_of_the_hosts() {
    needs!(Root, Program("ping"), Program("busybox"));
    let host = Host::new();
    // Every program that does such things is gone, `mount` at last.
    let hide = "for p in ip tc bridge nft iptables ip6tables ebtables brctl ethtool sysctl modprobe nsenter unshare \
                mkfs tar cp rm umount mount; do for d in /usr/sbin /usr/bin /sbin /bin; do \
                if test -e $d/$p; then busybox mount --bind /dev/null $d/$p; fi; done; done";
    host.run("sh", &["-c", hide]).ok();
    assert_ne!(host.run("ip", &["link"]).code, 0, "it is hidden");
    up(&host, &mixed("alone"));
    assert!(host.ping("a", "10.0.0.2"));
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    assert_eq!(links[0]["ends"][0]["drift"], false, "the kernel holds its rate: {links}");
    host.vnode(&["link", "set", vnode_tests::LINK, "rate=20mbit"]).ok();
    host.vnode(&["reboot", "a"]).ok();
    assert!(host.ping("b", "10.0.0.1"));
    host.vnode(&["halt", "a"]).ok();
    host.vnode(&["mount", "a"]).ok();
    host.vnode(&["boot", "a"]).ok();
    assert_eq!(node(&host, "a")["state"], "running");
    host.vnode(&["down", "alone"]).ok();
    assert!(vnode_tests::nodes(&host).is_empty());
}
