//! The packages in `examples/vnf-*`: real functions from Debian's packages, with traffic through them.

use std::{
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::json;
use vnode_vnf::Failure;
use vnode_vnfpkg::{Limits, Trust, author};

use crate::common::{Service, eventually};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples").join(name)
}

/// Pushes an example, packed as its author would.
fn push(service: &Service, name: &str) -> Result<serde_json::Value, Failure> {
    let archive = service.path("example.tar.gz");
    author::pack(&example(name), &archive, &Limits::default()).expect("it packs");
    service.push_bytes(&std::fs::read(&archive).expect("it is there"))
}

#[test]
fn every_example_is_a_package() {
    for name in ["vnf-dns", "vnf-firewall", "vnf-router"] {
        let package = author::lint(&example(name), &Limits::default(), &Trust::default());
        let package = package.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(package.warnings.is_empty(), "{name}: {:?}", package.warnings);
    }
}

#[test]
fn a_firewall_lets_ping_through_or_not() {
    if !Path::new("/usr/sbin/nft").exists() || !rustix::process::geteuid().is_root() {
        println!("skipped: no nft, or not root");
        return;
    }
    let service = Service::apart();
    let inside = |words: &[&str]| {
        let pid = service.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n", "--"]).args(words).output().expect("nsenter is there")
    };
    // Nothing here may touch the machine's own network.
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).expect("it runs");
    assert_ne!(namespace(&service.pid().to_string()), namespace("self"));
    assert!(inside(&["ip", "link", "set", "lo", "up"]).status.success());
    push(&service, "vnf-firewall").expect("it is taken");
    service.ask(json!({ "verb": "instantiate", "package": "edgefw" }));
    let pings = || inside(&["ping", "-c", "1", "-W", "5", "127.0.0.1"]).status.success();
    assert!(pings(), "ping may");
    service.ask(json!({ "verb": "configure", "name": "edgefw", "parameters": { "ping": "false", "tcp_ports": "80 443" } }));
    assert!(!pings(), "ping may not");
    let rules =
        String::from_utf8_lossy(&inside(&["nft", "list", "table", "inet", "edgefw"]).stdout)
            .into_owned();
    assert!(rules.contains("80, 443"), "{rules}");
    // Somebody takes the rules away: it is healed.
    inside(&["nft", "delete", "table", "inet", "edgefw"]);
    service.ask(json!({ "verb": "heal", "name": "edgefw" }));
    assert!(!pings(), "and again it may not");
    service.ask(json!({ "verb": "terminate", "name": "edgefw" }));
    assert!(pings(), "the rules are gone");
}

#[test]
fn a_dns_server_answers_and_is_watched() {
    if !Path::new("/usr/sbin/dnsmasq").exists() || !rustix::process::geteuid().is_root() {
        println!("skipped: no dnsmasq, or not root");
        return;
    }
    let service = Service::start();
    push(&service, "vnf-dns").expect("it is taken");
    // A port that is free now; loopback only.
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a port").port();
    let parameters = json!({ "address": "127.0.0.1", "port": port.to_string(), "names": "a.lab=10.9.8.7 b.lab=10.9.8.6" });
    service.ask(json!({ "verb": "instantiate", "package": "dns", "parameters": parameters }));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("it is open");
    // A question for `a.lab`, type A.
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x03lab\0\0\x01\0\x01";
    let answer = eventually("it answers", || {
        socket.send_to(question, ("127.0.0.1", port)).ok()?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).ok()?;
        Some(answer[..length].to_vec())
    });
    assert!(answer.ends_with(&[10, 9, 8, 7]), "{answer:?}");
    eventually("START has run", || {
        let all = service.ask(json!({ "verb": "operations", "name": "dns" }));
        let hook = |op: &serde_json::Value| {
            op["params"]["changeStateTo"] == "STARTED" && op["state"] == "COMPLETED"
        };
        all.as_array()?.iter().any(hook).then_some(())
    });
    service.ask(json!({ "verb": "terminate", "name": "dns" }));
}
