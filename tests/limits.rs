//! Memory, processor and process limits, under cgroup v1 where the machine has it and under v2 in the guest tier.
#![allow(clippy::unwrap_used)] // helpers of tests

use vnode_testkit::{Host, built_program, eventually, needs_or_guest};
use vnode_tests::{SOON, lab, node, up};

/// A limit's file as the node's first process is held by it: v2's name, or v1's hierarchy and name.
fn limit(host: &Host, name: &str, v2: &str, v1: (&str, &str)) -> String {
    let pid = vnode_tests::pid(host, name);
    let groups = host.run("cat", &[&format!("/proc/{pid}/cgroup")]).ok().stdout;
    let path = |controller: &str| {
        groups.lines().find_map(|l| {
            let mut parts = l.splitn(3, ':').skip(1);
            let names = parts.next()?;
            names
                .split(',')
                .any(|n| n == controller)
                .then(|| parts.next().unwrap_or_default().to_owned())
        })
    };
    let file = if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        format!("/sys/fs/cgroup{}/{v2}", path("").expect("a v2 line"))
    } else {
        format!("/sys/fs/cgroup/{}{}/{}", v1.0, path(v1.0).expect("a v1 line"), v1.1)
    };
    host.run("cat", &[&file]).ok().stdout.trim().to_owned()
}

fn limits_hold() {
    let host = Host::new();
    let _daemon = host.start_daemon(&[]);
    up(&host, &lab("limits", "a: {memory: 64mb, cpu: 0.5, resources: {pids: 40}}", ""));
    let memory: u64 =
        limit(&host, "a", "memory.max", ("memory", "memory.limit_in_bytes")).parse().unwrap();
    assert!((60_000_000..=68_000_000).contains(&memory), "{memory}");
    assert_eq!(limit(&host, "a", "pids.max", ("pids", "pids.max")), "40");
    let quota = limit(&host, "a", "cpu.max", ("cpu", "cpu.cfs_quota_us"));
    assert!(quota == "50000 100000" || quota == "50000", "{quota}");
    // And they bite: more processes than allowed are refused, more memory than allowed is the end.
    let out = host.exec("a", &["sh", "-c", "for i in $(seq 100); do sleep 5 & done; wait"]);
    assert!(out.stderr.to_lowercase().contains("fork") || out.code != 0, "{}", out.all());
    let out =
        host.exec("a", &["sh", "-c", "head -c 200000000 /dev/zero | tail -c 199999999 | wc -c"]);
    assert!(!out.stdout.contains("199999999"), "{}", out.all());
    host.vnode(&["down", "limits"]).ok();
}

#[test]
fn limits_hold_under_cgroup_v1() {
    vnode_testkit::needs!(Root, CgroupV1);
    limits_hold();
}

#[test]
fn limits_hold_under_cgroup_v2() {
    needs_or_guest!(Root, CgroupV2);
    limits_hold();
}

#[test]
fn limits_hold_under_cgroup_v2_for_high_swap_and_weight() {
    needs_or_guest!(Root, CgroupV2);
    let host = Host::new();
    let _daemon = host.start_daemon(&[]);
    let text = |resources: &str| lab("fine", &format!("a: {{resources: {{{resources}}}}}"), "");
    up(&host, &text("memory: 64mb, memory-high: 32mib, swap: 16mib, cpu-weight: 250"));
    let read = |file: &str| limit(&host, "a", file, ("memory", "memory.stat"));
    assert_eq!(read("memory.high"), (32 << 20).to_string());
    assert_eq!(read("memory.swap.max"), (16 << 20).to_string());
    assert_eq!(read("cpu.weight"), "250");
    // They change while the node runs, and what is not asked for any more is gone.
    let pid = vnode_tests::pid(&host, "a");
    let file = host.write("fine.clab.yml", &text("memory: 64mb, cpu-weight: 50"));
    host.vnode(&["apply", &file.display().to_string()]).ok();
    assert_eq!(vnode_tests::pid(&host, "a"), pid, "it runs on");
    assert_eq!((read("memory.high"), read("cpu.weight")), ("max".to_owned(), "50".to_owned()));
    host.vnode(&["down", "fine"]).ok();
}

#[test]
fn limits_hold_under_cgroup_v2_for_a_network_function() {
    needs_or_guest!(Root, CgroupV2);
    let host = Host::new();
    let descriptor = r#"{"schema": 2, "name": "fn", "VNFprocess": "none", "limits": {"cpu_max": 0.05, "io_weight": 250},
        "lifecycle_event": [{"event": "INSTANTIATE", "lifecycle_events": ["busy.sh"]}]}"#;
    host.write("fn/lifecycle.json", descriptor);
    // Longer than its share of one period, whatever the processor.
    host.write("fn/busy.sh", "i=0; while test $i -lt 20000; do i=$((i+1)); done\n");
    let path = |name: &str| host.dir().join(name).display().to_string();
    let (agent, state) = (built_program("vnode-agent").display().to_string(), path("functions"));
    let vnf = |words: &[&str]| {
        host.run(&agent, &[&["vnf", "--state-dir", &state, "--json"][..], words].concat()).ok()
    };
    // A group of its own, in which there is nobody else: as a unit with `Delegate=yes`.
    let own = std::path::Path::new("/sys/fs/cgroup/vnode-functions");
    let serve = format!(
        "mkdir {0} && echo $$ > {0}/cgroup.procs && exec {agent} vnf --state-dir {state} serve --detach",
        own.display()
    );
    host.run("sh", &["-c", &serve]).ok();
    vnf(&["pack", &path("fn"), "-o", &path("fn.tar")]);
    vnf(&["push", &path("fn.tar")]);
    let op = vnf(&["instantiate", "fn"]).json();
    let warnings = op["warnings"].to_string();
    assert!(!warnings.contains("cpu_max"), "{warnings}");
    let shown = vnf(&["show", "fn"]).json();
    let group = own.join(format!("vnode-vnf-{}", shown["id"].as_str().unwrap()));
    // As the host sees it.
    let text = |file: &str| host.run("cat", &[&group.join(file).display().to_string()]);
    let read = |file: &str| text(file).ok().stdout;
    assert_eq!(read("cpu.max").trim(), "5000 100000", "{op}");
    let stat = read("cpu.stat");
    let held = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
    assert_ne!(held, "0", "{stat}");
    // Which scheduler of disks there is, is the kernel's affair.
    let kept = ["io.weight", "io.bfq.weight"].map(text).into_iter().find(|out| out.code == 0);
    match kept.map(|out| out.stdout.trim().to_owned()) {
        Some(weight) => assert!(["default 250", "250"].contains(&&*weight), "{weight}"),
        None => assert!(warnings.contains("limits.io_weight is not kept"), "{warnings}"),
    }
    vnf(&["terminate", "fn"]);
    assert_ne!(text("cpu.max").code, 0, "the group is gone");
    let pid = vnf(&["info"]).json()["pid"].to_string();
    host.run("kill", &["-9", &pid]).ok();
    let own = own.display().to_string();
    eventually("its groups can be removed", SOON, || {
        (host.run("rmdir", &[&format!("{own}/vnode-agent"), &own]).code == 0).then_some(())
    });
}

#[test]
fn limits_of_cgroup_v1_take_a_weight_and_refuse_what_it_has_not() {
    vnode_testkit::needs!(Root, CgroupV1);
    let host = Host::new();
    let _daemon = host.start_daemon(&[]);
    up(&host, &lab("weighed", "a: {resources: {cpu-weight: 200}}", ""));
    assert_eq!(limit(&host, "a", "cpu.weight", ("cpu", "cpu.shares")), "2048");
    host.vnode(&["down", "weighed"]).ok();
    let text = lab("high", "a: {resources: {memory-high: 32mib}}", "");
    let file = host.write("high.clab.yml", &text).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert!(out.code != 0 && out.all().contains("`memory-high`"), "{}", out.all());
    host.vnode(&["down", "high"]).ok();
}

#[test]
fn a_node_out_of_memory_says_so() {
    vnode_testkit::needs!(Root);
    let host = Host::new();
    let _daemon = host.start_daemon(&[]);
    let nodes = "a: {memory: 32mb, restart-policy: \"no\", cmd: sh -c \"sleep 1; exec dd if=/dev/zero of=/dev/null bs=300M count=9\"}";
    up(&host, &lab("oom", nodes, ""));
    let exit = eventually("it is killed", SOON, || {
        let node = node(&host, "a");
        (node["state"] != "running")
            .then(|| node["last_exit"].as_str().unwrap_or_default().to_owned())
    });
    assert!(exit.contains("memory") || exit.contains('9'), "{exit}");
}
