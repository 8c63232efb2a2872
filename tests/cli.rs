//! The command line: help, exit codes, JSON, completion, man pages, doctor, graph, events, operations.

use vnode_testkit::{Host, eventually, needs};
use vnode_tests::{SOON, lab, pair, up};

#[test]
fn usage_errors_exit_two_and_name_the_fault() {
    needs!(Root);
    let host = Host::new();
    let out = host.vnode(&["no-such-command"]).exits(2);
    assert!(out.stderr.contains("no-such-command"));
    host.vnode(&["up"]).exits(2);
    host.vnode(&["--help"]).ok();
    assert!(host.vnode(&["--version"]).ok().stdout.contains("vnode"));
}

#[test]
fn unknown_nodes_and_files_exit_one_with_one_clear_line() {
    needs!(Root);
    let host = Host::new();
    let out = host.exec("nobody", &["true"]).exits(1);
    assert!(out.stderr.contains("nobody"), "{}", out.stderr);
    let out = host.vnode(&["up", "/no/such/file.clab.yml"]).exits(1);
    assert!(out.stderr.contains("/no/such/file.clab.yml"), "{}", out.stderr);
    let out = host.vnode(&["inspect", "nobody", "--json"]).exits(1);
    assert!(!out.all().contains("panicked"));
}

#[test]
fn t10_without_root_there_is_one_clear_message() {
    needs!(Root, Program("setpriv"));
    let host = Host::new();
    let vnode = vnode_testkit::built_program("vnode").display().to_string();
    // Where the checkout is private to root, the program cannot even be started by another user: copy it.
    let copy = "/tmp/vnode-test-as-nobody";
    let dir = host.run("mktemp", &["-d", &format!("{copy}-XXXXXX")]).ok().stdout.trim().to_owned();
    let core = vnode_testkit::built_program("vnode-core").display().to_string();
    host.run("cp", &[&vnode, &core, &dir]).ok();
    host.run("chmod", &["-R", "a+rx", &dir]).ok();
    let out = host.run(
        "setpriv",
        &[
            "--reuid",
            "65534",
            "--clear-groups",
            &format!("{dir}/vnode"),
            "--state-dir",
            &format!("{dir}/state"),
            "ps",
        ],
    );
    host.run("rm", &["-r", &dir]).ok();
    assert_eq!(out.code, 1, "{}", out.all());
    assert!(out.stderr.contains("root"), "{}", out.stderr);
    assert!(out.stderr.lines().count() <= 3, "{}", out.stderr);
}

#[test]
fn doctor_tells_what_this_machine_can_do() {
    needs!(Root);
    let host = Host::new();
    let out = host.vnode(&["doctor", "--json"]);
    let checks = out.json();
    let checks = checks.as_array().expect("a list");
    assert!(checks.len() > 5);
    for check in checks {
        let verdict = check["verdict"].as_str().unwrap();
        assert!(["ok", "warn", "fail"].contains(&verdict), "{check}");
        assert!(
            verdict == "ok" || !check["mend"].as_str().unwrap().is_empty(),
            "tells how to mend: {check}"
        );
    }
}

#[test]
fn completions_and_man_pages_are_written() {
    needs!(Root);
    let host = Host::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(host.vnode(&["completion", shell]).ok().stdout.contains("vnode"));
    }
    let dir = host.dir().join("man");
    host.vnode(&["man", &dir.display().to_string()]).ok();
    let pages: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(pages.iter().any(|p| p == "vnode.1"), "{pages:?}");
}

#[test]
fn events_tell_what_happened_in_order() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a:", ""));
    host.vnode(&["halt", "a"]).ok();
    host.vnode(&["down", "one"]).ok();
    let text = host.vnode(&["events", "--json"]).ok().stdout;
    let kinds: Vec<String> = text
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .filter_map(|e| Some(e["kind"].as_str()?.to_owned()))
        .collect();
    let place = |wanted: &str| {
        kinds
            .iter()
            .position(|k| k.contains(wanted))
            .unwrap_or_else(|| panic!("no {wanted} in {kinds:?}"))
    };
    assert!(place("node.booted") < place("node.exited"), "{kinds:?}");
}

#[test]
fn operations_are_listed_and_shown() {
    needs!(Root);
    let host = Host::new();
    up(&host, &lab("one", "a:", ""));
    let list = host.vnode(&["op", "ls", "--json"]).ok().json();
    let first = list.as_array().and_then(|l| l.first()).expect("there was one").clone();
    let id = first["id"].as_str().expect("an id").to_owned();
    host.vnode(&["op", "show", &id]).ok();
    host.vnode(&["op", "show", "no-such-operation"]).exits(1);
}

#[test]
fn a_graph_is_drawn_in_every_form() {
    needs!(Root);
    let host = Host::new();
    let file = host.write("two.clab.yml", &pair("two", "")).display().to_string();
    for (form, mark) in [("svg", "<svg"), ("mermaid", "graph"), ("dot", "graph")] {
        let out = host.vnode(&["graph", &file, "--format", form]).ok().stdout;
        assert!(out.contains(mark), "{form}: {out}");
    }
}

#[test]
fn a_pipe_gets_plain_lines_and_json_is_json() {
    needs!(Root);
    let host = Host::new();
    let file = host.write("two.clab.yml", &pair("two", "")).display().to_string();
    let out = host.vnode(&["up", &file]).ok();
    assert!(!out.all().contains('\u{1b}'), "no escape sequences: {}", out.all());
    let operations = host.vnode(&["op", "ls", "--json"]).ok().json();
    let id = operations[0]["id"].as_str().expect("there was one").to_owned();
    let man = host.dir().join("man").display().to_string();
    host.vnode(&["create", "still", "--json", "--", "sleep", "infinity"]).ok().json();
    for args in [
        &["ps"][..],
        &["inspect", "a"],
        &["inspect", "two"],
        &["state", "a"],
        &["link", "ls"],
        &["link", "set", vnode_tests::LINK, "rate=10mbit"],
        &["link", "down", vnode_tests::LINK],
        &["link", "up", vnode_tests::LINK],
        &["link", "reset", vnode_tests::LINK],
        &["image", "ls"],
        &["image", "gc"],
        &["op", "ls"],
        &["op", "show", &id],
        &["op", "follow", &id],
        &["doctor"],
        &["version"],
        &["daemon", "status"],
        &["timeline", "show", "two"],
        &["snapshot", "ls", "still"],
        &["mount", "still"],
        &["unmount", "still"],
        &["boot", "still"],
        &["reboot", "still", "--hard"],
        &["pause", "still"],
        &["resume", "still"],
        &["halt", "still", "--time", "0"],
        &["destroy", "still"],
        &["exec", "a", "--", "echo", "out"],
        &["token", "create", "one"],
        &["token", "ls"],
        &["token", "rm", "one"],
        &["check", &file],
        &["graph", &file],
        &["export", &file],
        &["apply", &file],
        &["apply", &file, "--dry-run"],
        &["clean", "--dry-run"],
        &["completion", "bash"],
        &["man", &man],
    ] {
        let out = host.vnode(&[args, &["--json"]].concat());
        if args[0] == "exec" {
            // What stands behind the program is the program's own.
            assert_eq!(out.ok().stdout, "out --json\n");
            continue;
        }
        // `doctor` ends with 1 where this machine lacks what is needed.
        assert!(out.code == 0 || args[0] == "doctor", "{}", out.all());
        out.json();
    }
    assert_eq!(
        host.vnode(&["exec", "--json", "a", "--", "echo", "out"]).ok().json()["stdout"],
        "out\n"
    );
    for args in [&["events"][..], &["logs", "a"], &["wait", "a"]] {
        let out = host.vnode(&[args, &["--json"]].concat()).ok();
        for line in out.stdout.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{args:?}: {line}");
        }
    }
    // Errors as well.
    for args in [&["inspect", "nobody"][..], &["op", "show", "none"], &["down", "./none.yml"]] {
        let out = host.vnode(&[args, &["--json"]].concat());
        assert!(
            out.code != 0 && out.json()["error"]["text"].is_string(),
            "{args:?}: {}",
            out.all()
        );
    }
    let out = host.vnode(&["down", &file, "--json"]).ok();
    for line in out.stdout.lines().filter(|l| !l.trim().is_empty()) {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok()
                || serde_json::from_str::<serde_json::Value>(&out.stdout).is_ok(),
            "{line}"
        );
    }
}

#[test]
fn clean_finds_nothing_after_orderly_work() {
    needs!(Root);
    let host = Host::new();
    let file = up(&host, &pair("two", ""));
    host.vnode(&["down", &file]).ok();
    let answer = host.vnode(&["clean", "--dry-run", "--json"]).ok().json();
    assert_eq!(answer["removed"].as_array().map(Vec::len), Some(0), "{answer}");
}

#[test]
fn the_daemon_is_started_when_needed_and_stopped_when_told() {
    needs!(Root);
    let host = Host::new();
    assert!(host.daemon_process().is_none());
    host.vnode(&["ps"]).ok();
    assert!(host.daemon_process().is_some());
    host.vnode(&["daemon", "stop"]).ok();
    eventually("the daemon ends", SOON, || host.daemon_process().is_none().then_some(()));
}

#[test]
fn a_message_names_the_thing_the_cause_and_the_way_out() {
    needs!(Root);
    let host = Host::new();
    let file = up(&host, &lab("one", "a:", ""));
    let broken = host.write("two.clab.yml", &lab("two", "b: {cmd: /no/such}\nc:", ""));
    let broken = broken.display().to_string();
    for (args, code, words) in [
        (&["up", &file][..], 1, &["lab `one` is already there", "`vnode apply FILE`"][..]),
        (
            &["up", &broken],
            3,
            &["cannot boot node `b`", "`/no/such`", "`vnode apply FILE`", "`vnode down two`"],
        ),
        (&["exec", "one/zz", "--", "true"], 1, &["no node `zz` in lab `one`", "`vnode ps one`"]),
        (&["boot", "zz"], 1, &["no node `zz`", "`vnode ps`"]),
        (&["capture", "a:eth9"], 1, &["node `a` has no interface `eth9`", "-- ip link`"]),
        (&["link", "down", "nope"], 1, &["no link `nope`", "`vnode link ls`"]),
        (
            &["image", "pull", "BAD NAME"],
            2,
            &["`BAD NAME` is not an image name", "docker-archive:"],
        ),
        (&["mount", "a"], 1, &["node `a` is running", "halt it first"]),
        (&["snapshot", "take", "a", "x"], 1, &["node `a` is running", "halt it first"]),
        (&["op", "show", "12"], 1, &["no operation `12`", "`vnode op ls`"]),
        (&["timeline", "pause", "one"], 1, &["lab `one` has no timeline", "`events`"]),
        (&["--host", "localhost:1", "ps"], 1, &["`localhost:1`", "refused", "--listen"]),
        (&["create", "bad name"], 2, &["`bad name` is no name", "a letter or digit"]),
    ] {
        let out = host.vnode(args).exits(code);
        for word in words {
            assert!(out.stderr.contains(word), "{args:?} says nothing of {word}: {}", out.all());
        }
        assert!(
            out.stderr.lines().filter(|l| l.starts_with("error: ")).count() == 1,
            "{}",
            out.all()
        );
    }
}
