//! The guest boots and runs tests: these very ones.
use std::time::Duration;

use vnode_testkit::guest::{self, Outcome, Shape, Suite};
use vnode_testkit::{Host, needs, needs_or_guest, skip};

#[test]
fn netem_is_there_inside() {
    needs_or_guest!(Root, Netem, Program("tc"));
    let host = Host::new();
    host.run("tc", &["qdisc", "add", "dev", "lo", "root", "netem", "delay", "20ms"]).ok();
    let out = host.run("ping", &["-c", "3", "-i", "0.2", "127.0.0.1"]).ok();
    assert!(out.stdout.contains("time=4"), "two passes of 20 ms: {}", out.stdout);
}

#[test]
fn cgroup_v2_limits_are_there_inside() {
    needs_or_guest!(Root, CgroupV2);
    let host = Host::new();
    let have = host.run("cat", &["/sys/fs/cgroup/cgroup.controllers"]).ok();
    assert!(have.stdout.contains("memory"), "{}", have.stdout);
    host.run("mkdir", &["/sys/fs/cgroup/x"]).ok();
    host.run("cat", &["/sys/fs/cgroup/x/memory.max"]).ok();
}

#[test]
fn the_guest_boots_and_runs_tests() {
    needs!(Root);
    if vnode_testkit::in_guest() {
        return skip("this is the guest");
    }
    if let Some(why) = guest::missing() {
        return skip(&why);
    }
    let filters = vec!["inside".to_owned()];
    let suites = [Suite { target: "guest".into(), filters }];
    let cases =
        guest::run(&suites, &Shape::default(), Duration::from_secs(60), Duration::from_secs(120));
    assert_eq!(cases.len(), 2);
    for case in &cases {
        assert_eq!(case.outcome, Outcome::Passed, "{}: {}", case.name, case.output);
    }
}
