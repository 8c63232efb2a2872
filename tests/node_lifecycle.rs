//! One node's life: exec, halt, boot, reboot from inside and outside, restart policy, destroy, files in and out.

use std::process::Stdio;
use std::time::Duration;

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{LINK, SOON, lab, node, pair, pid, state, up, wait_for_state};

#[test]
fn t22_create_makes_a_stopped_node_with_a_stable_number() {
    needs!(Root);
    let host = Host::new();
    host.vnode(&["create", "solo", "--", "sleep", "infinity"]).ok();
    assert_eq!(state(&host, "solo"), "stopped");
    let vmid = node(&host, "solo")["vmid"].clone();
    host.vnode(&["boot", "solo"]).ok();
    assert_eq!(host.vnode(&["state", "solo"]).ok().stdout.trim(), "running");
    assert_eq!(node(&host, "solo")["vmid"], vmid);
    host.vnode(&["destroy", "solo"]).ok();
    assert_eq!(state(&host, "solo"), "absent");
}

#[test]
fn t29_create_again_is_the_same_node_and_another_definition_a_conflict() {
    needs!(Root);
    let host = Host::new();
    host.vnode(&["create", "solo", "--", "sleep", "infinity"]).ok();
    let vmid = node(&host, "solo")["vmid"].clone();
    let again = host.vnode(&["create", "solo", "--json", "--", "sleep", "infinity"]).ok().json();
    assert_eq!(again["state"], "unchanged", "{again}");
    assert_eq!(node(&host, "solo")["vmid"], vmid);
    let out = host.vnode(&["create", "solo", "--", "sleep", "5"]).exits(1);
    assert!(out.all().contains("solo"), "{}", out.all());
    assert_eq!(node(&host, "solo")["vmid"], vmid, "nothing changed");
}

#[test]
fn t35_t38_mount_gives_a_stopped_nodes_root() {
    needs!(Root);
    let host = Host::new();
    host.vnode(&["create", "solo", "--", "sleep", "infinity"]).ok();
    let folder = host.vnode(&["mount", "solo"]).ok().stdout.trim().to_owned();
    assert_eq!(state(&host, "solo"), "mounted");
    assert_eq!(host.vnode(&["mount", "solo"]).ok().stdout.trim(), folder, "again gives the same");
    host.run("sh", &["-c", "echo from-outside >\"$1\"/root/note", "sh", &folder]).ok();
    host.vnode(&["unmount", "solo"]).ok();
    assert_eq!(state(&host, "solo"), "stopped");
    host.vnode(&["boot", "solo"]).ok();
    assert_eq!(host.exec("solo", &["cat", "/root/note"]).ok().stdout.trim(), "from-outside");
    assert!(
        !std::path::Path::new("/root/note").exists(),
        "the machine's own root is not written to"
    );
}

#[test]
fn t42_boot_of_a_running_node_has_no_effect() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a:", ""));
    let before = pid(&host, "a");
    host.vnode(&["boot", "a"]).ok();
    assert_eq!(pid(&host, "a"), before);
}

#[test]
fn t44_exec_keeps_streams_status_and_input() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a:", ""));
    let out = host.exec("a", &["sh", "-c", "echo out; echo err >&2; exit 7"]).exits(7);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("out\n", "err\n"));
    let input = vec![b'x'; 300_000];
    let out = host.vnode_with_input(&["exec", "a", "--", "wc", "-c"], &input).ok();
    assert_eq!(out.stdout.trim(), "300000");
    let missing = host.exec("a", &["no-such-program"]);
    assert!(missing.code != 0 && missing.stderr.contains("no-such-program"), "{}", missing.all());
    host.vnode(&["halt", "a"]).ok();
    let stopped = host.exec("a", &["true"]);
    assert_eq!(stopped.code, 1);
    assert!(
        stopped.stderr.contains("stopped") || stopped.stderr.contains("not running"),
        "{}",
        stopped.stderr
    );
}

#[test]
fn t44_a_cancelled_exec_takes_its_processes_with_it() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a:", ""));
    let args = ["exec", "a", "--", "sh", "-c", "sleep 4321 & sleep 4321"];
    let mut child = host.vnode_command(&args).stdout(Stdio::null()).spawn().unwrap();
    let sleepers = || {
        host.processes()
            .iter()
            .filter(|p| p.argv.iter().any(|a| a == "4321") && p.argv[0] == "sleep")
            .count()
    };
    eventually("both sleep", SOON, || (sleepers() == 2).then_some(()));
    let client = host
        .processes()
        .into_iter()
        .find(|p| p.argv.iter().any(|a| a == "exec"))
        .expect("the client runs");
    client.signal(rustix::process::Signal::KILL);
    child.wait().unwrap();
    eventually("none sleeps", SOON, || (sleepers() == 0).then_some(()));
    assert_eq!(state(&host, "a"), "running");
}

#[test]
fn t45_halt_and_boot_keep_files_addresses_and_links() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    up(&host, &pair("two", ""));
    host.exec("a", &["sh", "-c", "echo kept >/root/file"]).ok();
    let address =
        |name: &str| (node(&host, name)["ipv4"].clone(), node(&host, name)["vmid"].clone());
    let mac = |host: &Host| host.exec("a", &["cat", "/sys/class/net/eth1/address"]).ok().stdout;
    let (before, before_mac) = (address("a"), mac(&host));
    host.vnode(&["halt", "a"]).ok();
    assert_eq!(state(&host, "a"), "stopped");
    host.vnode(&["boot", "a"]).ok();
    assert_eq!(host.exec("a", &["cat", "/root/file"]).ok().stdout, "kept\n");
    assert_eq!((address("a"), mac(&host)), (before, before_mac));
    assert!(host.ping("a", "10.0.0.2"));
}

#[test]
fn t46_a_guest_that_ignores_the_request_is_forced() {
    needs!(Root);
    let host = Host::new();
    up(
        &host,
        &lab(
            "deaf",
            "a:\n  cmd: sh -c \"trap '' TERM INT HUP PWR; while :; do sleep 1; done\"",
            "",
        ),
    );
    host.vnode(&["halt", "a", "--time", "1"]).ok();
    assert_eq!(state(&host, "a"), "stopped");
    host.vnode(&["halt", "a"]).ok();
    // what is not there does not run.
    let absent = host.vnode(&["halt", "nobody"]).ok();
    assert!(absent.stderr.contains("absent"), "{}", absent.all());
}

#[test]
fn t49_the_restart_policy_decides_and_a_crash_loop_ends() {
    needs!(Root);
    let host = Host::new();
    let text = lab(
        "policy",
        "quiet: {restart-policy: \"on-failure\", cmd: sleep 0.3}\n\
         never: {restart-policy: \"no\", cmd: sh -c \"sleep 0.3; exit 3\"}\n\
         loop: {restart-policy: \"always\", cmd: sh -c \"exit 5\"}",
        "",
    );
    let file = host.write("lab.clab.yml", &text).display().to_string();
    host.vnode(&["up", &file]);
    wait_for_state(&host, "quiet", "stopped");
    assert_eq!(node(&host, "quiet")["restarts"], 0);
    wait_for_state(&host, "never", "stopped");
    assert!(node(&host, "never")["last_exit"].as_str().unwrap().contains('3'));
    eventually("the crash loop is given up", Duration::from_secs(100), || {
        let node = node(&host, "loop");
        (node["state"] == "failed").then(|| {
            assert!(node["restarts"].as_u64().unwrap() <= 10, "{node}");
            assert!(!node["reason"].as_str().unwrap_or_default().is_empty(), "{node}");
        })
    });
}

#[test]
fn t47_a_reboot_from_inside_keeps_links_and_addresses() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    up(&host, &pair("inside", "impair: {rate: 50mbit}"));
    host.vnode(&["link", "set", LINK, "rate=20mbit"]).ok();
    let before = node(&host, "a");
    // The first process ends: with the default policy `always` that is a reboot, and a fast one (T-48).
    host.exec("a", &["sh", "-c", "kill -9 1 || true"]);
    host.run("kill", &["-9", before["pid"].as_i64().unwrap().to_string().as_str()]).ok();
    eventually("the node runs again", SOON, || {
        let now = node(&host, "a");
        (now["state"] == "running"
            && now["pid"] != before["pid"]
            && now["restarts"].as_u64() > Some(0))
        .then_some(())
    });
    let after = node(&host, "a");
    assert_eq!((&after["ipv4"], &after["vmid"]), (&before["ipv4"], &before["vmid"]));
    assert!(host.ping("a", "10.0.0.2"));
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    assert_eq!(links[0]["ends"][0]["current"]["rate_bps"], 20_000_000, "{links}");
}

#[test]
fn t50_reboot_from_outside_keeps_the_peers_interface() {
    needs!(Root, Program("ping"), Program("ip"));
    let host = Host::new();
    up(&host, &pair("two", ""));
    let index = |host: &Host| host.exec("b", &["cat", "/sys/class/net/eth1/ifindex"]).ok().stdout;
    let (before, vmid) = (index(&host), node(&host, "a")["vmid"].clone());
    host.vnode(&["reboot", "a"]).ok();
    assert_eq!(index(&host), before, "the same device");
    assert_eq!(node(&host, "a")["vmid"], vmid);
    assert!(host.ping("b", "10.0.0.1"));
    host.vnode(&["reboot", "--hard", "a"]).ok();
    assert!(host.ping("b", "10.0.0.1"));
}

#[test]
fn t51_destroy_twice_and_of_nothing_succeeds() {
    needs!(Root);
    let host = Host::new();
    host.vnode(&["create", "solo", "--boot", "--", "sleep", "infinity"]).ok();
    host.vnode(&["destroy", "solo"]).ok();
    for name in ["solo", "never-was", "lab/never-was"] {
        let out = host.vnode(&["destroy", name]).ok();
        assert!(out.stderr.contains("absent"), "{name}: {}", out.all());
        let out = host.vnode(&["destroy", name, "--json"]).ok().json();
        assert_eq!(out["state"], "absent", "{name}: {out}");
    }
}

#[test]
fn t53_t54_requests_at_the_same_instant_end_truthfully() {
    needs!(Root);
    let host = Host::new();
    for round in 0..5 {
        let quick = "trap exit TERM; sleep infinity & wait";
        host.vnode(&["create", "solo", "--", "sh", "-c", quick]).ok();
        let start = |args: &[&str]| {
            host.vnode_command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let running = [
            start(&["boot", "solo"]),
            start(&["halt", "solo"]),
            start(&["reboot", "solo"]),
            start(&["destroy", "solo"]),
        ];
        for child in running {
            let out = child.wait_with_output().unwrap();
            let code = out.status.code();
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(matches!(code, Some(0 | 1 | 3)), "round {round}: {code:?} {said}");
            assert!(code == Some(0) || !said.trim().is_empty(), "a failure says why");
        }
        host.vnode(&["destroy", "solo"]).ok();
        assert_eq!(state(&host, "solo"), "absent");
    }
}

#[test]
fn logs_hold_what_the_first_process_printed() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("talk", "a: {cmd: sh -c \"echo one; echo two >&2; sleep infinity\"}", ""));
    eventually("both lines are in the log", SOON, || {
        let log = host.vnode(&["logs", "a"]).ok().stdout;
        (log.contains("one") && log.contains("two")).then_some(())
    });
}

#[test]
fn cp_takes_files_both_ways_and_stays_inside() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a:", ""));
    let file = host.write("in.txt", "into the node\n").display().to_string();
    host.vnode(&["cp", &file, "a:/root/"]).ok();
    assert_eq!(host.exec("a", &["cat", "/root/in.txt"]).ok().stdout, "into the node\n");
    host.exec("a", &["sh", "-c", "mkdir -p /root/d && echo deep >/root/d/f"]).ok();
    let out = host.dir().join("out");
    std::fs::create_dir(&out).unwrap();
    host.vnode(&["cp", "a:/root/d", &out.display().to_string()]).ok();
    assert_eq!(std::fs::read_to_string(out.join("d/f")).unwrap(), "deep\n");
    // A link in the guest that leads out of it leads nowhere outside (T-36).
    let secret = host.dir().join("secret");
    std::fs::create_dir(&secret).unwrap();
    host.exec("a", &["ln", "-s", &secret.display().to_string(), "/root/trap"]).ok();
    host.vnode(&["cp", &file, "a:/root/trap/"]);
    assert_eq!(std::fs::read_dir(&secret).unwrap().count(), 0);
}

#[test]
fn pause_stops_and_resume_continues() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a: {cmd: sh -c \"while :; do echo tick; sleep 0.05; done\"}", ""));
    let ticks = || host.vnode(&["logs", "a"]).ok().stdout.lines().count();
    eventually("it ticks", SOON, || (ticks() > 3).then_some(()));
    host.vnode(&["pause", "a"]).ok();
    assert_eq!(state(&host, "a"), "paused");
    // What was printed before may still be on its way into the log. Half a second would have been ten ticks.
    let stopped = eventually("it stands still", SOON, || {
        let before = ticks();
        std::thread::sleep(Duration::from_millis(500));
        (ticks() == before).then_some(before)
    });
    host.vnode(&["resume", "a"]).ok();
    eventually("it ticks again", SOON, || (ticks() > stopped + 3).then_some(()));
}

#[test]
fn the_hosts_secrets_are_not_in_a_node() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a:", ""));
    let shadow = host.exec("a", &["cat", "/etc/shadow"]);
    assert!(!shadow.stdout.contains('$'), "account hashes are masked");
    let files = host.exec("a", &["find", "/root", "/home", "-type", "f"]).stdout;
    assert!(files.is_empty(), "home directories are masked: {files}");
    let touch = host.exec("a", &["touch", "/etc/vnode-test-was-here"]);
    assert!(!std::path::Path::new("/etc/vnode-test-was-here").exists(), "{}", touch.all());
    let mount = host.exec("a", &["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
    assert_ne!(mount.code, 0, "unprivileged by default");
}

#[test]
fn t36_mounting_and_copying_follow_no_link_out_of_the_node() {
    needs!(Root, Program("busybox"));
    let host = Host::new();
    // The image's /etc is a link to an absolute path of the host's.
    let outside = host.dir().join("outside");
    std::fs::create_dir(&outside).unwrap();
    up(&host, &lab("one", "a:", ""));
    host.exec("a", &["sh", "-c", &format!("ln -s {} /root/etc", outside.display())]).ok();
    let file = host.write("note", "for the node\n").display().to_string();
    for place in ["a:/root/etc/", "a:/root/etc/note"] {
        host.vnode(&["cp", &file, place]);
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{place}");
    }
    // While the node is stopped, its root is a mount of its own: the link is seen as a link.
    host.vnode(&["halt", "a"]).ok();
    let folder = host.vnode(&["mount", "a"]).ok().stdout.trim().to_owned();
    let link = host.run("readlink", &[&format!("{folder}/root/etc")]).ok().stdout;
    assert_eq!(link.trim(), outside.display().to_string());
    host.vnode(&["unmount", "a"]).ok();
}

#[test]
fn t40_five_boots_give_the_same_files_as_one() {
    needs!(Root);
    let host = Host::new();
    up(&host, &pair("two", ""));
    let seen = || {
        let script = "cat /etc/hosts /etc/resolv.conf /etc/hostname; ip -o addr; ip route; ip rule";
        let text = host.exec("a", &["sh", "-c", script]).ok().stdout;
        let steady = text.lines().filter(|l| !l.contains("fe80:") && !l.contains("tentative"));
        steady.map(|l| l.replace(" linkdown", "")).collect::<Vec<_>>()
    };
    let once = seen();
    for _ in 0..4 {
        host.vnode(&["halt", "a"]).ok();
        host.vnode(&["boot", "a"]).ok();
    }
    assert_eq!(seen(), once);
}

#[test]
fn t41_who_waits_for_a_node_is_told_when_it_answers() {
    needs!(Root);
    let host = Host::new();
    // `a` answers only when it is told to; `b` waits until it does.
    let nodes = "a:\n  healthcheck: {test: [CMD, test, -e, /root/answers], interval: 1, retries: 1000}\n\
                 b:\n  stages: {create: {wait-for: [{node: a, stage: healthy}]}}";
    let file = host.write("slow.clab.yml", &lab("slow", nodes, "")).display().to_string();
    let mut command = host.vnode_command(&["up", &file]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_state(&host, "a", "running");
    assert_eq!(node(&host, "a")["health"], "starting", "running is not yet answering");
    assert_ne!(state(&host, "b"), "running");
    assert!(child.try_wait().unwrap().is_none(), "`up` waits too");
    host.exec("a", &["touch", "/root/answers"]).ok();
    assert!(child.wait().unwrap().success());
    assert_eq!(
        (state(&host, "b").as_str(), &node(&host, "a")["health"]),
        ("running", &"healthy".into())
    );
}

#[test]
fn t41_t58_a_dead_guest_is_an_error_with_the_end_of_its_console() {
    needs!(Root);
    let host = Host::new();
    let nodes = "a:\n  cmd: sh -c \"trap exit TERM; echo the disk is on fire; sleep infinity & wait\"\n  \
                 healthcheck: {test: [CMD, false], interval: 1, retries: 2}\n\
                 b:\n  stages: {create: {wait-for: [{node: a, stage: healthy}]}}";
    let file = host.write("dead.clab.yml", &lab("dead", nodes, "")).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert!(matches!(out.code, 1 | 3), "{}", out.all());
    let said = out.all();
    assert!(said.contains("`a` is unhealthy") && said.contains("the disk is on fire"), "{said}");
    assert_ne!(state(&host, "b"), "running");
    // One whose first program is not there fails at once, by name.
    let out = host.vnode(&["create", "none", "--boot", "--", "/no/such/program"]);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("/no/such/program"), "{}", out.all());
}

#[test]
fn t43_looking_changes_nothing() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let file = up(&host, &pair("two", "impair: {rate: 10mbit}"));
    host.vnode(&["create", "still", "--", "sleep", "infinity"]).ok();
    let operations = || host.vnode(&["op", "ls", "--json"]).ok().stdout;
    let events = || host.vnode(&["events", "--json"]).ok().stdout;
    let frames = || {
        let text =
            host.exec("b", &["cat", "/sys/class/net/eth1/statistics/rx_packets"]).ok().stdout;
        text.trim().parse::<u64>().unwrap()
    };
    let before = (host.snapshot(), operations(), events(), vnode_tests::nodes(&host));
    let quiet = frames();
    for _ in 0..10 {
        for args in [
            &["ps"][..],
            &["state", "a"],
            &["state", "still"],
            &["inspect", "a"],
            &["inspect", "still"],
            &["inspect", "two"],
            &["link", "ls"],
            &["image", "ls"],
            &["logs", "a"],
            &["graph", &file],
        ] {
            host.vnode(args).ok();
        }
    }
    let left = before.0.diff(&host.snapshot());
    assert!(left.is_empty(), "mounts, links, rules, processes, files: {left:#?}");
    assert_eq!((operations(), events(), vnode_tests::nodes(&host)), (before.1, before.2, before.3));
    // The kernel itself sends a few for IPv6; nobody pinged to find out how a node is.
    assert!(frames() <= quiet + 20);
}

#[test]
fn t48_the_quickest_reboots_are_all_counted() {
    needs!(Root);
    let host = Host::new();
    // The first process ends as soon as it has counted, five times; then it stays.
    let script = "n=$(cat /root/n 2>/dev/null || echo 0); echo $((n + 1)) >/root/n; test $n -ge 5 || exit 1; \
                  trap exit TERM; sleep infinity & wait";
    // A dollar of the file's own is written twice.
    let script = script.replace('$', "$$");
    let nodes = format!("a:\n  restart-policy: always\n  cmd: sh -c '{script}'");
    up(&host, &lab("quick", &nodes, ""));
    eventually("it stays", SOON, || {
        let now = node(&host, "a");
        (now["state"] == "running" && now["restarts"] == 5).then_some(())
    });
    assert_eq!(host.exec("a", &["cat", "/root/n"]).ok().stdout.trim(), "6", "none too many");
    let text = host.vnode(&["events", "--json"]).ok().stdout;
    let count = |kind: &str| text.lines().filter(|l| l.contains(&format!("\"{kind}\""))).count();
    assert_eq!((count("node.exited"), count("node.restarted")), (5, 5), "{text}");
}

#[test]
fn t32_a_number_that_is_used_again_inherits_nothing() {
    needs!(Root, Program("ping"), Program("nft"));
    let host = Host::new();
    let text = pair("old", "impair: {rate: 1mbit}")
        .replace("    a:\n", "    a: {ports: [\"18099:80\"], env: {OLD: yes}}\n");
    let file = up(&host, &text);
    host.vnode(&["link", "set", LINK, "rate=2mbit"]).ok();
    host.exec("a", &["touch", "/root/old"]).ok();
    let number =
        |name: &str| (node(&host, name)["vmid"].clone(), node(&host, name)["ipv4"].clone());
    let before = number("a");
    host.vnode(&["down", &file]).ok();
    up(&host, &pair("new", ""));
    assert_eq!(number("a"), before, "the same number and address");
    let rules = host.run("nft", &["list", "ruleset"]).ok().stdout;
    assert!(!rules.contains("18099"), "{rules}");
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    assert!(links[0]["ends"][0]["current"]["rate_bps"].is_null(), "{links}");
    let script = "test -e /root/old || echo $OLD none; tc qdisc show dev eth1";
    let text = host.exec("a", &["sh", "-c", script]).ok().stdout;
    assert!(text.starts_with("none") && !text.contains("tbf"), "{text}");
}

#[test]
fn t53_destroying_a_node_that_boots_cancels_the_boot() {
    needs!(Root);
    let host = Host::new();
    let before = host.snapshot();
    let text = lab("slow", "a: {startup-delay: 3600}\nb:", "");
    let file = host.write("slow.clab.yml", &text).display().to_string();
    for verb in ["down", "destroy"] {
        let mut booter = host.vnode_command(&["up", &file]);
        let booter = booter.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_state(&host, "b", "running");
        assert_ne!(state(&host, "a"), "running", "its boot waits an hour");
        if verb == "down" {
            host.vnode(&["down", "slow"]).ok();
        } else {
            host.vnode(&["destroy", "slow/a"]).ok();
        }
        let out = booter.wait_with_output().unwrap();
        assert!(!out.status.success());
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains("cancelled"), "{verb}: {said}");
        assert_eq!(state(&host, "a"), "absent");
        host.vnode(&["down", "slow"]).ok();
        host.assert_nothing_but_files(&before);
    }
}
