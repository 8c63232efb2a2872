//! The guest tier: tests that need another kernel than this machine's, run in one emulated Debian machine.

use std::time::Duration;

use vnode_testkit::guest::{self, Suite};
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
        suite("topology_files", &["t93_linux_nodes_deploys"]),
        suite("functions", &["pw_34_"]),
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
    }
    let cases = guest::run(
        &suites,
        &["tcpdump", "docker-registry", "iperf3"],
        Duration::from_secs(180),
        // Minutes less than that on a machine of its own; what is not reached in it is told as failed.
        Duration::from_secs(1_140),
    );
    let failed = guest::report(&cases);
    // The cases are results of their own in the summary; this one says that the guest itself did its work.
    assert!(
        cases.iter().any(|c| c.outcome == guest::Outcome::Passed),
        "no test passed in the guest"
    );
    assert!(failed.is_empty(), "failed in the guest: {failed:?}");
}
