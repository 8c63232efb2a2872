//! What nodes ask the control network for: DHCP of both families. An answer goes to one address, and holds no other.

#![no_main]

use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use vnode_netserve::{Network, Node, dhcp, dhcp6};

fuzz_target!(|bytes: &[u8]| {
    let (v4, v6) = (
        "172.20.20.1/24".parse().expect("a network"),
        "3fff:172:20:20::1/64".parse().expect("a network"),
    );
    let network = Network {
        bridge: "b".into(),
        ipv4: Some(v4),
        ipv6: Some(v6),
        mtu: 1500,
        resolvers: Vec::new(),
    };
    let node = Node {
        hostname: "node".into(),
        ipv4: Some([172, 20, 20, 5].into()),
        ipv6: Some("3fff:172:20:20::5".parse().expect("an address")),
    };
    if let Some(question) = dhcp::parse(bytes)
        && let Some((answer, to)) = dhcp::answer(&question, &node, v4, &network)
    {
        assert!(to.is_broadcast() || Some(to) == node.ipv4);
        assert!(answer.len() <= 1500);
    }
    if let Some(question) = dhcp6::parse(bytes) {
        question.mac(Ipv6Addr::LOCALHOST);
        if let Some(answer) = dhcp6::answer(&question, &node, v6, &network) {
            assert!(answer.len() <= 1500 && dhcp6::parse(&answer).is_some());
        }
    }
});
