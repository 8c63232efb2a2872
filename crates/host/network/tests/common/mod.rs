//! What the tests of this crate share: a host namespace of their own, and Debian's programs run inside a namespace.
#![allow(dead_code)] // each test program uses a part
#![allow(clippy::disallowed_methods)] // the results are held against what ip, tc, nft and ping say

use std::net::UdpSocket;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::Value;
use vnode_network::{BridgeSpec, End, Host, Ns, Owner, Place};

/// A host namespace made for one test, with loopback up; `None`, said aloud, without the right to make one.
pub(crate) fn host() -> Option<Host> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: not run as root");
        return None;
    }
    let ns = Ns::create().expect("root makes namespaces");
    Some(Host::new(ns))
}

pub(crate) fn owner() -> Owner {
    Owner { instance: "test".into(), lab: "lab:1".into(), operation: "op-7".into() }
}

pub(crate) fn bridge(host: &Host, name: &str, addresses: &[&str]) -> BridgeSpec {
    let spec = BridgeSpec {
        name: name.into(),
        addresses: nets(addresses),
        mtu: None,
        ageing_s: None,
        owner: owner(),
        what: format!("bridge {name}"),
    };
    host.ensure_bridge(&spec).unwrap();
    spec
}

pub(crate) fn nets(addresses: &[&str]) -> Vec<IpNet> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

/// An end inside a node with addresses, up.
pub(crate) fn inside<'a>(ns: &'a Ns, name: &'a str, addresses: &'a [IpNet]) -> End<'a> {
    End {
        place: Place::Node(ns),
        name,
        alternative_name: None,
        mac: None,
        addresses,
        routes: &[],
        impairment: None,
        up: true,
    }
}

/// An end on the host, a port of `bridge`.
pub(crate) fn outside<'a>(owner: &'a Owner, name: &'a str, bridge: Option<&'a str>) -> End<'a> {
    End {
        place: Place::Host { bridge, owner, what: "test end" },
        name,
        alternative_name: None,
        mac: None,
        addresses: &[],
        routes: &[],
        impairment: None,
        up: true,
    }
}

/// Runs a program inside a namespace.
pub(crate) fn output(ns: &Ns, words: &str) -> Output {
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    ns.run(move || Command::new(&words[0]).args(&words[1..]).output().expect("Debian's programs"))
        .unwrap()
}

/// As [`output`], for a program that must succeed: what it printed.
pub(crate) fn run(ns: &Ns, words: &str) -> String {
    let output = output(ns, words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// As [`run`], for programs that print JSON.
pub(crate) fn json(ns: &Ns, words: &str) -> Value {
    let text = run(ns, words);
    if text.trim().is_empty() {
        return Value::Array(Vec::new());
    }
    serde_json::from_str(&text).expect("the program prints JSON")
}

/// Whether one ping passes.
pub(crate) fn pings(ns: &Ns, to: &str) -> bool {
    let program = if to.contains(':') { "ping -6" } else { "ping -4" };
    output(ns, &format!("{program} -n -c 1 -W 2 {to}")).status.success()
}

/// Waits until `condition` holds; fails the test when it does not within thirty seconds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends one frame as it is.
pub(crate) fn send_frame(ns: &Ns, interface: &str, frame: Vec<u8>) {
    let index = std::ffi::CString::new(interface).unwrap();
    ns.run(move || {
        // SAFETY: plain system calls on buffers that live through them; the socket is closed at the end.
        unsafe {
            let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
            let mut to: libc::sockaddr_ll = std::mem::zeroed();
            to.sll_family = libc::AF_PACKET as u16;
            to.sll_ifindex = libc::if_nametoindex(index.as_ptr()) as i32;
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            let to = (&raw const to).cast();
            let sent = libc::sendto(socket, frame.as_ptr().cast(), frame.len(), 0, to, size);
            assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
            libc::close(socket);
        }
    })
    .unwrap();
}

/// A socket on UDP port 4000 that holds everything a test sends until the test reads it, however late that is.
pub(crate) fn listen(ns: &Ns) -> UdpSocket {
    ns.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:4000").unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    })
    .unwrap()
}

/// The numbers of the datagrams that have arrived and still arrive until two seconds of silence. For after the sending:
/// a silence that began before it would say nothing on a busy machine.
pub(crate) fn numbers(socket: &UdpSocket) -> Vec<u32> {
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    std::iter::from_fn(|| number(socket)).collect()
}

/// The number of the next datagram; none within the socket's patience.
pub(crate) fn number(socket: &UdpSocket) -> Option<u32> {
    let mut buffer = [0; 2048];
    socket.recv_from(&mut buffer).ok()?;
    Some(u32::from_be_bytes(*buffer.first_chunk().unwrap()))
}

/// Sends numbered datagrams of `size` bytes, `apart` from each other; how long that took.
pub(crate) fn send(
    ns: &Ns,
    to: &'static str,
    count: u32,
    size: usize,
    apart: Duration,
) -> Duration {
    ns.run(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let mut data = vec![7; size];
        let start = Instant::now();
        for number in 0..count {
            data[..4].copy_from_slice(&number.to_be_bytes());
            socket.send_to(&data, to).unwrap();
            if !apart.is_zero() {
                std::thread::sleep(apart);
            }
        }
        start.elapsed()
    })
    .unwrap()
}

/// Sends bursts of 50 full frames through a queue of ten at 1 Mbit/s until one was sent at once, and checks each: what
/// passes are the ten, the one under way, and one more for each 12.112 ms that the sender was kept from sending.
/// Gives how many frames were lost in all.
pub(crate) fn bursts_through_a_queue_of_ten(a: &Ns, b: &Ns) -> usize {
    const FRAME: Duration = Duration::from_micros(12_112);
    let listener = listen(b);
    let mut lost = 0;
    for _ in 0..30 {
        assert!(pings(a, "10.0.0.2"), "so that no frame waits for ARP");
        let took = send(a, "10.0.0.2:4000", 50, 1472, Duration::ZERO);
        let passed = numbers(&listener).len();
        let late = took.as_micros().div_ceil(FRAME.as_micros()) as usize;
        lost += 50 - passed;
        assert!((10..=11 + late).contains(&passed), "{passed} after {took:?}");
        if took < FRAME {
            return lost;
        }
    }
    panic!("this machine never sends 50 datagrams within {FRAME:?}");
}
