//! What links do to frames, end to end: the cases of the specification's section 4.6.
//!
//! Most need netem, which not every kernel has: those run in the guest tier (`guest.rs`), under software emulation.
//! Tolerances are wide above and narrow below: an emulated machine is late, never early.

use vnode_testkit::{Host, eventually, needs, needs_or_guest};
use vnode_tests::{LINK, SOON, assert_between, assert_rtt, lab, pair, ping, tcp_mbit, up};

/// What a slow machine may add to a round trip, ms.
const LATE: f64 = 12.0;

#[test]
fn t59_rate_alone_shapes_tcp_each_way() {
    const LEAST: f64 = 8.8;
    needs!(Root, Program("iperf3"));
    let host = Host::new();
    up(&host, &pair("rate", "impair: {rate: 10mbit}"));
    // 9.57 is the ideal; a short run also counts what lay in the queue at its end. A busy machine may be slower than
    // the link for once, never faster.
    for (from, to, address) in [("a", "b", "10.0.0.2"), ("b", "a", "10.0.0.1")] {
        let best = (0..5).fold(0.0_f64, |best, _| {
            if best >= LEAST { best } else { best.max(tcp_mbit(&host, from, to, address, 3)) }
        });
        assert_between(&format!("{from} to {to}"), best, LEAST..=10.3);
    }
}

#[test]
fn t59_rate_and_delay_together() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    up(&host, &pair("both", "impair: {rate: 10mbit, delay: 50ms}"));
    assert_rtt(&host, "round trip", "a", "10.0.0.2", 99.9..=100.0 + LATE);
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    assert_eq!(links[0]["ends"][0]["current"]["rate_bps"], 10_000_000, "{links}");
}

#[test]
fn t60_loss_is_that_of_both_ways() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    up(&host, &pair("lossy", "impair: {loss: 5%}"));
    let rtt = ping(&host, "a", &["-c", "2000", "-i", "0.004", "-W", "2"], "10.0.0.2");
    // 9.75 %, four sigma of 2000 requests to each side.
    assert_between("loss", rtt.loss(), 0.071..=0.124);
}

#[test]
fn t61_each_direction_has_its_own_values() {
    needs_or_guest!(Root, Netem, Program("tcpdump"));
    let host = Host::new();
    let link = "- type: veth\n  endpoints:\n    - {node: a, interface: eth1, ipv4: 10.0.0.1/24, impair: {delay: 10ms}}\n    \
                - {node: b, interface: eth1, ipv4: 10.0.0.2/24, impair: {delay: 40ms}}";
    up(&host, &lab("ways", "a:\nb:", link));
    // What tcpdump prints goes into a file for each node. Both ends' clocks are one: the kernel's.
    let watch = |node: &str| {
        let file = host.dir().join(format!("{node}.dump"));
        let args =
            ["exec", node, "--", "tcpdump", "-Z", "root", "-l", "-tt", "-n", "-i", "eth1", "icmp"];
        let mut command = host.vnode_command(&args);
        command.stdout(std::fs::File::create(&file).unwrap()).stderr(std::process::Stdio::null());
        (command.spawn().unwrap(), file)
    };
    let mut watched = [watch("a"), watch("b")];
    // tcpdump says that it listens before it does: pings go until both ends have seen one whole exchange. The shortest
    // of several tells, for the machine may be late with any of them.
    let between = |file: &std::path::Path| -> Vec<f64> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let times = |kind: &str| -> Vec<(String, f64)> {
            let of_kind = text.lines().filter(|l| l.contains(kind));
            of_kind
                .filter_map(|l| {
                    let key = l.split_once(kind)?.1.split(", length").next()?.to_owned();
                    Some((key, l.split_whitespace().next()?.parse().ok()?))
                })
                .collect()
        };
        let answers = times("ICMP echo reply,");
        let asked = times("ICMP echo request,");
        asked
            .iter()
            .filter_map(|(key, at)| answers.iter().find(|(k, _)| k == key).map(|(_, t)| t - at))
            .collect()
    };
    let shortest = eventually("both ends see three exchanges", SOON, || {
        ping(&host, "a", &["-c", "1"], "10.0.0.2");
        let seen = watched.each_ref().map(|(_, file)| between(file));
        seen.iter()
            .all(|s| s.len() >= 3)
            .then(|| seen.map(|s| s.into_iter().fold(f64::MAX, f64::min) * 1e3))
    });
    for (child, _) in &mut watched {
        child.kill().unwrap(); // tcpdump itself ends with its host
        child.wait().unwrap();
    }
    // A capture sees what the sender's queue lets go: between request and answer at `b` lies what `b` waits before it
    // sends, at `a` as well, and the round trip has what `a` waits before it sends on top.
    let [at_a, at_b] = shortest;
    assert_between("b sends", at_b, 39.5..=40.0 + LATE);
    assert_between("b sends, seen at a", at_a, 39.5..=40.0 + LATE);
    assert_rtt(&host, "a sends as well", "a", "10.0.0.2", 49.9..=50.0 + LATE);
}

#[test]
fn t62_delays_below_a_millisecond() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    let file = up(&host, &pair("short", ""));
    let bare = ping(&host, "a", &["-c", "50", "-i", "0.01"], "10.0.0.2").min_ms;
    host.vnode(&["link", "set", LINK, "delay=400us"]).ok();
    assert_rtt(&host, "0.4 ms each way", "a", "10.0.0.2", 0.8..=0.8 + bare + 2.0);
    host.vnode(&["link", "set", LINK, "delay=50us"]).ok();
    assert_rtt(&host, "0.05 ms each way", "a", "10.0.0.2", 0.1..=0.1 + bare + 2.0);
    host.vnode(&["down", &file]).ok();
}

#[test]
fn t63_delay_without_a_rate() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    up(&host, &pair("delayed", "impair: {delay: 20ms}"));
    assert_rtt(&host, "round trip", "a", "10.0.0.2", 39.9..=40.0 + LATE);
}

#[test]
fn t65_all_kinds_of_frames_are_delayed() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    up(&host, &pair("kinds", "ipv6: [\"fd00::1/64\", \"fd00::2/64\"]\nimpair: {delay: 30ms}"));
    eventually("IPv6 answers", SOON, || host.ping("a", "fd00::2").then_some(()));
    assert_rtt(&host, "IPv6", "a", "fd00::2", 59.9..=60.0 + LATE);
    // The first packet waits for ARP, which is delayed each way as well.
    let mut first = f64::MAX;
    for _ in 0..30 {
        host.exec("a", &["ip", "neigh", "flush", "dev", "eth1"]);
        first = first.min(ping(&host, "a", &["-c", "1", "-W", "5"], "10.0.0.2").min_ms);
        if first <= 120.0 + LATE {
            break;
        }
    }
    assert_between("ARP and then the packet", first, 59.9..=120.0 + LATE);
}

/// What such a queue does to a burst is tested where a burst can be sent (vnode-network's `shaping` and `netem`).
#[test]
fn t66_the_files_queue_is_the_kernels() {
    needs!(Root, Program("tc"));
    for (queue, seen) in [("10", "limit 10p"), ("15140b", "limit 15140b")] {
        let host = Host::new();
        up(&host, &pair("queue", &format!("impair: {{rate: 1mbit, queue: {queue}}}")));
        for name in ["a", "b"] {
            let pid = vnode_tests::pid(&host, name);
            let args = ["-t", &pid, "-n", "tc", "qdisc", "show", "dev", "eth1"];
            let text = host.run("nsenter", &args).ok().stdout;
            assert!(text.contains(seen), "{queue} at {name}: {text}");
        }
    }
}

#[test]
fn r11_no_frame_passes_before_its_shaper_is_in_place() {
    needs!(Root, Program("tc"));
    let host = Host::new();
    // IPv6 sends by itself as soon as an interface is up, and the first process pings at once.
    let text = pair("first", "impair: {rate: 100mbit}")
        .replace("    a:\n", "    a: {cmd: ping -n -q -i 0.1 10.0.0.2}\n");
    up(&host, &text);
    eventually("frames have been sent", SOON, || {
        let sent =
            host.exec("a", &["cat", "/sys/class/net/eth1/statistics/tx_packets"]).ok().stdout;
        (sent.trim().parse::<u64>().unwrap() > 5).then_some(())
    });
    for name in ["a", "b"] {
        let pid = vnode_tests::pid(&host, name);
        // First what the interface has sent, then what of it its queue has let go.
        let script =
            "cat /sys/class/net/eth1/statistics/tx_packets; tc -s qdisc show dev eth1 root";
        let args = ["-t", &pid, "-n", "unshare", "-m", "sh", "-c"];
        let script = format!("mount -t sysfs sysfs /sys; {script}");
        let out = host.run("nsenter", &[&args[..], &[script.as_str()]].concat()).ok().stdout;
        let (sent, queue) = out.split_once('\n').expect("two answers");
        let sent: u64 = sent.trim().parse().unwrap();
        let passed = queue
            .lines()
            .find_map(|l| l.trim().strip_prefix("Sent ")?.split_whitespace().nth(2)?.parse().ok());
        assert!(passed.is_some_and(|passed: u64| passed >= sent && sent > 0), "{name}: {out}");
    }
}

#[test]
fn t67_a_link_that_is_down_carries_nothing_and_takes_changes() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    up(&host, &pair("downed", "impair: {delay: 10ms}"));
    host.vnode(&["link", "down", LINK]).ok();
    assert!(!host.ping("a", "10.0.0.2"));
    host.vnode(&["link", "set", LINK, "delay=30ms"]).ok();
    assert!(!host.ping("a", "10.0.0.2"), "a change does not bring it up");
    host.vnode(&["link", "up", LINK]).ok();
    assert_rtt(&host, "the new delay", "a", "10.0.0.2", 59.9..=60.0 + LATE);
}

#[test]
fn t68_a_change_keeps_what_it_does_not_name() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    up(&host, &pair("kept", "impair: {delay: 20ms, rate: 100mbit}"));
    host.vnode(&["link", "set", LINK, "rate=50mbit", "--from", "a"]).ok();
    assert_rtt(&host, "the delay stays", "a", "10.0.0.2", 39.9..=40.0 + LATE);
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    let ends = links[0]["ends"].as_array().unwrap().clone();
    let rate = |node: &str| {
        ends.iter().find(|e| e["node"] == node).unwrap()["current"]["rate_bps"].clone()
    };
    assert_eq!(rate("a"), 50_000_000, "{links}");
    assert_eq!(rate("b"), 100_000_000, "the other direction stays: {links}");
    // No packet is lost while values change under a flow.
    let flow = ["exec", "a", "--", "ping", "-n", "-q", "-c", "200", "-i", "0.01", "10.0.0.2"];
    let flow = host.vnode_command(&flow).stdout(std::process::Stdio::piped()).spawn().unwrap();
    for rate in ["rate=60mbit", "rate=70mbit", "rate=80mbit"] {
        host.vnode(&["link", "set", LINK, rate]).ok();
    }
    let text = String::from_utf8_lossy(&flow.wait_with_output().unwrap().stdout).into_owned();
    let rtt = vnode_tests::parse_ping(&text).unwrap();
    assert_eq!(rtt.received, rtt.sent, "{text}");
}

#[test]
fn t69_reset_returns_to_the_declared_values() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    up(&host, &pair("reset", "impair: {delay: 20ms}"));
    for i in 1..=10 {
        let delay = format!("delay={}ms", 5 * i);
        let loss = format!("loss={}%", i % 3);
        host.vnode(&["link", "set", LINK, &delay, &loss]).ok();
    }
    host.vnode(&["link", "reset", LINK]).ok();
    let rtt = ping(&host, "a", &["-c", "20", "-i", "0.05"], "10.0.0.2");
    assert_eq!(rtt.received, 20);
    assert_rtt(&host, "the declared delay", "a", "10.0.0.2", 39.9..=40.0 + LATE);
}

#[test]
fn t70_a_lan_of_four_delays_each_pair() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    let mut text = vnode_tests::star("lan", 4);
    text.push_str("      impair: {rate: 100mbit, delay: 10ms}\n");
    up(&host, &text);
    for (from, to) in [(1, 2), (2, 3), (4, 1)] {
        let (from, to) = (format!("n{from}"), vnode_tests::star_address(to));
        assert_rtt(&host, "round trip", &from, &to, 19.8..=20.0 + LATE);
    }
}

#[test]
fn t71_members_of_a_lan_add_their_own_delays() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    let text = vnode_tests::star("members", 3)
        .replace("node: n1, interface: eth1,", "node: n1, interface: eth1, impair: {delay: 10ms},")
        .replace("node: n2, interface: eth1,", "node: n2, interface: eth1, impair: {delay: 20ms},");
    up(&host, &text);
    let second = vnode_tests::star_address(2);
    assert_rtt(&host, "first to second", "n1", &second, 59.8..=60.0 + LATE);
    let third = vnode_tests::star_address(3);
    assert_rtt(&host, "first to third", "n1", &third, 19.8..=20.0 + LATE);
}

#[test]
fn t72_a_lan_of_two_is_a_link() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    let text = vnode_tests::star("twain", 2) + "      impair: {delay: 10ms}\n";
    up(&host, &text);
    assert_rtt(
        &host,
        "as a link of 10 ms",
        "n1",
        &vnode_tests::star_address(2),
        19.8..=20.0 + LATE,
    );
}

#[test]
fn t73_the_timeline_does_what_it_says() {
    needs_or_guest!(Root, Netem);
    let host = Host::new();
    let mut text = pair("timed", "impair: {delay: 5ms}");
    text.push_str(&format!(
        "events:\n  - {{at: 2s, link: \"{LINK}\", do: down}}\n  - {{at: 4s, link: \"{LINK}\", do: up, set: {{delay: 30ms}}}}\n"
    ));
    up(&host, &text);
    eventually("the link goes down", SOON, || (!host.ping("a", "10.0.0.2")).then_some(()));
    eventually("the link comes up", SOON, || host.ping("a", "10.0.0.2").then_some(()));
    assert_rtt(&host, "the delay the timeline set", "a", "10.0.0.2", 59.9..=60.0 + LATE);
}

#[test]
fn t75_an_impairment_the_kernel_cannot_do_fails_and_names_all() {
    needs!(Root, Program("tc"));
    if vnode_testkit::Need::Netem.missing().is_none() {
        return vnode_testkit::skip("this kernel has netem");
    }
    let host = Host::new();
    let file =
        host.write("lab.clab.yml", &pair("delayed", "impair: {delay: 10ms}")).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert_ne!(out.code, 0);
    let said = out.all();
    assert!(said.contains("eth1") && said.contains("delay") && said.contains("netem"), "{said}");
    assert!(!host.ping("a", "10.0.0.2"), "no link is left up and unshaped");
    host.vnode(&["down", "delayed"]).ok();
    up(&host, &pair("rated", "impair: {rate: 10mbit}"));
    let out = host.vnode(&["link", "set", LINK, "delay=5ms"]);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("delay"), "{}", out.all());
}

#[test]
fn t75_a_bad_value_is_refused_and_the_old_one_stays() {
    needs!(Root);
    let host = Host::new();
    up(&host, &pair("rated", "impair: {rate: 10mbit}"));
    for bad in ["rate=fast", "loss=120%", "delay=-1ms", "nothing=1"] {
        let out = host.vnode(&["link", "set", LINK, bad]);
        assert_ne!(out.code, 0, "{bad}");
    }
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    assert_eq!(links[0]["ends"][0]["current"]["rate_bps"], 10_000_000, "{links}");
}

#[test]
fn t76_values_survive_halt_reboot_and_a_new_daemon() {
    needs!(Root, Program("tc"));
    let host = Host::new();
    let file = up(&host, &pair("kept", "impair: {rate: 10mbit}"));
    host.vnode(&["link", "set", LINK, "rate=20mbit"]).ok();
    let shaped = |when: &str| {
        let links = host.vnode(&["link", "ls", "--json"]).ok().json();
        for end in links[0]["ends"].as_array().unwrap() {
            assert_eq!(end["current"]["rate_bps"], 20_000_000, "{when}: {links}");
            assert_eq!(end["drift"], false, "{when}: the kernel holds it: {links}");
        }
    };
    shaped("at first");
    host.vnode(&["halt", "a"]).ok();
    host.vnode(&["boot", "a"]).ok();
    shaped("after halt and boot");
    host.vnode(&["reboot", "b"]).ok();
    shaped("after reboot");
    let first = vnode_tests::node(&host, "b")["pid"].clone();
    host.run("kill", &["-9", &first.to_string()]).ok();
    eventually("b runs again", SOON, || {
        let now = vnode_tests::node(&host, "b");
        (now["state"] == "running" && now["pid"] != first).then_some(())
    });
    shaped("after b ended by itself");
    host.kill9_daemon();
    shaped("with a new daemon");
    // The peer is made anew, with another definition.
    let text =
        pair("kept", "impair: {rate: 10mbit}").replace("    b:\n", "    b: {env: {NEW: yes}}\n");
    std::fs::write(&file, text).unwrap();
    host.vnode(&["apply", &file]).ok();
    shaped("after the peer was made anew");
}

#[test]
fn t78_a_change_by_a_foreign_hand_is_reported_as_drift() {
    needs!(Root, Program("tc"));
    let host = Host::new();
    up(&host, &pair("drift", "impair: {rate: 10mbit}"));
    let drift = || {
        let links = host.vnode(&["link", "ls", "--json"]).ok().json();
        links[0]["ends"].as_array().unwrap().iter().any(|e| e["drift"] == true)
    };
    assert!(!drift());
    let pid = vnode_tests::pid(&host, "a");
    host.run("nsenter", &["-t", &pid, "-n", "tc", "qdisc", "del", "dev", "eth1", "root"]).ok();
    assert!(drift());
    host.vnode(&["link", "reset", LINK]).ok();
    assert!(!drift(), "repaired");
}

/// What one link does to another is measured by `cargo xtask bench`; here is why it does nothing: no queue, no filter
/// and no device that the frames of both would pass.
#[test]
fn t77_shaping_one_link_leaves_the_others_as_they_are() {
    needs!(Root, Program("ping"), Program("tc"));
    let host = Host::new();
    let links = "- endpoints: [\"a:eth1\", \"b:eth1\"]\n  ipv4: [10.0.0.1/24, 10.0.0.2/24]\n\
                 - endpoints: [\"a:eth2\", \"c:eth1\"]\n  ipv4: [10.0.1.1/24, 10.0.1.2/24]";
    up(&host, &lab("apart", "a:\nb:\nc:", links));
    let inside = |name: &str, program: &str, args: &[&str]| {
        let pid = vnode_tests::pid(&host, name);
        host.run("nsenter", &[&["-t", &pid, "-n", program], args].concat()).ok().stdout
    };
    let untouched = || {
        [("a", "eth2"), ("c", "eth1")].map(|(name, device)| {
            let queues = inside(name, "tc", &["qdisc", "show", "dev", device]);
            let filters = inside(name, "tc", &["filter", "show", "dev", device]);
            (queues, filters, inside(name, "ip", &["-o", "link", "show", device]))
        })
    };
    let before = untouched();
    assert!(before.iter().all(|(queues, ..)| queues.contains("noqueue")), "{before:?}");
    // A flow that the shaped link holds back, while pings go over the other.
    host.vnode(&["link", "set", LINK, "rate=1mbit"]).ok();
    let flood =
        ["exec", "a", "--", "ping", "-q", "-c", "2000", "-i", "0.002", "-s", "1400", "10.0.0.2"];
    let mut flood = host.vnode_command(&flood);
    let mut flood = flood.stdout(std::process::Stdio::null()).spawn().unwrap();
    let rtt = ping(&host, "a", &["-c", "200", "-i", "0.005"], "10.0.1.2");
    assert_eq!(rtt.received, rtt.sent);
    // A frame that had queued behind the flood would have waited for tens of milliseconds; the quickest did not.
    assert!(rtt.min_ms < 10.0, "{rtt:?}");
    assert_eq!(untouched(), before);
    flood.kill().unwrap(); // ping itself ends with its host
    flood.wait().unwrap();
}
