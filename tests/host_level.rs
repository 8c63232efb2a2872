//! What is done to the host once for all labs: the specification's section 4.1.

use std::process::Stdio;
use std::time::Duration;

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{lab, nodes, pair, state, up};

/// What stands in one snapshot and not in the other, files aside: those of the store change with every operation.
#[track_caller]
fn assert_same(before: &vnode_testkit::Snapshot, after: &vnode_testkit::Snapshot, when: &str) {
    let mut differs = before.diff(after);
    differs.retain(|line| !line.starts_with("new: file "));
    assert!(differs.is_empty(), "{when}:\n  {}", differs.join("\n  "));
}

fn forwarding(host: &Host) -> String {
    host.run("cat", &["/proc/sys/net/ipv4/ip_forward"]).ok().stdout.trim().to_owned()
}

#[test]
fn t01_preparing_the_host_again_changes_nothing() {
    needs!(Root, Program("nft"));
    let host = Host::new();
    up(&host, &lab("first", "a:", ""));
    // Its shell's child is one of the processes that are compared.
    eventually("the node's program has begun", Duration::from_secs(60), || {
        let sleeps = |p: &vnode_testkit::Process| p.argv == ["sleep", "infinity"];
        host.processes().iter().any(sleeps).then_some(())
    });
    let prepared = host.snapshot();
    // The second lab prepares the host again; with it gone all is as the first left it, byte for byte.
    up(&host, &lab("second", "b:", ""));
    assert_eq!(forwarding(&host), "1");
    host.vnode(&["down", "second"]).ok();
    assert_same(&prepared, &host.snapshot(), "after a second lab came and went");
    // So does a new daemon, which looks at everything.
    host.kill9_daemon();
    nodes(&host);
    assert_same(&prepared, &host.snapshot(), "after a new daemon began");
}

#[test]
fn t02_ten_at_once_prepare_the_host_once_and_all_succeed() {
    needs!(Root, Program("ping"), Program("nft"));
    let host = Host::new();
    let before = host.snapshot();
    // No daemon runs: each of the ten wants to start one.
    let running: Vec<_> = (0..10)
        .map(|i| {
            let text = lab(&format!("lab{i}"), &format!("n{i}:"), "");
            let file = host.write(&format!("lab{i}.clab.yml"), &text).display().to_string();
            let mut command = host.vnode_command(&["up", &file]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh starts")
        })
        .collect();
    for child in running {
        let out = child.wait_with_output().expect("a started child can be waited for");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    assert_eq!(host.processes().iter().filter(|p| p.is_daemon()).count(), 1);
    let all = nodes(&host);
    assert_eq!(all.len(), 10);
    for node in &all {
        // Complete when `up` has said so: the node reaches the host by a network of its own.
        let address = node["ipv4"].as_str().expect("a control address");
        let gateway = address.rsplit_once('.').expect("IPv4").0.to_owned() + ".1";
        assert!(host.ping(node["node"].as_str().expect("a name"), &gateway), "{node} of {all:?}");
    }
    for i in 0..10 {
        host.vnode(&["down", &format!("lab{i}")]).ok();
    }
    assert_eq!(forwarding(&host), "0");
    assert_same(&before, &host.snapshot(), "after the last lab went");
}

#[test]
fn t03_preparing_that_was_killed_half_way_is_completed_and_undone_later() {
    needs!(Root, Program("ping"), Program("nft"));
    let host = Host::new();
    let before = host.snapshot();
    for point in ["host.prepare.before", "host.prepare.after"] {
        let daemon = host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
        let file = host.write("two.clab.yml", &pair("two", "")).display().to_string();
        assert_ne!(host.vnode(&["up", &file]).code, 0, "killed at {point}");
        drop(daemon);
        // The next daemon is one without faults.
        if nodes(&host).is_empty() {
            host.vnode(&["up", &file]).ok();
        }
        assert_eq!(forwarding(&host), "1", "{point}");
        assert!(host.ping("a", "10.0.0.2"), "{point}");
        host.vnode(&["down", "two"]).ok();
        assert_eq!(forwarding(&host), "0", "{point}: the host's own value again");
        host.assert_nothing_but_files(&before);
        host.kill9_daemon();
    }
}

#[test]
fn t04_a_host_that_cannot_be_prepared_is_told_and_no_node_is_begun() {
    needs!(Root);
    let host = Host::new();
    host.vnode(&["ps"]).ok();
    let before = host.snapshot();
    // Parameters of the kernel that cannot be written, as in a container of somebody else's.
    host.run("mount", &["--bind", "/proc/sys/net", "/proc/sys/net"]).ok();
    host.run("mount", &["-o", "remount,bind,ro", "/proc/sys/net"]).ok();
    host.kill9_daemon();
    let file = host.write("one.clab.yml", &lab("one", "a:", "")).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert_ne!(out.code, 0);
    let said = out.all();
    assert!(said.contains("kernel parameter `net/") && said.contains("Read-only"), "{said}");
    assert_eq!(state(&host, "a"), "absent");
    host.run("umount", &["/proc/sys/net"]).ok();
    host.assert_nothing_but_files(&before);
    up(&host, &lab("one", "a:", ""));
}

#[test]
fn t05_the_hosts_own_state_comes_back_with_the_last_lab_only() {
    needs!(Root, Program("ping"), Program("nft"));
    let host = Host::new();
    let before = host.snapshot();
    up(&host, &pair("one", ""));
    up(&host, &lab("two", "c:", ""));
    host.vnode(&["down", "one"]).ok();
    assert_eq!(forwarding(&host), "1", "a node is there: the host stays prepared");
    // Nor does cleaning take anything from under it.
    let cleaned = host.vnode(&["clean", "--json"]).ok().json();
    assert_eq!(cleaned["removed"].as_array().map(Vec::len), Some(0), "{cleaned}");
    assert_eq!(forwarding(&host), "1");
    let address = vnode_tests::node(&host, "c")["ipv4"].as_str().expect("an address").to_owned();
    let gateway = address.rsplit_once('.').expect("IPv4").0.to_owned() + ".1";
    assert!(host.ping("c", &gateway));
    // `down` is the force: nodes first, then the host.
    host.vnode(&["down", "two"]).ok();
    assert_eq!(forwarding(&host), "0");
    host.assert_nothing_but_files(&before);
}

/// A machine whose `/etc`, `/opt` and `/usr/local` lie on file systems of their own.
fn of_several_file_systems(host: &Host) {
    let script = "set -e; cd \"$1\"; mkdir opt local; cp -a /etc etc
        echo 'root:$6$secret$hash:1::::::' > etc/shadow
        echo of-etc > etc/marker; echo of-opt > opt/marker; echo of-local > local/marker
        mount --bind etc /etc; mount --bind opt /opt; mount --bind local /usr/local";
    let dir = host.dir().display().to_string();
    host.run("sh", &["-c", script, "sh", &dir]).ok();
}

#[test]
fn a_machine_of_several_file_systems_is_an_image_as_a_whole() {
    needs!(Root);
    let host = Host::new();
    let kind = host.run("stat", &["-f", "-c", "%T", &host.dir().display().to_string()]);
    if !["ext2/ext3", "xfs", "btrfs"].contains(&kind.stdout.trim()) {
        println!(
            "skipped: the folder of tests is on {}, which no machine is installed on",
            kind.stdout
        );
        return;
    }
    of_several_file_systems(&host);
    let before = host.snapshot();
    let daemon = host.start_daemon(&[]);
    up(&host, &lab("parts", "a:\nb:", ""));
    let sh = |node, script: &str| host.exec(node, &["sh", "-c", script]).ok().stdout;
    let markers = "cat /etc/marker /opt/marker /usr/local/marker";
    assert_eq!(sh("a", markers), "of-etc\nof-opt\nof-local\n");
    assert!(!sh("a", "cat /etc/shadow").contains("secret"), "the mask holds there too");
    // Each node writes to its own, and its disk is one: it outlives a reboot, shows by `mount`, and is in snapshots.
    sh("a", "echo mine > /opt/marker && touch /etc/new /usr/local/new");
    assert_eq!(sh("b", markers), "of-etc\nof-opt\nof-local\n");
    assert_eq!(host.run("cat", &["/opt/marker"]).ok().stdout, "of-opt\n");
    host.vnode(&["reboot", "a"]).ok();
    assert_eq!(
        sh("a", "cat /opt/marker; ls /etc/new /usr/local/new"),
        "mine\n/etc/new\n/usr/local/new\n"
    );
    host.vnode(&["halt", "a"]).ok();
    let root = host.vnode(&["mount", "a"]).ok().stdout;
    let marker = format!("{}/opt/marker", root.trim());
    assert_eq!(host.run("cat", &[&marker]).ok().stdout, "mine\n");
    host.vnode(&["unmount", "a"]).ok();
    host.vnode(&["boot", "a"]).ok();
    assert_eq!(sh("a", "cat /opt/marker"), "mine\n");
    host.vnode(&["down", "parts"]).ok();
    drop(daemon);
    host.assert_nothing_but_files(&before);
}

#[test]
fn the_control_networks_bridge_has_the_name_that_the_file_gives_it() {
    needs!(Root, Program("ip"));
    let host = Host::new();
    let before = host.snapshot();
    let daemon = host.start_daemon(&[]);
    let text = |bridge: &str| {
        format!("name: named\nmgmt: {{bridge: {bridge}}}\ntopology:\n  nodes:\n    a:\n")
    };
    let file = up(&host, &text("br-mgmt"));
    assert!(host.run("ip", &["link", "show", "br-mgmt"]).ok().stdout.contains("vnc"));
    // Another name takes the place of the first.
    std::fs::write(&file, text("br-other")).expect("written");
    host.vnode(&["apply", &file]).ok();
    host.run("ip", &["link", "show", "br-other"]).ok();
    assert_ne!(host.run("ip", &["link", "show", "br-mgmt"]).code, 0);
    host.vnode(&["down", "named"]).ok();
    // A bridge that is somebody else's is not taken over, and stays.
    host.run("ip", &["link", "add", "br-mgmt", "type", "bridge"]).ok();
    std::fs::write(&file, text("br-mgmt")).expect("written");
    let out = host.vnode(&["up", &file]);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("`br-mgmt`"), "{}", out.all());
    host.run("ip", &["link", "del", "br-mgmt"]).ok();
    drop(daemon);
    host.assert_nothing_but_files(&before);
}
