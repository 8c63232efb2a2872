//! Labs as a whole: up, down, apply, stages, one bad node among many, and nothing left behind.

use std::path::Path;

use vnode_testkit::{Host, needs};
use vnode_tests::{lab, nodes, pair, star, star_address, state, up, wait_for_state};

/// The lab of the README.
fn first_lab() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/first/lab.clab.yml");
    path.canonicalize().expect("the first lab is there").display().to_string()
}

#[test]
fn the_first_lab_comes_up_works_and_goes() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let before = host.snapshot();
    let file = first_lab();
    host.vnode(&["up", &file]).ok();
    let all = nodes(&host);
    assert!(!all.is_empty() && all.iter().all(|n| n["state"] == "running"), "{all:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    let tries: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix('#')?.split_once("vnode exec "))
        .map(|(_, rest)| rest)
        .collect();
    assert!(!tries.is_empty(), "the first lab says how to try it");
    for line in tries {
        host.vnode(&std::iter::once("exec").chain(line.split_whitespace()).collect::<Vec<_>>())
            .ok();
    }
    host.vnode(&["down", &file]).ok();
    assert!(nodes(&host).is_empty());
    host.assert_nothing_but_files(&before);
}

#[test]
fn down_by_name_and_down_of_nothing_both_succeed() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    up(&host, &pair("two", ""));
    assert!(host.ping("a", "10.0.0.2"));
    assert!(host.ping("b", "10.0.0.1"));
    host.vnode(&["down", "two"]).ok();
    host.vnode(&["down", "two"]).ok();
    host.vnode(&["down", "never-was"]).ok();
}

#[test]
fn t08_two_labs_with_the_same_names_and_addresses_do_not_meet() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    up(&host, &pair("one", ""));
    up(&host, &pair("two", ""));
    assert!(host.ping("one/a", "10.0.0.2"));
    assert!(host.ping("two/a", "10.0.0.2"));
    assert!(host.vnode(&["state", "a"]).code != 0, "a name that is not unique needs its lab");
    host.vnode(&["halt", "two/b"]).ok();
    host.vnode(&["link", "down", "two/a:eth1--b:eth1"]).ok();
    assert!(host.ping("one/a", "10.0.0.2"), "the other lab is not disturbed");
    assert!(!host.ping("two/a", "10.0.0.2"));
    host.vnode(&["down", "one"]).ok();
    host.vnode(&["down", "two"]).ok();
}

#[test]
fn t09_foreign_objects_are_untouched() {
    needs!(Root, Program("ping"), Program("nft"));
    let host = Host::new();
    for line in [
        "ip link add br0 type bridge",
        "ip link add veth-foo type veth peer name veth-bar",
        "ip addr add 192.0.2.1/24 dev br0",
        "nft add table inet mine",
        "nft add chain inet mine input { type filter hook input priority 0 ; }",
        "nft add rule inet mine input tcp dport 9 drop",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        host.run(words[0], &words[1..]).ok();
    }
    let before = host.snapshot();
    let file = up(&host, &pair("two", ""));
    host.vnode(&["down", &file]).ok();
    host.vnode(&["clean"]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn t29_up_again_with_the_same_file_changes_nothing() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let file = up(&host, &pair("two", ""));
    let first = nodes(&host);
    let again = host.vnode(&["apply", &file]).ok();
    let second = nodes(&host);
    for (a, b) in first.iter().zip(&second) {
        assert_eq!((&a["pid"], &a["vmid"]), (&b["pid"], &b["vmid"]), "{}", again.all());
    }
    assert!(host.ping("a", "10.0.0.2"));
}

#[test]
fn t33_one_bad_node_does_not_keep_the_others_down() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    const GOOD: usize = 499;
    let mut names: String = (0..GOOD).map(|i| format!("n{i}:\n")).collect();
    names.push_str("bad: {image: \"tar:/no-such-image.tar\"}\n");
    let file = host.write("lab.clab.yml", &lab("mixed", &names, "")).display().to_string();
    let out = host.vnode(&["up", &file]).exits(3);
    let own = out.stderr.lines().find(|line| line.contains("no-such-image"));
    assert!(own.is_some_and(|line| line.contains("of node `bad`")), "{}", out.all());
    let running = nodes(&host).iter().filter(|n| n["state"] == "running").count();
    let rest: Vec<_> = nodes(&host).into_iter().filter(|n| n["state"] != "running").collect();
    assert_eq!(running, GOOD, "{rest:?} {}", out.all());
    // The summary lists it, alone.
    assert!(!out.stderr.contains("node `n"), "{}", out.all());
    host.vnode(&["down", &file]).ok();
    assert!(nodes(&host).is_empty());
}

#[test]
fn t34_stages_are_waited_for() {
    needs!(Root);
    let mut host = Host::new();
    host.set_env("VNODE_HOST_COMMANDS", "true");
    let mark = host.dir().join("mark");
    let nodes_text = format!(
        "first:\n  stages:\n    create-links:\n      exec:\n        - {{command: touch {mark}, target: host, phase: on-exit}}\n\
         second:\n  binds: [\"{dir}:/shared\"]\n  cmd: sh -c \"test -e /shared/mark && echo first-came-first; sleep infinity\"\n  stages:\n    create:\n      wait-for:\n        - {{node: first, stage: create-links}}\n",
        mark = mark.display(),
        dir = host.dir().display()
    );
    up(&host, &lab("staged", &nodes_text, ""));
    vnode_testkit::eventually("the second node has seen the first", vnode_tests::SOON, || {
        host.vnode(&["logs", "second"]).ok().stdout.contains("first-came-first").then_some(())
    });
}

#[test]
fn t34_a_cycle_is_refused_before_anything_is_made() {
    needs!(Root);
    let host = Host::new();
    let text = lab(
        "round",
        "a:\n  stages: {create: {wait-for: [{node: b, stage: create}]}}\nb:\n  stages: {create: {wait-for: [{node: a, stage: create}]}}\n",
        "",
    );
    let file = host.write("lab.clab.yml", &text).display().to_string();
    let before = host.snapshot();
    let out = host.vnode(&["up", &file]);
    assert_ne!(out.code, 0);
    let said = out.all();
    assert!(said.contains("a:create waits for b:create waits for a:create"), "{said}");
    host.assert_nothing_but_files(&before);
}

#[test]
fn t101_apply_changes_only_the_difference_and_the_dry_run_tells_it() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let file = up(&host, &pair("two", ""));
    let kept = nodes(&host);
    let mut text = pair("two", "").replace("    a:\n    b:\n", "    a:\n    b:\n    c:\n");
    text.push_str(
        "    - endpoints: [\"a:eth2\", \"c:eth1\"]\n      ipv4: [10.0.1.1/24, 10.0.1.2/24]\n",
    );
    std::fs::write(&file, &text).unwrap();
    let dry = host.vnode(&["apply", &file, "--dry-run"]).ok();
    let told = host.vnode(&["apply", &file, "--dry-run", "--json"]).ok().json();
    let told: Vec<(&str, &str)> = told["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| (c["change"].as_str().unwrap_or(""), c["subject"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(told, [("create", "node c"), ("create", "link a:eth2--c:eth1")]);
    assert_eq!(state(&host, "c"), "absent", "a dry run does nothing");
    let applied = host.vnode(&["apply", &file]).ok();
    assert_eq!(applied.stdout, dry.stdout, "the dry run printed exactly what was done then");
    assert!(host.ping("a", "10.0.1.2"));
    assert!(host.ping("a", "10.0.0.2"));
    let now = nodes(&host);
    for old in &kept {
        let new = now.iter().find(|n| n["node"] == old["node"]).unwrap();
        assert_eq!(old["pid"], new["pid"], "{} was not to be touched", old["node"]);
    }
    // And back: what the file no longer has goes.
    std::fs::write(&file, pair("two", "")).unwrap();
    host.vnode(&["apply", &file]).ok();
    assert_eq!(state(&host, "c"), "absent");
    assert!(host.ping("a", "10.0.0.2"));
    assert_ne!(
        host.exec("a", &["ip", "link", "show", "eth2"]).code,
        0,
        "the link went with its node"
    );
}

#[test]
fn t102_peers_of_a_recreated_node_keep_working() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let file = up(&host, &pair("two", ""));
    let (a, b) = (node_pid(&host, "a"), node_pid(&host, "b"));
    let text = pair("two", "").replace("    b:\n", "    b: {env: {CHANGED: yes}}\n");
    std::fs::write(&file, text).unwrap();
    host.vnode(&["apply", &file]).ok();
    assert_eq!(node_pid(&host, "a"), a);
    assert_ne!(node_pid(&host, "b"), b);
    assert!(host.ping("a", "10.0.0.2"), "with no further command");
    assert!(host.ping("b", "10.0.0.1"));
}

fn node_pid(host: &Host, name: &str) -> String {
    vnode_tests::pid(host, name)
}

#[test]
fn t90_scale_a_hundred_nodes_on_one_lan() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let before = host.snapshot();
    let file = up(&host, &star("star", 100));
    assert_eq!(nodes(&host).iter().filter(|n| n["state"] == "running").count(), 100);
    for i in [2, 50, 100] {
        assert!(host.ping("n1", &star_address(i)), "node {i}");
    }
    host.vnode(&["down", &file]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn create_and_destroy_cycles_leave_every_count_where_it_was() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let file = up(&host, &pair("two", ""));
    host.vnode(&["down", &file]).ok();
    let before = host.snapshot();
    let daemon = host.daemon_process().expect("the daemon runs on");
    let descriptors = || std::fs::read_dir(daemon.proc("fd")).unwrap().count();
    let open = descriptors();
    // Two nodes a time: 500 times makes the thousand.
    let cycles: u32 =
        std::env::var("VNODE_TEST_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(500);
    for _ in 0..cycles {
        host.vnode(&["up", &file, "--quiet"]).ok();
        host.vnode(&["down", &file, "--quiet"]).ok();
    }
    host.assert_nothing_but_files(&before);
    assert_eq!(
        host.daemon_process().map(|d| d.pid),
        Some(daemon.pid),
        "the same daemon served all"
    );
    vnode_testkit::eventually(
        "the daemon's descriptors are as many as before",
        vnode_tests::SOON,
        || (descriptors() <= open + 4).then_some(()),
    );
    let files = before.diff(&host.snapshot());
    assert!(files.len() < 20, "files grow with the cycles: {files:?}");
}

#[test]
fn a_node_killed_from_outside_is_seen_at_once() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a: {restart-policy: \"no\"}", ""));
    host.run("kill", &["-9", &node_pid(&host, "a")]).ok();
    wait_for_state(&host, "a", "stopped");
    let exit = vnode_tests::node(&host, "a")["last_exit"].as_str().unwrap_or_default().to_owned();
    assert!(exit.contains('9'), "{exit}");
}
