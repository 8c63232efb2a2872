//! A lab's timeline: what it does to links, and that it is paused, resumed, stopped and begun again (T-73). Rates only:
//! every kernel has them.

use serde_json::Value;
use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{LINK, SOON, pair, up};

/// A pair whose link changes its rate at these times.
fn timed(name: &str, at: &[(&str, &str)]) -> String {
    let mut text = pair(name, "impair: {rate: 10mbit}");
    text.push_str("events:\n");
    for (at, rate) in at {
        text.push_str(&format!(
            "  - {{at: {at}, link: \"{LINK}\", do: set, set: {{rate: {rate}}}}}\n"
        ));
    }
    text
}

fn timeline(host: &Host, verb: &str, lab: &str) -> Value {
    host.vnode(&["timeline", verb, lab, "--json"]).ok().json()
}

fn rate(host: &Host) -> u64 {
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    links[0]["ends"][0]["current"]["rate_bps"].as_u64().expect("the link has a rate")
}

#[test]
fn t73_a_paused_timeline_stands_still_also_over_a_restart_of_the_daemon() {
    needs!(Root);
    let host = Host::new();
    let file = up(&host, &timed("held", &[("8s", "20mbit"), ("1h", "30mbit")]));
    assert_eq!(timeline(&host, "show", "held")["state"], "running");
    let paused = timeline(&host, "pause", &file);
    assert_eq!(paused["state"], "paused");
    if paused["events"][0]["happened"] == true {
        return vnode_testkit::skip("this machine took eight seconds to bring two nodes up");
    }
    host.kill9_daemon();
    let after = timeline(&host, "show", "held");
    assert_eq!((&after["state"], &after["clock_us"]), (&paused["state"], &paused["clock_us"]));
    assert_eq!(
        timeline(&host, "pause", "held")["clock_us"],
        paused["clock_us"],
        "no error, no change"
    );
    let resumed = timeline(&host, "resume", "held");
    assert_eq!(resumed["state"], "running");
    assert!(resumed["clock_us"].as_u64() >= paused["clock_us"].as_u64());
    eventually("the event happens", SOON, || (rate(&host) == 20_000_000).then_some(()));
    let kinds = host.vnode(&["events", "--kind", "timeline."]).ok().all();
    // What was told in the moment before the kill may be lost; what came after it is not.
    for kind in ["timeline.resumed", "timeline.happened"] {
        assert!(kinds.contains(kind), "{kind} in {kinds}");
    }
    host.vnode(&["down", "held"]).ok();
}

#[test]
fn t73_a_stopped_timeline_does_nothing_more_until_it_is_begun_again() {
    needs!(Root);
    let host = Host::new();
    up(&host, &timed("ended", &[("0s", "20mbit"), ("1h", "30mbit")]));
    eventually("the first event", SOON, || {
        (timeline(&host, "show", "ended")["events"][0]["happened"] == true).then_some(())
    });
    assert_eq!(timeline(&host, "stop", "ended")["state"], "stopped");
    host.kill9_daemon();
    assert_eq!(timeline(&host, "show", "ended")["state"], "stopped");
    let refused = host.vnode(&["timeline", "resume", "ended"]);
    assert_ne!(refused.code, 0);
    assert!(refused.all().contains("vnode timeline start"), "{}", refused.all());
    let table = host.vnode(&["timeline", "show", "ended"]).ok().all();
    assert!(table.contains("happened") && table.contains("dropped"), "{table}");
    host.vnode(&["link", "set", LINK, "rate=5mbit"]).ok();
    assert_eq!(timeline(&host, "start", "ended")["state"], "running");
    eventually("the first event again", SOON, || (rate(&host) == 20_000_000).then_some(()));
    host.vnode(&["down", "ended"]).ok();
}

#[test]
fn a_lab_without_events_has_no_timeline() {
    needs!(Root);
    let host = Host::new();
    up(&host, &pair("plain", ""));
    assert_eq!(timeline(&host, "show", "plain")["state"], "none");
    let refused = host.vnode(&["timeline", "pause", "plain"]);
    assert!(refused.code != 0 && refused.all().contains("has no timeline"), "{}", refused.all());
    host.vnode(&["timeline", "show", "nowhere"]).exits(1);
    host.vnode(&["down", "plain"]).ok();
}
