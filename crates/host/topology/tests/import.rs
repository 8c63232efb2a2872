//! Files of netlab, Kathará and CORE (R-14): the same model as a topology file written by hand, errors with their place,
//! nothing dropped in silence. Emulab's have tests of their own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use support::{lab, texts};
use vnode_topology::{Beside, Format, Imported, Input, Name, Rejected};

/// A file of the folder `files/import`, as the command line reads it.
fn file(name: &str) -> Result<Imported, Rejected> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/import")).join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let folder = path.parent().unwrap().to_owned();
    let beside = |name: &str| {
        let kind = std::fs::metadata(folder.join(name)).ok()?;
        Some(if kind.is_dir() { Beside::Folder } else { Beside::File })
    };
    let input = Input { text: &text, file: name, folder: Path::new("/labs/one") };
    let name = Name { asked: None, otherwise: "other" };
    vnode_topology::import(Format::of(&path, &text), input, name, &beside)
}

fn import(format: Format, text: &str) -> Result<Imported, Rejected> {
    let input = Input { text, file: "x", folder: Path::new("/labs/one") };
    let name = Name { asked: Some("lab"), otherwise: "" };
    vnode_topology::import(format, input, name, &|_| None)
}

/// `line:column: text` of each error of a file that must have some.
#[track_caller]
fn errors(format: Format, text: &str) -> Vec<String> {
    let rejected = import(format, text).expect_err("the file has errors");
    let place = |d: &vnode_topology::Diagnostic| {
        d.at.as_ref().map(|at| format!("{}:{}: ", at.line, at.column)).unwrap_or_default()
    };
    rejected.errors.iter().map(|d| place(d) + &d.text).collect()
}

/// The model of both, whatever their names and places.
#[track_caller]
fn same(imported: &Imported, by_hand: &str) {
    let (made, mut wanted) = (imported.parsed.lab.clone(), lab(by_hand));
    wanted.folder.clone_from(&made.folder);
    assert_eq!(made, wanted, "\n{}", imported.text);
    assert!(imported.parsed.warnings.is_empty(), "{:?}", texts(&imported.parsed.warnings));
}

#[test]
fn r14_netlabs_topology_is_the_same_model_as_one_written_by_hand() {
    let imported = file("netlab.yml").unwrap();
    same(
        &imported,
        r#"
name: two-sites
topology:
  nodes:
    r1: {image: "quay.io/frrouting/frr:10.2.1", memory: 256MiB, binds: ["./frr.conf:/etc/frr/frr.conf"]}
    r2: {image: "quay.io/frrouting/frr:10.2.1"}
    r-3: {image: "quay.io/frrouting/frr:10.2.1"}
    h1:
  links:
    - endpoints: ["r1:eth1", "r2:eth1"]
      ipv4: [10.1.0.1/30, 10.1.0.2/30]
    - endpoints: ["r1:eth2", "r-3:eth1"]
      ipv4: [10.1.0.5/30, 10.1.0.6/30]
    - type: veth
      mtu: 1400
      endpoints:
        - {node: r1, interface: eth3, ipv4: 192.168.23.1/24, impair: {delay: 40ms, loss: 0.5%, rate: 2mbit}}
        - {node: r2, interface: eth2, ipv4: 192.168.23.129/24, impair: {delay: 10ms, loss: 0.5%, rate: 2mbit}}
    - endpoints: ["r1:eth5", "h1:eth4"]
      ipv4: [172.18.1.1/24, 172.18.1.3/24]
      ipv6: ["2001:db8:18:1::1/64", "2001:db8:18:1::3/64"]
      impair: {delay: 5ms, jitter: 1ms}
  networks:
    lan.4:
      members:
        - {node: r1, interface: eth4, ipv4: 172.18.0.1/24, ipv6: "2001:db8:18::1/64"}
        - {node: r2, interface: eth3, ipv4: 172.18.0.2/24, ipv6: "2001:db8:18::2/64"}
        - {node: r-3, interface: eth2, ipv4: 172.18.0.7/24, ipv6: "2001:db8:18::7/64"}
    lan.6: {members: ["r2:eth9"]}
"#,
    );
    assert_eq!(
        texts(&imported.unmapped),
        [
            "5: `module` of the topology is not mapped",
            "8: `defaults.interfaces.mtu` is not mapped",
            "28: `bgp.as` of node `r-3` is not mapped",
            "45: `ospf.cost` of a link is not mapped",
        ]
    );
    assert!(imported.text.contains("# not mapped: 5:1: `module` of the topology"));
}

#[test]
fn netlabs_mistakes_are_told_where_they_stand() {
    let of = |text: &str| errors(Format::Netlab, text);
    assert_eq!(of("nodes: [r1, r1]\n"), ["1:13: node `r1` is given twice"]);
    assert_eq!(of("[r1]\n"), ["1:1: the file is a map, not a list"]);
    assert_eq!(of("links: []\n")[0], "1:1: the topology has no `nodes`");
    assert_eq!(
        of("nodes: [r1, r2]\nlinks:\n- r1-r9\n- [r1, r3]\n- r1:\n  r2:\n  tc.loss: 101\n"),
        [
            "3:3: `r1-r9` names no nodes of this lab",
            "4:8: there is no node `r3`",
            "7:12: `loss: 101%` is out of range (0% to 100%)",
        ]
    );
    assert_eq!(
        of("nodes: {r1: {id: 0}, r2: {id: x}}\n"),
        [
            "1:18: `id` is a number from 1 to 65535, not `0`",
            "1:31: `id` is a number from 1 to 65535, not `x`",
        ]
    );
    let pool = "addressing: {p2p: {ipv4: 10.0.0.0/29, prefix: 30}}\nnodes: [a, b]\nlinks: [a-b, a-b, a-b]\n";
    assert_eq!(of(pool), ["3:19: the pool `p2p` has no further prefix"]);
    assert_eq!(
        of("nodes: [a, b]\nlinks:\n- a: {ifindex: 1}\n  b:\n- a: {ifindex: 1}\n  b:\n"),
        ["5:16: interface `eth1` of node `a` is used twice"]
    );
    assert_eq!(
        of("nodes: [a, b]\nlinks:\n- a: {ipv4: 300.1.1.1}\n  b:\n  prefix: 10.0.0.0\n"),
        ["3:13: `300.1.1.1` is no address of this link", "5:11: `10.0.0.0` is no prefix of ipv4"]
    );
}

#[test]
fn r14_katharas_lab_is_the_same_model_as_one_written_by_hand() {
    let imported = file("kathara/lab.conf").unwrap();
    same(
        &imported,
        r#"
name: static-routing
topology:
  nodes:
    r1:
      image: kathara/frr
      network-mode: none
      sysctls: {net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1}
      binds: ["./shared.startup:/hostlab/shared.startup:ro", "./r1.startup:/hostlab/r1.startup:ro"]
      exec: [sh /hostlab/shared.startup, sh /hostlab/r1.startup]
      ports: ["32000:3000/tcp"]
    r2:
      image: kathara/frr
      network-mode: none
      env: {ROLE: edge}
      binds: ["./shared.startup:/hostlab/shared.startup:ro"]
      exec: [sh /hostlab/shared.startup, "sh -c 'echo it is up'"]
    pc1:
      memory: 128MiB
      cpu: 0.5
      network-mode: none
      binds: ["./pc1:/hostlab/pc1:ro", "./shared.startup:/hostlab/shared.startup:ro", "./pc1.startup:/hostlab/pc1.startup:ro"]
      exec: [cp -R /hostlab/pc1/. /, /bin/bash /hostlab/shared.startup, /bin/bash /hostlab/pc1.startup]
    pc2:
      sysctls: {net.ipv6.conf.all.disable_ipv6: 1}
      binds: ["./shared.startup:/hostlab/shared.startup:ro", "/srv/data:/data:ro"]
      exec: [sh /hostlab/shared.startup]
    tap:
      network-mode: none
      binds: ["./shared.startup:/hostlab/shared.startup:ro"]
      exec: [sh /hostlab/shared.startup]
  links:
    - endpoints: ["r1:eth0", "pc1:eth0"]
    - type: veth
      endpoints: [{node: r1, interface: eth1, mac: "02:42:ac:11:00:01"}, {node: r2, interface: eth1}]
  networks:
    C: {members: ["r2:eth0", "pc2:eth1", "tap:eth0"]}
"#,
    );
    assert_eq!(
        texts(&imported.unmapped),
        ["13: `num_terms` of `r1` is not mapped", "24: `bridged` of `pc1` is not mapped"]
    );
}

#[test]
fn katharas_mistakes_are_told_where_they_stand() {
    let of = |text: &str| errors(Format::Kathara, text);
    assert_eq!(of("# nothing\n"), ["the file has no nodes"]);
    assert_eq!(
        of("r1[0]=A\n  r1 = x\nr1[0]=B\nr1[1]=\"A B\"\nr1[mem]=lots\nr1[mem]=1g\nr1[port]=70000\n"),
        [
            "2:3: `r1 = x` is no line of a lab.conf",
            "3:4: interface `eth0` of node `r1` is used twice",
            "4:8: `A B` is no collision domain",
            "5:9: `lots` is no size such as `128m`",
            "6:4: `mem` of `r1` is given twice",
            "7:10: `70000` is no port such as `8080:80/tcp`",
        ]
    );
    assert_eq!(of("../x[0]=A\n"), ["1:1: `../x` is no name for a node"]);
    assert_eq!(
        of("a[0]=\"X/ff:ff:ff:ff:ff:ff\"\n"),
        ["1:7: `ff:ff:ff:ff:ff:ff` is no Ethernet address of an interface"]
    );
    assert_eq!(of("a[123456]=X\n"), ["1:3: `123456` is no number of an interface"]);
}

#[test]
fn r14_cores_scenario_is_the_same_model_as_one_written_by_hand() {
    let imported = file("core.xml").unwrap();
    same(
        &imported,
        r#"
name: other
topology:
  nodes:
    n1: {network-mode: none}
    n2: {network-mode: none, image: "alpine:3"}
    n5: {network-mode: none}
    n6: {network-mode: none}
  links:
    - type: veth
      endpoints:
        - {node: n1, interface: eth0, mac: "00:00:00:aa:00:00", ipv4: 10.0.0.1/24, ipv6: "2001::1/64",
           impair: {delay: 20ms, jitter: 1ms, rate: 512kbit, loss: 1.5%, duplicate: 2%, queue: 60}}
        - {node: n2, interface: eth0, mac: "00:00:00:aa:00:01", ipv4: 10.0.0.2/24, ipv6: "2001::2/64",
           impair: {delay: 5ms}}
  networks:
    switch:
      members:
        - {node: n1, interface: eth1, ipv4: 10.0.1.1/24, impair: {delay: 10ms, rate: 1mbit}}
        - {node: n2, interface: eth1, ipv4: 10.0.1.2/24}
        - {node: n5, interface: eth0, ipv4: 10.0.1.5/24}
    air: {members: [{node: n6, interface: eth0, ipv4: 10.0.2.6/32}]}
"#,
    );
    assert_eq!(
        texts(&imported.unmapped),
        [
            "8: the network `uplink` of type `RJ45` is not mapped",
            "9: the radio of `air`, whose members all hear each other, is not mapped",
            "14: configservices: zebra, OSPFv2 of `n1` is not mapped",
            "45: the link to it is not mapped",
            "49: `session_options` is not mapped",
        ]
    );
}

#[test]
fn cores_mistakes_are_told_where_they_stand() {
    let of = |text: &str| errors(Format::Core, text);
    assert_eq!(of("<domain/>"), ["1:1: the file begins with `domain`, not with `scenario`"]);
    assert_eq!(of("<scenario>\n")[0], "1:11: the file ends in the middle");
    assert!(of("<scenario>\n</wrong>")[0].starts_with("2:"));
    assert!(of("<!DOCTYPE x [<!ENTITY a \"b\">]><scenario/>")[0].contains("a document type"));
    let device = "<device id=\"1\" name=\"a\"/>";
    let links = |links: &str| {
        format!("<scenario><devices>{device}\n</devices><links>\n{links}</links></scenario>")
    };
    assert_eq!(
        of(&links(
            "<link node1=\"1\" node2=\"7\"/>\n<link node1=\"x\" node2=\"1\"/>\n<link node1=\"1\"/>"
        )),
        [
            "3:24: nothing has the id 7",
            "4:14: `node1=\"x\"` is no number",
            "5:1: the link has no `node2`",
        ]
    );
    assert_eq!(
        of(&links(
            "<link node1=\"1\" node2=\"1\"><iface1 id=\"0\" ip4=\"10.0.0.300\"/>\n<iface2 id=\"0\"/><options loss=\"150\"/></link>"
        )),
        [
            "3:47: `10.0.0.300/24` is no address",
            "4:1: interface `eth0` of node `a` is used twice",
            "4:32: `loss: 150%` is out of range (0% to 100%)",
        ]
    );
    assert_eq!(
        of("<scenario><devices><device id=\"1\" name=\"a b\"/></devices></scenario>"),
        ["1:41: `a b` is no name for a node"]
    );
}

#[test]
fn whose_a_file_is_shows_in_its_name_or_its_beginning() {
    for (file, text, format) in [
        ("lab.conf", "", Format::Kathara),
        ("a.ns", "", Format::Ns),
        ("topology.yml", "", Format::Netlab),
        ("x.xml", "", Format::Core),
        ("-", "<scenario/>", Format::Core),
        ("-", "set ns [new Simulator]", Format::Ns),
    ] {
        assert_eq!(Format::of(Path::new(file), text), format, "{file}");
    }
}

#[test]
fn a_long_file_is_refused_and_a_large_lab_is_read() {
    let long = format!("# {}\n", "x".repeat(vnode_topology::MOST_BYTES));
    assert_eq!(errors(Format::Kathara, &long), ["the file is larger than 4 MiB"]);
    let many: String = (0..20_000).map(|i| format!("n{i}[0]=A{}\n", i / 2)).collect();
    let imported = import(Format::Kathara, &many).unwrap();
    assert_eq!(imported.parsed.lab.links.len(), 10_000);
    let more = many + "one[0]=X\n";
    assert_eq!(errors(Format::Kathara, &more), ["20001:1: more than 20000 nodes"]);
}

/// Pieces that such files are made of, in any order.
fn pieces(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(words), 0..40).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a file, it is taken or refused with a reason, and what is taken is a topology file.
    #[test]
    fn anything_is_taken_or_refused(
        netlab in pieces(&["nodes", "links", ": ", "\n", "- ", "[", "]", "{", "}", "a", "b", "a-b", ", ", "tc", ".", "delay", "10ms", "  ", "prefix", "10.0.0.0/30", "interfaces", "members", "group", "ifindex", "1"]),
        kathara in pieces(&["a", "b", "[", "]", "0", "1", "=", "\"", "'", "A", "/", "02:00:00:00:00:01", "\n", "mem", "exec", " # ", "LAB_NAME", "bridged", "true"]),
        core in pieces(&["<scenario>", "</scenario>", "<devices>", "</devices>", "<links>", "</links>", "<networks>", "</networks>", "<device id=\"1\" name=\"a\"/>", "<device id=\"2\" name=\"b\"/>", "<network id=\"3\" name=\"l\" type=\"HUB\"/>", "<link node1=\"1\" node2=\"2\">", "<link node1=\"3\" node2=\"2\">", "</link>", "<iface1 id=\"0\"/>", "<iface2 id=\"0\"/>", "<options delay=\"5\" unidirectional=\"1\"/>", "&lt;", "<", ">"]),
    ) {
        for (format, text) in [(Format::Netlab, netlab), (Format::Kathara, kathara), (Format::Core, core)] {
            match import(format, &text) {
                Ok(imported) => prop_assert!(!imported.parsed.lab.nodes.is_empty()),
                Err(rejected) => prop_assert!(!rejected.errors.is_empty(), "{}", text),
            }
        }
    }
}
