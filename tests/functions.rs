//! Network functions in the nodes of a lab: the seed's layout, each step an event here; the examples, with traffic.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{lab, up};

/// What crosses programs, a service and a daemon, on a busy machine.
const LONG: Duration = Duration::from_secs(180);

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The events of functions here, as `vnode events` has them.
fn told(host: &Host, kind: &str) -> Vec<Value> {
    let out = host.vnode(&["events", "--json", "--kind", kind]).ok();
    out.stdout.lines().map(|line| serde_json::from_str(line).expect("an event a line")).collect()
}

/// Waits until these scripts have ended, in this order and each once.
#[track_caller]
fn ran(host: &Host, scripts: &[&str]) {
    let ended = || -> Vec<String> {
        let all = told(host, "vnf.script.ended");
        let text = |event: &Value| event["data"]["script"].as_str().unwrap_or_default().to_owned();
        all.iter().map(text).collect()
    };
    eventually(&format!("{scripts:?} have run"), LONG, || {
        (ended().len() >= scripts.len()).then_some(())
    });
    assert_eq!(ended(), scripts);
}

/// Packs a folder on the host as its author would, and brings it to a node.
#[track_caller]
fn push(host: &Host, node: &str, folder: &Path) {
    let archive = host.dir().join(format!("{node}.tar.gz")).display().to_string();
    host.vnode(&["vnf", "pack", &folder.display().to_string(), "-o", &archive]).ok();
    host.vnode(&["vnf", "serve", node, "--detach"]).ok();
    host.vnode(&["vnf", "push", node, &archive]).ok();
}

#[test]
fn the_seeds_layout_runs_its_scripts_as_its_process_comes_and_goes() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("seed", "n: {agent: init}", ""));
    // Typed in as the document shows it.
    let page = std::fs::read_to_string(checkout("docs/reference/vnf.md")).expect("the document");
    let (_, block) = page.split_once("```json\n").expect("the first block of JSON");
    let (descriptor, _) = block.split_once("```").expect("it ends");
    host.write("package/lifecycle.json", descriptor);
    let scripts = ["install.sh", "configure.sh", "start.sh", "terminate.sh"];
    for script in scripts {
        host.write(&format!("package/{script}"), "echo \"$VNF_EVENT $VNF_PROCESS\"\n");
    }
    push(&host, "n", &host.dir().join("package"));
    host.vnode(&["vnf", "instantiate", "n", "NameOfTheVNF"]).ok();
    ran(&host, &scripts[..2]);

    // The process lives as long as our end of its input.
    let run = "cp /bin/cat /tmp/ProcessName; exec /tmp/ProcessName";
    let mut process = host
        .vnode_command(&["exec", "n", "sh", "-c", run])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    ran(&host, &scripts[..3]);
    // Another daemon goes on where this one was.
    host.kill9_daemon();
    drop(process.stdin.take());
    let ended = process.wait();
    ended.expect("it is ours");
    ran(&host, &scripts);

    let all = told(&host, "vnf.");
    for event in &all {
        let subject = event["subject"].as_str().expect("a subject");
        assert!(subject.starts_with("lab/seed/node/n/vnf/"), "{event}");
        assert!(event["data"]["at"].is_string(), "{event}");
    }
    let kinds = |wanted: &str| all.iter().filter(|event| event["kind"] == wanted).count();
    assert_eq!((kinds("vnf.package.onboarded"), kinds("vnf.script.started")), (1, 4));
    let shown = host.vnode(&["vnf", "logs", "n", "NameOfTheVNF"]).ok();
    assert!(shown.stdout.contains("TERMINATE ProcessName"), "{}", shown.stdout);
    // Where the daemon may not listen to the kernel, as in this host, the agent looks by itself.
    let info = host.vnode(&["vnf", "info", "n", "--json"]).ok().json();
    assert!(["host", "polling"].contains(&info["watch"].as_str().expect("a word")), "{info}");

    // A service that is started again is followed again, and nothing is told twice.
    let pid = info["pid"].to_string();
    host.vnode(&["exec", "n", "kill", "-9", &pid]).ok();
    eventually("another service serves", LONG, || {
        let out = host.vnode(&["vnf", "serve", "n", "--detach"]);
        (out.code == 0).then_some(())
    });
    host.vnode(&["vnf", "terminate", "n", "NameOfTheVNF"]).ok();
    host.vnode(&["vnf", "rm", "n", "NameOfTheVNF"]).ok();
    eventually("the removal is told", LONG, || {
        (told(&host, "vnf.instance.removed").len() == 1).then_some(())
    });
    let numbers = |events: &[Value]| -> Vec<String> {
        events.iter().map(|e| format!("{} {}", e["kind"], e["data"]["at"])).collect()
    };
    let mut each = numbers(&told(&host, "vnf.script."));
    let count = each.len();
    each.sort();
    each.dedup();
    assert_eq!(each.len(), count, "{each:?}");
    host.vnode(&["down", "seed"]).ok();
}

/// Asks the name server at an address for a name, by TCP; prints its address.
const ASK: &str = "import socket,sys\n\
    q=b'\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0'+b''.join(bytes([len(p)])+p for p in sys.argv[2].encode().split(b'.'))+b'\\0\\0\\x01\\0\\x01'\n\
    s=socket.create_connection((sys.argv[1],53),20)\n\
    s.sendall(len(q).to_bytes(2,'big')+q)\n\
    f=s.makefile('rb')\n\
    a=f.read(int.from_bytes(f.read(2),'big'))\n\
    print(socket.inet_ntoa(a[-4:]))\n";

#[test]
fn the_examples_route_filter_and_answer_in_a_lab() {
    needs!(
        Root,
        Program("python3"),
        Program("/usr/sbin/dnsmasq"),
        Program("/usr/sbin/nft"),
        Program("/usr/lib/frr/zebra")
    );
    let host = Host::new();
    // c - r1 - r2 - s: nobody but the routers knows the way.
    let nodes = "c: {exec: ['ip route add 10.0.0.0/8 via 10.1.0.1']}\n\
                 r1: {agent: init, privileged: true}\n\
                 r2: {agent: init, privileged: true}\n\
                 s: {agent: init, exec: ['ip route add 10.0.0.0/8 via 10.3.0.1']}";
    let links = "- {endpoints: ['c:eth1', 'r1:eth1'], ipv4: [10.1.0.2/24, 10.1.0.1/24]}\n\
                 - {endpoints: ['r1:eth2', 'r2:eth1'], ipv4: [10.2.0.1/24, 10.2.0.2/24]}\n\
                 - {endpoints: ['r2:eth2', 's:eth1'], ipv4: [10.3.0.1/24, 10.3.0.2/24]}";
    up(&host, &lab("chain", nodes, links));
    let ping = |count: &str, wait: &str| {
        host.vnode(&["exec", "c", "ping", "-c", count, "-W", wait, "10.3.0.2"]).code == 0
    };
    for (node, id) in [("r1", "10.2.0.1"), ("r2", "10.2.0.2")] {
        push(&host, node, &checkout("examples/vnf-router"));
        let id = format!("router_id={id}");
        let words = ["vnf", "instantiate", node, "router", "--param", &id];
        let words =
            [&words[..], &["--param", "networks=10.0.0.0/8", "--param", "hello=1"]].concat();
        host.vnode(&words).ok();
    }
    eventually("each router has learned the other's network", LONG, || {
        ping("1", "1").then_some(())
    });
    let routes = host.vnode(&["exec", "r1", "ip", "route", "show", "10.3.0.0/24"]).ok();
    assert!(routes.stdout.contains("proto ospf"), "{}", routes.stdout);

    push(&host, "s", &checkout("examples/vnf-dns"));
    let names = ["--param", "names=a.lab=10.9.8.7"];
    host.vnode(&[&["vnf", "instantiate", "s", "dns"][..], &names].concat()).ok();
    push(&host, "s", &checkout("examples/vnf-firewall"));
    host.vnode(&["vnf", "instantiate", "s", "edgefw", "--param", "tcp_ports=53"]).ok();
    let ask = || {
        let out = host.vnode(&["exec", "c", "python3", "-c", ASK, "10.3.0.2", "a.lab"]);
        (out.code == 0 && out.stdout == "10.9.8.7\n").then_some(())
    };
    eventually("the name server answers through the routers", LONG, ask);
    assert!(ping("3", "10"), "ping may pass");
    host.vnode(&["vnf", "configure", "s", "edgefw", "ping=false"]).ok();
    assert!(!ping("1", "2"), "ping may not");
    assert!(ask().is_some(), "and names are still answered");

    for (node, function) in [("s", "edgefw"), ("s", "dns"), ("r1", "router"), ("r2", "router")] {
        host.vnode(&["vnf", "terminate", node, function]).ok();
    }
    let started = told(&host, "vnf.script.started");
    let subject = |event: &Value| event["subject"].as_str().unwrap_or_default().to_owned();
    for node in ["r1/vnf/router", "r2/vnf/router", "s/vnf/dns", "s/vnf/edgefw"] {
        let wanted = format!("lab/chain/node/{node}");
        assert!(started.iter().any(|event| subject(event) == wanted), "{wanted}: {started:?}");
    }
    host.vnode(&["down", "chain"]).ok();
}
