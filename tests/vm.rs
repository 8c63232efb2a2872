//! Virtual machines in labs. Each boot costs seconds of emulation: a guest serves many cases.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{SOON, node, nodes, pid, ping, recovered, state, wait_for_state};

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
    // Its names and addresses come in by the metadata service as well.
    let text = text.replace("append: quiet\n", "append: quiet\n        seed: metadata\n");
    // A disk, whose files are reached while it does not run.
    let text = text.replace("      vm:\n", "      image: ../root.raw\n      vm:\n");
    vnode_tests::ext4_disk(host, "root.raw");
    // A control network with routers of both sorts.
    let text = text.replace(
        "\ntopology:",
        "\nmgmt: {ipv4-subnet: 172.31.99.0/24, ipv6-subnet: \"fd99::/64\"}\ntopology:",
    );
    let has = |word: &str| text.contains(word);
    assert!(has("fd99") && has("448MiB") && has("seed: metadata") && has("root.raw"), "{text}");
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
    host.build_image(&folder).ok();
    folder
}

#[test]
fn vm_t35_t41_t47_t55_t69_t76_a_container_pings_another_through_a_router_that_is_a_machine() {
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

    names_and_addresses(&host);
    refused_of_this_machine(&host);

    // A link is shaped and put back while the machine runs: the kernel holds what was asked for (T-69, T-78).
    let rate = |wanted: u64| {
        let links = host.vnode(&["link", "ls", "--json"]).ok().json();
        let links = links.as_array().cloned().unwrap_or_default();
        let of_h2 = |end: &Value| end["node"] == "h2";
        let ours = |link: &&Value| link["ends"].as_array().is_some_and(|e| e.iter().any(of_h2));
        let link = links.iter().find(ours).unwrap_or_else(|| panic!("no link of h2: {links:?}"));
        for end in link["ends"].as_array().expect("a link has ends") {
            assert_eq!(end["current"]["rate_bps"], wanted, "{link}");
            assert_eq!(end["drift"], false, "{link}");
        }
    };
    rate(10_000_000);
    host.vnode(&["link", "set", LINK, "rate=1mbit"]).ok();
    rate(1_000_000);
    // 20000 bytes take 160 ms each way, less the one frame of 9500 that the shaper lets pass at once.
    let rtt = ping(&host, "h1", &["-c", "3", "-s", "20000", "-W", "60"], "10.0.2.2");
    assert!(rtt.received > 0 && rtt.min_ms > 100.0, "{rtt:?} at 1 Mbit/s");
    host.vnode(&["link", "reset", LINK]).ok();
    rate(10_000_000);

    // A link that is down is down for the machine, too (T-67).
    host.vnode(&["link", "down", "h2:eth1--router:eth2"]).ok();
    assert!(!host.ping("h1", "10.0.2.2"), "the link is down");
    host.vnode(&["link", "up", "h2:eth1--router:eth2"]).ok();
    passes(&host, "the link is up again");

    // T-76, T-102: a peer that is made anew is reached by the running machine, whose link was made anew with it.
    let qemu = pid(&host, "router");
    host.vnode(&["destroy", "h2"]).ok();
    host.vnode(&["apply", &file]).ok();
    assert_eq!((node(&host, "router")["restarts"].clone(), pid(&host, "router")), (0.into(), qemu));
    passes(&host, "its peer is a new one");
    rate(10_000_000);

    // T-55: the daemon is killed; machine and traffic go on; the next one adopts it.
    let qemu = pid(&host, "router");
    host.kill9_daemon();
    drop(daemon);
    let daemon = host.start_daemon(&[]);
    assert_eq!((state(&host, "router").as_str(), pid(&host, "router")), ("running", qemu.clone()));
    passes(&host, "after the daemon's restart");

    // Saved, it is gone, also for the next daemon; restored, it is the same run with the same links.
    let run = || host.exec("router", &["cat", "/proc/sys/kernel/random/boot_id"]).ok().stdout;
    let before_save = run();
    host.vnode(&["save", "router"]).ok();
    assert_eq!(state(&host, "router"), "stopped");
    assert_eq!(host.vnode(&["inspect", "router"]).ok().json()["saved"], true);
    host.kill9_daemon();
    drop(daemon);
    let daemon = host.start_daemon(&[]);
    assert_eq!(state(&host, "router"), "stopped");
    host.vnode(&["restore", "router"]).ok();
    assert_eq!(run(), before_save);
    assert_eq!(node(&host, "router")["restarts"], 0);
    passes(&host, "after its memory came back");
    assert!(host.vnode(&["restore", "router"]).all().contains("was not saved"));
    let qemu = pid(&host, "router");

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

    // T-35, T-38: its root is mounted, and what was written the booted guest reads; a boot takes the mount away.
    let folder = host.vnode(&["mount", "router"]).ok().stdout.trim().to_owned();
    assert_eq!(state(&host, "router"), "mounted");
    host.run("sh", &["-c", "echo from-outside >\"$1\"/note", "sh", &folder]).ok();
    host.vnode(&["cp", &own, "router:/"]).ok();
    assert_eq!(state(&host, "router"), "mounted");
    host.vnode(&["boot", "router"]).ok();
    let read =
        "mkdir -p /mnt; mount -t ext4 /dev/vda1 /mnt && cat /mnt/note /mnt/motd; umount /mnt";
    let text = host.exec("router", &["sh", "-c", read]).ok().stdout;
    assert_eq!(text, "from-outside\nwell met\n");
    host.vnode(&["halt", "router"]).ok();
    assert_eq!(state(&host, "router"), "stopped");
    // Another definition is a new machine on the same links; this one is booted when its address answers (T-41).
    let text = std::fs::read_to_string(&file).expect("the lab is there");
    let text = text
        .replace("ready: agent", "ready: reachable")
        .replace("      exec:\n        - sysctl -w net.ipv4.ip_forward=1\n", "");
    assert!(text.contains("reachable") && !text.contains("sysctl"), "{text}");
    std::fs::write(&file, text).expect("the lab can be written");
    host.vnode(&["apply", &file]).ok();
    let address = node(&host, "router")["ipv4"].as_str().unwrap_or_default().to_owned();
    let answer = host.run("ping", &["-c", "1", "-W", "60", &address]);
    assert_eq!((state(&host, "router").as_str(), answer.code), ("running", 0), "{}", answer.all());

    host.vnode(&["down", "vmrouter"]).ok();
    host.kill9_daemon();
    drop(daemon);
    host.assert_nothing_but_files(&before);
}

/// The link of the mixed lab that is shaped.
const LINK: &str = "h2:eth1--router:eth2";

/// The router knows the lab's names, and gets its address and its metadata from the control network.
fn names_and_addresses(host: &Host) {
    let inside = |script: &str| host.exec("router", &["sh", "-c", script]).ok().stdout;
    let address = node(host, "h1")["ipv4"].as_str().unwrap_or_default().to_owned();
    let own = node(host, "router")["ipv4"].as_str().unwrap_or_default().to_owned();
    assert!(!address.is_empty() && !own.is_empty());
    let answer = inside("ping -c 1 -W 60 h1");
    assert!(answer.contains(&format!("({address})")), "{answer}");
    // The serial number leads to the service, which says who it is and what nobody else is told.
    let serial = inside("cat /sys/class/dmi/id/product_serial");
    let service =
        serial.trim().strip_prefix("ds=nocloud-net;s=").expect("the serial number leads there");
    assert!(service.starts_with("http://169.254.169.254/"), "{service}");
    let fetch = |name: &str| inside(&format!("cd /var/tmp && wget -q -T 60 -O - {service}{name}"));
    let text = fetch("meta-data");
    assert!(text.contains("\"local-hostname\":\"router\""), "{text}");
    let text = fetch("user-data");
    assert!(text.contains("/etc/hosts") && text.contains("h2.vmrouter"), "{text}");
    // DHCP gives it the address it has.
    let script = "printf '#!/bin/sh\\n[ \"$1\" = bound ] && echo \"leased $ip\"; exit 0\\n' >/tmp/lease; \
                  chmod +x /tmp/lease; udhcpc -i eth0 -f -q -n -t 5 -T 10 -s /tmp/lease";
    let text = inside(script);
    assert!(text.contains(&format!("leased {own}\n")), "{text}");
    // The control network's router has made itself known to it. `RTF_DEFAULT` and `RTF_ADDRCONF` of `linux/ipv6_route.h`.
    const ADVERTISED: u32 = 0x0005_0000;
    eventually("a router advertisement has come to the machine", LONG, || {
        let routes = inside("cat /proc/net/ipv6_route");
        let advertised = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let flags = u32::from_str_radix(words.get(8)?, 16).ok()?;
            (flags & ADVERTISED == ADVERTISED && words.last() == Some(&"eth0")).then_some(())
        };
        routes.lines().find_map(advertised)
    });
}

/// What a machine with a kernel of its own and no screen cannot do, and a container cannot at all.
fn refused_of_this_machine(host: &Host) {
    let refused = |words: &[&str], reason: &str| {
        let out = host.vnode(words);
        assert!(out.code == 1 && out.all().contains(reason), "{words:?}: {}", out.all());
    };
    refused(&["screenshot", "router", "-"], "`vnc: true`");
    refused(&["save", "h1"], "no virtual machine");
    refused(&["screenshot", "h1", "-"], "no virtual machine");
    refused(&["restore", "router"], "was not saved");
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
fn vm_t41_t53_what_cannot_be_is_refused_with_its_reason_and_leaves_nothing() {
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
    if !Path::new("/dev/vhost-vsock").exists() {
        refused("vsock", &alone(&image, "        vsock: true\n"), "/dev/vhost-vsock");
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
    // T-41: a guest that never answers is an error at the limit, with the end of its console.
    let deaf = |limit: u32| {
        let more = format!(
            "append: rdinit=/bin/cat quiet\n        ready: agent\n        ready-timeout: {limit}\n"
        );
        alone(&image, &format!("        {more}"))
    };
    refused("deaf", &deaf(2), "the answer of its agent was given up after 2 s; its console: ");
    // T-53: destroyed while it boots, it is gone, and who waits for it is told; this one would wait for a day.
    let file = host.write("slow.clab.yml", &deaf(86_400)).display().to_string();
    let mut waiting = host.vnode_command(&["up", &file]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh starts");
    eventually("its QEMU runs", LONG, || {
        let booting = nodes(&host).iter().any(|n| n["state"] == "booting" && n["pid"].is_i64());
        booting.then_some(())
    });
    host.vnode(&["down", "alone"]).ok();
    let told = waiting.wait_with_output().expect("a started child can be waited for");
    assert!(!told.status.success());
    assert!(nodes(&host).is_empty(), "{:?}", nodes(&host));
    host.kill9_daemon();
    host.assert_nothing_but_files(&before);
}

#[test]
fn vm_t23_up_killed_where_the_machine_is_made_and_booted() {
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
    host.vnode(&["save", "vm"]).ok();
    host.vnode(&["boot", "vm"]).ok();
    host.vnode(&["down", "alone"]).ok();
    host.kill9_daemon();
    drop(daemon);
    let text = std::fs::read_to_string(&trace).expect("the trace was written");
    let mut points: Vec<&str> = text.lines().map(str::trim).collect();
    points.dedup();
    let about = ["node.create.", "node.boot.", "node.save.", "node.halt.", "node.destroy."];
    let mut chosen: Vec<&str> = points.clone();
    chosen.retain(|point| {
        about.iter().any(|begin| point.starts_with(begin)) && !point.contains("inverse")
    });
    chosen.sort_unstable();
    chosen.dedup();
    assert_eq!(chosen.len(), 8, "{points:?}");
    println!("points: {chosen:?}");
    for point in chosen {
        let mut daemon = host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
        host.vnode(&["up", &file]);
        if point.starts_with("node.save.") {
            host.vnode(&["save", "vm"]);
            // Whoever takes it up goes on with it: it is saved, and boots from there.
            eventually(&format!("{point}: it is saved"), SOON, || {
                (host.vnode(&["inspect", "vm"]).ok().json()["saved"] == true).then_some(())
            });
            wait_for_state(&host, "vm", "stopped");
            host.vnode(&["restore", "vm"]).ok();
        }
        host.vnode(&["down", "alone"]);
        if host.daemon_process().is_some() && daemon.has_ended() {
            // Another daemon was started by the second command: it has taken up what was left.
            println!("{point}: taken up");
        }
        host.kill9_daemon();
        drop(daemon);
        let after = host.start_daemon(&[]);
        recovered(&host, point);
        host.vnode(&["down", "alone"]).ok();
        assert!(nodes(&host).is_empty(), "{point}: {:?}", nodes(&host));
        host.kill9_daemon();
        drop(after);
        host.assert_nothing_but_files(&before);
    }
}
