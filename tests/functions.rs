//! Network functions in the nodes of a lab: the seed's layout, each step an event here; the examples, with traffic.

#![allow(
    clippy::disallowed_methods,
    reason = "a test starts the daemon and processes as their users do"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use vnode_testkit::{Host, built_program, eventually, in_guest, needs, skip_to_guest};
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

/// The scripts of the seed's layout.
const SCRIPTS: [&str; 4] = ["install.sh", "configure.sh", "start.sh", "terminate.sh"];

/// The seed's layout, typed in as the document shows it, in a node `n` of a lab `seed`, instantiated.
#[track_caller]
fn instantiate_the_seeds_layout(host: &Host) {
    up(host, &lab("seed", "n: {agent: init}", ""));
    host.write("package/lifecycle.json", &descriptor());
    for script in SCRIPTS {
        host.write(&format!("package/{script}"), "echo \"$VNF_EVENT $VNF_PROCESS\"\n");
    }
    push(host, "n", &host.dir().join("package"));
    host.vnode(&["vnf", "instantiate", "n", "NameOfTheVNF"]).ok();
    ran(host, &SCRIPTS[..2]);
}

/// The function's process, in the node. It lives as long as our end of its input.
fn process(host: &Host) -> Child {
    // Not every machine's `cat` is itself under another name.
    let run = "cp /bin/sh /tmp/ProcessName; exec /tmp/ProcessName -c 'read line'";
    let mut command = host.vnode_command(&["exec", "n", "sh", "-c", run]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().expect("it starts")
}

/// Ends it.
fn end(mut process: Child) {
    drop(process.stdin.take());
    process.wait().expect("it is ours");
}

/// That each step of the function's life is told, as often as there was one.
#[track_caller]
fn each_step_is_told(host: &Host) {
    // What is told by the agent after the last script has ended.
    let ends =
        |event: &Value| event["data"]["automatic"] == true && event["data"]["state"] == "COMPLETED";
    let all = eventually("the last hook is over", LONG, || {
        let all = told(host, "vnf.");
        (all.iter().filter(|event| ends(event)).count() == 2).then_some(all)
    });
    for event in &all {
        let subject = event["subject"].as_str().expect("a subject");
        assert!(subject.starts_with("lab/seed/node/n/vnf/"), "{event}");
        assert!(event["data"]["at"].is_string(), "{event}");
    }
    for (kind, count) in [
        ("vnf.package.onboarded", 1),
        ("vnf.instance.created", 1),
        // The package, and to instantiate it.
        ("vnf.request", 2),
        // To look for the process, the working copy, the parameters.
        ("vnf.step", 3),
        ("vnf.process.appeared", 1),
        ("vnf.process.vanished", 1),
        // Of the instantiation and both hooks, the beginning and the end; and that the first was asked for.
        ("vnf.operation", 7),
        ("vnf.script.started", 4),
        ("vnf.script.ended", 4),
    ] {
        let of_kind: Vec<&Value> = all.iter().filter(|event| event["kind"] == kind).collect();
        assert_eq!(of_kind.len(), count, "{kind}: {of_kind:?}");
    }
}

#[test]
fn pw_34_the_hosts_kernel_tells_a_containers_agent_by_way_of_the_daemon() {
    needs!(Root);
    if !in_guest() {
        return skip_to_guest("a daemon must be in the machine's own namespaces to be told");
    }
    let host = Host::new();
    // Not in the host of this test: the kernel tells nobody there. The machine is nobody else's, and ends with its tests.
    let group =
        "mkdir /sys/fs/cgroup/daemon && echo $$ > /sys/fs/cgroup/daemon/cgroup.procs; exec \"$@\"";
    let log = std::fs::File::create(host.dir().join("daemon.log")).expect("it is writable");
    let mut daemon = Command::new("sh");
    daemon.args(["-c", group, "sh"]).arg(built_program("vnode")).arg("daemon");
    daemon.env("VNODE_STATE_DIR", host.state_dir()).stdout(Stdio::null()).stderr(log);
    let mut daemon = daemon.spawn().expect("it starts");
    eventually("the daemon answers", LONG, || {
        (host.vnode(&["daemon", "status"]).code == 0).then_some(())
    });
    instantiate_the_seeds_layout(&host);
    eventually("the agent is told by the host", LONG, || {
        let info = host.vnode(&["vnf", "info", "n", "--json"]).ok().json();
        (info["watch"] == "host").then_some(())
    });
    let process = process(&host);
    ran(&host, &SCRIPTS[..3]);
    end(process);
    ran(&host, &SCRIPTS);
    each_step_is_told(&host);
    host.vnode(&["down", "seed"]).ok();
    daemon.kill().and_then(|()| daemon.wait()).expect("it is ours");
}

/// The descriptor that the document shows first.
fn descriptor() -> String {
    // The guest of the emulated tier has no checkout.
    let page = include_str!("../docs/reference/vnf.md");
    let (_, block) = page.split_once("```json\n").expect("the first block of JSON");
    block.split_once("```").expect("it ends").0.to_owned()
}

#[test]
fn the_seeds_layout_runs_its_scripts_as_its_process_comes_and_goes() {
    needs!(Root);
    let host = Host::new();
    instantiate_the_seeds_layout(&host);
    let process = process(&host);
    ran(&host, &SCRIPTS[..3]);
    // Another daemon goes on where this one was.
    host.kill9_daemon();
    end(process);
    ran(&host, &SCRIPTS);
    each_step_is_told(&host);
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
    // The daemon's copy comes after the answer.
    for node in ["r1/vnf/router", "r2/vnf/router", "s/vnf/dns", "s/vnf/edgefw"] {
        let wanted = format!("lab/chain/node/{node}");
        eventually(&format!("{wanted} has told"), LONG, || {
            let started = told(&host, "vnf.script.started");
            started.iter().any(|event| event["subject"] == *wanted).then_some(())
        });
    }
    host.vnode(&["down", "chain"]).ok();
}
