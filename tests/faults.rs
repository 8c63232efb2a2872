//! Steps that fail and machines that restart: what is new goes, what was there before keeps its disk.

use std::process::Stdio;

use vnode_testkit::image::{self, ImageSpec};
use vnode_testkit::{Host, Process, eventually, needs};
use vnode_tests::{SOON, lab, node, nodes, pair, star, state, up, wait_for_state};

/// Ends the daemon that runs and starts one with this fault.
fn with_fault(host: &Host, fault: &str) -> vnode_testkit::Daemon {
    host.kill9_daemon();
    host.start_daemon(&[("VNODE_FAULT", fault)])
}

/// The monitor that holds a node, by its network.
fn monitor(host: &Host, name: &str) -> Process {
    let pid: u32 = vnode_tests::pid(host, name).parse().expect("a number");
    let all = host.processes();
    let net = all.iter().find(|p| p.inner == pid).expect("the node's process").net.clone();
    all.into_iter().find(|p| p.is_monitor() && p.net == net).expect("the node's monitor")
}

/// Kills a node's monitor, so that everything of the node but its disk has to be made again.
fn lose(host: &Host, name: &str) {
    monitor(host, name).kill();
    eventually("the loss is noticed", SOON, || (state(host, name) != "running").then_some(()));
}

#[test]
fn t19_a_full_disk_fails_the_create_and_nothing_else() {
    needs!(Root, Program("ping"), Program("busybox"));
    let host = Host::new();
    let images = host.state_dir().join("images").display().to_string();
    host.run("mkdir", &["-p", &images]).ok();
    host.run("mount", &["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", &images]).ok();
    let small = ImageSpec { busybox: false, ..ImageSpec::default() }.with_file("f", "x", 0o644);
    image::write_tarball(&small, &host.dir().join("small.tar"));
    up(&host, &pair("two", ""));
    // Noise does not compress, and is larger than what is left.
    let noise: String = (0..6_000_000_u32)
        .map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 28) as u8))
        .collect();
    let tar = image::write_tarball(
        &ImageSpec::default().with_file("noise", &noise, 0o644),
        &host.dir().join("big.tar"),
    );
    let before = host.snapshot();
    let used = || host.run("du", &["-s", &images]).ok().stdout;
    let at_first = used();
    let out = host.vnode(&[
        "create",
        "big",
        "--image",
        &format!("tar:{}", tar.display()),
        "--",
        "/bin/sh",
    ]);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("No space left"), "{}", out.all());
    assert_eq!(used(), at_first, "what was unpacked is gone again");
    host.vnode(&["destroy", "default/big"]).ok();
    assert_eq!(state(&host, "big"), "absent");
    host.assert_nothing_but_files(&before);
    assert!(host.ping("a", "10.0.0.2"), "the others are not affected");
    let tar = host.dir().join("small.tar").display().to_string();
    host.vnode(&["image", "import", &tar, "--name", "small:1"]).ok();
}

#[test]
fn t26_a_create_that_fails_is_a_failure_and_never_a_node() {
    needs!(Root);
    let host = Host::new();
    for moment in ["before", "after"] {
        let daemon = with_fault(&host, &format!("error:node.create.{moment}"));
        let before = host.snapshot();
        let out = host.vnode(&["create", "solo", "--", "sleep", "infinity"]);
        assert!(matches!(out.code, 1 | 3), "{moment}: {}", out.all());
        assert!(out.all().contains("fault injected"), "{moment}: {}", out.all());
        // Listed as failed or not at all: it is nowhere a node that could be used.
        let there = state(&host, "solo");
        assert!(["absent", "failed"].contains(&there.as_str()), "{moment}: {there}");
        assert_ne!(host.exec("solo", &["true"]).code, 0);
        host.vnode(&["destroy", "solo"]).ok();
        host.assert_nothing_but_files(&before);
        host.kill9_daemon();
        drop(daemon);
    }
    host.vnode(&["create", "solo", "--boot", "--", "sleep", "infinity"]).ok();
    assert_eq!(state(&host, "solo"), "running");
}

#[test]
fn t27_a_preconfig_that_fails_removes_what_is_new_and_keeps_what_was_there() {
    needs!(Root);
    let host = Host::new();
    let before = host.snapshot();
    let file = host.write("one.clab.yml", &lab("one", "a:", "")).display().to_string();
    let daemon = with_fault(&host, "error:node.control.before");
    let out = host.vnode(&["up", &file]);
    assert_ne!(out.code, 0, "{}", out.all());
    assert!(out.all().contains("fault injected"), "{}", out.all());
    let folder = host.state_dir().join("nodes/one/a");
    assert!(!folder.exists(), "a node of this very operation is destroyed with its disk");
    host.vnode(&["down", "one"]).ok();
    host.assert_nothing_but_files(&before);
    host.kill9_daemon();
    drop(daemon);

    host.vnode(&["up", &file]).ok();
    host.exec("a", &["sh", "-c", "echo kept >/root/file"]).ok();
    let daemon = with_fault(&host, "error:node.control.before");
    lose(&host, "a");
    assert_ne!(host.vnode(&["boot", "a"]).code, 0);
    let mounts = host.run("cat", &["/proc/self/mountinfo"]).ok().stdout;
    assert!(!mounts.contains("nodes/one/a"), "its root is not mounted");
    host.kill9_daemon();
    drop(daemon);
    host.vnode(&["boot", "a"]).ok();
    assert_eq!(host.exec("a", &["cat", "/root/file"]).ok().stdout, "kept\n");
    host.vnode(&["down", "one"]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn t28_a_restart_that_fails_at_any_step_keeps_the_disk() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    up(&host, &pair("two", ""));
    host.exec("a", &["sh", "-c", "echo kept >/root/file"]).ok();
    let steps = ["host.prepare", "control.ensure", "node.create", "node.control", "link.create"];
    for step in steps {
        for moment in ["before", "after"] {
            let when = format!("{step}.{moment}");
            lose(&host, "a");
            let daemon = with_fault(&host, &format!("error:{when}#1"));
            let out = host.vnode(&["boot", "a"]);
            assert_ne!(out.code, 0, "{when}: {}", out.all());
            assert!(out.all().contains("fault injected"), "{when}: {}", out.all());
            let now = state(&host, "a");
            assert!(["stopped", "failed"].contains(&now.as_str()), "{when}: {now}");
            // The fault was for once: the same daemon boots it now.
            host.vnode(&["boot", "a"]).ok();
            assert_eq!(host.exec("a", &["cat", "/root/file"]).ok().stdout, "kept\n", "{when}");
            assert!(host.ping("b", "10.0.0.1"), "{when}");
            host.kill9_daemon();
            drop(daemon);
        }
    }
    // One that is only halted, not lost: its boot fails.
    host.vnode(&["halt", "a"]).ok();
    let daemon = with_fault(&host, "error:node.boot.before#1");
    assert_ne!(host.vnode(&["boot", "a"]).code, 0);
    assert_eq!(state(&host, "a"), "stopped");
    host.vnode(&["boot", "a"]).ok();
    assert_eq!(host.exec("a", &["cat", "/root/file"]).ok().stdout, "kept\n");
    drop(daemon);
}

#[test]
fn t30_a_node_of_another_life_with_the_same_name_is_destroyed_with_its_disk() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let before = host.snapshot();
    host.vnode(&["ps"]).ok();
    host.kill9_daemon();
    let store = host.state_dir().join("store.redb");
    std::fs::copy(&store, host.dir().join("copy.redb")).expect("the store is there");
    let file = up(&host, &pair("two", ""));
    host.exec("a", &["sh", "-c", "echo old >/root/file"]).ok();
    let uuid = |host: &Host| {
        let shown = host.vnode(&["inspect", "a"]).ok().json();
        shown["definition"]["uuid"].as_str().expect("a node has a UUID").to_owned()
    };
    let old = uuid(&host);
    // A copy of the records from before comes back, as from a backup: the nodes live on, known to nobody.
    host.kill9_daemon();
    std::fs::copy(host.dir().join("copy.redb"), &store).expect("the store is writable");
    assert!(nodes(&host).is_empty());
    host.vnode(&["up", &file]).ok();
    assert_ne!(uuid(&host), old);
    assert_ne!(host.exec("a", &["cat", "/root/file"]).code, 0, "no file of the old one is visible");
    assert!(host.ping("a", "10.0.0.2"));
    host.vnode(&["down", "two"]).ok();
    // The copy did not know what the host's parameters were before the first life.
    eventually("nothing of either life is left", SOON, || {
        let left = before.diff(&host.snapshot());
        left.iter().all(|l| l.contains(": file ") || l.contains(": sysctl ")).then_some(())
    });
}

#[test]
fn t39_a_daemon_that_died_with_a_root_mounted() {
    needs!(Root);
    let host = Host::new();
    let before = host.snapshot();
    host.vnode(&["create", "solo", "--", "sleep", "infinity"]).ok();
    let write = |folder: &str, name: &str| {
        host.run("sh", &["-c", "echo written >\"$1\"/root/$2", "sh", folder, name]).ok();
    };
    for round in ["first", "second"] {
        let folder = host.vnode(&["mount", "solo"]).ok().stdout.trim().to_owned();
        write(&folder, round);
        host.kill9_daemon();
        assert_eq!(state(&host, "solo"), "mounted", "the next daemon knows of it");
        host.vnode(&["boot", "solo"]).ok();
        let mounts = host.run("cat", &["/proc/self/mountinfo"]).ok().stdout;
        assert!(!mounts.contains(&folder), "boot unmounts first");
        let file = format!("/root/{round}");
        assert_eq!(host.exec("solo", &["cat", &file]).ok().stdout, "written\n");
        host.vnode(&["halt", "solo", "--time", "0"]).ok();
    }
    // Died mounted, and destroyed without another boot.
    host.vnode(&["mount", "solo"]).ok();
    host.kill9_daemon();
    host.vnode(&["destroy", "solo"]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn t52_a_disk_that_is_in_use_is_named_and_destroyed_when_it_is_free() {
    needs!(Root);
    let host = Host::new();
    let before = host.snapshot();
    host.vnode(&["create", "solo", "--", "sleep", "infinity"]).ok();
    host.vnode(&["create", "other", "--boot", "--", "sleep", "infinity"]).ok();
    // Somebody's mount stands in the node's disk: it cannot be removed from under it.
    let disk = host.state_dir().join("nodes/default/solo/upper");
    let busy = disk.join("busy").display().to_string();
    host.run("mkdir", &[&busy]).ok();
    host.run("mount", &["-t", "tmpfs", "tmpfs", &busy]).ok();
    for _ in 0..2 {
        let out = host.vnode(&["destroy", "solo"]);
        assert_ne!(out.code, 0, "{}", out.all());
        let folder = disk.parent().expect("a folder").display().to_string();
        assert!(out.all().contains(&folder) && out.all().contains("busy"), "{}", out.all());
        assert_ne!(state(&host, "solo"), "absent", "the record is kept");
    }
    host.run("umount", &[&busy]).ok();
    host.vnode(&["destroy", "solo"]).ok();
    assert_eq!(state(&host, "solo"), "absent");
    assert_eq!(state(&host, "other"), "running");
    host.vnode(&["destroy", "other"]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn t52_a_mounted_root_that_somebody_stands_in_is_let_go() {
    needs!(Root);
    let host = Host::new();
    let before = host.snapshot();
    host.vnode(&["create", "solo", "--", "sleep", "infinity"]).ok();
    let folder = host.vnode(&["mount", "solo"]).ok().stdout.trim().to_owned();
    let mut holder = host
        .command("sh")
        .args(["-c", "cd \"$1\" && exec sleep 1000", "sh", &folder])
        .spawn()
        .expect("sh starts");
    let sleeper = eventually("somebody stands there", SOON, || {
        host.processes().into_iter().find(|p| p.argv == ["sleep", "1000"])
    });
    host.vnode(&["destroy", "solo"]).ok();
    assert_eq!(state(&host, "solo"), "absent");
    sleeper.kill();
    holder.wait().expect("a started child can be waited for");
    host.assert_nothing_but_files(&before);
}

#[test]
fn t54_halt_reboot_and_destroy_at_the_same_instant_end_in_the_last() {
    needs!(Root);
    let host = Host::new();
    let before = host.snapshot();
    for round in 0..5 {
        let quick = "trap exit TERM; sleep infinity & wait";
        host.vnode(&["create", "solo", "--boot", "--", "sh", "-c", quick]).ok();
        let start = |args: &[&str]| {
            let mut command = host.vnode_command(args);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sh starts")
        };
        let running =
            [start(&["halt", "solo"]), start(&["reboot", "solo"]), start(&["destroy", "solo"])];
        let mut ends = Vec::new();
        for child in running {
            let out = child.wait_with_output().expect("a started child can be waited for");
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            let good = out.status.success();
            assert!(good || said.contains("error"), "round {round}: a failure says why: {said}");
            ends.push((good, said));
        }
        // Destroy is final and cannot lose: whatever was asked beside it, it ends what goes on and is done.
        assert!(ends[2].0, "round {round}: {}", ends[2].1);
        assert_eq!(state(&host, "solo"), "absent", "round {round}: {ends:?}");
        host.assert_nothing_but_files(&before);
    }
}

#[test]
fn t56_after_a_restart_of_the_machine_nodes_come_back_with_their_disks() {
    needs!(Root, Program("ping"), Program("nft"));
    // The same state folder in two hosts, one after the other: for the second, the machine has restarted.
    let first = Host::new();
    let folder = tempfile_dir(&first);
    let run = |host: &Host, args: &[&str]| host.vnode(&[&["--state-dir", &folder], args].concat());
    let second = Host::new();
    let text = pair("two", "impair: {rate: 10mbit}").replace(
        "    a:\n",
        "    a: {ports: [\"18080:80\"]}\n    c: {restart-policy: \"no\"}\n    d:\n",
    );
    let file = first.write("two.clab.yml", &text).display().to_string();
    run(&first, &["up", &file]).ok();
    run(&first, &["create", "gone", "--boot", "--", "sleep", "infinity"]).ok();
    for name in ["a", "c"] {
        run(&first, &["exec", name, "--", "sh", "-c", "echo kept >/root/file"]).ok();
    }
    run(&first, &["halt", "d"]).ok();
    let shown = |host: &Host| run(host, &["ps", "--json"]).ok().json();
    let of = |all: &serde_json::Value, name: &str| {
        let all = all.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|n| n["node"] == name).unwrap_or_else(|| panic!("no node {name}"))
    };
    let before = shown(&first);
    run(&first, &["destroy", "gone"]).ok();
    let freed = of(&before, "gone")["vmid"].clone();
    // The machine goes without a word: everything of it dies at once.
    first.kill9_daemon();
    for process in first.processes() {
        process.kill();
    }
    eventually("all is gone", SOON, || first.processes().is_empty().then_some(()));
    let virgin = second.snapshot();

    for (name, wanted) in [("a", "running"), ("b", "running"), ("c", "stopped"), ("d", "stopped")] {
        eventually(&format!("{name} is {wanted}"), SOON, || {
            (of(&shown(&second), name)["state"] == wanted).then_some(())
        });
    }
    let after = shown(&second);
    for name in ["a", "b", "c", "d"] {
        let (was, is) = (of(&before, name), of(&after, name));
        assert_eq!((&was["vmid"], &was["ipv4"]), (&is["vmid"], &is["ipv4"]), "{name}");
    }
    let exec = |name: &str, argv: &[&str]| run(&second, &[&["exec", name, "--"], argv].concat());
    eventually("the link is there", SOON, || {
        (exec("a", &["ping", "-c1", "-W2", "10.0.0.2"]).code == 0).then_some(())
    });
    assert_eq!(exec("a", &["cat", "/root/file"]).ok().stdout, "kept\n");
    let links = run(&second, &["link", "ls", "--json"]).ok().json();
    assert_eq!(links[0]["ends"][0]["drift"], false, "shaped as before: {links}");
    let rules = second.run("nft", &["list", "ruleset"]).ok().stdout;
    assert!(rules.contains("18080"), "the forward is there: {rules}");
    for name in ["c", "d"] {
        run(&second, &["boot", name]).ok();
    }
    assert_eq!(exec("c", &["cat", "/root/file"]).ok().stdout, "kept\n");
    // The number of a node that no longer exists is free again.
    run(&second, &["create", "new", "--", "sleep", "infinity"]).ok();
    assert_eq!(of(&shown(&second), "new")["vmid"], freed);
    run(&second, &["destroy", "new"]).ok();
    run(&second, &["down", "two"]).ok();
    second.assert_nothing_but_files(&virgin);
}

#[test]
fn t56_a_restart_of_the_machine_in_the_middle_of_a_change_restores_the_whole_lab() {
    needs!(Root, Program("ping"));
    let first = Host::new();
    let folder = first.state_dir().display().to_string();
    let run = |host: &Host, args: &[&str]| host.vnode(&[&["--state-dir", &folder], args].concat());
    let second = Host::new();
    let file = up(&first, &pair("two", ""));
    first.kill9_daemon();
    let text = pair("two", "").replace("    a:\n", "    a:\n    c:\n    d:\n");
    first.write("two.clab.yml", &text);
    let fault = "kill:node.create.before";
    let mut daemon = first.start_daemon(&[("VNODE_FAULT", fault)]);
    assert_ne!(first.vnode(&["apply", &file]).code, 0, "the daemon is gone");
    daemon.wait(SOON);
    drop(daemon);
    for process in first.processes() {
        process.kill();
    }
    eventually("all is gone", SOON, || first.processes().is_empty().then_some(()));
    // The kernel is the same here; the record is of another run.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = std::path::Path::new(&folder).join("store.redb");
        let store = vnode_store::open(&store).expect("the store opens");
        let change = vnode_store::Change::delete("host");
        store.commit(vec![change]).await.expect("the store is writable");
    });
    let virgin = second.snapshot();
    for name in ["a", "b", "c", "d"] {
        eventually(&format!("{name} runs"), SOON, || {
            let all = run(&second, &["ps", "--json"]).ok().json();
            let all = all.as_array().cloned().unwrap_or_default();
            all.iter().any(|n| n["node"] == name && n["state"] == "running").then_some(())
        });
    }
    eventually("the link is there", SOON, || {
        let ping = run(&second, &["exec", "a", "--", "ping", "-c1", "-W2", "10.0.0.2"]);
        (ping.code == 0).then_some(())
    });
    run(&second, &["down", "two"]).ok();
    second.assert_nothing_but_files(&virgin);
}

/// A folder for state that two hosts see: the directory of the first.
fn tempfile_dir(host: &Host) -> String {
    let folder = host.dir().join("shared-state");
    std::fs::create_dir(&folder).expect("the host's directory is writable");
    folder.display().to_string()
}

#[test]
fn a_lost_monitor_is_told_and_boot_brings_the_node_back() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    up(&host, &pair("two", "impair: {rate: 10mbit}"));
    host.exec("a", &["sh", "-c", "echo kept >/root/file"]).ok();
    lose(&host, "a");
    assert_eq!(state(&host, "b"), "running");
    let reason = node(&host, "a")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("monitor"), "{reason}");
    host.vnode(&["boot", "a"]).ok();
    wait_for_state(&host, "a", "running");
    assert!(host.ping("b", "10.0.0.1"));
    assert_eq!(host.exec("a", &["cat", "/root/file"]).ok().stdout, "kept\n");
    let links = host.vnode(&["link", "ls", "--json"]).ok().json();
    assert!(
        links[0]["ends"].as_array().expect("two ends").iter().all(|e| e["drift"] == false),
        "{links}"
    );
}

#[test]
fn t31_a_node_whose_record_is_damaged_is_listed_and_its_disk_kept() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let before = host.snapshot();
    up(&host, &pair("two", ""));
    host.exec("a", &["sh", "-c", "echo kept >/root/file"]).ok();
    let shown = host.vnode(&["inspect", "a"]).ok().json();
    let uuid = shown["definition"]["uuid"].as_str().expect("a node has a UUID").to_owned();
    let daemon = host.daemon_process().expect("a daemon runs");
    host.vnode(&["daemon", "stop"]).ok();
    eventually("the daemon ends", SOON, || daemon.is_gone().then_some(()));
    let store = host.state_dir().join("store.redb");
    let good = std::fs::read(&store).expect("the store is there");

    // One bit of each copy of a record: the whole store is refused, with its name and the way out, and nothing is touched.
    let mut bad = good.clone();
    let copies: Vec<usize> = bad
        .windows(uuid.len())
        .enumerate()
        .filter(|(_, window)| *window == uuid.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!copies.is_empty(), "records are text");
    for at in copies {
        bad[at] ^= 1;
    }
    std::fs::write(&store, bad).expect("the store is writable");
    let out = host.vnode(&["ps"]).exits(1);
    assert!(out.all().contains("store.redb is damaged"), "{}", out.all());
    let disk = host.state_dir().join("nodes/two/a/upper/root/file");
    assert_eq!(std::fs::read_to_string(&disk).ok().as_deref(), Some("kept\n"));
    std::fs::write(&store, good).expect("the store is writable");

    // One record: the others are served, this one is listed, and only force removes what it spoke of.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = vnode_store::open(&store).expect("it is whole again");
        let entry = store.get("node/two/a").await.expect("it reads").expect("the record is there");
        let half = entry.value[..entry.value.len() / 2].to_vec();
        let change = vnode_store::Change::put("node/two/a", half);
        store.commit(vec![change]).await.expect("the store is writable");
    });
    assert_eq!(state(&host, "a"), "unknown");
    assert_eq!(state(&host, "b"), "running");
    for args in [&["boot", "a"][..], &["halt", "a"], &["destroy", "a"]] {
        let out = host.vnode(args);
        assert_ne!(out.code, 0, "{args:?}");
        assert!(out.all().contains("cannot be read"), "{args:?}: {}", out.all());
        assert_eq!(std::fs::read_to_string(&disk).ok().as_deref(), Some("kept\n"), "{args:?}");
    }
    host.vnode(&["destroy", "--force", "a"]).ok();
    assert_eq!(state(&host, "a"), "absent");
    assert!(!disk.exists());
    host.vnode(&["down", "two"]).ok();
    host.assert_nothing_but_files(&before);
}

/// Cuts one record in half, while no daemon runs.
fn damage(host: &Host, key: &str) {
    let daemon = host.daemon_process().expect("a daemon runs");
    host.vnode(&["daemon", "stop"]).ok();
    eventually("the daemon ends", SOON, || daemon.is_gone().then_some(()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = host.state_dir().join("store.redb");
        let store = vnode_store::open(&store).expect("the store opens");
        let entry = store.get(key).await.expect("it reads").expect("the record is there");
        let half = entry.value[..entry.value.len() / 2].to_vec();
        let change = vnode_store::Change::put(key, half);
        store.commit(vec![change]).await.expect("the store is writable");
    });
}

#[test]
fn t31_what_a_damaged_record_spoke_of_is_no_stray_until_it_is_given_up() {
    needs!(Root, Program("ping"));
    let host = Host::new();
    let before = host.snapshot();
    let file = up(&host, &pair("two", ""));
    host.exec("a", &["sh", "-c", "echo kept >/root/file"]).ok();
    let other = up(&host, &star("other", 2));
    let disk = host.state_dir().join("nodes/two/a/upper/root/file");

    // A lab: it cannot be shown, and goes on.
    damage(&host, "lab/two");
    let doctor = host.vnode(&["doctor"]).exits(1);
    assert!(doctor.all().contains("lab/two"), "{}", doctor.all());
    let cleaned = host.vnode(&["clean", "--json"]).exits(3).json();
    assert_eq!(cleaned["removed"].as_array().map(Vec::len), Some(0), "{cleaned}");
    assert!(cleaned["left"].to_string().contains("`lab/two` cannot be read"), "{cleaned}");
    for args in [&["up", &file][..], &["apply", &file], &["down", "two"], &["image", "gc"]] {
        let out = host.vnode(args).exits(1);
        assert!(out.all().contains("cannot be read"), "{args:?}: {}", out.all());
    }
    assert_eq!(std::fs::read_to_string(&disk).ok().as_deref(), Some("kept\n"));
    assert!(host.vnode(&["clean", "--lab", "other"]).exits(1).all().contains("is damaged"));

    // A link: what it is on is spared as well, and the others of its lab are whole.
    damage(&host, "link/other/lan0");
    let left = host.vnode(&["clean", "--json"]).exits(3).json()["left"].to_string();
    assert!(left.contains("link/other/lan0"), "{left}");
    assert_eq!(state(&host, "n1"), "running");

    let would = host.vnode(&["clean", "--dry-run", "--lab", "two", "--json"]).exits(3).json();
    assert!(would["removed"].to_string().contains("folder of node `two/a`"), "{would}");
    assert!(disk.exists(), "nothing but said");
    let cleaned = host.vnode(&["clean", "--lab", "two", "--json"]).exits(3).json();
    assert!(cleaned["removed"].to_string().contains("records of lab `two`"), "{cleaned}");
    assert!(!disk.exists());
    host.vnode(&["clean", "--lab", "other"]).ok();
    host.vnode(&["clean"]).ok();
    assert_eq!(state(&host, "n1"), "running", "the lab itself is whole");
    host.vnode(&["up", &file]).ok();
    host.vnode(&["down", &file]).ok();
    host.vnode(&["down", &other]).ok();
    host.assert_nothing_but_files(&before);
}

#[test]
fn t19_a_full_disk_under_the_state_is_over_when_there_is_room_again() {
    needs!(Root, Program("dd"));
    let host = Host::new();
    let state = host.state_dir().display().to_string();
    host.run("mount", &["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", &state]).ok();
    let file = up(&host, &lab("full", "a:\nb:", ""));
    let fill = format!("{state}/fill");
    let filled = host.run("dd", &["if=/dev/zero", &format!("of={fill}"), "bs=4k"]);
    assert_ne!(filled.code, 0, "the disk is full");
    let refused = (0..60).any(|number| {
        let node = format!("full/n{number}");
        host.vnode(&["create", &node, "--", "sleep", "infinity"]).code != 0
    });
    assert!(refused, "nothing can be written");
    host.run("rm", &[&fill]).ok();
    let changed = host.vnode(&["create", "full/after", "--", "sleep", "infinity"]);
    assert_eq!(changed.code, 0, "{}", changed.all());
    host.vnode(&["down", &file]).ok();
    assert_eq!(host.vnode(&["ps", "--json"]).ok().json().as_array().map(Vec::len), Some(0));
}
