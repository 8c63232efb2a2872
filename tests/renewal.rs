//! A node that gets a new definition keeps its old disk until it has come up with the new one.

use std::collections::BTreeSet;

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{SOON, lab, node, pid, recovered, state, up, wait_for_state};

/// Nodes `a` and `b` on a link; `b` with more keys.
fn pair(more: &str) -> String {
    let link = "- endpoints: [\"a:eth1\", \"b:eth1\"]\n  ipv4: [10.0.0.1/24, 10.0.0.2/24]";
    lab("two", &format!("a:\nb: {{{more}}}"), link)
}

/// A definition whose first process cannot be started, with a name of its own.
const BAD: &str = "cmd: /no/such/program, hostname: other";
const GOOD: &str = "env: {NEW: yes}, hostname: better";

/// Tells which disk and which definition `b` has.
fn look(host: &Host) -> (bool, String) {
    let kept = host.exec("b", &["cat", "/srv/kept"]).stdout == "kept\n";
    (kept, host.exec("b", &["cat", "/etc/hostname"]).stdout.trim().to_owned())
}

fn is_as_before(host: &Host, when: &str) {
    assert_eq!(state(host, "b"), "running", "{when}: {}", node(host, "b"));
    assert_eq!(look(host), (true, "b".to_owned()), "{when}");
    assert!(host.ping("a", "10.0.0.2"), "{when}: its link stands");
    nothing_aside(host, when);
}

/// The node's folder holds one disk.
#[track_caller]
fn nothing_aside(host: &Host, when: &str) {
    let folder = host.seen(host.state_dir().join("nodes/two/b"));
    let names = std::fs::read_dir(folder).expect("the node's folder is there");
    let names = names.map(|entry| entry.expect("readable").file_name());
    let disks: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("upper")).collect();
    assert_eq!(disks, ["upper"], "{when}");
}

/// A lab whose `b` has something on its disk; the file, and those with a bad and a good change of `b`.
fn prepared(host: &Host) -> [String; 3] {
    let file = up(host, &pair(""));
    host.exec("b", &["sh", "-c", "echo kept >/srv/kept"]).ok();
    let write = |name, more| host.write(name, &pair(more)).display().to_string();
    [file, write("bad.clab.yml", BAD), write("good.clab.yml", GOOD)]
}

#[test]
fn r13_a_node_whose_new_definition_does_not_come_up_is_what_it_was_with_its_old_disk() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let before = host.snapshot();
    let [_, bad, good] = prepared(&host);
    let a = pid(&host, "a");
    // Again is tried again: what failed is not taken for what is there.
    for turn in ["once", "twice"] {
        let out = host.vnode(&["apply", &bad]);
        assert_eq!(out.code, 3, "{turn}: {}", out.all());
        let told = out.all();
        for part in ["node `b` is what it was before, with its old disk", "/no/such/program"] {
            assert!(told.contains(part), "{turn}: no `{part}` in {told}");
        }
        is_as_before(&host, turn);
    }
    assert_eq!(pid(&host, "a"), a, "its peer did not notice");

    // One that did not run does not run afterwards.
    host.vnode(&["halt", "b"]).ok();
    assert_eq!(host.vnode(&["apply", &bad]).code, 3);
    assert_eq!(state(&host, "b"), "stopped");
    host.vnode(&["boot", "b"]).ok();
    is_as_before(&host, "after a boot");

    // Mounted, its root is let go first, as a boot does.
    host.vnode(&["halt", "b"]).ok();
    host.vnode(&["mount", "b"]).ok();
    assert_eq!(host.vnode(&["apply", &bad]).code, 3);
    assert_eq!(state(&host, "b"), "stopped");
    host.vnode(&["boot", "b"]).ok();
    is_as_before(&host, "after it was mounted");

    // Faults of our own on the way are as good a reason, before the disk is touched and after the node has booted.
    for point in ["node.renew.stopped", "disk.aside", "node.renew.aside", "node.renew.booted"] {
        host.kill9_daemon();
        let daemon = host.start_daemon(&[("VNODE_FAULT", &format!("error:{point}"))]);
        let out = host.vnode(&["apply", &good]);
        assert!(out.code == 3 && out.all().contains("fault injected"), "{point}: {}", out.all());
        is_as_before(&host, point);
        host.kill9_daemon();
        drop(daemon);
    }

    host.vnode(&["apply", &good]).ok();
    assert_eq!(look(&host), (false, "better".to_owned()));
    assert_eq!(host.exec("b", &["printenv", "NEW"]).ok().stdout.trim(), "yes");
    nothing_aside(&host, "renewed");
    host.vnode(&["down", "two"]).ok();
    host.kill9_daemon();
    host.assert_nothing_but_files(&before);
}

#[test]
fn r13_t15_an_image_that_comes_late_is_used_by_the_same_command() {
    needs!(Root);
    let host = Host::new();
    up(&host, &pair(""));
    let file = host.write("late.clab.yml", &pair("image: tar:/nowhere/at/all.tar"));
    let file = file.display().to_string();
    for _ in 0..2 {
        let out = host.vnode(&["apply", &file]);
        assert!(out.code != 0 && out.all().contains("/nowhere/at/all.tar"), "{}", out.all());
        assert_eq!(node(&host, "b")["image"], "host", "it has the image that it had");
    }
}

/// Killed while a command of `preconfig` works on the new disk: neither it nor what it has started is left to write on while
/// the next daemon takes that disk away, or boots a node from it.
#[test]
fn r13_t37_a_renewal_killed_while_a_preconfig_runs() {
    needs!(Root, Program("ping"));
    for (how, keys) in [("bad", BAD), ("good", GOOD)] {
        let mut host = Host::new();
        host.set_env("VNODE_HOST_COMMANDS", "true");
        let before = host.snapshot();
        prepared(&host);
        // The first run never ends, and what it leaves in a session of its own even less.
        let script = host.write(
            "prepare.sh",
            "cd \"$VNODE_ROOT\" && echo mine >>prepared\nsetsid sleep 1234 &\n\
             echo run >>\"$1/runs\"\n[ -e \"$1/go\" ] || sleep 1234\n",
        );
        let command = format!("sh {} {}", script.display(), host.dir().display());
        let keys = format!("{keys}, preconfig: [{{command: \"{command}\", required: true}}]");
        let file = host.write("changed.clab.yml", &pair(&keys)).display().to_string();
        let runs = || std::fs::read_to_string(host.dir().join("runs")).unwrap_or_default();
        let sleepers = || {
            let all = host.processes().into_iter();
            all.filter(|p| p.argv.iter().any(|word| word == "1234")).collect::<Vec<_>>()
        };

        let mut apply = host.vnode_command(&["apply", &file]);
        let quiet = apply.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut apply = quiet.spawn().expect("sh starts");
        eventually(&format!("{how}: it runs"), SOON, || (sleepers().len() == 2).then_some(()));
        host.kill9_daemon();
        apply.wait().expect("a started child can be waited for");
        assert!(host.seen(host.state_dir()).join("nodes/two/b/root/prepared").exists(), "{how}");

        host.write("go", "");
        let daemon = host.start_daemon(&[]);
        recovered(&host, how);
        wait_for_state(&host, "b", "running");
        assert_eq!(runs(), "run\nrun\n", "{how}: it begins anew, once");
        assert_eq!(sleepers(), [], "{how}: nothing of either run is left");
        let told = host.exec("b", &["cat", "/prepared"]).stdout;
        if how == "bad" {
            is_as_before(&host, how);
            assert_eq!(told, "", "the old disk has nothing of it");
        } else {
            assert_eq!(look(&host), (false, "better".to_owned()));
            assert_eq!(told, "mine\n", "the new disk has it once");
            nothing_aside(&host, how);
        }
        host.vnode(&["down", "two"]).ok();
        host.kill9_daemon();
        drop(daemon);
        host.assert_nothing_but_files(&before);
    }
}

/// The fault points that a renewal passes, each once.
fn points(change: usize) -> BTreeSet<String> {
    let host = Host::new();
    let files = prepared(&host);
    host.kill9_daemon();
    let trace = host.dir().join("trace");
    let daemon = host.start_daemon(&[("VNODE_FAULT", &format!("trace:{}", trace.display()))]);
    host.vnode(&["apply", &files[change]]);
    drop(daemon);
    let text = std::fs::read_to_string(&trace).expect("the trace was written");
    let ours = |point: &&str| point.starts_with("node.renew.") || point.starts_with("disk.");
    text.lines().map(str::trim).filter(ours).map(str::to_owned).collect()
}

/// Killed at every point of a renewal, whatever is found afterwards is one of the two, whole, and the same command ends in the
/// same way as if nothing had been.
fn killed_everywhere(change: usize, least: usize) {
    let points = points(change);
    println!("{} points: {points:?}", points.len());
    assert!(points.len() >= least, "{points:?}");
    for point in &points {
        let host = Host::new();
        let before = host.snapshot();
        let files = prepared(&host);
        host.kill9_daemon();
        let mut daemon = host.start_daemon(&[("VNODE_FAULT", &format!("kill:{point}"))]);
        host.vnode(&["apply", &files[change]]);
        daemon.wait(SOON);
        drop(daemon);
        let daemon = host.start_daemon(&[]);
        recovered(&host, point);
        wait_for_state(&host, "b", "running");
        if change == 1 {
            is_as_before(&host, point);
        } else {
            assert_eq!(look(&host), (false, "better".to_owned()), "{point}");
            assert!(host.ping("a", "10.0.0.2"), "{point}");
            nothing_aside(&host, point);
        }
        // What is recorded is what is there: the same again has nothing, or the same, to do.
        let again = host.vnode(&["apply", &files[change]]);
        assert_eq!(again.code, if change == 1 { 3 } else { 0 }, "{point}: {}", again.all());
        host.vnode(&["down", "two"]).ok();
        host.kill9_daemon();
        drop(daemon);
        host.assert_nothing_but_files(&before);
    }
}

#[test]
fn r13_t23_a_renewal_that_fails_killed_at_every_fault_point() {
    needs!(Root, Program("ping"));
    killed_everywhere(1, 10);
}

#[test]
fn r13_t23_a_renewal_killed_at_every_fault_point() {
    needs!(Root, Program("ping"));
    killed_everywhere(2, 7);
}
