//! T-101: the difference of two files is what is told, and no more.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::lab;
use vnode_topology::{Change, diff};

const BASE: &str = "name: t
topology:
  nodes:
    a: {image: x, cmd: one}
    b: {memory: 1G}
    c: {network-mode: container:a}
    d:
  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
      impair: {rate: 1mbit}
    - endpoints: [\"b:eth2\", \"d:eth2\"]
  networks:
    lan: {members: [\"a:eth3\", \"b:eth3\", \"d:eth3\"]}
";

fn changes(edit: &[(&str, &str)]) -> Vec<String> {
    let mut text = BASE.to_owned();
    for (from, to) in edit {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let (old, new) = (lab(BASE), lab(&text));
    let changes = diff(&old, &new);
    // What is the same has one fingerprint, what differs has two.
    assert_eq!(changes.is_empty(), old.fingerprint() == new.fingerprint());
    changes.iter().map(ToString::to_string).collect()
}

#[test]
fn t101_the_same_lab_written_otherwise_is_the_same() {
    assert!(changes(&[]).is_empty());
    assert!(
        changes(&[("name: t\n", "# comment\n\nname: \"t\"\n"), ("memory: 1G", "memory: 1000MB")])
            .is_empty()
    );
}

#[test]
fn t101_ends_turned_round_are_no_change() {
    let edit = ("\"b:eth2\", \"d:eth2\"", "\"d:eth2\", \"b:eth2\"");
    let text = BASE.replace(edit.0, edit.1);
    assert!(diff(&lab(BASE), &lab(&text)).is_empty());
}

#[test]
fn t101_a_changed_node_is_made_anew_with_those_in_its_network() {
    assert_eq!(
        changes(&[("cmd: one", "cmd: two, labels: {x: 1}")]),
        ["node a: made anew (cmd, labels changed)", "node c: made anew (network-mode changed)",]
    );
}

#[test]
fn t101_limits_change_while_the_node_runs() {
    assert_eq!(
        changes(&[("memory: 1G", "memory: 2G, labels: {x: 1}")]),
        ["node b: changed while it runs (labels, resources)"]
    );
}

#[test]
fn t101_nodes_and_links_come_and_go() {
    assert_eq!(
        changes(&[
            ("    d:\n", "    e:\n"),
            ("\"d:eth2\"", "\"e:eth2\""),
            ("\"d:eth3\"", "\"e:eth3\""),
        ]),
        [
            "link b:eth2--d:eth2: removed",
            "network lan: member d:eth3 removed",
            "node d: removed",
            "node e: added",
            "link b:eth2--e:eth2: added",
            "network lan: member e:eth3 added",
        ]
    );
}

#[test]
fn t101_impairments_alone_are_changed_in_place() {
    assert_eq!(
        changes(&[("rate: 1mbit", "rate: 2mbit")]),
        ["link a:eth1--b:eth1: impairment changed in both directions"]
    );
    assert_eq!(
        diff(
            &lab(BASE),
            &lab(&BASE.replace("\"d:eth3\"]", "{node: d, interface: eth3, to-lan: {rate: 1mbit}}]"))
        ),
        [Change::MemberImpaired {
            network: "lan".into(),
            member: "d:eth3".into(),
            to_lan: true,
            from_lan: false
        }]
    );
    assert_eq!(
        changes(&[("impair: {rate: 1mbit}", "mtu: 1500")]),
        ["link a:eth1--b:eth1: made anew (mtu changed)"]
    );
}

#[test]
fn t101_the_lab_itself() {
    assert_eq!(changes(&[("name: t", "name: u")]), ["lab: made anew (name changed)"]);
    assert_eq!(
        changes(&[("topology:\n", "events:\n  - {at: 1s, network: lan, do: down}\ntopology:\n")]),
        ["timeline: changed"]
    );
}
