//! The guest tier: tests that need another kernel than this machine's, run in one emulated Debian machine.

use std::time::Duration;

use vnode_testkit::guest::{self, Shape, Suite};
use vnode_testkit::{needs, skip};

/// The test programs and which of their tests: those that say `needs_or_guest!`.
fn suites() -> Vec<Suite> {
    let suite = |target: &str, filters: &[&str]| Suite {
        target: target.to_owned(),
        filters: filters.iter().map(|f| (*f).to_owned()).collect(),
    };
    vec![
        suite("netem", &[]),
        suite("managed", &[]),
        suite(
            "impairments",
            &[
                "t59_", "t60_", "t61_", "t62_", "t63_", "t65_", "t66_", "t67_", "t68_", "t69_",
                "t70_", "t71_", "t72_", "t73_",
            ],
        ),
        suite("two_hosts", &["t81_delay"]),
        suite("topology_files", &["t93_linux_nodes_deploys"]),
        suite("functions", &["pw_34_"]),
        suite("supervision", &["nodes_have_no_part"]),
        suite("limits", &["limits_hold_under_cgroup_v2", "a_node_out_of_memory"]),
    ]
}

#[test]
fn guest_tier() {
    needs!(Root, Program("tcpdump"), Program("docker-registry"), Program("iperf3"));
    if vnode_testkit::in_guest() {
        return skip("this is the guest");
    }
    if let Some(why) = guest::missing() {
        return skip(&why);
    }
    let mut suites = suites();
    // For work on one of them: the whole tier takes minutes.
    if let Ok(only) = std::env::var("VNODE_GUEST_ONLY") {
        suites.retain(|suite| suite.target == only);
        if suites.is_empty() {
            return skip("another part of the guest tier was asked for");
        }
    }
    let cases = guest::run(
        &suites,
        &Shape { programs: &["tcpdump", "docker-registry", "iperf3"], ..Shape::default() },
        Duration::from_secs(180),
        // Minutes less than that on a machine of its own; what is not reached in it is told as failed.
        Duration::from_secs(1_140),
    );
    all_passed(&cases);
}

/// A machine within the machine, for Debian's kernel has vhost-vsock, which this one's may not have. Emulated twice, it takes
/// three to four minutes on a busy machine, more than the whole tier has left of its fifteen: only where it is asked for.
#[test]
fn guest_tier_machines_in_the_machine() {
    needs!(Root, Tool("usr/sbin/qemu-ga"));
    if std::env::var("VNODE_GUEST_ONLY").as_deref() != Ok("vsock") {
        return skip("it takes minutes: VNODE_GUEST_ONLY=vsock runs it");
    }
    if vnode_testkit::in_guest() {
        return skip("this is the guest");
    }
    if let Some(why) = guest::missing() {
        return skip(&why);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().join("image");
    guest::build_inner(&folder);
    let files =
        ["vmlinux", "initrd"].map(|name| (folder.join(name), format!("{}/{name}", guest::IMAGE)));
    let suite = Suite { target: "vsock".to_owned(), filters: Vec::new() };
    let cases = guest::run(
        &[suite],
        &Shape {
            files: &files,
            modules: &["vhost_vsock"],
            qemu: true,
            processors: 2,
            own_clock: false,
            ..Shape::default()
        },
        Duration::from_secs(400),
        Duration::from_secs(500),
    );
    all_passed(&cases);
}

#[track_caller]
fn all_passed(cases: &[guest::Case]) {
    let failed = guest::report(cases);
    // The cases are results of their own in the summary; this one says that the guest itself did its work.
    assert!(
        cases.iter().any(|c| c.outcome == guest::Outcome::Passed),
        "no test passed in the guest"
    );
    assert!(failed.is_empty(), "failed in the guest: {failed:?}");
}
