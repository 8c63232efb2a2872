//! Links, LANs, what they are shaped by, and the timeline that changes them.

use vnode_protocol::impairment::Impairment;
use vnode_topology::*;

use crate::support::{errors, lab, read, warnings};
use crate::with;

fn impaired(words: &str) -> Impairment {
    let mut impairment = Impairment::default();
    for word in words.split_whitespace() {
        impairment.set_word(word).unwrap();
    }
    impairment
}

#[test]
fn links_of_all_types() {
    let lab = lab(&with(
        "a b",
        "  links:
    - endpoints: [\"host:veth9\", \"a:eth1\"]
      ipv4: [10.0.0.1/24, 10.0.0.2/24]
    - endpoints: [\"a:eth2\", \"mgmt-net:m1\"]
    - endpoints: [\"a:eth3\", \"macvlan:eno1\"]
    - {type: macvlan, endpoint: {node: b, interface: eth3}, host-interface: eno1, mode: vepa}
    - {type: vxlan, endpoint: {node: a, interface: eth4}, remote: 192.0.2.1, vni: 5, dst-port: 4789, src-port: 50000}
    - {type: dummy, endpoint: {node: a, interface: eth5}, ipv4: 10.9.0.1/32}
    - type: veth
      endpoints:
        - {node: a, interface: eth6, mac: 02:00:00:00:00:01, ipv4: 10.1.0.1/30, ipv6: \"fd00::1/64\"}
        - \"b:eth6\"
      ipv4: [\"\", 10.1.0.2/30]
      labels: {x: 1}
",
    ));
    let ids: Vec<_> = lab.links.iter().map(|link| link.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "a:eth1--host:veth9",
            "a:eth2--mgmt-net:m1",
            "a:eth3--macvlan:eno1",
            "b:eth3--macvlan:eno1",
            "a:eth4--vxlan:192.0.2.1/5",
            "a:eth5--dummy",
            "a:eth6--b:eth6"
        ]
    );
    assert_eq!(lab.links[0].near.ipv4.unwrap().to_string(), "10.0.0.2/24");
    assert_eq!(
        lab.links[3].far,
        Far::Macvlan { interface: "eno1".into(), mode: MacvlanMode::Vepa }
    );
    let Far::Node { endpoint, .. } = &lab.links[6].far else { panic!() };
    assert_eq!(endpoint.ipv4.unwrap().to_string(), "10.1.0.2/30");
    assert_eq!(lab.links[6].near.ipv6.unwrap().to_string(), "fd00::1/64");
    assert_eq!(lab.links[6].labels["x"], "1");
}

#[test]
fn links_that_cannot_be() {
    let rejected = errors(&with(
        "a b",
        "  links:
    - endpoints: [\"a:eth1\"]
    - endpoints: [\"a:eth1\", \"b:eth1\", \"b:eth2\"]
    - endpoints: [\"a\", \"b:eth1\"]
    - {type: pigeon, endpoints: [\"a:eth1\", \"b:eth1\"]}
    - {type: vxlan, endpoint: {node: a, interface: eth2}}
    - {type: vxlan, endpoint: {node: a, interface: eth3}, remote: x, vni: 0, dst-port: 1}
    - endpoints: [\"host:x\", \"mgmt-net:y\"]
    - {type: veth, endpoints: [{node: a, interface: eth4, mac: ff:ff:ff:ff:ff:ff}, {node: b}]}
    - {endpoints: [\"a:eth5\", \"b:eth5\"], ipv4: [10.0.0.1/24, 10.0.0.1/24], mtu: 1}
    - {endpoints: [\"a:eth 6\", \"b:eth6\"]}
    - text
",
    ));
    assert_eq!(
        rejected,
        [
            "7: a link of this type has two `endpoints`, not 1",
            "8: a link of this type has two `endpoints`, not 3",
            "9: `a` is no endpoint",
            "10: unknown type of link `pigeon`",
            "11: a link of type vxlan needs `remote`",
            "12: `vni` is a whole number from 1 to 16777215, not `0`",
            "13: neither `host:x` nor `mgmt-net:y` is an interface of a container",
            "14: `ff:ff:ff:ff:ff:ff` cannot be an interface's own address",
            "14: an endpoint has a `node` and an `interface`",
            "15: both ends of `a:eth5--b:eth5` have the same address",
            "15: `mtu` is a whole number from 68 to 65535, not `1`",
            "16: `eth 6` is no name for an interface",
            "17: a link is a map, not a single value",
        ]
    );
}

#[test]
fn impairments_are_composed_per_direction() {
    let lab = lab(&with(
        "a b",
        "  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
      impair: {delay: 10ms, rate: 100mbit, loss: 0.1%}
    - type: veth
      impair: {delay: 1ms, loss-ratio: 0.5}
      endpoints:
        - {node: a, interface: eth2, impair: {delay: 5ms}}
        - {node: b, interface: eth2, impair: {delay: 40ms, rate: 2mbit, queue: 50, loss: none}}
",
    ));
    let both = impaired("delay=10ms rate=100mbit loss=0.1%");
    assert_eq!(lab.links[0].near.impair, both);
    assert_eq!(lab.links[0].far_impair(), Some(&both));
    assert_eq!(lab.links[1].near.impair, impaired("delay=5ms loss=50%"));
    assert_eq!(lab.links[1].far_impair(), Some(&impaired("delay=40ms rate=2mbit queue=50")));
}

#[test]
fn impairments_that_cannot_be() {
    let text = with(
        "a b",
        "  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
      impair: {delay: fast}
    - endpoints: [\"a:eth2\", \"b:eth2\"]
      impair: {loss: 0.1, speed: 3}
    - endpoints: [\"a:eth3\", \"b:eth3\"]
      impair: {reorder: 3%}
    - endpoints: [\"a:eth4\", \"b:eth4\"]
      impair: {loss: 1%, loss-ratio: 0.01}
",
    );
    let told = errors(&text);
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told[0].starts_with("8: `delay: fast` is not a time"));
    assert!(told[1].starts_with("10: `loss: 0.1` is not a percentage"));
    assert!(told[2].starts_with("10: unknown impairment `speed`"));
    assert!(told[3].starts_with("12: `reorder` needs a `delay`"));
    assert!(told[4].starts_with("14: `loss-ratio` and `loss` set the same parameter"));
    let bare =
        with("a b", "  links:\n    - {endpoints: [\"a:eth1\", \"b:eth1\"], impair: {delay: 20}}\n");
    assert_eq!(warnings(&bare), ["7: `delay: 20` has no unit and is taken as 20ms"]);
}

#[test]
fn t70_a_lan_declaration_is_halved_for_each_member() {
    let lab = lab(&with(
        "a b c d",
        "  networks:
    lan0: {members: [\"a:eth1\", \"b:eth1\", \"c:eth1\", \"d:eth1\"], impair: {delay: 10ms, rate: 100mbit, loss: 19%, queue: 40}}
",
    ));
    let lan = &lab.networks[0];
    for member in &lan.members {
        assert_eq!(member.to_lan, impaired("delay=5ms rate=100mbit loss=10% queue=40"));
        assert_eq!(member.from_lan, impaired("delay=5ms rate=100mbit loss=10%"));
    }
    let way = lan.members[0].to_lan.compose(&lan.members[1].from_lan);
    assert_eq!(way, lan.impair);
}

#[test]
fn t71_member_values_are_not_halved() {
    let lab = lab(&with(
        "a b c",
        "  networks:
    lan0:
      members:
        - {node: a, interface: eth1, ipv4: 10.0.0.1/24, impair: {delay: 10ms}}
        - {node: b, interface: eth1, impair: {delay: 20ms}, from-lan: {delay: 7ms}}
        - \"c:eth1\"
",
    ));
    let [a, b, c] = &lab.networks[0].members[..] else { panic!() };
    assert_eq!(a.to_lan.compose(&b.from_lan).delay_us, 17_000);
    assert_eq!(b.to_lan.compose(&a.from_lan).delay_us, 30_000);
    assert_eq!(c.to_lan.compose(&a.from_lan).delay_us, 10_000);
}

#[test]
fn t72_a_lan_of_two_is_a_link() {
    let file = |member: &str| {
        with(
            "a b",
            &format!(
                "  networks:\n    lan0: {{members: [\"a:eth1\", {member}], impair: {{delay: 10ms, loss: 5%, queue: 9}}}}\n"
            ),
        )
    };
    let lan = &lab(&file("\"b:eth1\"")).networks[0];
    for member in &lan.members {
        assert_eq!(member.to_lan, impaired("delay=10ms loss=5% queue=9"));
        assert!(member.from_lan.is_perfect());
    }
    let lan = &lab(&file("{node: b, interface: eth1, to-lan: {delay: 20ms}}")).networks[0];
    assert_eq!(lan.members[0].to_lan.delay_us, 10_000);
    assert_eq!(lan.members[1].to_lan.delay_us, 25_000);
    assert!((lan.members[1].to_lan.loss - 0.05).abs() < 1e-9);
}

#[test]
fn t73_the_timeline() {
    let text = format!(
        "{}events:
  - {{at: 12s, link: \"b:eth1--a:eth1\", do: up, set: {{delay: 20ms}}}}
  - {{at: 1500ms, link: \"a:eth1--b:eth1\", do: down}}
  - {{at: 2m, network: lan, member: b, set: {{loss: 1%}}}}
  - {{at: 2.5s, link: \"a:eth1--b:eth1\", end: \"b:eth1\", do: set, set: {{rate: none}}}}
  - {{at: 1h, network: lan, do: reset}}
",
        with(
            "a b c",
            "  links: [{endpoints: [\"a:eth1\", \"b:eth1\"]}]\n  networks: {lan: {members: [\"a:eth2\", \"b:eth2\", \"c:eth2\"]}}\n"
        )
    );
    let lab = lab(&text);
    let at: Vec<u64> = lab.events.iter().map(|event| event.at_us).collect();
    assert_eq!(at, [1_500_000, 2_500_000, 12_000_000, 120_000_000, 3_600_000_000]);
    assert_eq!(lab.events[0].action, Action::Down);
    assert_eq!(
        lab.events[1].target,
        Target::Link { id: "a:eth1--b:eth1".into(), end: Some("b:eth1".into()) }
    );
    assert_eq!(lab.events[2].target, Target::Link { id: "a:eth1--b:eth1".into(), end: None });
    assert_eq!(lab.events[2].set, [("delay".to_owned(), "20ms".to_owned())]);
    assert_eq!(
        lab.events[3].target,
        Target::Network { name: "lan".into(), member: Some("b:eth2".into()) }
    );
    assert_eq!(lab.events[3].action, Action::Set);
}

#[test]
fn t73_events_that_cannot_be() {
    let text = format!(
        "{}events:
  - {{at: 1s, link: \"a:eth1--c:eth1\", do: down}}
  - {{at: soon, link: \"a:eth1--b:eth1\", do: down}}
  - {{at: 1s, link: \"a:eth1--b:eth1\", do: explode}}
  - {{at: 1s, link: \"a:eth1--b:eth1\", do: set}}
  - {{at: 1s, link: \"a:eth1--b:eth1\", do: down, set: {{delay: 1ms}}}}
  - {{at: 1s, link: \"a:eth1--b:eth1\", end: \"c:eth1\", do: down}}
  - {{at: 1s, network: none, do: down}}
  - {{at: 1s, do: down}}
  - {{link: \"a:eth1--b:eth1\"}}
",
        with("a b", "  links: [{endpoints: [\"a:eth1\", \"b:eth1\"]}]\n")
    );
    let lines: Vec<u32> = read(&text).unwrap_err().errors.iter().map(Diagnostic::line).collect();
    assert_eq!(lines, [8, 9, 10, 11, 12, 13, 14, 15, 16, 16]);
}

#[test]
fn the_same_ethernet_address_twice_is_told() {
    let text = with(
        "a b",
        "  links:
    - {endpoints: [{node: a, interface: e1, mac: 02:00:00:00:00:01}, {node: b, interface: e1, mac: 02-00-00-00-00-01}]}
",
    );
    assert_eq!(warnings(&text), ["7: two interfaces have the Ethernet address 02:00:00:00:00:01"]);
}
