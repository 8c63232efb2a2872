//! T-93: files in the shape of the public ones that section 7.6 of `vnode-lifecycle` names. Those of
//! kinds that vnode runs are accepted whole; the others fail and say what, where and what to do.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;

use support::{Given, texts};
use vnode_topology::*;

fn file(name: &str) -> Result<Parsed, Rejected> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    parse(Input { text: &text, file: name, folder: Path::new("/labs/one") }, &Given::default())
}

fn accepted(name: &str, nodes: usize, links: usize) -> Parsed {
    let parsed = file(name).unwrap_or_else(|rejected| panic!("{rejected}"));
    assert_eq!((parsed.lab.nodes.len(), parsed.lab.links.len()), (nodes, links), "{name}");
    parsed
}

#[test]
fn t93_frr01() {
    let parsed = accepted("frr01.clab.yml", 6, 6);
    assert!(parsed.warnings.is_empty());
    let router = parsed.lab.node("router1").unwrap();
    assert_eq!(router.group.as_deref(), Some("routers"));
    assert_eq!(router.image.as_deref(), Some("quay.io/frrouting/frr:10.1.0"));
    let sources: Vec<_> = router.binds.iter().map(|b| b.source.clone().unwrap()).collect();
    assert_eq!(sources, [Path::new("/labs/one/daemons"), Path::new("/labs/one/router1/frr.conf")]);
    assert_eq!(parsed.lab.node("PC1").unwrap().exec.len(), 4);
    assert_eq!(parsed.lab.links[3].id, "PC1:eth1--router1:eth3");
    assert_eq!(parsed.lab.links[3].mtu, 9500);
}

#[test]
fn t93_frr01_of_kind_frr_fails_well() {
    let rejected = file("frr01-frr-kind.clab.yml").unwrap_err();
    assert_eq!(
        texts(&rejected.errors),
        ["7: vnode cannot run the kind `frr` (it runs linux, vm, bridge and host)"]
    );
    assert!(rejected.errors[0].hint.as_deref().unwrap().contains("kind: linux"));
    let shown = rejected.to_string();
    assert!(shown.contains("frr01-frr-kind.clab.yml:7:13: error:"), "{shown}");
    assert!(shown.contains("\n 7 |       kind: frr\n   |             ^^^\n"), "{shown}");
    // What is not acted on is told besides.
    let warned = texts(&rejected.warnings);
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0].starts_with("9: `extras`"), "{warned:?}");
    assert!(warned[1].starts_with("20: `startup-config`"), "{warned:?}");
}

#[test]
fn t93_linux_nodes() {
    let parsed = accepted("01-linux-nodes.clab.yml", 3, 6);
    // The only warning: a variable of the caller's that is not set, as in a shell.
    let warned = texts(&parsed.warnings);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].starts_with("10: the environment variable `MYVAR` is not set"));
    let lab = &parsed.lab;
    let l1 = lab.node("l1").unwrap();
    assert_eq!(l1.cmd.as_deref(), Some("ash -c \"echo  > /tmp/var && sleep 9999\""));
    assert_eq!(l1.resources.cpu, Some(1.5));
    assert_eq!(l1.resources.memory_bytes, Some(1_000_000_000));
    assert_eq!(l1.mgmt_ipv4, Some("172.20.20.99".parse().unwrap()));
    let health = l1.healthcheck.as_ref().unwrap();
    assert_eq!(health.test, HealthTest::Shell("cat /etc/os-release".to_owned()));
    assert_eq!(
        (health.start_period_s, health.interval_s, health.timeout_s, health.retries),
        (3, 5, 2, 1)
    );
    let l2 = lab.node("l2").unwrap();
    assert_eq!((l2.ports[0].host, l2.ports[0].node), (56180, 80));
    assert_eq!(l2.dns.servers.len(), 2);
    assert_eq!(lab.node("l3").unwrap().network_mode, NetworkMode::Host);
    assert_eq!(lab.links[0].mtu, 2000);
    assert_eq!(lab.links[0].vars["some"], serde_json::json!(["thing", "else"]));
    assert_eq!(lab.links[2].near.mac.unwrap().to_string(), "02:00:00:00:00:00");
    assert!(matches!(&lab.links[3].far, Far::Host { interface, .. } if interface == "l2eth4"));
    assert!(
        matches!(&lab.links[4].far, Far::Management { interface, .. } if interface == "l2eth5mgmt")
    );
    assert_eq!(lab.links[5].far, Far::Dummy);
    assert_eq!(lab.full_name("l1"), "clab-2-linux-nodes-l1");
}

#[test]
fn t93_bridge_and_host() {
    let parsed = accepted("03-linux-nodes-to-bridge-and-host.clab.yml", 2, 3);
    assert!(parsed.warnings.is_empty());
    assert_eq!(parsed.lab.node("br-01-03-clab").unwrap().kind, NodeKind::Bridge);
    let ids: Vec<_> = parsed.lab.links.iter().map(|link| link.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "l1:eth1--br-01-03-clab:l1-eth1",
            "l1:eth2--br-01-03-clab:l1-eth2",
            "l1:eth3--host:l1-01-03-eth3"
        ]
    );
    assert!(parsed.lab.link("br-01-03-clab:l1-eth2--l1:eth2").is_some());
}

#[test]
fn t93_stages() {
    let parsed = accepted("stages.clab.yml", 4, 4);
    let node = parsed.lab.node("node3").unwrap();
    assert_eq!(
        node.stages[&StageName::Create].wait_for,
        [WaitFor { node: "node4".to_owned(), stage: StageName::Healthy }]
    );
    // `date +%s%N` has no dollar; nothing to warn of.
    assert!(parsed.warnings.is_empty(), "{:?}", texts(&parsed.warnings));
}

#[test]
fn t93_basic_groups() {
    let parsed = accepted("24-basic-groups.clab.yaml", 3, 0);
    let warned = texts(&parsed.warnings);
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[1].starts_with("23: `cgroup-parent`"), "{warned:?}");
    let l3 = parsed.lab.node("l3").unwrap();
    assert_eq!(l3.image.as_deref(), Some("nginx:stable-alpine"));
    assert_eq!(l3.network_mode, NetworkMode::Host);
    assert_eq!(parsed.lab.node("l1").unwrap().env["MYVAR"], "MYVAR is SET");
}

#[test]
fn t93_vxlan_stitch() {
    let parsed = accepted("vxlan-stitch-linux.clab.yml", 2, 2);
    let Far::Vxlan { remote, vni, dst_port, src_port, stitch } = &parsed.lab.links[0].far else {
        panic!("not a tunnel");
    };
    assert_eq!(
        (remote.as_str(), *vni, *dst_port, *src_port, *stitch),
        ("172.20.30.12", 200, 14792, None, true)
    );
    assert_eq!(parsed.lab.mgmt.ipv6_subnet, None);
    let long = &parsed.lab.node("l2").unwrap().exec[0];
    assert!(long.starts_with("ash -c ' apk add iproute2 -q && ip link add"), "{long}");
}

#[test]
fn t93_openperouter_fails_well() {
    let rejected = file("openperouter-kind.clab.yml").unwrap_err();
    let errors = texts(&rejected.errors);
    assert_eq!(
        errors,
        [
            "41: vnode cannot run the kind `k8s-kind` (it runs linux, vm, bridge and host)",
            "44: vnode cannot run the kind `ext-container` (it runs linux, vm, bridge and host)",
            "46: vnode cannot run the kind `ext-container` (it runs linux, vm, bridge and host)",
        ]
    );
    assert!(rejected.errors.iter().all(|error| error.hint.is_some()));
}

#[test]
fn t93_clos5() {
    let parsed = accepted("clos5.yml", 15, 16);
    assert!(parsed.warnings.is_empty(), "{:?}", texts(&parsed.warnings));
    let lab = &parsed.lab;
    assert_eq!(lab.mgmt.ipv4_subnet.unwrap().to_string(), "172.100.100.0/24");
    assert_eq!(lab.mgmt.ipv6_subnet.unwrap().to_string(), "2001:172:100:100::/80");
    let leaf = lab.node("leaf1").unwrap();
    assert_eq!(leaf.env["LOCAL_AS"], "65001");
    assert_eq!(leaf.env["COLLECTOR"], "172.100.100.16");
    assert_eq!(leaf.env["NEIGHBORS"], "eth1 eth2");
}

#[test]
fn t93_bgp_mpath() {
    let parsed = accepted("bgp-mpath.yml", 6, 7);
    assert!(parsed.warnings.is_empty());
    let node = parsed.lab.node("rt4").unwrap();
    assert_eq!(node.binds.len(), 6);
    assert_eq!(node.binds[0].source.as_deref(), Some(Path::new("/labs/scripts/start.sh")));
    assert_eq!(node.exec, ["/start.sh"]);
}

#[test]
fn t93_evpnlab() {
    let parsed = accepted("evpnlab.yml", 15, 18);
    assert!(parsed.warnings.is_empty());
}

#[test]
fn t93_cilium_multi_homing() {
    let parsed = accepted("cilium-multi-homing.yaml", 5, 6);
    let warned = texts(&parsed.warnings);
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert!(warned[0].contains("`bgpv2-cplane-dev-multi-homing-control-plane` is no node"));
    let server = parsed.lab.node("server0").unwrap();
    assert!(
        matches!(&server.network_mode, NetworkMode::Container(name) if name.ends_with("control-plane"))
    );
    assert!(parsed.lab.node("router0").unwrap().exec[7].contains("-c '!'"));
}

#[test]
fn t93_srl_telemetry_fails_well() {
    let rejected = file("srl-telemetry.clab.yml").unwrap_err();
    assert_eq!(
        texts(&rejected.errors),
        ["13: vnode cannot run the kind `srl` (it runs linux, vm, bridge and host)"]
    );
}

#[test]
fn t93_multivendor_fails_well() {
    let rejected = file("multivendor-evpn.clab.yml").unwrap_err();
    let lines: Vec<u32> = rejected.errors.iter().map(Diagnostic::line).collect();
    assert_eq!(lines, [22, 26, 29, 34, 38]);
    assert!(
        rejected.errors.iter().all(|error| error.hint.as_deref().unwrap().contains("containerlab"))
    );
    let warned = texts(&rejected.warnings);
    assert!(warned[0].starts_with("10: `license`"), "{warned:?}");
}
