//! A lab that is changed while it runs: what was is undone, what shall be is there (T-06, T-73, T-101).
#![allow(clippy::unwrap_used)] // helpers of tests

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{LINK, SOON, lab, node, pair, up};

/// Writes the file anew and applies it.
#[track_caller]
fn apply(host: &Host, file: &str, text: &str) {
    std::fs::write(file, text).unwrap();
    host.vnode(&["apply", file]).ok();
}

/// Three nodes on a LAN, 10.0.0.1 to .3, and whatever else is in the file.
fn trio(name: &str, more: &str) -> String {
    let member = |(node, last)| {
        format!("        - {{node: {node}, interface: eth5, ipv4: 10.0.0.{last}/24}}\n")
    };
    let members: String = [("a", 1), ("b", 2), ("c", 3)].map(member).concat();
    let mut text =
        lab(name, "a: {network-mode: none}\nb: {network-mode: none}\nc: {network-mode: none}", "");
    text.push_str(&format!("  networks:\n    lan0:\n      members:\n{members}{more}"));
    text
}

#[test]
fn t06_a_member_whose_address_changes_stays_a_member() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let text = trio("moved", "");
    let file = up(&host, &text);
    apply(&host, &file, &text.replace("10.0.0.2/24", "10.0.0.7/24"));
    assert!(host.ping("a", "10.0.0.7"));
    assert!(host.ping("b", "10.0.0.3"));
    let again = host.vnode(&["apply", &file]).ok().all();
    assert!(again.contains("nothing differs"), "{again}");
}

#[test]
fn t101_ports_and_addresses_move_between_nodes() {
    needs!(Root, Program("busybox"), Program("nft"));
    let host = Host::new();
    let web = |name: &str, keys: &str| {
        format!("{name}: {{cmd: busybox httpd -f -p 80 -h /etc, {keys}}}\n")
    };
    let text = |a: &str, b: &str| lab("ports", &(web("a", a) + &web("b", b)), "");
    let answers = |port: &str| {
        let url = format!("http://127.0.0.1:{port}/hostname");
        let got = host.run("busybox", &["timeout", "2", "busybox", "wget", "-qO-", &url]);
        (got.code == 0).then(|| got.stdout.trim().to_owned())
    };
    let is = |port: &str, name: &str| {
        eventually(&format!("{port} leads to {name}"), SOON, || {
            answers(port).filter(|answer| answer == name).map(drop)
        });
    };
    let fixed =
        |last: u8, port: &str| format!("mgmt-ipv4: 172.20.20.{last}, ports: [\"{port}:80\"]");
    let file = up(&host, &text(&fixed(10, "18080"), &fixed(11, "18081")));
    is("18080", "a");
    is("18081", "b");
    apply(&host, &file, &text(&fixed(11, "18081"), &fixed(10, "18080")));
    is("18080", "b");
    is("18081", "a");
    apply(&host, &file, &text(&fixed(11, "0.0.0.0:18082"), "network-mode: none"));
    is("18082", "a");
    assert_eq!(answers("18080"), None);
    let rules = host.run("nft", &["list", "ruleset"]).ok().stdout;
    assert!(!rules.contains("18080") && !rules.contains("18081"), "{rules}");
    assert!(!rules.contains("172.20.20.10"), "{rules}");
    // Nobody else gets it: no lab, and nobody where a program listens.
    let other = |port: &str| lab("other", &format!("n: {{ports: [\"{port}:80\"]}}"), "");
    let file = host.write("other.clab.yml", &other("18082")).display().to_string();
    let refused = host.vnode(&["up", &file]);
    assert!(refused.all().contains("`ports/a`"), "{}", refused.all());
    let mut listener = host.command("busybox").args(["nc", "-l", "-p", "18083"]).spawn().unwrap();
    eventually("it listens", SOON, || {
        let open = host.run("ss", &["-Hltn", "sport = :18083"]).stdout;
        (!open.trim().is_empty()).then_some(())
    });
    std::fs::write(&file, other("18083")).unwrap();
    let refused = host.vnode(&["up", &file]);
    assert_ne!(refused.code, 0);
    assert!(refused.all().contains("a program of the host"), "{}", refused.all());
    // It takes one connection, and ends with it.
    host.run("busybox", &["timeout", "2", "busybox", "nc", "127.0.0.1", "18083"]);
    listener.wait().unwrap();
    host.vnode(&["up", &file]).ok();
    assert_eq!(node(&host, "n")["state"], "running");
}

#[test]
fn t101_cables_are_swapped() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let quiet = "a: {network-mode: none}\nb: {network-mode: none}\nc: {network-mode: none}\nd: {network-mode: none}";
    let wired = |peers: [&str; 2]| {
        let link = |(one, other, net)| {
            format!(
                "- endpoints: [\"{other}:eth1\", \"{one}:eth1\"]\n  ipv4: [10.0.{net}.2/24, 10.0.{net}.1/24]\n"
            )
        };
        lab("swap", quiet, &[("a", peers[0], 1), ("b", peers[1], 2)].map(link).concat())
    };
    let file = up(&host, &wired(["c", "d"]));
    // Down when it goes: that must not outlive it.
    host.vnode(&["link", "down", "a:eth1"]).ok();
    for peers in [["d", "c"], ["c", "d"], ["d", "c"]] {
        apply(&host, &file, &wired(peers));
        assert!(host.ping("a", "10.0.1.2"), "{peers:?}");
        assert!(host.ping("b", "10.0.2.2"), "{peers:?}");
        let links = host.vnode(&["link", "ls", "--json"]).ok().json();
        assert!(links.as_array().unwrap().iter().all(|link| link["down"] == false), "{links}");
        host.vnode(&["link", "down", "a:eth1"]).ok();
        assert!(!host.ping("a", "10.0.1.2"), "{peers:?}");
    }
}

#[test]
fn t73_t101_events_alone_are_applied() {
    needs!(Root);
    let host = Host::new();
    let rate = || {
        let links = host.vnode(&["link", "ls", "--json"]).ok().json();
        links[0]["ends"][0]["current"]["rate_bps"].as_u64().unwrap()
    };
    let text = pair("timed", "impair: {rate: 10mbit}");
    let events = |at: &[(&str, &str)]| {
        let event = |(at, rate): &(&str, &str)| {
            format!("  - {{at: {at}, link: \"{LINK}\", set: {{rate: {rate}}}}}\n")
        };
        format!("{text}events:\n{}", at.iter().map(event).collect::<String>())
    };
    let file = up(&host, &text);
    apply(&host, &file, &events(&[("0s", "20mbit"), ("1h", "30mbit")]));
    eventually("the first event", SOON, || (rate() == 20_000_000).then_some(()));
    apply(&host, &file, &events(&[("0s", "20mbit"), ("1s", "40mbit"), ("2h", "50mbit")]));
    eventually("the new one", SOON, || (rate() == 40_000_000).then_some(()));
    let show = || host.vnode(&["timeline", "show", "timed", "--json"]).ok().json();
    assert_eq!(show()["events"][1]["happened"], true);
    assert_eq!(show()["state"], "running");
    apply(&host, &file, &text);
    assert_eq!(show()["state"], "none");
}

#[test]
fn t73_an_event_about_a_member_or_an_end_leaves_the_others_alone() {
    needs!(Root, Program("ping"), Program("ip"));
    let host = Host::new();
    let member = "events:\n  - {at: 0s, network: lan0, member: c, do: down}\n  \
                  - {at: 1h, network: lan0, member: c, do: up}\n";
    up(&host, &trio("member", member));
    eventually("c is cut", SOON, || (!host.ping("a", "10.0.0.3")).then_some(()));
    assert!(host.ping("a", "10.0.0.2"), "the others are not");
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    let down: Vec<_> =
        links[0]["ends"].as_array().unwrap().iter().map(|end| &end["down"]).collect();
    assert_eq!(down, [false, false, true], "{links}");
    host.vnode(&["link", "up", "lan0"]).ok();
    eventually("all are joined", SOON, || host.ping("a", "10.0.0.3").then_some(()));

    let text = pair("end", "").replace("a:\n", "a: {network-mode: none}\n");
    let event = format!("events:\n  - {{at: 0s, link: \"{LINK}\", end: \"a:eth1\", do: down}}\n");
    up(&host, &(text + &event));
    let knows = |of: &str, address: &str| {
        let seen = host.vnode(&["exec", of, "--", "ip", "neigh", "show", address]).ok().stdout;
        seen.contains("lladdr")
    };
    eventually("a is not heard", SOON, || (!host.ping("end/b", "10.0.0.1")).then_some(()));
    assert!(knows("end/a", "10.0.0.2"), "b is");
    // It may have known a from before.
    host.vnode(&["exec", "end/b", "--", "ip", "neigh", "flush", "dev", "eth1"]).ok();
    assert!(!host.ping("end/b", "10.0.0.1") && !knows("end/b", "10.0.0.1"));
    host.vnode(&["link", "reset", &format!("end/{LINK}")]).ok();
    eventually("a is heard again", SOON, || host.ping("end/b", "10.0.0.1").then_some(()));
}

#[test]
fn t101_a_lan_as_a_whole_is_set_on_both_ways_of_every_member() {
    needs!(Root);
    let host = Host::new();
    let text = trio("slow", "").replace("    lan0:\n", "    lan0:\n      impair: {rate: 10mbit}\n");
    up(&host, &text);
    host.vnode(&["link", "set", "lan0", "rate=20mbit"]).ok();
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    for end in links[0]["ends"].as_array().unwrap() {
        for way in ["current", "inbound"] {
            assert_eq!(end[way]["rate_bps"], 20_000_000, "{way} in {links}");
        }
        assert_eq!(end["drift"], false);
    }
}

/// What was left undone when a change failed in parts or was cancelled is still known: the next change does it, and the end of
/// the lab leaves nothing.
#[test]
fn t06_what_a_change_did_not_do_is_done_by_the_next() {
    needs!(Root, Program("ping"), Program("nft"));
    let host = Host::new();
    let before = host.snapshot();
    let link = "- endpoints: [\"a:eth1\", \"b:eth1\"]\n  ipv4: [10.0.0.1/24, 10.0.0.2/24]\n  impair: {rate: 10mbit}\n\
                - endpoints: [\"a:eth2\", \"host:vout\"]";
    let lan = "  networks:\n    lan0:\n      members: [\"a:eth5\", \"b:eth5\", \"c:eth5\"]\n";
    let was = lab("half", "a: {env: {X: one}}\nb:\nc:", link) + lan;
    let wanted = was
        .replace("X: one", "X: two")
        .replace("10mbit", "20mbit")
        .replace("- endpoints: [\"a:eth2\", \"host:vout\"]", "")
        .replace("\"b:eth5\", \"c:eth5\"", "\"c:eth5\"");
    let none =
        wanted.replace("  networks:\n    lan0:\n      members: [\"a:eth5\", \"c:eth5\"]\n", "");
    assert_ne!(none, wanted);
    let file = host.write("half.clab.yml", &was).display().to_string();
    for (change, points) in [
        (&wanted, "lan.leave link.remove node.renew link.set"),
        (&none, "lan.remove lan.leave link.remove"),
        (&none.replace("    c:\n", ""), "node.destroy lan.remove"),
        (&wanted.replace("b:\n", "b: {network-mode: none}\n"), "node.destroy link.set"),
        (&was.replace("b:\n", "b: {resources: {cpu-weight: 50}}\n"), "node.limits"),
    ] {
        std::fs::write(&file, &was).unwrap();
        host.vnode(&["up", &file]).ok();
        host.vnode(&["link", "down", "lan0"]).ok();
        host.vnode(&["daemon", "stop"]).ok();
        eventually("the daemon ends", SOON, || host.daemon_process().is_none().then_some(()));
        let faults: Vec<String> =
            points.split(' ').map(|point| format!("error:{point}.before")).collect();
        let daemon = host.start_daemon(&[("VNODE_FAULT", &faults.join(","))]);
        std::fs::write(&file, change).unwrap();
        let changes = host.vnode(&["apply", &file, "--dry-run"]).ok().all();
        let failed = host.vnode(&["apply", &file]);
        assert_ne!(failed.code, 0, "{points}: {}", failed.all());
        host.kill9_daemon();
        drop(daemon);
        // Nobody knows better what is left than who made it.
        let clean = host.vnode(&["clean", "--dry-run", "--json"]).ok().json();
        assert_eq!(clean["removed"].as_array().map(Vec::len), Some(0), "{points}: {clean}");
        let left = host.vnode(&["apply", &file, "--dry-run"]).ok().all();
        assert!(!left.contains("nothing differs"), "{points}: {changes}\nand then {left}");
        host.vnode(&["apply", &file]).ok();
        let again = host.vnode(&["apply", &file, "--dry-run"]).ok().all();
        assert!(again.contains("nothing differs"), "{points}: {again}");
        let x = host.exec("a", &["sh", "-c", "echo $X"]).ok().stdout;
        assert_eq!(x.trim(), if change.contains("X: two") { "two" } else { "one" }, "{points}");
        host.vnode(&["link", "up", "a:eth1--b:eth1"]).ok();
        assert!(host.ping("a", "10.0.0.2"), "{points}");
        let drift = host.vnode(&["link", "ls", "--json"]).ok().all();
        assert!(!drift.contains("\"drift\": true") && !drift.contains("\"drift\":true"), "{drift}");
        // And the other way: what half a change left goes with the lab.
        let daemon = {
            host.kill9_daemon();
            host.start_daemon(&[("VNODE_FAULT", &faults.join(","))])
        };
        std::fs::write(&file, &was).unwrap();
        host.vnode(&["apply", &file]);
        host.kill9_daemon();
        drop(daemon);
        host.vnode(&["down", "half"]).ok();
        host.assert_nothing_but_files(&before);
    }
}
