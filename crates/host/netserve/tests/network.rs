//! The services as a node meets them: a control network with its rules in a namespace, a node in another, real sockets.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use vnode_netserve::{Directory, Network, Node, serve};
use vnode_network::control::{Control, ControlPort, ControlSpec, METADATA};
use vnode_network::{End, Host, Mac, Ns, Owner, PairSpec, Place, Route};

const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 7]);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// Only something that hangs takes so long.
const LONG: Duration = Duration::from_secs(60);

struct One(PathBuf);

impl Directory for One {
    fn by_mac(&self, mac: Mac) -> Option<Node> {
        let node = Node {
            hostname: "r1".into(),
            ipv4: Some(OWN),
            ipv6: Some("fd00:9::2".parse().unwrap()),
        };
        (mac == MAC).then_some(node)
    }

    fn files_of(&self, address: Ipv4Addr) -> Option<PathBuf> {
        (address == OWN).then(|| self.0.clone())
    }
}

/// A control network with its rules in one namespace, and a node on it in another.
fn join() -> (Ns, String, Ns) {
    let (router, node) = (Ns::create().unwrap(), Ns::create().unwrap());
    let owner = Owner { instance: "test".into(), lab: "lab".into(), operation: String::new() };
    let host = Host::new(router.clone());
    let control = Control::ensure(
        &host,
        &ControlSpec {
            owner: owner.clone(),
            gateways: vec!["10.9.0.1/24".parse().unwrap(), "fd00:9::1/64".parse().unwrap()],
            mtu: Some(1500),
            nat: false,
            external_access: false,
        },
    )
    .unwrap();
    let own: [IpAddr; 2] = [OWN.into(), "fd00:9::2".parse().unwrap()];
    let port = ControlPort { port: "p0".into(), mac: MAC, addresses: own.to_vec() };
    control.add_nodes(&[port]).unwrap();
    let addresses = ["10.9.0.2/24", "fd00:9::2/64"].map(|text| text.parse().unwrap());
    let to = "0.0.0.0/0".parse().unwrap();
    let route = Route { to, via: Some(GATEWAY.into()), metric: None };
    host.link_pair(&PairSpec {
        link: "test",
        a: End {
            place: Place::Node(&node),
            name: "eth0",
            alternative_name: None,
            mac: Some(MAC),
            addresses: &addresses,
            routes: &[route],
            impairment: None,
            up: true,
        },
        b: End {
            place: Place::Host { bridge: Some(&control.bridge), owner: &owner, what: "control n" },
            name: "p0",
            alternative_name: None,
            mac: None,
            addresses: &[],
            routes: &[],
            impairment: None,
            up: true,
        },
        mtu: Some(1500),
    })
    .unwrap();
    (router, control.bridge, node)
}

fn socket(form: (Domain, Type, Protocol), port: u16) -> UdpSocket {
    let socket = Socket::new(form.0, form.1, Some(form.2)).unwrap();
    socket.bind_device(Some(b"eth0")).unwrap();
    if form.0 == Domain::IPV4 {
        socket.set_broadcast(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into()).unwrap();
    } else {
        socket.set_multicast_hops_v6(255).unwrap();
        if form.1 == Type::DGRAM {
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()).unwrap();
        }
    }
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket
}

/// Sends until something that `good` likes comes back: addresses of IPv6 are of use only a while after they are set.
fn ask(socket: &UdpSocket, to: SocketAddr, bytes: &[u8], good: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let end = std::time::Instant::now() + LONG;
    loop {
        assert!(std::time::Instant::now() < end, "no answer to {bytes:?}");
        if socket.send_to(bytes, to).is_err() {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        let mut answer = [0; 1500];
        if let Ok((length, _)) = socket.recv_from(&mut answer)
            && good(&answer[..length])
        {
            return answer[..length].to_vec();
        }
    }
}

fn as_node(folder: &std::path::Path) {
    // DHCP: it is offered the address it has.
    let mut discover = vec![0; 240];
    discover[..4].copy_from_slice(&[1, 1, 6, 0]);
    discover[28..34].copy_from_slice(&MAC.0);
    discover[236..].copy_from_slice(&[99, 130, 83, 99]);
    discover.extend([53, 1, 1, 255]);
    let v4 = socket((Domain::IPV4, Type::DGRAM, Protocol::UDP), 68);
    let offer = ask(&v4, (Ipv4Addr::BROADCAST, 67).into(), &discover, |answer| answer.len() > 240);
    assert_eq!(offer[16..20], OWN.octets());
    assert_eq!(offer[240..243], [53, 1, 2]);

    // Metadata: its own, by the address it has, at the address of all clouds.
    let get = |path: &str| {
        let mut stream = TcpStream::connect((METADATA, 80)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    std::fs::write(folder.join("user-data"), "#cloud-config\n").unwrap();
    assert!(get("/latest/user-data").ends_with("\r\n\r\n#cloud-config\n"));
    assert!(get("/nocloud/meta-data").starts_with("HTTP/1.1 404"));
    // One that says nothing keeps nobody waiting.
    let idle = TcpStream::connect((METADATA, 80)).unwrap();
    assert!(get("/latest/meta-data/local-ipv4").ends_with("10.9.0.2"));
    drop(idle);

    // Router advertisement, and DHCP for IPv6.
    let link = |group: [u16; 8], port| {
        let index = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
        let line = index.lines().find(|line| line.ends_with("eth0")).unwrap();
        let index = u32::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
        SocketAddr::V6(SocketAddrV6::new(group.into(), port, 0, index))
    };
    let icmp = socket((Domain::IPV6, Type::RAW, Protocol::ICMPV6), 0);
    let routers = link([0xff02, 0, 0, 0, 0, 0, 0, 2], 0);
    let said = ask(&icmp, routers, &[133, 0, 0, 0, 0, 0, 0, 0], |answer| answer[0] == 134);
    assert_eq!(said[24..28], [3, 4, 64, 0x80]);
    let v6 = socket((Domain::IPV6, Type::DGRAM, Protocol::UDP), 546);
    let mut solicit = vec![1, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1];
    solicit.extend(MAC.0);
    solicit.extend([0, 3, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
    let servers = link([0xff02, 0, 0, 0, 0, 0, 1, 2], 547);
    let offer = ask(&v6, servers, &solicit, |answer| answer[0] == 2);
    let question = vnode_netserve::dhcp6::parse(&offer).unwrap();
    assert_eq!(question.association.unwrap().1, ["fd00:9::2".parse::<Ipv6Addr>().unwrap()]);
}

#[test]
fn a_node_finds_its_address_its_router_and_its_metadata() {
    if Ns::create().is_err() {
        println!("skipped: namespaces cannot be made here");
        return;
    }
    let (router, bridge, node) = join();
    let folder = tempfile::tempdir().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let within = runtime.enter();
    let network = Network {
        bridge,
        ipv4: Some("10.9.0.1/24".parse().unwrap()),
        ipv6: Some("fd00:9::1/64".parse().unwrap()),
        mtu: 1500,
        resolvers: vec![IpAddr::from([192, 0, 2, 1])],
    };
    let directory = Arc::new(One(folder.path().to_owned()));
    let (served, errors) = serve(&router, network, directory);
    assert!(errors.is_empty(), "{errors:?}");
    let path = folder.path().to_owned();
    node.run(move || as_node(&path)).unwrap();
    drop(served);
    drop(within);
}
