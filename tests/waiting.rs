//! Who waits is told how far a node has come, for as long as it wants to wait; who is given a root gives it back.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{SOON, lab, node, state, up, wait_for_state};

#[test]
fn r6_t58_a_waiter_names_its_level_and_its_deadline() {
    needs!(Root);
    let host = Host::new();
    // `a` answers when it is told to, and its startup command ends when it is told to.
    let nodes = "a:\n  healthcheck: {test: [CMD, test, -e, /root/answers], interval: 1, retries: 80000}\n  \
                 exec: [\"sh -c 'until test -e /root/go; do sleep 0.05; done'\"]";
    let file = host.write("slow.clab.yml", &lab("slow", nodes, "")).display().to_string();
    let mut booter = host.vnode_command(&["up", &file]);
    let mut booter = booter.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh starts");
    wait_for_state(&host, "a", "running");
    let wait = |args: &[&str]| host.vnode(&[&["wait", "a"], args].concat());
    let lines = |words: &[&str]| words.iter().map(|word| format!("{word}\n")).collect::<String>();
    let started = ["accepted", "created", "started"];
    assert_eq!(wait(&["--for", "started"]).ok().stdout, lines(&started));
    // The deadline is neither success nor failure.
    let late = wait(&["--for", "reachable", "--time", "0.3"]).exits(4);
    assert!(late.stderr.contains("`a` is started and not reachable after 0.3 s"), "{}", late.all());
    host.exec("a", &["touch", "/root/answers"]).ok();
    assert_eq!(wait(&["--for", "reachable"]).ok().stdout, lines(&started) + "reachable\n");
    wait(&["--time", "0.3"]).exits(4);
    host.exec("a", &["touch", "/root/go"]).ok();
    let ready = wait(&["--json"]).ok().stdout;
    let last: serde_json::Value =
        serde_json::from_str(ready.lines().last().expect("a line for each level")).expect("JSON");
    assert_eq!(last, serde_json::json!({"node": "a", "level": "ready"}), "{ready}");
    assert!(booter.wait().expect("a started child can be waited for").success());
}

#[test]
fn r6_t58_who_waits_in_vain_is_told_at_once() {
    needs!(Root);
    let host = Host::new();
    let missing = host.vnode(&["wait", "nobody"]).exits(1);
    assert!(missing.stderr.contains("no node `nobody`"), "{}", missing.all());
    // One whose first program is not there, one that ended, one that is stopped, one that goes.
    assert_ne!(host.vnode(&["create", "none", "--boot", "--", "/no/such/program"]).code, 0);
    let failed = host.vnode(&["wait", "none"]).exits(1);
    assert!(failed.stderr.contains("/no/such/program"), "{}", failed.all());
    let text = lab("ends", "a: {restart-policy: \"no\", cmd: sh -c \"exit 3\"}", "");
    let file = host.write("ends.clab.yml", &text).display().to_string();
    host.vnode(&["up", &file]);
    let ended = host.vnode(&["wait", "a", "--for", "reachable"]);
    // It may have been seen running before it ended.
    if ended.code != 0 {
        assert!(ended.exits(1).stderr.contains("exit 3"));
    }
    wait_for_state(&host, "a", "stopped");
    let ended = host.vnode(&["wait", "a"]).exits(1);
    assert!(ended.stderr.contains("has ended: exit 3"), "{}", ended.all());
    host.vnode(&["create", "still", "--", "sleep", "infinity"]).ok();
    assert_eq!(
        host.vnode(&["wait", "still", "--for", "created"]).ok().stdout,
        "accepted\ncreated\n"
    );
    let mut waiter = host.vnode_command(&["wait", "still"]);
    let waiter = waiter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh starts");
    eventually("somebody waits", SOON, || {
        host.processes().iter().any(|p| p.argv.iter().any(|a| a == "wait")).then_some(())
    });
    host.vnode(&["destroy", "still"]).ok();
    let out = waiter.wait_with_output().expect("a started child can be waited for");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("`still` is being destroyed") || said.contains("no node"), "{said}");
}

#[test]
fn t44_a_time_limit_ends_the_program_with_all_it_started() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a:", ""));
    let out = host
        .vnode(&["exec", "--time", "0.5", "a", "--", "sh", "-c", "sleep 4322 & sleep 4322"])
        .exits(4);
    assert!(out.stderr.contains("`sh` in node `a` was killed"), "{}", out.all());
    assert!(out.stderr.contains("longer than 0.5 s"), "{}", out.all());
    eventually("none sleeps", SOON, || {
        let sleeps = |p: &vnode_testkit::Process| p.argv == ["sleep", "4322"];
        (!host.processes().iter().any(sleeps)).then_some(())
    });
    assert_eq!(state(&host, "a"), "running");
    // One that is quick enough is as without.
    host.vnode(&["exec", "--time", "60", "a", "--", "sh", "-c", "exit 7"]).exits(7);
}

#[test]
fn t27_t35_a_program_is_given_a_root_for_as_long_as_it_runs() {
    needs!(Root);
    let host = Host::new();
    host.vnode(&["create", "solo", "--", "sleep", "infinity"]).ok();
    let script = "test \"$VNODE_NODE\" = solo && echo from-outside >\"$VNODE_ROOT/root/note\"";
    let with = |argv: &[&str]| host.vnode(&[&["mount", "solo", "--"], argv].concat());
    with(&["sh", "-c", script]).ok();
    assert_eq!(state(&host, "solo"), "stopped", "nothing stays mounted");
    assert!(!std::path::Path::new("/root/note").exists(), "the machine's own root is untouched");
    // One that fails, that is killed, that is not there: its end is ours, and the root is unmounted all the same.
    with(&["sh", "-c", "exit 7"]).exits(7);
    with(&["sh", "-c", "kill -9 $$"]).exits(137);
    let missing = with(&["/no/such/program"]).exits(1);
    assert!(missing.stderr.contains("cannot run `/no/such/program`"), "{}", missing.all());
    assert_eq!(state(&host, "solo"), "stopped");
    let told = host
        .vnode(&[
            "mount",
            "solo",
            "--json",
            "--",
            "sh",
            "-c",
            "cat \"$VNODE_ROOT/root/note\"; exit 3",
        ])
        .exits(3)
        .json();
    assert_eq!((&told["exit"], &told["stdout"]), (&3.into(), &"from-outside\n".into()), "{told}");
    let mounts = host.run("cat", &["/proc/self/mountinfo"]).ok().stdout;
    assert!(!mounts.contains(told["path"].as_str().expect("a path")), "{mounts}");
    // What the user had mounted stays so.
    host.vnode(&["mount", "solo"]).ok();
    with(&["true"]).ok();
    assert_eq!(state(&host, "solo"), "mounted");
    host.vnode(&["unmount", "solo"]).ok();
    host.vnode(&["boot", "solo"]).ok();
    assert_eq!(host.exec("solo", &["cat", "/root/note"]).ok().stdout, "from-outside\n");
    // A node that runs gives no root, and the program is not run.
    let mark = host.dir().join("ran").display().to_string();
    let refused = with(&["touch", &mark]).exits(1);
    assert!(refused.stderr.contains("solo") && refused.stderr.contains("run"), "{}", refused.all());
    assert!(!std::path::Path::new(&mark).exists());
    assert_eq!(node(&host, "solo")["state"], "running");
}

/// The control group that the processes of a node, `LAB:NODE`, are in.
fn group_of(host: &Host, node: &str) -> PathBuf {
    let found = host.run("find", &["/sys/fs/cgroup", "-type", "d", "-name", node]).ok().stdout;
    let mut all = found.lines().map(|path| host.seen(path));
    all.find(|dir| dir.join("cgroup.freeze").exists()).expect("a group of cgroup v2")
}

#[test]
fn r10_a_container_that_does_not_boot_in_time_is_ended_and_can_be_booted_again() {
    needs!(Root, Program("nft"));
    let host = Host::new();
    let before = host.snapshot();
    let port = host.free_port().to_string();
    let text = lab("late", &format!("a: {{boot-timeout: 2, ports: [\"{port}:80\"]}}\nb:"), "");
    let file = up(&host, &text);
    let forwards = || host.run("nft", &["list", "ruleset"]).ok().stdout.contains(&port);
    let group = group_of(&host, "late:a");
    let inside = || std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let is_late = |when: &str| {
        let out = host.vnode(&["boot", "a"]).exits(1);
        let told = "boot of node `a` took longer than 2 s";
        assert!(out.all().contains(told), "{when}: {}", out.all());
        let shown = node(&host, "a");
        assert_eq!(shown["state"], "failed", "{when}: {shown}");
        assert!(shown["reason"].as_str().unwrap_or_default().contains(told), "{when}: {shown}");
        assert!(!forwards(), "{when}: no port leads to it");
        assert_eq!(state(&host, "b"), "running", "{when}");
        out
    };

    // Its set-up stands still: frozen, it is ended all the same.
    host.vnode(&["halt", "a"]).ok();
    std::fs::write(group.join("cgroup.freeze"), "1").expect("the group can be frozen");
    let out = is_late("frozen");
    assert!(out.all().contains("`boot-timeout`"), "{}", out.all());
    assert_eq!(inside(), "", "nothing of it is left");
    std::fs::write(group.join("cgroup.freeze"), "0").expect("the group can be thawed");
    host.vnode(&["boot", "a"]).ok();
    assert!(forwards());

    // Its monitor stands still: what waits there is ended when it goes on, and not left to come up by itself.
    host.vnode(&["halt", "a"]).ok();
    let named = |name: &str| {
        let comm = |p: &vnode_testkit::Process| std::fs::read_to_string(p.proc("comm"));
        host.processes().into_iter().find(|p| comm(p).is_ok_and(|own| own.trim() == name))
    };
    let monitor = named("vnode:a").expect("its monitor");
    monitor.signal(Signal::STOP);
    let out = is_late("stopped monitor");
    assert!(out.all().contains("`vnode destroy`"), "{}", out.all());
    // The overlay makes this folder anew.
    let work = host.state_dir().join("nodes/late/a/work/work");
    std::fs::remove_dir(&work).expect("there is one");
    monitor.signal(Signal::CONT);
    eventually("the monitor begins", SOON, || work.exists().then_some(()));
    // For a while, not for a moment: it may be about to begin.
    let empty = |_| {
        std::thread::sleep(Duration::from_millis(50));
        inside().is_empty()
    };
    eventually("and ends it", SOON, || (0..20).all(empty).then_some(()));
    assert_eq!(state(&host, "a"), "failed", "as it was told");
    eventually("it boots", SOON, || (host.vnode(&["boot", "a"]).code == 0).then_some(()));
    assert_eq!(state(&host, "a"), "running");
    host.vnode(&["down", &file]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn a_first_process_whose_monitor_is_killed_while_it_is_set_up_never_runs() {
    needs!(Root);
    let host = Host::new();
    let before = host.snapshot();
    host.vnode(&["create", "still", "--", "sleep", "infinity"]).ok();
    let group = group_of(&host, "default:still");
    let inside = || std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let freeze = |how| std::fs::write(group.join("cgroup.freeze"), how).expect("groups can freeze");
    // The first boot of a monitor sets up in its own memory, each later one in a copy.
    for boots in 0..2 {
        if boots > 0 {
            host.vnode(&["boot", "still"]).ok();
            host.vnode(&["halt", "still", "--time", "0"]).ok();
        }
        freeze("1");
        let mut booter = host.vnode_command(&["boot", "still"]);
        let mut booter =
            booter.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh starts");
        eventually("the set-up has begun", SOON, || (!inside().is_empty()).then_some(()));
        let begun = inside();
        let monitor = host.processes().into_iter().find(|process| {
            let comm = std::fs::read_to_string(process.proc("comm")).unwrap_or_default();
            comm.trim() == "vnode:still" && !begun.lines().any(|pid| pid == process.pid.to_string())
        });
        monitor.expect("its monitor").signal(Signal::KILL);
        freeze("0");
        assert!(!booter.wait().expect("a started child can be waited for").success());
        eventually("it ends", SOON, || inside().is_empty().then_some(()));
        assert_ne!(state(&host, "still"), "running");
    }
    host.vnode(&["destroy", "still"]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn t41_a_health_check_ends_with_the_run_that_it_is_of() {
    needs!(Root);
    let host = Host::new();
    let check = "[CMD-SHELL, echo >> /root/checks]";
    let nodes = format!("a: {{healthcheck: {{test: {check}, interval: 1, retries: 1}}}}");
    up(&host, &lab("checked", &nodes, ""));
    let healthy = || {
        eventually("the check passes", SOON, || {
            (node(&host, "a")["health"] == "healthy").then_some(())
        });
    };
    for _ in 0..3 {
        healthy();
        host.vnode(&["reboot", "a"]).ok();
    }
    healthy();
    // One check waits a second before the next: in any time there are no more than its seconds, and one.
    let begun = std::time::Instant::now();
    host.exec("a", &["rm", "/root/checks"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(4));
    let checks = host.exec("a", &["cat", "/root/checks"]).ok().stdout.lines().count();
    let most = begun.elapsed().as_secs() as usize + 2;
    assert!((1..=most).contains(&checks), "{checks} checks, {most} at most");
    host.vnode(&["halt", "a"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(node(&host, "a")["health"], "", "nobody looks into what does not run");
}

#[test]
fn t34_t41_who_waits_for_health_is_not_let_on_by_an_end() {
    needs!(Root);
    let host = Host::new();
    let nodes = "a:\n  cmd: sh -c \"sleep 2; exit 7\"\n  restart-policy: \"no\"\n  \
                 healthcheck: {test: [CMD, false], interval: 1, retries: 1000, start-period: 600}\n\
                 b:\n  stages: {create: {wait-for: [{node: a, stage: healthy}]}}";
    let file = host.write("ends.clab.yml", &lab("ends", nodes, "")).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert!(matches!(out.code, 1 | 3), "{}", out.all());
    assert!(out.all().contains("exit 7"), "{}", out.all());
    assert_ne!(state(&host, "b"), "running");
}

#[test]
fn t49_t54_a_node_that_is_halted_before_its_restart_stays_so() {
    needs!(Root);
    let host = Host::new();
    let text = lab("loop", "a: {cmd: sh -c \"exit 1\", restart-policy: always}", "");
    let file = host.write("loop.clab.yml", &text).display().to_string();
    host.vnode(&["up", &file]);
    // By then a second or more lies between two starts.
    eventually("it is started again and again", SOON, || {
        (node(&host, "a")["restarts"].as_u64() >= Some(5)).then_some(())
    });
    host.vnode(&["halt", "a"]).ok();
    let restarts = node(&host, "a")["restarts"].clone();
    // Longer than there is ever between two starts.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(node(&host, "a")["restarts"], restarts);
    assert_ne!(state(&host, "a"), "running");
}
