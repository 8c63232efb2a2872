//! The daemon dies at the worst moment: nothing is left, or the work goes on; nodes never notice.

use std::collections::BTreeSet;
use std::time::Duration;

use vnode_testkit::{Host, Snapshot, eventually, needs};
use vnode_tests::{SOON, lab, node, nodes, pair, pid, recovered, up, wait_for_state};

/// What is done while the daemon is killed.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// The lab is up before.
    prepared: bool,
    /// The command, with `FILE` for the topology.
    command: &'static [&'static str],
}

const UP: Case = Case { name: "up", prepared: false, command: &["up", "FILE"] };
const APPLY: Case = Case { name: "apply", prepared: true, command: &["apply", "CHANGED"] };
const REBOOT: Case = Case { name: "reboot", prepared: true, command: &["reboot", "a"] };
const DOWN: Case = Case { name: "down", prepared: true, command: &["down", "FILE"] };

/// A lab with a bit of everything that is made: two nodes, a link with a rate, one to another host, a LAN, a port forward.
fn small(change: &str) -> String {
    let nodes = format!("a: {{ports: [\"18080:80\"]}}\nb:{change}");
    let link = "- endpoints: [\"a:eth1\", \"b:eth1\"]\n  ipv4: [10.0.0.1/24, 10.0.0.2/24]\n  impair: {rate: 100mbit}\n\
                - {type: vxlan, endpoint: {node: a, interface: eth3}, remote: 192.0.2.1, vni: 7, dst-port: 4789}";
    lab("small", &nodes, link) + "  networks:\n    lan0:\n      members: [\"a:eth2\", \"b:eth2\"]\n"
}

struct Bench {
    host: Host,
    file: String,
    changed: String,
    /// Before anything was done, with foreign objects in place.
    virgin: Snapshot,
}

impl Bench {
    fn new() -> Bench {
        let host = Host::new();
        for line in [
            "ip link add br0 type bridge",
            "ip link add veth-foo type veth peer name veth-bar",
            "nft add table inet mine",
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            host.run(words[0], &words[1..]).ok();
        }
        let file = host.write("small.clab.yml", &small("")).display().to_string();
        let changed =
            host.write("changed.clab.yml", &small(" {env: {X: y}}\nc:")).display().to_string();
        let virgin = host.snapshot();
        Bench { host, file, changed, virgin }
    }

    fn command(&self, case: Case) -> Vec<String> {
        let word = |w: &&str| match *w {
            "FILE" => self.file.clone(),
            "CHANGED" => self.changed.clone(),
            other => other.to_owned(),
        };
        case.command.iter().map(word).collect()
    }

    fn run(&self, case: Case) -> vnode_testkit::Output {
        let words = self.command(case);
        self.host.vnode(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn prepare(&self, case: Case) {
        if case.prepared {
            let daemon = self.host.start_daemon(&[]);
            self.host.vnode(&["up", &self.file]).ok();
            self.host.kill9_daemon();
            drop(daemon);
        }
    }

    /// Takes everything down with a daemon that has no faults, and looks for traces.
    fn finish(&self, when: &str) {
        self.host.vnode(&["down", "small"]).ok();
        let end = std::time::Instant::now() + SOON;
        loop {
            let mut left = self.virgin.diff(&self.host.snapshot());
            left.retain(|l| !l.starts_with("new: file "));
            if left.is_empty() {
                break;
            }
            let late = std::time::Instant::now() >= end;
            assert!(!late, "{when}: left behind:\n  {}", left.join("\n  "));
            std::thread::sleep(Duration::from_millis(25));
        }
        self.host.kill9_daemon();
    }
}

/// The fault points that the command passes, each once, in order.
fn points(case: Case) -> Vec<String> {
    let bench = Bench::new();
    bench.prepare(case);
    let trace = bench.host.dir().join("trace");
    let daemon = bench.host.start_daemon(&[("VNODE_FAULT", &format!("trace:{}", trace.display()))]);
    let read = || std::fs::read_to_string(&trace).unwrap_or_default();
    let earlier = read().lines().count();
    bench.run(case).ok();
    let mut seen = BTreeSet::new();
    let all = read();
    let found = all
        .lines()
        .skip(earlier)
        .map(|l| l.trim().to_owned())
        .filter(|l| seen.insert(l.clone()))
        .collect();
    bench.host.kill9_daemon();
    drop(daemon);
    bench.finish("the traced run");
    found
}

/// One run for each point: killed there, started again, and then either complete or without a trace; the names usable.
fn kill_at_every_point(case: Case) {
    let points = points(case);
    assert!(points.len() > 4, "{}: {points:?}", case.name);
    println!("{}: {} points: {}", case.name, points.len(), points.join(" "));
    let bench = Bench::new();
    for point in &points {
        let when = format!("{} killed at {point}", case.name);
        bench.prepare(case);
        let mut daemon = bench.host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
        bench.run(case);
        assert!(
            daemon.has_ended() || bench.host.daemon_process().is_none(),
            "{when}: the daemon lives on"
        );
        daemon.wait(SOON);
        drop(daemon);
        let after = bench.host.start_daemon(&[]);
        recovered(&bench.host, &when);
        let there = nodes(&bench.host);
        match case.name {
            "up" | "down" => {
                // All or nothing.
                if !there.is_empty() {
                    assert!(there.iter().all(|n| n["state"] == "running"), "{when}: {there:?}");
                    assert_eq!(there.len(), 2, "{when}: {there:?}");
                    assert!(bench.host.ping("a", "10.0.0.2"), "{when}");
                }
            }
            _ => {
                assert!(there.len() >= 2, "{when}: {there:?}");
            }
        }
        // The names can be used again, and all works.
        if there.is_empty() {
            bench.host.vnode(&["up", &bench.file]).ok();
        } else {
            bench.host.vnode(&["apply", &bench.file]).ok();
            for name in ["a", "b"] {
                bench.host.vnode(&["boot", name]).ok();
            }
        }
        assert!(bench.host.ping("a", "10.0.0.2"), "{when}: then up again");
        bench.host.kill9_daemon();
        drop(after);
        bench.finish(&when);
    }
}

#[test]
fn t23_t24_up_killed_at_every_fault_point() {
    needs!(Root, Program("ping"), Program("nft"));
    kill_at_every_point(UP);
}

#[test]
fn t23_apply_killed_at_every_fault_point() {
    needs!(Root, Program("ping"), Program("nft"));
    kill_at_every_point(APPLY);
}

#[test]
fn t23_reboot_killed_at_every_fault_point() {
    needs!(Root, Program("ping"), Program("nft"));
    kill_at_every_point(REBOOT);
}

#[test]
fn t23_down_killed_at_every_fault_point() {
    needs!(Root, Program("ping"), Program("nft"));
    kill_at_every_point(DOWN);
}

#[test]
fn t24_a_daemon_serves_while_what_it_took_up_waits() {
    needs!(Root);
    let host = Host::new();
    let never = "a:\n  healthcheck: {test: [CMD, test, -e, /root/ok], interval: 1, retries: 1000, start-period: 600}";
    let file = up(&host, &lab("waits", never, ""));
    let more =
        format!("{never}\nb:\n  stages: {{create: {{wait-for: [{{node: a, stage: healthy}}]}}}}");
    host.write("waits.clab.yml", &lab("waits", &more, ""));
    let mut apply = host.vnode_command(&["apply", &file]);
    let mut apply = apply.stderr(std::process::Stdio::null()).spawn().expect("vnode starts");
    let waiting = || {
        let all = host.vnode(&["op", "ls", "--json"]).ok().json();
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|op| op["kind"] == "lab.apply" && op["state"] == "running")
    };
    eventually("the change waits", SOON, waiting);
    host.kill9_daemon();
    apply.wait().expect("the client ends");
    // The next daemon has it, and answers: nodes are shown and worked on, and their lab is told to be changing.
    let id = eventually("the change goes on", SOON, waiting)["id"].clone();
    assert_eq!(node(&host, "a")["state"], "running");
    host.exec("a", &["true"]).ok();
    let refused = host.vnode(&["apply", &file]);
    assert!(refused.all().contains("is being changed"), "{}", refused.all());
    host.exec("a", &["touch", "/root/ok"]).ok();
    wait_for_state(&host, "b", "running");
    let ended = || {
        let shown = host.vnode(&["op", "show", id.as_str()?, "--json"]).ok().json();
        (shown["outcome"] == "completed" || shown["state"] == "completed").then_some(())
    };
    eventually("it ends", SOON, ended);
    host.vnode(&["apply", &file]).ok();
    host.vnode(&["down", &file]).ok();
}

#[test]
fn t25_an_interrupted_up_stops_and_leaves_nothing() {
    needs!(Root);
    let host = Host::new();
    let file = host.write("star.clab.yml", &vnode_tests::star("star", 60)).display().to_string();
    host.vnode(&["ps"]).ok();
    let before = host.snapshot();
    use rustix::process::Signal;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut child =
            host.vnode_command(&["up", &file]).stderr(std::process::Stdio::null()).spawn().unwrap();
        eventually("some nodes are there", SOON, || {
            (host.processes().iter().filter(|p| p.is_monitor()).count() > 3
                || child.try_wait().unwrap().is_some())
            .then_some(())
        });
        let client = host.processes().into_iter().find(|p| p.argv.iter().any(|a| a == "up"));
        if let Some(client) = client {
            client.signal(signal);
        }
        let status = child.wait().unwrap();
        if status.success() {
            println!("the lab was up before the signal came");
            host.vnode(&["down", &file]).ok();
        } else {
            eventually("all is rolled back", SOON, || nodes(&host).is_empty().then_some(()));
        }
        eventually("nothing is left", SOON, || {
            let left = before.diff(&host.snapshot());
            left.iter().all(|l| l.starts_with("new: file ")).then_some(())
        });
    }
}

#[test]
fn t55_nodes_and_traffic_go_on_without_a_daemon_and_the_next_adopts_them() {
    needs!(Root, Program("ping"));
    /// All nodes, `a`, `b` and `c` among them.
    const NODES: usize = 50;
    let host = Host::new();
    let others: String = (3..NODES).map(|i| format!("    n{i}:\n")).collect();
    let text = pair("two", "").replace(
        "    a:\n",
        &format!(
            "    a: {{cmd: sh -c \"sleep 1; ping -n -i 0.05 10.0.0.2 >/root/pings; sleep infinity\"}}\n    \
             c: {{restart-policy: \"no\"}}\n{others}"
        ),
    );
    up(&host, &text);
    let before: Vec<_> =
        nodes(&host).iter().map(|n| (n["node"].clone(), n["pid"].clone())).collect();
    assert_eq!(before.len(), NODES);
    let c = pid(&host, "c");
    let count = || {
        host.run("nsenter", &["-t", &pid_of(&before, "a"), "-m", "cat", "/root/pings"])
            .stdout
            .lines()
            .count()
    };
    eventually("a pings", SOON, || (count() > 5).then_some(()));
    host.kill9_daemon();
    let at_kill = count();
    eventually("traffic goes on", SOON, || (count() > at_kill + 10).then_some(()));
    // One ends while nobody looks.
    let killed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let killed = u64::try_from(killed.expect("after 1970").as_millis()).expect("not yet");
    host.run("kill", &["-9", &c]).ok();
    eventually("c is gone", SOON, || (host.run("kill", &["-0", &c]).code != 0).then_some(()));
    let after = nodes(&host); // starts the next daemon
    for (name, pid) in &before {
        let now = after.iter().find(|n| n["node"] == *name).expect("adopted");
        if name == "c" {
            continue;
        }
        assert_eq!((&now["pid"], now["state"].as_str()), (pid, Some("running")), "{now}");
    }
    wait_for_state(&host, "c", "stopped");
    let exit = node(&host, "c")["last_exit"].as_str().unwrap_or_default().to_owned();
    assert!(exit.contains("signal 9"), "{exit}");
    // With the time at which it ended, which nobody of ours saw.
    let ends = host.vnode(&["events", "--kind", "node.exited", "--json"]).ok().stdout;
    let ended: Vec<serde_json::Value> =
        ends.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ended = ended.iter().find(|event| event["subject"] == "lab/two/node/c");
    let at = ended.and_then(|event| event["data"]["at_unix_ms"].as_u64()).unwrap_or_default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = u64::try_from(now.expect("after 1970").as_millis()).expect("not yet");
    assert!(killed <= at && at <= now, "{killed} {at} {now}: {ends}");
    assert!(host.ping("b", "10.0.0.1"));
    // No echo was lost all the while.
    let pings = host.exec("a", &["cat", "/root/pings"]).ok().stdout;
    let sequence: Vec<u32> = pings
        .lines()
        .filter_map(|l| l.split("icmp_seq=").nth(1)?.split_whitespace().next()?.parse().ok())
        .collect();
    assert!(sequence.windows(2).all(|w| w[1] == w[0] + 1), "{sequence:?}");
    host.vnode(&["down", "two"]).ok();
}

fn pid_of(all: &[(serde_json::Value, serde_json::Value)], name: &str) -> String {
    all.iter().find(|(n, _)| n == name).map(|(_, p)| p.to_string()).expect("the node is there")
}

#[test]
fn t55_a_stopped_daemon_leaves_nodes_and_an_upgraded_one_finds_them() {
    needs!(Root);
    let host = Host::new();
    let daemon = host.start_daemon(&[]);
    up(&host, &lab("one", "a:", ""));
    let before = pid(&host, "a");
    let process = host.daemon_process().expect("it runs");
    process.signal(rustix::process::Signal::TERM);
    eventually("the daemon ends", SOON, || process.is_gone().then_some(()));
    drop(daemon);
    assert!(std::path::Path::new(&host.seen(format!("/proc/{before}"))).exists(), "the node lives");
    assert_eq!(pid(&host, "a"), before);
    host.vnode(&["down", "one"]).ok();
}

#[test]
fn t57_signals_destroy_nothing() {
    needs!(Root);
    use rustix::process::Signal;
    let host = Host::new();
    up(&host, &lab("one", "a: {restart-policy: \"no\"}", ""));
    host.exec("a", &["sh", "-c", "echo kept >/root/file"]).ok();
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::INT, Signal::TERM] {
        for process in host.processes().iter().filter(|p| p.is_daemon() || p.is_monitor()) {
            process.signal(signal);
        }
        std::thread::sleep(Duration::from_millis(100)); // time to act on it
    }
    eventually("a daemon answers", SOON, || (host.vnode(&["ps"]).code == 0).then_some(()));
    host.vnode(&["boot", "a"]).ok();
    assert_eq!(host.exec("a", &["cat", "/root/file"]).ok().stdout, "kept\n");
    host.vnode(&["down", "one"]).ok();
}

#[test]
fn two_daemons_with_two_state_folders_live_side_by_side() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let second = host.dir().join("second").display().to_string();
    let file = host.write("two.clab.yml", &pair("two", "").replace("topology:", "mgmt: {network: other, ipv4-subnet: 172.31.0.0/24, ipv6-subnet: \"fd99::/64\"}\ntopology:")).display().to_string();
    up(&host, &pair("two", ""));
    host.vnode(&["--state-dir", &second, "up", &file]).ok();
    assert!(host.ping("a", "10.0.0.2"));
    host.vnode(&["--state-dir", &second, "exec", "a", "--", "ping", "-c1", "-W2", "10.0.0.2"]).ok();
    host.vnode(&["--state-dir", &second, "down", "two"]).ok();
    assert!(host.ping("a", "10.0.0.2"), "the first is not touched");
}
