// The linux-kind files of the specification's section 7.6, unchanged as vnode-topology's tests keep them. Included by
// `topology_files.rs`. Which files they bind beside them stands in each test.

macro_rules! public_file {
    ($name:literal) => {
        ($name, include_str!(concat!("../crates/host/topology/tests/files/", $name)))
    };
}

const DAEMONS: (&str, &str) = ("daemons", "ospfd=yes\n");

#[test]
fn t93_frr01_deploys() {
    needs!(Root, Program("docker-registry"), Program("busybox"));
    let files = [
        public_file!("frr01.clab.yml"),
        DAEMONS,
        ("router1/frr.conf", "hostname router1\n"),
        ("router2/frr.conf", "hostname router2\n"),
        ("router3/frr.conf", "hostname router3\n"),
    ];
    deploys("frr01", &files, &["frrouting/frr:10.1.0", "wbitt/network-multitool:3.22.2"], 6);
}

#[test]
fn t93_linux_nodes_deploys() {
    needs_or_guest!(Root, LinkKind("dummy"), Program("docker-registry"), Program("busybox"));
    let files = [
        public_file!("01-linux-nodes.clab.yml"),
        ("clab-01-test.txt", "text\n"),
        ("01-test.txt", "text\n"),
        ("01-test.json", "{}\n"),
    ];
    deploys("01-linux-nodes", &files, &["library/alpine:3", "library/nginx:stable-alpine"], 3);
}

#[test]
fn t93_bridge_and_host_deploys() {
    needs!(Root, Program("docker-registry"), Program("busybox"));
    let files = [public_file!("03-linux-nodes-to-bridge-and-host.clab.yml")];
    deploys("03-bridge-and-host", &files, &["library/alpine:3"], 1);
}

#[test]
fn t93_stages_deploys() {
    needs!(Root, Program("docker-registry"), Program("busybox"));
    deploys("stages", &[public_file!("stages.clab.yml")], &["library/debian:bookworm-slim"], 4);
}

#[test]
fn t93_basic_groups_deploys() {
    needs!(Root, Program("docker-registry"), Program("busybox"));
    let files = [public_file!("24-basic-groups.clab.yaml"), ("01-test.txt", "text\n"), ("01-test.json", "{}\n")];
    deploys("24-basic-groups", &files, &["library/alpine:3", "library/nginx:stable-alpine"], 3);
}

#[test]
fn t93_clos5_deploys() {
    needs!(Root, Program("docker-registry"), Program("busybox"));
    let images = ["sflow/clab-frr:latest", "sflow/clab-iperf3:latest", "sflow/prometheus:latest"];
    deploys("clos5", &[public_file!("clos5.yml")], &images, 15);
}

#[test]
fn t93_bgp_mpath_deploys() {
    needs!(Root, Program("docker-registry"), Program("busybox"));
    // The lab lies one folder down and binds a script from beside that folder.
    let mut files = vec![("lab/bgp-mpath.yml", public_file!("bgp-mpath.yml").1), ("scripts/start.sh", "#!/bin/sh\nexit 0\n"), ("lab/frr/daemons", "bgpd=yes\n")];
    let bound: Vec<String> = (1..=6)
        .flat_map(|i| ["interfaces/rt", "bird/rt", "frr/rt", "holo/rt"].map(|p| format!("lab/{p}{i}")))
        .map(|path| if path.contains("interfaces") { path } else { path + ".conf" })
        .collect();
    files.extend(bound.iter().map(|path| (path.as_str(), "")));
    deploys("bgp-mpath", &files, &["frrouting/frr:9.0.2"], 6);
}

#[test]
fn t93_evpnlab_deploys() {
    needs!(Root, Program("docker-registry"), Program("busybox"));
    deploys("evpnlab", &[public_file!("evpnlab.yml")], &["library/alpine-netlab:latest"], 15);
}

#[test]
fn t93_files_of_vendor_kinds_fail_well() {
    needs!(Root);
    let host = Host::new();
    for (name, text) in [public_file!("multivendor-evpn.clab.yml"), public_file!("srl-telemetry.clab.yml")] {
        let file = host.write(name, text).display().to_string();
        let out = host.vnode(&["up", &file]);
        assert_ne!(out.code, 0, "{name}");
        assert!(out.stderr.contains("kind") && !out.stderr.contains("panicked"), "{name}: {}", out.stderr);
    }
    assert!(nodes(&host).is_empty());
}
