//! T-101: what a change of a node's definition asks of a running node.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::lab;
use vnode_topology::NodeChange;

/// What becomes of a node when these keys are added to it.
fn change(before: &str, after: &str) -> NodeChange {
    let lab =
        |keys: &str| lab(&format!("name: t\ntopology:\n  nodes:\n    a: {{{keys}}}\n    b:\n"));
    lab(before).nodes[0].change_to(&lab(after).nodes[0])
}

fn renew(keys: &[&str]) -> NodeChange {
    NodeChange::Renew { keys: keys.iter().map(|key| (*key).to_owned()).collect() }
}

#[test]
fn t101_the_same_node_written_otherwise_is_the_same() {
    assert_eq!(change("memory: 1G", "memory: \"1000MB\""), NodeChange::Nothing);
}

#[test]
fn t101_what_a_node_cannot_see_is_no_change() {
    for quiet in [
        "labels: {x: 1}",
        "restart-policy: always",
        "image-pull-policy: always",
        "startup-delay: 3",
        "boot-timeout: 3",
    ] {
        assert_eq!(change("", quiet), NodeChange::Nothing, "{quiet}");
    }
}

#[test]
fn t101_limits_change_while_the_node_runs() {
    assert_eq!(change("memory: 1G", "memory: 2G, labels: {x: 1}"), NodeChange::Limits);
    assert_eq!(change("", "resources: {cpu-weight: 50}"), NodeChange::Limits);
    assert_eq!(change("", "memory: 2G, cmd: one"), renew(&["cmd", "resources"]));
}

#[test]
fn t101_what_is_inside_gets_a_new_disk_and_keeps_its_links() {
    assert_eq!(change("cmd: one", "cmd: two, labels: {x: 1}"), renew(&["cmd"]));
    assert_eq!(change("", "image: x"), renew(&["image"]));
    assert_eq!(change("", "env: {A: b}"), renew(&["env"]));
    assert_eq!(change("", "healthcheck: {test: [CMD, true]}"), renew(&["healthcheck"]));
}

#[test]
fn t101_another_network_is_another_node() {
    let keys = |change: NodeChange| match change {
        NodeChange::Recreate { keys } => keys,
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(change("", "network-mode: none")), ["network-mode"]);
    assert_eq!(keys(change("", "pid-mode: host")), ["pid-mode"]);
    assert_eq!(keys(change("", "privileged: true, cmd: x")), ["cmd", "privileged"]);
}
