//! Virtual machines in labs. Each boot costs seconds of emulation: a guest serves many cases.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{SOON, node, nodes, pid, state, wait_for_state};

/// Emulated machines on a busy host take their time.
const LONG: Duration = Duration::from_secs(200);

/// Why no machine can run here.
fn missing() -> Option<String> {
    vnode_testkit::guest::missing()
}

/// The README's lab in a folder of the host's, with the machine's image built where it looks for it.
fn mixed_lab(host: &Host) -> String {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/vmrouter/lab.clab.yml");
    let text = std::fs::read_to_string(example).expect("the example is there");
    // The agent of a debug build is in the machine's root, which has half of its memory.
    let text = text.replace("memory: 256MiB", "memory: 448MiB");
    let file = host.write("vmrouter/lab.clab.yml", &text);
    build(host, "vmrouter/router");
    file.display().to_string()
}

/// An emulated router on a busy host may be late with its first answers, not for ever.
#[track_caller]
fn passes(host: &Host, what: &str) {
    eventually(what, LONG, || host.ping("h1", "10.0.2.2").then_some(()));
}

fn build(host: &Host, folder: &str) -> PathBuf {
    let folder = host.dir().join(folder);
    host.vnode(&["image", "build", &folder.display().to_string()]).ok();
    folder
}

#[test]
fn vm_a_container_pings_another_through_a_router_that_is_a_machine() {
    needs!(Root, Program("ping"), Program("nft"));
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let host = Host::new();
    let before = host.snapshot();
    let file = mixed_lab(&host);
    let daemon = host.start_daemon(&[]);
    host.vnode(&["up", &file]).ok();
    passes(&host, "there is a way through the machine");
    let router = node(&host, "router");
    assert_eq!(router["kind"], "vm");
    let driver = router["driver"].as_str().unwrap_or_default().to_owned();
    assert!(driver == "qemu (tcg)" || driver == "qemu (kvm)", "{driver}");
    assert!(host.vnode(&["doctor"]).stdout.contains("virtual machines"));

    // Programs and files go in and come out by the agent.
    let name = host.exec("router", &["hostname"]).ok();
    assert_eq!(name.stdout.trim(), "router");
    let own = host.write("motd", "well met\n").display().to_string();
    host.vnode(&["cp", &own, "router:/root/"]).ok();
    assert_eq!(host.exec("router", &["cat", "/root/motd"]).ok().stdout, "well met\n");
    let back = host.dir().join("back").display().to_string();
    host.vnode(&["cp", "router:/root/motd", &back]).ok();
    assert_eq!(std::fs::read_to_string(&back).expect("copied"), "well met\n");

    // A link that is down is down for the machine, too (T-67).
    host.vnode(&["link", "down", "h2:eth1--router:eth2"]).ok();
    assert!(!host.ping("h1", "10.0.2.2"), "the link is down");
    host.vnode(&["link", "up", "h2:eth1--router:eth2"]).ok();
    passes(&host, "the link is up again");

    // T-55: the daemon is killed; machine and traffic go on; the next one adopts it.
    let qemu = pid(&host, "router");
    host.kill9_daemon();
    drop(daemon);
    let daemon = host.start_daemon(&[]);
    assert_eq!((state(&host, "router").as_str(), pid(&host, "router")), ("running", qemu.clone()));
    passes(&host, "after the daemon's restart");

    // T-47: it reboots inside, is started again with the same links, and that is counted.
    host.exec("router", &["reboot", "-f"]);
    eventually("the machine is back", LONG, || {
        let router = node(&host, "router");
        (router["restarts"] == 1 && router["state"] == "running").then_some(())
    });
    assert_ne!(pid(&host, "router"), qemu);
    host.exec("router", &["sysctl", "-w", "net.ipv4.ip_forward=1"]).ok();
    passes(&host, "after the machine's reboot");

    // QEMU is killed: a failure, after which the policy starts it again.
    let qemu = pid(&host, "router");
    host.run("kill", &["-9", &qemu]);
    eventually("it is started again", LONG, || {
        let router = node(&host, "router");
        (router["restarts"] == 2 && router["state"] == "running").then_some(())
    });

    // Paused and hung machines are ended in time (T-46).
    host.vnode(&["pause", "router"]).ok();
    assert_eq!(state(&host, "router"), "paused");
    host.vnode(&["resume", "router"]).ok();
    let qemu = pid(&host, "router");
    host.run("kill", &["-STOP", &qemu]).ok();
    host.vnode(&["halt", "router", "--time", "1"]).ok();
    wait_for_state(&host, "router", "stopped");

    host.vnode(&["down", "vmrouter"]).ok();
    host.kill9_daemon();
    drop(daemon);
    host.assert_nothing_but_files(&before);
}

/// A lab with one machine and nothing it waits for.
fn alone(image: &Path, more: &str) -> String {
    format!(
        "name: alone\ntopology:\n  nodes:\n    vm:\n      kind: vm\n      memory: 448MiB\n      network-mode: none\n      \
         vm:\n        kernel: {0}/vmlinux\n        initrd: {0}/initrd\n{more}",
        image.display()
    )
}

#[test]
fn vm_what_cannot_be_is_refused_with_its_reason_and_leaves_nothing() {
    needs!(Root, Program("nft"));
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let host = Host::new();
    let before = host.snapshot();
    let image = build(&host, "image");
    let refused = |name: &str, text: &str, reason: &str| {
        let file = host.write(&format!("{name}.clab.yml"), text).display().to_string();
        let out = host.vnode(&["up", &file]);
        assert!(out.code != 0, "{name}: {}", out.all());
        assert!(out.all().contains(reason), "{name}: {}", out.all());
        assert!(nodes(&host).iter().all(|n| n["state"] != "running"), "{name}");
        host.vnode(&["down", "alone"]);
    };
    // No KVM: asked for by name where it boots nothing.
    if host.vnode(&["doctor"]).stdout.contains("by emulation") {
        refused("kvm", &alone(&image, "        accel: kvm\n"), "KVM");
    }
    refused("kernel", &alone(Path::new("/nonexistent"), ""), "/nonexistent/vmlinux");
    // A disk that names another file, one with a broken header, and one for a container.
    let disk = |name: &str, bytes: &[u8]| {
        let path = host.dir().join(name);
        std::fs::write(&path, bytes).expect("the host's directory is writable");
        let node = format!("kind: vm\n      image: {}", path.display());
        format!("name: alone\ntopology:\n  nodes:\n    vm:\n      {node}\n")
    };
    let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
    header.extend(104u64.to_be_bytes());
    header.extend(11u32.to_be_bytes());
    header.extend(16u32.to_be_bytes());
    header.extend((1u64 << 30).to_be_bytes());
    header.resize(104, 0);
    header.extend(b"/etc/shadow");
    header.resize(64 << 10, 0);
    refused("backing", &disk("backing.qcow2", &header), "refers to another file");
    refused("broken", &disk("broken.qcow2", b"QFI\xfb\0\0\0\x09short"), "qcow2");
    let raw = vec![0; 1 << 20];
    let text = disk("plain.raw", &raw).replace("kind: vm", "kind: linux");
    refused("container", &text, "disk");
    host.kill9_daemon();
    host.assert_nothing_but_files(&before);
}

#[test]
fn vm_up_killed_where_the_machine_is_made_and_booted() {
    needs!(Root, Program("nft"));
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let host = Host::new();
    let before = host.snapshot();
    let image = build(&host, "image");
    let file = host.write("alone.clab.yml", &alone(&image, "")).display().to_string();
    let trace = host.dir().join("trace");
    let daemon = host.start_daemon(&[("VNODE_FAULT", &format!("trace:{}", trace.display()))]);
    host.vnode(&["up", &file]).ok();
    host.vnode(&["down", "alone"]).ok();
    host.kill9_daemon();
    drop(daemon);
    let text = std::fs::read_to_string(&trace).expect("the trace was written");
    let mut points: Vec<&str> = text.lines().map(str::trim).collect();
    points.dedup();
    let about = ["node.create.", "node.boot."];
    let mut chosen: Vec<&str> = points.clone();
    chosen.retain(|point| {
        about.iter().any(|begin| point.starts_with(begin)) && !point.contains("inverse")
    });
    chosen.sort_unstable();
    chosen.dedup();
    assert_eq!(chosen.len(), 4, "{points:?}");
    println!("points: {chosen:?}");
    for point in chosen {
        let mut daemon = host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
        host.vnode(&["up", &file]);
        host.vnode(&["down", "alone"]);
        if host.daemon_process().is_some() && daemon.has_ended() {
            // Another daemon was started by the second command: it has taken up what was left.
            println!("{point}: taken up");
        }
        host.kill9_daemon();
        drop(daemon);
        let after = host.start_daemon(&[]);
        eventually(&format!("{point}: recovery ends"), SOON, || {
            let operations = host.vnode(&["op", "ls", "--json"]).ok().stdout;
            (!operations.contains("\"running\"")).then_some(())
        });
        host.vnode(&["down", "alone"]).ok();
        assert!(nodes(&host).is_empty(), "{point}: {:?}", nodes(&host));
        host.kill9_daemon();
        drop(after);
        host.assert_nothing_but_files(&before);
    }
}
