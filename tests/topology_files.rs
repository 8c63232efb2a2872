//! Topology files: errors with their place, unknown keys reported, and public containerlab files unchanged.

use vnode_testkit::image::{self, ImageSpec};
use vnode_testkit::{Host, Registry, needs, needs_or_guest};
use vnode_tests::{lab, nodes};

#[test]
fn malformed_files_are_refused_with_line_and_column() {
    needs!(Root);
    let host = Host::new();
    for (name, text, line, word) in [
        ("tab", "name: x\ntopology:\n\tnodes: {}\n", 3, ""),
        (
            "unknown node",
            "name: x\ntopology:\n  nodes:\n    a: {kind: linux, image: host}\n  links:\n    - endpoints: [\"a:eth1\", \"ghost:eth1\"]\n",
            6,
            "ghost",
        ),
        (
            "bad rate",
            "name: x\ntopology:\n  nodes:\n    a: {kind: linux, image: host}\n    b: {kind: linux, image: host}\n  links:\n    - endpoints: [\"a:eth1\", \"b:eth1\"]\n      impair: {rate: fast}\n",
            8,
            "fast",
        ),
        ("not a map", "just text\n", 1, ""),
        ("unclosed", "name: x\ntopology: {nodes: [\n", 0, ""),
    ] {
        let file = host.write("bad.clab.yml", text).display().to_string();
        let out = host.vnode(&["up", &file]);
        assert_ne!(out.code, 0, "{name}");
        if line > 0 {
            assert!(
                out.stderr.contains(&format!(":{line}:"))
                    || out.stderr.contains(&format!("line {line}")),
                "{name}: {}",
                out.stderr
            );
        }
        assert!(out.stderr.contains(word), "{name}: {}", out.stderr);
        assert!(!out.stderr.contains("panicked"), "{name}: {}", out.stderr);
    }
    assert!(nodes(&host).is_empty());
}

#[test]
fn t93_unknown_keys_and_vendor_kinds_are_reported_never_dropped() {
    needs!(Root);
    let host = Host::new();
    let file = host.write("odd.clab.yml", "name: odd\ntopology:\n  nodes:\n    a: {kind: linux, image: host, cmd: sleep 100, colour: blue}\n").display().to_string();
    let out = host.vnode(&["check", &file]);
    assert!(
        out.stderr.contains("odd.clab.yml:4:") && out.stderr.contains("colour"),
        "{}",
        out.all()
    );
    let file = host.write("vendor.clab.yml", "name: v\ntopology:\n  nodes:\n    a: {kind: nokia_srlinux, image: ghcr.io/nokia/srlinux}\n").display().to_string();
    let out = host.vnode(&["up", &file]);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("nokia_srlinux"), "{}", out.all());
    assert!(nodes(&host).is_empty());
}

#[test]
fn t98_an_interface_used_twice_is_refused_with_both_lines() {
    needs!(Root);
    let host = Host::new();
    let text = lab(
        "twice",
        "a:\nb:\nc:",
        "- endpoints: [\"a:eth1\", \"b:eth1\"]\n- endpoints: [\"a:eth1\", \"c:eth1\"]",
    );
    let file = host.write("twice.clab.yml", &text).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert_ne!(out.code, 0);
    let lines: Vec<usize> =
        (1..).zip(text.lines()).filter(|(_, l)| l.contains("\"a:eth1\"")).map(|(n, _)| n).collect();
    for line in lines {
        let place = format!("twice.clab.yml:{line}:");
        assert!(out.stderr.contains(&place), "line {line}: {}", out.stderr);
    }
}

#[test]
fn t97_the_environment_is_substituted() {
    needs!(Root);
    let mut host = Host::new();
    host.set_env("LAB_WORD", "hello");
    let text = lab("env", "a: {env: {WORD: \"${LAB_WORD}-${LAB_NOT_SET:-there}\"}}", "");
    vnode_tests::up(&host, &text);
    assert_eq!(host.exec("a", &["printenv", "WORD"]).ok().stdout.trim(), "hello-there");
}

/// A stand-in for an image of a public file: busybox with what that file's commands call.
fn stand_in() -> ImageSpec {
    ImageSpec { cmd: vec!["/bin/sleep".into(), "1000000".into()], ..ImageSpec::default() }
        .with_file("usr/bin/vtysh", "#!/bin/sh\nexit 0\n", 0o755)
        .with_file("bin/bash", "#!/bin/sh\nexec /bin/sh \"$@\"\n", 0o755)
        .with_file("etc/frr/daemons", "", 0o644)
        .with_file("etc/os-release", "ID=stand-in\n", 0o644)
}

/// Deploys a public file unchanged, its images served from a registry on this host through a mirror.
fn deploys(name: &str, files: &[(&str, &str)], images: &[&str], nodes_expected: usize) {
    let mut host = Host::new();
    let registry = Registry::start(&host);
    let built = image::build(&stand_in());
    for image in images {
        let (repository, tag) = image.rsplit_once(':').expect("an image of a table has a tag");
        registry.push(repository, tag, &built);
    }
    let mirrors = ["docker.io", "ghcr.io", "quay.io"]
        .map(|upstream| format!("{upstream}={}", registry.address));
    host.set_env("VNODE_REGISTRY_MIRRORS", &mirrors.join(","));
    for (file, text) in files {
        use std::os::unix::fs::PermissionsExt;
        let path = host.write(file, text);
        let mode = if file.ends_with(".sh") { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .expect("the file was just written");
    }
    // Nodes of kind bridge stand for bridges that the user has made.
    host.run("ip", &["link", "add", "br-01-03-clab", "type", "bridge"]).ok();
    host.run("ip", &["link", "set", "br-01-03-clab", "addrgenmode", "none"]).ok();
    host.run("ip", &["link", "set", "br-01-03-clab", "up"]).ok();
    let _daemon = host.start_daemon(&[]);
    let before = host.snapshot();
    let file = host.dir().join(files[0].0).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert_eq!(out.code, 0, "{name}: {}", out.all());
    let all = nodes(&host);
    assert_eq!(all.len(), nodes_expected, "{name}: {all:?}");
    assert!(all.iter().all(|n| n["state"] == "running"), "{name}: {all:?}");
    host.vnode(&["down", &file]).ok();
    let end = std::time::Instant::now() + vnode_tests::SOON;
    loop {
        let mut left = before.diff(&host.snapshot());
        left.retain(|l| !l.starts_with("new: file "));
        if left.is_empty() {
            break;
        }
        assert!(std::time::Instant::now() < end, "{name}: left behind: {left:#?}");
    }
}

include!("public_files.rs");

#[test]
fn r14_a_lab_of_katharas_comes_up_with_its_startup_files() {
    needs!(Root, Program("ping"), Program("ip"));
    let host = Host::new();
    let before = host.snapshot();
    let conf = host.write(
        "two hosts/lab.conf",
        "pc1[0]=\"A\"\npc2[0]=\"A\"\npc2[exec]=\"echo it is up >/said\"\n",
    );
    for (node, address) in [("pc1", "10.0.0.1"), ("pc2", "10.0.0.2")] {
        let text = format!("ip address add {address}/24 dev eth0\nip link set eth0 up\n");
        host.write(&format!("two hosts/{node}.startup"), &text);
    }
    host.write("two hosts/pc1/etc/motd", "from the folder\n");
    let text = host.vnode(&["import", &conf.display().to_string()]).ok().stdout;
    let file = host.write("two hosts/lab.clab.yml", &text).display().to_string();
    host.vnode(&["up", &file]).ok();
    assert!(host.ping("pc1", "10.0.0.2"));
    assert_eq!(host.exec("pc1", &["cat", "/etc/motd"]).ok().stdout, "from the folder\n");
    assert_eq!(host.exec("pc2", &["cat", "/said"]).ok().stdout, "it is up\n");
    host.vnode(&["down", "two-hosts"]).ok();
    host.assert_nothing_but_files(&before);
}
