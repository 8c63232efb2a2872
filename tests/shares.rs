//! What a node has beside its disk: volumes that outlive it, and the network of another node.

use std::time::Duration;

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{lab, pid, state, up};

/// Names of a host's folder.
fn entries(folder: &std::path::Path) -> Vec<String> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_volume_outlives_the_disk_and_goes_with_the_node() {
    needs!(Root);
    let host = Host::new();
    let _daemon = host.start_daemon(&[]);
    let text =
        |more: &str| lab("vol", &format!("a: {{volumes: ['data:/srv/data'{more}]}}\nb:"), "");
    up(&host, &text(""));
    let folder = host.state_dir().join("labs/vol/volumes");
    let sh = |script: &str| host.exec("a", &["sh", "-c", script]);
    sh("echo kept > /srv/data/file && chown 33 /srv/data/file && echo lost > /srv/lost").ok();
    host.vnode(&["reboot", "a"]).ok();
    assert_eq!(sh("cat /srv/data/file /srv/lost").ok().stdout, "kept\nlost\n");
    // Another definition makes the node anew around it.
    let file = host.write("vol.clab.yml", &text(", 'more:/srv/more:ro'"));
    host.vnode(&["apply", &file.display().to_string()]).ok();
    assert_eq!(sh("cat /srv/data/file; stat -c %u /srv/data/file").ok().stdout, "kept\n33\n");
    assert_ne!(sh("cat /srv/lost").code, 0, "the disk is new");
    assert_ne!(sh("touch /srv/more/x").code, 0, "a volume may be read-only");
    assert!(entries(&folder.join("a")).iter().all(|name| !name.starts_with('.')));
    // Out of the lab, out of the world.
    let file = host.write("vol.clab.yml", &lab("vol", "b:", ""));
    host.vnode(&["apply", &file.display().to_string()]).ok();
    assert_eq!(entries(&folder), Vec::<String>::new());
    host.vnode(&["down", "vol"]).ok();
    assert!(!folder.exists());
}

#[test]
fn a_volumes_name_cannot_lead_out_of_the_labs_folder() {
    let host = Host::new();
    let text = lab("vol", "a: {volumes: ['a..b/../../x:/srv/data']}", "");
    let file = host.write("vol.clab.yml", &text).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert_eq!(out.code, 2, "{}", out.all());
    assert!(out.stderr.contains("no name of a volume"), "{}", out.all());
    assert!(out.stderr.contains("vol.clab.yml:"), "with its place: {}", out.all());
}

/// As `cilium/cilium`'s multi-homing topology has it: the links are those of a node in another's network.
#[test]
fn links_of_a_node_in_anothers_network_are_in_that_network() {
    needs!(Root, Program("ping"), Program("ip"));
    let host = Host::new();
    let _daemon = host.start_daemon(&[]);
    let nodes = "owner:\nguest: {network-mode: 'container:owner'}\npeer:";
    let links = "- endpoints: ['guest:net0', 'peer:eth1']\n  ipv4: [10.0.0.1/24, 10.0.0.2/24]";
    up(&host, &lab("share", nodes, links));
    assert!(host.ping("peer", "10.0.0.1"));
    for node in ["owner", "guest"] {
        host.exec(node, &["ip", "link", "show", "net0"]).ok();
    }
    // The guest made anew keeps its network's owner running, and has its link again.
    let owner = pid(&host, "owner");
    let nodes = nodes.replace("owner'}", "owner', tmpfs: [/srv/new]}");
    let file = host.write("share.clab.yml", &lab("share", &nodes, links));
    host.vnode(&["apply", &file.display().to_string()]).ok();
    assert_eq!(pid(&host, "owner"), owner);
    assert!(host.ping("peer", "10.0.0.1"));
    // Taken out, it leaves nothing in the other's network.
    let file = host.write("share.clab.yml", &lab("share", "owner:\npeer:", ""));
    host.vnode(&["apply", &file.display().to_string()]).ok();
    assert_ne!(host.exec("owner", &["ip", "link", "show", "net0"]).code, 0);
    host.vnode(&["down", "share"]).ok();
}

#[test]
fn one_interface_cannot_stand_twice_in_a_network_that_two_nodes_share() {
    needs!(Root);
    let host = Host::new();
    let nodes = "owner:\nguest: {network-mode: 'container:owner'}\npeer:";
    let links =
        "- endpoints: ['guest:net0', 'peer:eth1']\n- endpoints: ['owner:net0', 'peer:eth2']";
    for (links, wanted) in [
        (links, "is used twice"),
        ("- endpoints: ['guest:eth0', 'peer:eth1']", "is its management interface"),
    ] {
        let file = host.write("twice.clab.yml", &lab("twice", nodes, links)).display().to_string();
        let out = host.vnode(&["up", &file]);
        assert_eq!(out.code, 2, "{}", out.all());
        assert!(out.stderr.contains(wanted), "{}", out.all());
    }
}

/// Its process namespace, as a program in the node sees it.
fn processes(host: &Host, node: &str) -> String {
    host.exec(node, &["readlink", "/proc/self/ns/pid"]).ok().stdout
}

#[test]
fn a_node_lives_among_the_processes_of_another_and_comes_back_with_it() {
    needs!(Root);
    let host = Host::new();
    let before = host.snapshot();
    let daemon = host.start_daemon(&[]);
    up(&host, &lab("pids", "owner:\nguest: {pid-mode: 'container:owner'}", ""));
    assert_eq!(processes(&host, "owner"), processes(&host, "guest"));
    // What the guest leaves behind in the other's namespace ends with the guest, and nothing else does.
    let left = "mkfifo /left && (setsid sh -c 'read x <> /left' > /dev/null 2>&1 < /dev/null &)";
    host.exec("guest", &["sh", "-c", left]).ok();
    let all = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; done 2> /dev/null; true";
    let seen = || host.exec("owner", &["sh", "-c", all]).ok().stdout;
    assert!(seen().contains("read x"), "{}", seen());
    let owner = pid(&host, "owner");
    host.vnode(&["halt", "guest"]).ok();
    assert!(!seen().contains("read x"), "{}", seen());
    assert_eq!(pid(&host, "owner"), owner);
    host.vnode(&["boot", "guest"]).ok();
    // The end of the namespace is the guest's too; it is in the new one afterwards.
    let guest = pid(&host, "guest");
    host.vnode(&["reboot", "owner"]).ok();
    eventually("the guest is back", Duration::from_secs(60), || {
        let back = state(&host, "guest") == "running" && pid(&host, "guest") != guest;
        back.then_some(())
    });
    assert_eq!(processes(&host, "owner"), processes(&host, "guest"));
    // Without the one the other cannot be.
    host.vnode(&["halt", "owner"]).ok();
    let out = host.vnode(&["boot", "guest"]);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("among the processes of `owner`"), "{}", out.all());
    host.vnode(&["down", "pids"]).ok();
    drop(daemon);
    host.assert_nothing_but_files(&before);
}

#[test]
fn a_node_among_the_hosts_processes_leaves_none_there_and_cannot_restart_the_host() {
    needs!(Root);
    let host = Host::new();
    let daemon = host.start_daemon(&[]);
    up(&host, &lab("pids", "a: {pid-mode: host, privileged: true}", ""));
    let own = host.run("readlink", &["/proc/self/ns/pid"]).ok().stdout;
    assert_eq!(processes(&host, "a"), own);
    let caps = host.exec("a", &["grep", "CapBnd", "/proc/self/status"]).ok().stdout;
    let bits = u64::from_str_radix(caps.trim_start_matches("CapBnd:").trim(), 16).unwrap();
    assert_eq!(bits & (1 << 22), 0, "CAP_SYS_BOOT: {caps}");
    let left = "mkfifo /left && (setsid sh -c 'read x <> /left' > /dev/null 2>&1 < /dev/null &)";
    host.exec("a", &["sh", "-c", left]).ok();
    let all = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; done 2> /dev/null; true";
    let seen = || host.run("sh", &["-c", all]).ok().stdout;
    assert!(seen().contains("sh -c read x"), "{}", seen());
    host.vnode(&["down", "pids"]).ok();
    assert!(!seen().contains("sh -c read x"), "{}", seen());
    drop(daemon);
}
