//! Many nodes: what they are in number, never how long they took. `cargo xtask bench` measures that.
//!
//! The tests have `scale` in their names, by which nextest runs them one at a time.

use rustix::process::Signal;
use vnode_testkit::{Host, Process, eventually, needs};
use vnode_tests::{
    SOON, lab, locks_held, node, nodes, recovered, star, star_address, up, wait_for_state,
};

/// A torus of `n` times `n` nodes: each has a link to its right and to its lower neighbour.
fn torus(name: &str, n: usize) -> String {
    let at = |x: usize, y: usize| format!("x{}y{}", x % n, y % n);
    let every = || (0..n).flat_map(|y| (0..n).map(move |x| (x, y)));
    let nodes: String = every().map(|(x, y)| format!("{}:\n", at(x, y))).collect();
    let links: String = every()
        .enumerate()
        .map(|(i, (x, y))| {
            let (here, right, down) = (at(x, y), at(x + 1, y), at(x, y + 1));
            let net = format!("10.{}.{}", i / 250, i % 250);
            format!(
                "- endpoints: [\"{here}:east\", \"{right}:west\"]\n  ipv4: [{net}.1/30, {net}.2/30]\n\
                 - endpoints: [\"{here}:south\", \"{down}:north\"]\n  ipv4: [{net}.5/30, {net}.6/30]\n"
            )
        })
        .collect();
    lab(name, &nodes, &links)
}

/// How often the process has been put to sleep and woken, all its threads together.
fn wakes(process: &Process) -> u64 {
    let tasks = std::fs::read_dir(process.proc("task")).expect("the process runs");
    let of = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|l| l.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    tasks.flatten().map(|task| of(task.path())).sum()
}

#[test]
fn t90_t91_scale_what_a_lab_needs_grows_with_its_nodes_and_no_faster() {
    needs!(Root, Program("ping"), Program("nft"));
    let host = Host::new();
    let virgin = host.snapshot();
    let mut counts = Vec::new();
    for n in [5_usize, 15] {
        let file = up(&host, &torus("torus", n));
        let all = nodes(&host);
        assert_eq!(all.iter().filter(|n| n["state"] == "running").count(), n * n);
        let links = host.vnode(&["link", "ls", "--json"]).ok().json();
        assert_eq!(links.as_array().map(Vec::len), Some(2 * n * n));
        // Across each kind of link, the ones that close the torus as well.
        let last = n * n - 1;
        for (from, link) in [("x0y0", 0), (&*format!("x{0}y{0}", n - 1), last)] {
            for end in [2, 6] {
                let address = format!("10.{}.{}.{end}", link / 250, link % 250);
                assert!(host.ping(from, &address), "{from} to {address}");
            }
        }
        let now = host.snapshot();
        let size = |kind: &str| now.of(kind).len() - virgin.of(kind).len();
        counts.push((n * n, ["interface", "network namespace", "cgroup", "nft"].map(size)));
        host.vnode(&["down", &file]).ok();
        host.assert_nothing_but_files(&virgin);
    }
    let [(few, small), (many, large)] = counts[..] else { panic!("two labs") };
    for (what, (s, l)) in
        ["interfaces", "namespaces", "groups", "rules"].iter().zip(small.iter().zip(&large))
    {
        // For each node as many as before, and what a lab has once.
        assert!(l * few <= s * many, "{what}: {s} for {few} nodes, {l} for {many}");
    }
}

#[test]
fn t55_t92_scale_hundreds_of_nodes_are_adopted_and_cost_nothing_while_idle() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    const NODES: usize = 300;
    let text = star("star", NODES).replace("    n7:\n", "    n7: {restart-policy: \"no\"}\n");
    let file = up(&host, &text);
    let before = nodes(&host);
    assert_eq!(before.iter().filter(|n| n["state"] == "running").count(), NODES);

    // Members of a LAN of this size are kept from it until their nodes boot, and no longer.
    assert_eq!(closed_ports(&host, NODES), Vec::<String>::new());

    // T-92: nobody polls. What the daemon does in a while does not depend on how many nodes there are, and a monitor
    // whose node does nothing does nothing.
    let daemon = host.daemon_process().expect("a daemon runs");
    let monitors: Vec<Process> = host.processes().into_iter().filter(Process::is_monitor).collect();
    assert!(monitors.len() >= NODES);
    let count = || (wakes(&daemon), monitors.iter().map(wakes).sum::<u64>());
    // What the last operation left to be done is done when a second passes without much.
    eventually("the daemon is at rest", SOON, || {
        let first = count();
        std::thread::sleep(std::time::Duration::from_secs(1));
        let second = count();
        // Less than before: a thread has ended, and what it had counted is gone with it.
        let own = second.0.checked_sub(first.0)?;
        let theirs = second.1.checked_sub(first.1)?;
        (own < 60 && theirs < 10).then_some(())
    });

    // The daemon dies, and with it while nobody looks one node; one more is told to end by the kernel.
    host.kill9_daemon();
    host.run("kill", &["-9", &before_pid(&before, "n7")]).ok();
    let after = nodes(&host); // starts the next daemon
    assert_eq!(after.len(), NODES);
    for old in before.iter().filter(|n| n["node"] != "n7") {
        let new = after.iter().find(|n| n["node"] == old["node"]).expect("adopted");
        assert_eq!((&new["pid"], &new["state"]), (&old["pid"], &"running".into()), "{new}");
        assert_eq!((&new["ipv4"], &new["vmid"]), (&old["ipv4"], &old["vmid"]));
    }
    wait_for_state(&host, "n7", "stopped");
    assert!(node(&host, "n7")["last_exit"].as_str().unwrap_or_default().contains('9'));
    assert!(host.ping("n1", &star_address(NODES)));
    // The next daemon follows them as the first did.
    host.run("kill", &["-9", &before_pid(&before, "n8")]).ok();
    eventually("n8 runs again", SOON, || {
        (node(&host, "n8")["restarts"].as_u64() == Some(1)).then_some(())
    });
    host.daemon_process().expect("a daemon runs").signal(Signal::KILL);
    host.vnode(&["down", &file]).ok();
    assert!(nodes(&host).is_empty());
    assert!(!host.processes().iter().any(|p| p.argv.first().is_some_and(|a| a == "sleep")));
}

/// Ports of the LAN with at least so many members that carry nothing for their nodes.
#[track_caller]
fn closed_ports(host: &Host, members: usize) -> Vec<String> {
    let ports = host.run("bridge", &["-json", "-details", "link", "show"]).ok().json();
    let ports = ports.as_array().expect("a list");
    assert!(ports.len() >= members, "{ports:?}");
    let closed = ports.iter().filter(|port| port["locked"] == true || port["flood"] == false);
    closed.map(|port| port["ifname"].to_string()).collect()
}

#[test]
fn t23_scale_members_of_a_large_lan_are_let_in_whenever_the_daemon_dies() {
    needs!(Root, Program("ping"), Program("bridge"));
    const BEFORE: usize = 199;
    const AFTER: usize = 204;
    for point in ["lan.join.after#2", "node.boot.before#2", "node.boot.after#3"] {
        let host = Host::new();
        let daemon = host.start_daemon(&[]);
        up(&host, &star("star", BEFORE));
        host.kill9_daemon();
        drop(daemon);
        let mut daemon = host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
        let file = host.write("star.clab.yml", &star("star", AFTER)).display().to_string();
        host.vnode(&["apply", &file]);
        daemon.wait(SOON);
        drop(daemon);
        let _next = host.start_daemon(&[]);
        recovered(&host, point);
        let all = nodes(&host);
        assert_eq!(all.iter().filter(|n| n["state"] == "running").count(), AFTER, "{point}");
        assert_eq!(closed_ports(&host, AFTER), Vec::<String>::new(), "{point}");
        for new in BEFORE + 1..=AFTER {
            assert!(host.ping("n1", &star_address(new)), "{point}: n{new}");
        }
        host.vnode(&["down", &file]).ok();
    }
}

fn before_pid(all: &[serde_json::Value], name: &str) -> String {
    all.iter().find(|n| n["node"] == name).expect("the node is there")["pid"].to_string()
}

#[test]
fn t85_scale_fifty_commands_at_once_make_fifty_nodes() {
    /// Most that a lock which everybody needs is held for one node, s.
    const A_NODE: f64 = 0.05;
    needs!(Root, Program("curl"));
    let mut host = Host::new();
    host.set_env("VNODE_HOST_COMMANDS", "true");
    host.vnode(&["ps"]).ok();
    let running: Vec<_> = (0..50)
        .map(|i| {
            let node = format!("lab{}/n{i}", i % 10);
            let args = ["create", &node, "--", "sleep", "infinity"];
            let mut command = host.vnode_command(&args);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            (i, command.spawn().expect("sh starts"))
        })
        .collect();
    let mut made = 0;
    for (i, child) in running {
        let out = child.wait_with_output().expect("a started child can be waited for");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if out.status.success() {
            made += 1;
        } else {
            // Two that change one lab at the same time: the second is told so, and may ask again.
            assert!(
                said.contains("being changed") || said.contains("another request"),
                "n{i}: {said}"
            );
            let again = format!("lab{}/n{i}", i % 10);
            eventually("it is its turn", SOON, || {
                let out = host.vnode(&["create", &again, "--", "sleep", "infinity"]);
                (out.code == 0).then_some(())
            });
        }
    }
    println!("{made} of 50 at the first try");
    let all = nodes(&host);
    assert_eq!(all.len(), 50);
    let numbers: std::collections::BTreeSet<_> = all.iter().map(|n| n["vmid"].as_u64()).collect();
    assert_eq!(numbers.len(), 50, "each has a number of its own");
    let subnets: std::collections::BTreeMap<_, _> = all
        .iter()
        .map(|n| {
            let address = n["ipv4"].as_str().expect("a control address");
            (address.rsplit_once('.').expect("IPv4").0.to_owned(), n["lab"].clone())
        })
        .collect();
    assert_eq!(subnets.len(), 10, "each lab has a subnet of its own: {subnets:?}");

    let locks = locks_held(&host);
    println!("held for fifty nodes, s: {locks:?}");
    for (level, held, _) in &locks {
        assert!(held / 50.0 < A_NODE, "{level}: {held} s for fifty nodes");
    }
    // Boots that take two seconds each: nobody else's lock is held over one.
    let slow: String = (0..8).map(|i| format!("s{i}: {{preconfig: [sleep 2]}}\n")).collect();
    up(&host, &lab("slow", &slow, ""));
    for (level, _, longest) in locks_held(&host) {
        assert!(longest < 1.0, "{level} was held for {longest} s");
    }
}

/// What a daemon holds of its program's file is what it works with, not what the start and the last request needed.
#[test]
fn scale_a_daemon_that_nobody_asks_gives_its_programs_pages_back_and_goes_on() {
    needs!(Root);
    let host = Host::new();
    let file = up(&host, &star("star", 3));
    let daemon = host.daemon_process().expect("a daemon runs");
    let given_back = |what: &str| {
        let worked = daemon.memory_kib("RssFile");
        eventually(what, SOON, || (daemon.memory_kib("RssFile") < worked / 2).then_some(()));
    };
    given_back("what the lab's up needed is given back");
    assert_eq!(nodes(&host).len(), 3);
    host.vnode(&["exec", "n1", "--", "true"]).ok();
    host.vnode(&["down", &file]).ok();
    given_back("and again after it was asked");
    assert!(nodes(&host).is_empty());
}
