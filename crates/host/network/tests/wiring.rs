//! Pairs, bridges, LANs, names, marks, held against what Debian's `ip` sees.
#![allow(clippy::unwrap_used)] // fixtures of a test fail by panic

mod common;

use std::time::{Duration, Instant};

use common::{bridge, eventually, inside, json, nets, outside, owner, pings, run};
use vnode_network::ownership::{self, OwnedKind};
use vnode_network::{Error, Host, LanSpec, Mac, Ns, PairSpec, Route, interface_name, state};

fn star<'a>(host: &Host, nodes: &'a [Ns], owner: &'a vnode_network::Owner) {
    let names: Vec<String> = (0..nodes.len()).map(|at| format!("vnhost{at}")).collect();
    let addresses: Vec<_> = (0..nodes.len())
        .map(|at| nets(&[&format!("10.9.0.{}/24", at + 1), &format!("fd09::{}/64", at + 1)]))
        .collect();
    let pairs: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(at, ns)| PairSpec {
            link: "star",
            a: inside(ns, "eth1", &addresses[at]),
            b: outside(owner, &names[at], Some("vnbr")),
            mtu: Some(1400),
        })
        .collect();
    host.link_pairs(&pairs).unwrap();
}

#[test]
fn a_star_is_wired_addressed_marked_and_reachable_by_both_families() {
    let Some(host) = common::host() else { return };
    let owner = owner();
    bridge(&host, "vnbr", &["10.9.0.254/24"]);
    let nodes: Vec<Ns> = (0..3).map(|_| Ns::create().unwrap()).collect();
    star(&host, &nodes, &owner);
    assert!(pings(&nodes[0], "10.9.0.2"));
    assert!(pings(&nodes[0], "fd09::3"));
    assert!(pings(&nodes[2], "10.9.0.254"));
    assert!(pings(&nodes[1], "127.0.0.1"));

    let seen = json(host.ns(), "ip -j -d link show vnhost1");
    assert_eq!(seen[0]["ifalias"], "vnode:test:lab%3a1:test end:op-7");
    assert_eq!(seen[0]["master"], "vnbr");
    assert_eq!(seen[0]["mtu"], 1400);
    let inner = json(&nodes[1], "ip -j -d link show eth1");
    for end in [&seen[0], &inner[0]] {
        assert_eq!((&end["num_tx_queues"], &end["num_rx_queues"]), (&1.into(), &1.into()));
    }
    let seen = json(host.ns(), "ip -j -d addr show vnbr");
    assert_eq!(seen[0]["address"], Mac::from_name("vnbr").to_string());
    assert_eq!(seen[0]["linkinfo"]["info_data"]["stp_state"], 0);
    assert_eq!(seen[0]["linkinfo"]["info_data"]["mcast_snooping"], 0);
    // The host says nothing of its own on a port.
    let seen = json(host.ns(), "ip -j addr show vnhost1");
    assert_eq!(seen[0]["addr_info"].as_array().unwrap().len(), 0);
    let seen = json(&nodes[0], "ip -j addr show eth1");
    let addresses = seen[0]["addr_info"].as_array().unwrap();
    assert!(addresses.iter().any(|one| one["local"] == "fd09::1" && one["tentative"].is_null()));

    let interfaces = state::interfaces(&nodes[0]).unwrap();
    let eth1 = interfaces.iter().find(|one| one.name == "eth1").unwrap();
    assert!(eth1.up && eth1.carrier && eth1.kind.as_deref() == Some("veth"));
    assert!(eth1.addresses.contains(&"10.9.0.1/24".parse().unwrap()));
    assert!(eth1.counters.tx_packets > 0);
    assert!(interfaces.iter().find(|one| one.name == "lo").unwrap().up);
}

#[test]
fn a_link_between_two_nodes_has_addresses_names_and_routes() {
    let Some(host) = common::host() else { return };
    let [left, right] = [Ns::create().unwrap(), Ns::create().unwrap()];
    // The host having an interface of the same name is no hindrance.
    run(host.ns(), "ip link add ge-0-yrv64i type veth peer name eth1");
    let long = interface_name("ge-0/0/0").unwrap();
    let macs = [Mac::from_name("left"), Mac::from_name("right")];
    let (a, b) = (nets(&["192.0.2.1/30"]), nets(&["192.0.2.2/30", "2001:db8::2/64"]));
    let routes = [
        Route {
            to: "198.51.100.0/24".parse().unwrap(),
            via: "192.0.2.2".parse().ok(),
            metric: Some(7),
        },
        Route { to: "::/0".parse().unwrap(), via: None, metric: None },
    ];
    let mut pair = PairSpec {
        link: "l1",
        a: inside(&left, &long.kernel, &a),
        b: inside(&right, "eth1", &b),
        mtu: Some(9500),
    };
    pair.a.mac = Some(macs[0]);
    pair.b.mac = Some(macs[1]);
    pair.a.alternative_name = long.original.as_deref();
    pair.a.routes = &routes;
    host.link_pair(&pair).unwrap();
    assert!(pings(&left, "192.0.2.2"));
    let seen = json(&left, "ip -j link show ge-0/0/0");
    assert_eq!(seen[0]["ifname"], long.kernel.as_str());
    assert_eq!(seen[0]["address"], macs[0].to_string());
    assert_eq!(seen[0]["mtu"], 9500);
    let seen = json(&left, "ip -j route");
    let route =
        seen.as_array().unwrap().iter().find(|one| one["dst"] == "198.51.100.0/24").unwrap();
    assert_eq!((&route["gateway"], &route["metric"]), (&"192.0.2.2".into(), &7.into()));
    assert_eq!(json(&left, "ip -j -6 route show default").as_array().unwrap().len(), 1);
    let found = state::interfaces(&left).unwrap();
    assert!(found.iter().any(|one| one.alternative_names == ["ge-0/0/0"]));
}

#[test]
fn a_refused_link_is_named_and_nothing_of_the_call_stays() {
    let Some(host) = common::host() else { return };
    let owner = owner();
    bridge(&host, "vnbr", &[]);
    let node = Ns::create().unwrap();
    let none = [];
    let good = PairSpec {
        link: "good",
        a: inside(&node, "eth1", &none),
        b: outside(&owner, "vnone", Some("vnbr")),
        mtu: None,
    };
    let bad = PairSpec {
        link: "r1:eth1 -- r2:eth9",
        a: inside(&node, "eth1", &none),
        b: outside(&owner, "vntwo", Some("vnbr")),
        mtu: None,
    };
    let error = host.link_pairs(&[good.clone(), bad]).unwrap_err();
    assert!(error.to_string().contains("r1:eth1 -- r2:eth9"), "{error}");
    assert!(!host.ns().has_interface("vnone").unwrap());
    assert!(!node.has_interface("eth1").unwrap());
    host.link_pair(&good).unwrap();

    let routes = [Route {
        to: "10.0.0.0/8".parse().unwrap(),
        via: "203.0.113.1".parse().ok(),
        metric: None,
    }];
    let mut late = good.clone();
    late.b.name = "vnlate";
    late.a.name = "eth2";
    late.a.routes = &routes;
    let error = host.link_pair(&late).unwrap_err();
    assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("invalid gateway") || source.contains("unreachable"), "{source}");
    assert!(!host.ns().has_interface("vnlate").unwrap());
}

#[test]
fn t06_a_shared_bridge_stays_until_its_own_removal_and_converges() {
    let Some(host) = common::host() else { return };
    let owner = owner();
    let mut spec = bridge(&host, "vnbr", &["10.9.0.1/24", "10.9.1.1/24"]);
    let nodes: Vec<Ns> = (0..2).map(|_| Ns::create().unwrap()).collect();
    star(&host, &nodes, &owner);
    assert!(host.remove_link("vnhost0").unwrap());
    assert!(!host.remove_link("vnhost0").unwrap());
    assert!(pings(&nodes[1], "10.9.0.1"));
    spec.addresses = nets(&["10.9.0.1/24"]);
    spec.mtu = Some(1400);
    host.ensure_bridge(&spec).unwrap();
    let seen = json(host.ns(), "ip -j addr show vnbr");
    assert!(!seen.to_string().contains("10.9.1.1"));
    assert!(pings(&nodes[1], "10.9.0.1"));
    host.remove_links(&["vnbr", "vnhost1", "nothing"]).unwrap();
    assert!(!host.ns().has_interface("vnbr").unwrap());
}

#[test]
fn t09_what_is_not_marked_is_never_touched() {
    let Some(host) = common::host() else { return };
    let owner = owner();
    bridge(&host, "vnbr", &[]);
    run(host.ns(), "ip link add br0 type bridge");
    run(host.ns(), "ip link add veth-foo type veth peer name veth-bar");
    run(host.ns(), "ip link set br0 alias vnode-is-great");
    run(host.ns(), "nft add table inet vnode_users");
    let mut spec = bridge(&host, "vnbr", &[]);
    spec.name = "br0".into();
    assert!(matches!(host.ensure_bridge(&spec), Err(Error::Foreign { name }) if name == "br0"));
    assert!(matches!(host.remove_link("veth-foo"), Err(Error::Foreign { .. })));
    assert!(matches!(host.remove_links(&["br0", "vnbr"]), Err(Error::Foreign { .. })));
    assert!(!host.ns().has_interface("vnbr").unwrap());

    bridge(&host, "vnbr", &[]);
    let mut other = owner.clone();
    other.instance = "other".into();
    spec.name = "vnother".into();
    spec.owner = other;
    host.ensure_bridge(&spec).unwrap();
    let owned = ownership::list_owned(&host, "test").unwrap();
    assert_eq!(owned.len(), 1);
    assert_eq!((owned[0].kind, owned[0].name.as_str()), (OwnedKind::Link, "vnbr"));
    assert_eq!((owned[0].lab.as_str(), owned[0].what.as_str()), ("lab:1", "bridge vnbr"));
    assert!(ownership::remove(&host, "test", &owned[0]).unwrap());
    assert!(!ownership::remove(&host, "test", &owned[0]).unwrap());
    // A name that somebody else took meanwhile is no longer ours to remove.
    run(host.ns(), "ip link add vnbr type bridge");
    assert!(!ownership::remove(&host, "test", &owned[0]).unwrap());
    for name in ["br0", "veth-foo", "veth-bar", "vnother", "vnbr"] {
        assert!(host.ns().has_interface(name).unwrap(), "{name}");
    }
    assert!(run(host.ns(), "nft list tables").contains("vnode_users"));
}

#[test]
fn ends_of_a_node_that_went_are_waited_for() {
    let Some(host) = common::host() else { return };
    let owner = owner();
    bridge(&host, "vnbr", &[]);
    let nodes: Vec<Ns> = (0..4).map(|_| Ns::create().unwrap()).collect();
    star(&host, &nodes, &owner);
    let soon = Instant::now() + Duration::from_millis(10);
    let error = host.wait_gone(&["vnhost0"], soon).unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }));
    drop(nodes);
    let deadline = Instant::now() + Duration::from_secs(20);
    host.wait_gone(&["vnhost0", "vnhost1", "vnhost2", "vnhost3"], deadline).unwrap();
}

#[test]
fn a_lan_of_more_members_than_a_bridge_takes_is_one_lan() {
    let Some(host) = common::host() else { return };
    let owner = owner();
    let mut spec = LanSpec {
        name: "big".into(),
        members: 10,
        mtu: None,
        ageing_s: None,
        owner: owner.clone(),
    };
    host.ensure_lan(&spec).unwrap();
    spec.members = 2500;
    let lan = host.ensure_lan(&spec).unwrap();
    assert_eq!(host.ensure_lan(&spec).unwrap(), lan);
    let nodes: Vec<Ns> = (0..3).map(|_| Ns::create().unwrap()).collect();
    for (at, ns) in nodes.iter().enumerate() {
        let addresses = nets(&[&format!("10.8.0.{}/16", at + 1)]);
        let name = format!("vnend{at}");
        host.link_pair(&PairSpec {
            link: "big",
            a: inside(ns, "eth1", &addresses),
            b: outside(&owner, &name, Some(lan.bridge_for(at * 1000))),
            mtu: None,
        })
        .unwrap();
    }
    assert!(pings(&nodes[0], "10.8.0.2") && pings(&nodes[1], "10.8.0.3"));
    host.remove_lan(&lan).unwrap();
    host.remove_lan(&lan).unwrap();
    drop(nodes);
    eventually("an empty host", || state::interfaces(host.ns()).unwrap().len() == 1);
    spec.members = 24_001;
    assert!(matches!(host.ensure_lan(&spec), Err(Error::Invalid { .. })));
}

#[test]
fn members_that_wait_are_kept_from_the_lan_until_they_are_served() {
    let Some(host) = common::host() else { return };
    let owner = owner();
    bridge(&host, "vnbr", &[]);
    let nodes: Vec<Ns> = (0..3).map(|_| Ns::create().unwrap()).collect();
    for (at, ns) in nodes.iter().enumerate() {
        let addresses = nets(&[&format!("10.8.0.{}/24", at + 1)]);
        let port = format!("vnport{at}");
        host.link_pair(&PairSpec {
            link: "lan",
            a: inside(ns, "eth1", &addresses),
            b: outside(&owner, &port, Some("vnbr")),
            mtu: None,
        })
        .unwrap();
        host.set_waiting(&port, true).unwrap();
    }
    assert!(!pings(&nodes[0], "10.8.0.2"));
    host.set_waiting("vnport0", false).unwrap();
    assert!(!pings(&nodes[0], "10.8.0.2"));
    for port in ["vnport1", "vnport1"] {
        host.set_waiting(port, false).unwrap();
    }
    assert!(pings(&nodes[0], "10.8.0.2") && !pings(&nodes[0], "10.8.0.3"));
    let error = host.set_waiting("vnport9", true).unwrap_err();
    assert!(error.to_string().contains("vnport9"), "{error}");
}

#[test]
fn parameters_are_those_of_the_namespace() {
    let Some(host) = common::host() else { return };
    let before = host.ns().sysctl_read("net.ipv4.ip_forward").unwrap();
    let node = Ns::create().unwrap();
    let other = if node.sysctl_read("net.ipv4.ip_forward").unwrap() == "0" { "1" } else { "0" };
    node.sysctl_write("net.ipv4.ip_forward", other).unwrap();
    assert_eq!(node.sysctl_read("net/ipv4/ip_forward").unwrap(), other);
    assert_eq!(host.ns().sysctl_read("net.ipv4.ip_forward").unwrap(), before);
    assert!(matches!(node.sysctl_write("net.ipv4.nothing", "1"), Err(Error::Sysctl { .. })));
}

#[test]
fn t08_labs_with_equal_names_and_subnets_do_not_hear_each_other() {
    let Some(host) = common::host() else { return };
    let labs = ["one", "two"].map(|lab| {
        let owner = vnode_network::Owner { lab: lab.into(), ..owner() };
        let spec = LanSpec { name: "lan".into(), members: 2, mtu: None, ageing_s: None, owner };
        (host.ensure_lan(&spec).unwrap(), spec.owner)
    });
    assert_ne!(labs[0].0, labs[1].0);
    let mut nodes = Vec::new();
    for (number, (lan, owner)) in labs.iter().enumerate() {
        for member in 0..2 {
            let ns = Ns::create().unwrap();
            // The second node has an address of its own in each lab.
            let last = if member == 0 { 1 } else { 2 + number };
            let addresses = nets(&[&format!("10.5.0.{last}/24")]);
            let name = vnode_network::host_name(&[&owner.lab, &member.to_string()]);
            host.link_pair(&PairSpec {
                link: "lan",
                a: inside(&ns, "eth1", &addresses),
                b: outside(owner, &name, Some(lan.bridge_for(member))),
                mtu: None,
            })
            .unwrap();
            nodes.push(ns);
        }
    }
    assert!(pings(&nodes[0], "10.5.0.2") && !pings(&nodes[0], "10.5.0.3"));
    assert!(pings(&nodes[2], "10.5.0.3") && !pings(&nodes[2], "10.5.0.2"));
    for (lan, _) in &labs {
        assert_eq!(run(host.ns(), &format!("ip -6 addr show {}", lan.bridges[0])), "");
    }
}

#[test]
fn t07_what_fails_in_the_middle_takes_its_beginnings_along() {
    let Some(host) = common::host() else { return };
    let owner = owner();
    bridge(&host, "vnbr", &["10.9.0.254/24"]);
    let nodes: Vec<Ns> = (0..5).map(|_| Ns::create().unwrap()).collect();
    let user = Ns::create().unwrap();
    let addresses = nets(&["10.9.0.1/24"]);
    host.link_pair(&PairSpec {
        link: "before",
        a: inside(&user, "eth1", &addresses),
        b: outside(&owner, "vnuser", Some("vnbr")),
        mtu: None,
    })
    .unwrap();
    // The third name is taken, by somebody else.
    run(host.ns(), "ip link add vnhost2 type bridge");
    let names: Vec<String> = (0..5).map(|at| format!("vnhost{at}")).collect();
    let pairs: Vec<_> = nodes
        .iter()
        .zip(&names)
        .map(|(ns, name)| PairSpec {
            link: name,
            a: inside(ns, "eth1", &[]),
            b: outside(&owner, name, Some("vnbr")),
            mtu: None,
        })
        .collect();
    let error = host.link_pairs(&pairs).unwrap_err();
    assert!(error.to_string().contains("vnhost2"), "{error}");
    let names: Vec<_> =
        state::interfaces(host.ns()).unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["lo", "vnbr", "vnuser", "vnhost2"]);
    let foreign = json(host.ns(), "ip -j link show vnhost2");
    assert!(foreign[0]["ifalias"].is_null(), "what is not ours is not marked as ours: {foreign}");
    assert!(pings(&user, "10.9.0.254"));
}

#[test]
fn an_mtu_too_small_for_ipv6_is_no_hindrance() {
    let Some(host) = common::host() else { return };
    let owner = owner();
    let mut spec = bridge(&host, "vnbr", &["10.9.0.254/24"]);
    spec.mtu = Some(576);
    host.ensure_bridge(&spec).unwrap();
    let node = Ns::create().unwrap();
    let addresses = nets(&["10.9.0.1/24"]);
    host.link_pair(&PairSpec {
        link: "small",
        a: inside(&node, "eth1", &addresses),
        b: outside(&owner, "vnsmall", Some("vnbr")),
        mtu: Some(576),
    })
    .unwrap();
    assert!(pings(&node, "10.9.0.254"));
    assert_eq!(state::interfaces(host.ns()).unwrap().len(), 3);
}
