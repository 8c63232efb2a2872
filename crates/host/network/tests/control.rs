//! Control networks with real packets: translation, forwards, isolation, spoofing.
#![allow(clippy::unwrap_used)] // fixtures of a test fail by panic

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use common::{bridge, inside, json, nets, output, outside, pings, run};
use vnode_network::control::{
    Control, ControlPort, ControlSpec, Forward, Protocol, forward_policy_conflict, root_plan,
    root_prepare, root_restore,
};
use vnode_network::ownership::{self, OwnedKind};
use vnode_network::{Error, Host, Mac, Ns, Owner, PairSpec, Route};

fn owner(lab: &str) -> Owner {
    Owner { instance: "test".into(), lab: lab.into(), operation: "op".into() }
}

/// A lab with its control network `10.<number>.0.1/24`, `fd00:<number>::1/64`.
struct Lab {
    owner: Owner,
    number: u8,
    control: Control,
}

impl Lab {
    fn new(host: &Host, number: u8, external_access: bool) -> Lab {
        let owner = owner(&format!("lab{number}"));
        let gateways = nets(&[&format!("10.{number}.0.1/24"), &format!("fd00:{number}::1/64")]);
        let spec =
            ControlSpec { owner: owner.clone(), gateways, mtu: None, nat: true, external_access };
        let control = Control::ensure(host, &spec).unwrap();
        // Once more, as a daemon that starts again does.
        Control::ensure(host, &spec).unwrap();
        Lab { owner, number, control }
    }

    fn port(&self, node: u8) -> ControlPort {
        ControlPort {
            port: format!("vnp{}-{node}", self.number),
            mac: Mac::from_name(&format!("{}/{node}", self.number)),
            addresses: vec![
                format!("10.{}.0.{node}", self.number).parse().unwrap(),
                format!("fd00:{}::{node}", self.number).parse().unwrap(),
            ],
        }
    }

    fn node(&self, host: &Host, node: u8) -> Ns {
        let ns = Ns::create().unwrap();
        let port = self.port(node);
        self.control.add_nodes(std::slice::from_ref(&port)).unwrap();
        let number = self.number;
        let addresses =
            nets(&[&format!("10.{number}.0.{node}/24"), &format!("fd00:{number}::{node}/64")]);
        let route = |to: &str, via: String| Route {
            to: to.parse().unwrap(),
            via: via.parse().ok(),
            metric: Some(1024),
        };
        let routes = [
            route("0.0.0.0/0", format!("10.{number}.0.1")),
            route("::/0", format!("fd00:{number}::1")),
        ];
        let mut pair = PairSpec {
            link: "control",
            a: inside(&ns, "eth0", &addresses),
            b: outside(&self.owner, &port.port, Some(&self.control.bridge)),
            mtu: None,
        };
        pair.a.mac = Some(port.mac);
        pair.a.routes = &routes;
        host.link_pair(&pair).unwrap();
        ns
    }

    fn forward(&self, node: u8, host_port: u16, node_port: u16) -> Forward {
        Forward {
            protocol: Protocol::Tcp,
            host_address: None,
            host_port,
            node_address: format!("10.{}.0.{node}", self.number).parse().unwrap(),
            node_port,
        }
    }
}

/// A host with forwarding on and a machine outside it: 203.0.113.1 and .2, 2001:db8:99::1 and ::2.
fn world() -> Option<(Host, Ns)> {
    let host = common::host()?;
    root_prepare(&host).unwrap();
    let outside_ns = Ns::create().unwrap();
    let here = nets(&["203.0.113.1/24", "2001:db8:99::1/64"]);
    let there = nets(&["203.0.113.2/24", "2001:db8:99::2/64"]);
    let owner = owner("world");
    let mut end = outside(&owner, "uplink", None);
    end.addresses = &here;
    host.link_pair(&PairSpec {
        link: "uplink",
        a: end,
        b: inside(&outside_ns, "eth0", &there),
        mtu: None,
    })
    .unwrap();
    Some((host, outside_ns))
}

/// Serves TCP in a namespace: tells each client the address it came from. Ends with the test program.
fn serve(ns: &Ns, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let (ready, wait) = mpsc::channel();
    let ns = ns.clone();
    std::thread::spawn(move || {
        ns.run(move || {
            let listener = TcpListener::bind(address).unwrap();
            ready.send(()).unwrap();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let peer = stream.peer_addr().unwrap().ip().to_string();
                // A client that has gone by now failed its own test.
                let _ = stream.write_all(peer.as_bytes());
                let _ = stream.shutdown(Shutdown::Write);
            }
        })
    });
    wait.recv().unwrap();
}

/// What [`serve`] says to a client in this namespace; `None` when there is no connection.
fn fetch(ns: &Ns, address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    ns.run(move || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    })
    .unwrap()
}

#[test]
fn t79_nodes_reach_host_and_outside_and_port_forwards_reach_nodes() {
    let Some((host, far)) = world() else { return };
    let lab = Lab::new(&host, 1, false);
    let [one, two] = [2, 3].map(|node| lab.node(&host, node));
    assert!(pings(&one, "10.1.0.1") && pings(&one, "fd00:1::1"), "the host");
    assert!(pings(&one, "10.1.0.3") && pings(&two, "fd00:1::2"), "each other");
    assert!(pings(&one, "203.0.113.2") && pings(&one, "2001:db8:99::2"), "outside");

    serve(&far, "0.0.0.0:8000");
    serve(&far, "[2001:db8:99::2]:8001");
    assert_eq!(fetch(&one, "203.0.113.2:8000").as_deref(), Some("203.0.113.1"), "translated");
    assert_eq!(fetch(&one, "[2001:db8:99::2]:8001").as_deref(), Some("2001:db8:99::1"));

    serve(&one, "0.0.0.0:22");
    serve(&one, "[fd00:1::2]:22");
    let forward = lab.forward(2, 2222, 22);
    let six = Forward {
        node_address: "fd00:1::2".parse().unwrap(),
        host_address: Some("2001:db8:99::1".parse().unwrap()),
        ..forward.clone()
    };
    assert_eq!(fetch(&far, "203.0.113.1:2222"), None);
    lab.control.add_forwards(&[forward.clone(), six.clone()]).unwrap();
    lab.control.add_forwards(std::slice::from_ref(&forward)).unwrap();
    assert_eq!(fetch(&far, "203.0.113.1:2222").as_deref(), Some("203.0.113.2"), "from outside");
    assert_eq!(fetch(&far, "[2001:db8:99::1]:2222").as_deref(), Some("2001:db8:99::2"));
    assert_eq!(fetch(host.ns(), "127.0.0.1:2222").as_deref(), Some("10.1.0.1"), "from loopback");
    assert_eq!(fetch(host.ns(), "203.0.113.1:2222").as_deref(), Some("203.0.113.1"), "the host");
    assert_eq!(fetch(&two, "203.0.113.1:2222").as_deref(), Some("10.1.0.1"), "another node");
    assert_eq!(fetch(&one, "10.1.0.1:2222").as_deref(), Some("10.1.0.1"), "the node itself");
    let mut found = lab.control.forwards().unwrap();
    found.sort_by_key(|forward| forward.node_address);
    assert_eq!(found, [forward.clone(), six.clone()]);

    let other = lab.forward(3, 2222, 22);
    lab.control.remove_forwards(&[other.clone(), lab.forward(3, 5555, 1)]).unwrap();
    assert_eq!(lab.control.forwards().unwrap().len(), 2, "only what is the caller's");
    let error = lab.control.add_forwards(&[lab.forward(3, 4444, 22), other]).unwrap_err();
    assert!(error.to_string().contains("2222 -> 10.1.0.3:22/tcp"), "{error}");
    assert_eq!(lab.control.forwards().unwrap().len(), 2, "all or none");

    // Ensuring the network again keeps what stands; removing ends it.
    Lab::new(&host, 1, false);
    assert!(fetch(&far, "203.0.113.1:2222").is_some());
    lab.control.remove_forwards(&[forward.clone(), six]).unwrap();
    lab.control.remove_forwards(&[forward]).unwrap();
    assert_eq!(fetch(&far, "203.0.113.1:2222"), None);
    assert_eq!(lab.control.forwards().unwrap(), []);
    lab.control.remove().unwrap();
    lab.control.remove().unwrap();
    assert_eq!(run(host.ns(), "nft list tables"), "");
    assert!(!host.ns().has_interface(&lab.control.bridge).unwrap());
}

#[test]
fn t83_the_default_route_goes_by_the_control_network() {
    let Some((host, _far)) = world() else { return };
    let lab = Lab::new(&host, 1, false);
    let node = lab.node(&host, 2);
    let route = json(&node, "ip -j route get 198.51.100.7");
    assert_eq!((&route[0]["dev"], &route[0]["gateway"]), (&"eth0".into(), &"10.1.0.1".into()));
    let routes = json(&node, "ip -j route show default");
    assert_eq!(routes[0]["metric"], 1024);
}

#[test]
fn labs_are_apart_and_strangers_stay_outside() {
    let Some((host, far)) = world() else { return };
    let [closed, open] = [Lab::new(&host, 1, false), Lab::new(&host, 2, true)];
    let [one, two] = [closed.node(&host, 2), open.node(&host, 2)];
    assert!(!pings(&one, "10.2.0.2") && !pings(&two, "10.1.0.2"), "labs are apart");
    assert!(!pings(&one, "fd00:2::2"));
    run(&far, "ip route add 10.0.0.0/8 via 203.0.113.1");
    assert!(pings(&far, "10.2.0.2"), "an open lab is reachable for who has a route");
    assert!(!pings(&far, "10.1.0.2"), "a closed one is not");
    // Published is published, for other labs too.
    serve(&one, "0.0.0.0:80");
    closed.control.add_forwards(&[closed.forward(2, 8080, 80)]).unwrap();
    assert!(fetch(&two, "203.0.113.1:8080").is_some());
    // The host's loopback services are not the nodes'.
    serve(host.ns(), "127.0.0.1:9999");
    run(&one, "ip route add 127.0.0.5 via 10.1.0.1 table local");
    run(&one, "ip addr del 127.0.0.1/8 dev lo");
    run(&one, "ip route add 127.0.0.1 via 10.1.0.1 table local");
    one.sysctl_write("net.ipv4.conf.eth0.route_localnet", "1").unwrap();
    assert_eq!(fetch(&one, "127.0.0.1:9999"), None);
}

#[test]
fn t80_a_node_cannot_use_anothers_addresses_or_serve_dhcp() {
    let Some((host, _far)) = world() else { return };
    let lab = Lab::new(&host, 1, false);
    let [good, evil] = [2, 3].map(|node| lab.node(&host, node));
    assert!(pings(&evil, "10.1.0.2"));

    // Datagrams with the own source pass; from a DHCP server's port, or with another's address, they do not.
    let listener = good.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        socket
    });
    let listener = listener.unwrap();
    let heard = |from: &'static str| {
        evil.run(move || {
            let socket = UdpSocket::bind(from).unwrap();
            socket.send_to(b"offer", "10.1.0.2:68").unwrap();
        })
        .unwrap();
        listener.recv_from(&mut [0; 16]).is_ok()
    };
    assert!(heard("10.1.0.3:1067"));
    assert!(!heard("10.1.0.3:67"), "a DHCP answer");
    run(&evil, "ip addr add 10.1.0.99/32 dev eth0");
    assert!(!heard("10.1.0.99:1067"), "an address not its own");

    run(&evil, "ip -6 addr add fd00:1::2/64 dev eth0 nodad");
    assert!(!output(&evil, "ping -6 -n -c 1 -W 1 -I fd00:1::2 fd00:1::1").status.success());
    run(&evil, "ip -6 addr del fd00:1::2/64 dev eth0");
    assert!(pings(&evil, "fd00:1::1"), "its own address still works");

    // An ARP answer for another's address does not reach the host.
    run(host.ns(), "ip neigh flush all");
    run(&evil, "ip addr add 10.1.0.50/24 dev eth0");
    assert!(!pings(host.ns(), "10.1.0.50"));

    let mac = lab.port(2).mac;
    run(&evil, "ip link set eth0 down");
    run(&evil, &format!("ip link set eth0 address {mac}"));
    run(&evil, "ip link set eth0 up");
    assert!(!pings(&evil, "10.1.0.1"), "a MAC not its own");

    // Forgotten permissions are gone; a port never made known again is another's matter.
    let ports = [lab.port(2).port, lab.port(3).port];
    let names: Vec<&str> = ports.iter().map(String::as_str).collect();
    lab.control.forget_nodes(&[lab.port(2)]).unwrap();
    lab.control.forget_nodes(&[lab.port(2)]).unwrap();
    lab.control.remove_nodes(&names).unwrap();
    lab.control.remove_nodes(&names).unwrap();
    let seen = run(host.ns(), &format!("nft list table bridge {}", lab.control.table));
    assert!(!seen.contains("elements"), "{seen}");
}

#[test]
fn tables_bear_marks_and_are_found_by_them() {
    let Some((host, _far)) = world() else { return };
    run(host.ns(), "nft add table inet users");
    let lab = Lab::new(&host, 1, false);
    let owned = ownership::list_owned(&host, "test").unwrap();
    let kinds: Vec<_> = owned.iter().filter(|one| one.lab == "lab1").map(|one| one.kind).collect();
    assert_eq!(kinds.len(), 3);
    assert!(kinds.contains(&OwnedKind::InetTable) && kinds.contains(&OwnedKind::BridgeTable));
    let seen = run(host.ns(), &format!("nft list table inet {}", lab.control.table));
    assert!(seen.contains("comment \"vnode:test:lab1:control network:op\""), "{seen}");
    for one in owned.iter().filter(|one| one.lab == "lab1") {
        assert!(ownership::remove(&host, "test", one).unwrap());
        assert!(!ownership::remove(&host, "test", one).unwrap());
    }
    assert_eq!(run(host.ns(), "nft list tables").trim(), "table inet users");
}

#[test]
fn a_policy_of_others_that_drops_is_told() {
    let Some((host, _far)) = world() else { return };
    assert_eq!(forward_policy_conflict(&host).unwrap(), []);
    run(host.ns(), "nft add table ip filter");
    run(
        host.ns(),
        "nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }",
    );
    let found = forward_policy_conflict(&host).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].chain, "ip filter FORWARD");
    assert!(found[0].hint.contains("iptables -I FORWARD -i vnc+"));
}

#[test]
fn parameters_go_back_unless_somebody_else_set_them() {
    let Some(host) = common::host() else { return };
    let ns = host.ns();
    ns.sysctl_write("net.ipv4.ip_forward", "0").unwrap();
    ns.sysctl_write("net.ipv6.conf.all.forwarding", "0").unwrap();
    bridge(&host, "vnbr", &[]);
    ns.sysctl_write("net/ipv6/conf/vnbr/accept_ra", "1").unwrap();
    let planned = root_plan(&host).unwrap();
    assert_eq!(ns.sysctl_read("net.ipv4.ip_forward").unwrap(), "0", "a plan changes nothing");
    let saved = root_prepare(&host).unwrap();
    assert_eq!(planned, saved);
    assert!(root_plan(&host).unwrap().changed.is_empty());
    assert_eq!(ns.sysctl_read("net.ipv4.ip_forward").unwrap(), "1");
    assert_eq!(ns.sysctl_read("net.ipv6.conf.all.forwarding").unwrap(), "1");
    assert_eq!(ns.sysctl_read("net/ipv6/conf/vnbr/accept_ra").unwrap(), "2");
    assert!(root_prepare(&host).unwrap().changed.is_empty());
    ns.sysctl_write("net/ipv6/conf/vnbr/accept_ra", "0").unwrap();
    root_restore(&host, &saved).unwrap();
    assert_eq!(ns.sysctl_read("net.ipv4.ip_forward").unwrap(), "0");
    assert_eq!(ns.sysctl_read("net.ipv6.conf.all.forwarding").unwrap(), "0");
    assert_eq!(ns.sysctl_read("net/ipv6/conf/vnbr/accept_ra").unwrap(), "0");
}

#[test]
fn two_subnets_of_one_family_are_refused() {
    let Some(host) = common::host() else { return };
    let spec = ControlSpec {
        owner: owner("x"),
        gateways: nets(&["10.0.0.1/24", "10.0.1.1/24"]),
        mtu: None,
        nat: true,
        external_access: true,
    };
    assert!(matches!(Control::ensure(&host, &spec), Err(Error::Invalid { .. })));
    let address: IpAddr = "10.0.0.1".parse().unwrap();
    let forward = Forward {
        protocol: Protocol::Sctp,
        host_address: Some("::1".parse().unwrap()),
        host_port: 1,
        node_address: address,
        node_port: 1,
    };
    let control = Control::open(&host, &owner("x"));
    assert!(matches!(control.add_forwards(&[forward]), Err(Error::Invalid { .. })));
    assert_eq!(control.forwards().unwrap(), []);
    control.remove().unwrap();
}
