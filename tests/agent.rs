//! The host's agent in containers: as their init, started on demand, in an image with nothing in it; and what goes wrong.

use std::path::PathBuf;
use std::process::Stdio;

use vnode_testkit::image::{self, ImageSpec};
use vnode_testkit::{Host, built_program, eventually, needs, skip};
use vnode_tests::{SOON, lab, pid, state, up, wait_for_state};

/// A lab of one node on the host's root with this definition.
fn one(name: &str, node: &str) -> String {
    lab(name, &format!("n: {{{node}}}"), "")
}

/// The agent as one static program, which a root without libraries needs; `cargo xtask dist` makes it.
fn static_agent() -> Option<PathBuf> {
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target = built_program("vnode").ancestors().nth(2).expect("below the target").to_owned();
    let checkout = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    let given = std::env::var_os("VNODE_STATIC_AGENT").map(PathBuf::from);
    let built = [target, checkout].into_iter().flat_map(|target| {
        ["dist", "release", "debug"]
            .map(|profile| target.join(&machine).join(profile).join("vnode-agent"))
    });
    let found = given.into_iter().chain(built).find(|path| path.is_file());
    if found.is_none() {
        skip("no static vnode-agent: run `cargo xtask dist`");
    }
    found
}

#[test]
fn an_agent_that_is_a_nodes_init_serves_reaps_and_passes_signals_on() {
    needs!(Root);
    let host = Host::new();
    let script = r#"trap \"echo asked; exit 0\" TERM; echo begun; while :; do sleep 0.1; done"#;
    up(&host, &one("init", &format!("agent: init, cmd: 'sh -c \"{script}\"'")));

    let info = host.vnode(&["agent", "info", "n", "--json"]).ok().json();
    assert_eq!(info["agent"], "vnode-agent");
    assert!(host.vnode(&["agent", "ping", "n"]).ok().stdout.contains("answers in"));
    let network = host.vnode(&["agent", "network", "n", "--json"]).ok().json();
    let names: Vec<_> = network["interfaces"].as_array().expect("a list").iter().collect();
    assert!(names.iter().any(|interface| interface["name"] == "lo"), "{network}");
    assert!(host.vnode(&["agent", "metrics", "n"]).ok().stdout.contains("uptime_s"));
    assert!(host.vnode(&["agent", "time", "n"]).ok().stdout.contains('.'));

    // Programs through it: streams, exit code, input, environment of the node.
    let out = host.vnode_with_input(
        &["exec", "--agent", "-e", "A=1", "n", "sh", "-c", "cat; echo $A $HOSTNAME >&2; exit 9"],
        b"typed",
    );
    assert_eq!((out.code, out.stdout.as_str(), out.stderr.trim()), (9, "typed", "1 n"));
    let missing = host.vnode(&["exec", "--agent", "n", "/no/such/program"]);
    assert_eq!(missing.code, 1);
    assert!(missing.all().contains("/no/such/program"), "{}", missing.all());

    // Files through it, there and back.
    let here = host.write("note", "a note\n").display().to_string();
    host.vnode(&["cp", "--agent", &here, "n:/root/note"]).ok();
    assert_eq!(host.exec("n", &["cat", "/root/note"]).ok().stdout, "a note\n");
    host.vnode(&["cp", "--agent", "n:/root/note", &format!("{here}.back")]).ok();
    assert_eq!(std::fs::read_to_string(format!("{here}.back")).expect("copied"), "a note\n");
    host.vnode(&["cp", "--agent", "n:/no/such", &here]).exits(1);

    // It is the first process, and takes up orphans: none stays a zombie.
    assert_eq!(host.exec("n", &["cat", "/proc/1/comm"]).ok().stdout, "vnode-agent\n");
    host.exec("n", &["sh", "-c", "sh -c 'sleep 0.2 & sleep 0.1 &' "]).ok();
    eventually("no zombie is left", SOON, || {
        let states = host.exec("n", &["sh", "-c", "cat /proc/[0-9]*/stat"]).stdout;
        (!states.lines().any(|line| line.contains(") Z "))).then_some(())
    });
    // What asks the node to end reaches its program, whose exit code is the node's.
    host.vnode(&["halt", "n"]).ok();
    let log = host.vnode(&["logs", "n"]).ok().stdout;
    assert!(log.contains("begun") && log.contains("asked"), "{log}");
    host.vnode(&["agent", "ping", "n"]).exits(1);
    host.vnode(&["boot", "n"]).ok();
    host.vnode(&["agent", "ping", "n"]).ok();
}

#[test]
fn an_agent_that_is_killed_comes_back_and_the_node_does_not_notice() {
    needs!(Root);
    let host = Host::new();
    up(&host, &one("killed", "agent: init"));
    let before = pid(&host, "n");
    let agents = "pidof -x vnode-agent | tr ' ' '\\n' | grep -v '^1$'";
    let first = host.exec("n", &["sh", "-c", agents]).ok().stdout;
    // What runs through it ends with a word, not without end.
    let mut long = host.vnode_command(&["exec", "--agent", "n", "sleep", "1000"]);
    let running = long.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sh starts");
    eventually("the program runs", SOON, || {
        (host.exec("n", &["pidof", "sleep"]).stdout.split_whitespace().count() > 1).then_some(())
    });
    host.exec("n", &["sh", "-c", &format!("kill -9 $({agents})")]).ok();
    let told = running.wait_with_output().expect("a started child can be waited for");
    assert_eq!(told.status.code(), Some(1), "{}", String::from_utf8_lossy(&told.stderr));
    // Asked at once, it is waited for.
    host.vnode(&["agent", "ping", "n"]).ok();
    assert_ne!(host.exec("n", &["sh", "-c", agents]).ok().stdout, first);
    assert_eq!(pid(&host, "n"), before);
    assert_eq!(state(&host, "n"), "running");
}

#[test]
fn rq_18_a_program_left_to_the_agent_outlives_client_and_agent_and_is_attached_to() {
    needs!(Root);
    let host = Host::new();
    up(&host, &one("left", "agent: init"));
    let script = "echo $A; read line; echo got $line $HOSTNAME; exit 9";
    let begun = ["exec", "--agent", "--detach", "-e", "A=one", "n", "sh", "-c", script];
    let id = host.vnode(&begun).ok().stdout.trim().to_owned();
    let listed = || host.vnode(&["agent", "exec-list", "n", "--json"]).ok().json();
    let programs = listed();
    let of = |key: &str| programs["programs"][0][key].clone();
    assert_eq!((of("id"), of("state")), (id.as_str().into(), "running".into()));
    // The agent is killed; the one that comes after it finds the program.
    let agents = "for p in $(pidof vnode-agent); do [ $p = 1 ] || kill -9 $p; done";
    host.exec("n", &["sh", "-c", agents]).ok();
    assert_eq!(listed(), programs);
    let attach = ["exec", "--agent", "--attach", &id, "n"];
    let out = host.vnode_with_input(&attach, b"it\n");
    assert_eq!((out.code, out.stdout.as_str()), (9, "one\ngot it n\n"), "{}", out.stderr);
    // It has ended, and can still be asked for what it printed.
    let out = host.vnode_with_input(&attach, b"");
    assert_eq!((out.code, out.stdout.as_str()), (9, "one\ngot it n\n"), "{}", out.stderr);
    let shown = host.vnode(&["agent", "exec-show", "n", &id, "--json"]).ok().json();
    assert_eq!((&shown["state"], &shown["code"]), (&"ended".into(), &9.into()));
    assert!(host.vnode(&["agent", "exec-list", "n"]).ok().stdout.contains("exit 9"));

    // A signal reaches one that runs.
    let traps = "trap 'echo was told; exit 7' USR1; : > /run/trapped; while :; do sleep 0.05; done";
    let begun = host.vnode(&["exec", "--agent", "--detach", "n", "sh", "-c", traps]).ok().stdout;
    let third = begun.trim();
    let signal = |name: &str| host.vnode(&["agent", "exec-signal", "n", third, "--signal", name]);
    assert!(signal("FOO").exits(2).all().contains("there is no signal `FOO`"));
    let trapped = || host.exec("n", &["test", "-e", "/run/trapped"]).code == 0;
    eventually("it heeds the signal", SOON, || trapped().then_some(()));
    signal("SIGUSR1").ok();
    let out = host.vnode_with_input(&["exec", "--agent", "--attach", third, "n"], b"");
    assert_eq!((out.code, out.stdout.as_str()), (7, "was told\n"), "{}", out.stderr);
    assert!(signal("TERM").exits(1).all().contains("has ended"));

    // Of much output the last is kept, and what is not is said.
    let prints = ["exec", "--agent", "--detach", "n", "sh", "-c", "head -c 3000000 /dev/zero"];
    let fourth = host.vnode(&prints).ok().stdout.trim().to_owned();
    let show = || host.vnode(&["agent", "exec-show", "n", &fourth, "--json"]).ok().json();
    eventually("it has ended", SOON, || (show()["state"] == "ended").then_some(()));
    let out = host.vnode_with_input(&["exec", "--agent", "--attach", &fourth, "n"], b"");
    assert_eq!((out.code, out.stdout.len()), (0, 1 << 20), "{}", out.stderr);
    let said = format!("{} bytes of output before this are lost", 3_000_000 - (1 << 20));
    assert!(out.stderr.contains(&said), "{}", out.stderr);

    // One that runs is ended with what it started, and forgotten.
    let begun = ["exec", "--agent", "--detach", "n", "sh", "-c", "setsid sleep 4321 & wait"];
    let second = host.vnode(&begun).ok().stdout.trim().to_owned();
    let sleeps = || host.exec("n", &["pgrep", "-xf", "sleep 4321"]).code;
    eventually("it has begun", SOON, || (sleeps() == 0).then_some(()));
    let ended = host.vnode(&["agent", "exec-end", "n", &second, "--json"]).ok().json();
    assert_eq!((&ended["state"], &ended["signal"]), (&"ended".into(), &1.into()));
    assert_eq!(sleeps(), 1);
    for id in [id.as_str(), &second, third, &fourth] {
        host.vnode(&["agent", "exec-remove", "n", id]).ok();
        let gone = host.vnode(&["exec", "--agent", "--attach", id, "n"]);
        assert!(gone.code == 1 && gone.all().contains("exec-list"), "{}", gone.all());
    }
    assert_eq!(listed()["programs"], serde_json::json!([]));
    host.vnode(&["exec", "--attach", &id, "n"]).exits(2);
}

#[test]
fn an_agent_on_demand_runs_only_while_it_is_asked() {
    needs!(Root);
    let host = Host::new();
    up(&host, &one("demand", "agent: on-demand"));
    let none = |host: &Host| host.exec("n", &["pidof", "vnode-agent"]).code != 0;
    assert!(none(&host));
    assert_eq!(host.vnode(&["agent", "ping", "n", "--json"]).ok().json()["agent"], "vnode-agent");
    let out = host.vnode(&["exec", "--agent", "n", "cat", "/proc/1/comm"]).ok();
    assert_ne!(out.stdout, "vnode-agent\n");
    eventually("it has ended", SOON, || none(&host).then_some(()));
    // The folder is the node's to read and nobody's to change.
    assert_ne!(host.exec("n", &["sh", "-c", "echo x >/.vnode/vnode-agent"]).code, 0);
    assert_ne!(host.exec("n", &["rm", "/.vnode/init.toml"]).code, 0);
}

#[test]
fn without_an_agent_and_without_the_program_the_way_out_is_named() {
    needs!(Root);
    let host = Host::new();
    up(&host, &one("none", ""));
    let out = host.vnode(&["agent", "ping", "n"]).exits(1);
    assert!(out.all().contains("agent: on-demand"), "{}", out.all());
    host.vnode(&["exec", "--agent", "n", "true"]).exits(1);
    host.vnode(&["component", "ls", "n"]).exits(1);
    host.vnode(&["down", "none"]).ok();

    host.kill9_daemon();
    let _daemon = host.start_daemon(&[("VNODE_AGENT", "/no/such/vnode-agent")]);
    let file = host.write("absent.clab.yml", &one("absent", "agent: init")).display().to_string();
    let out = host.vnode(&["up", &file]);
    assert_ne!(out.code, 0);
    assert!(out.all().contains("/no/such/vnode-agent"), "{}", out.all());
    assert!(out.all().contains("VNODE_AGENT"), "{}", out.all());
}

#[test]
fn a_daemon_that_was_killed_finds_the_agent_again() {
    needs!(Root);
    let host = Host::new();
    up(&host, &one("again", "agent: init"));
    host.vnode(&["agent", "ping", "n"]).ok();
    let before = pid(&host, "n");
    host.kill9_daemon();
    host.vnode(&["agent", "ping", "n"]).ok();
    assert_eq!(host.vnode(&["exec", "--agent", "n", "echo", "there"]).ok().stdout, "there\n");
    assert_eq!(pid(&host, "n"), before);
    let files = host.snapshot();
    host.vnode(&["down", "again"]).ok();
    drop(files);
    assert!(!host.state_dir().join("labs/again/etc/n").exists(), "the socket's folder goes");
}

#[test]
fn a_socket_that_a_node_replaces_leads_nowhere() {
    needs!(Root);
    let host = Host::new();
    up(&host, &one("hostile", "agent: init"));
    host.vnode(&["agent", "ping", "n"]).ok();
    // A link to the daemon's own socket, and a file.
    let daemon = host.state_dir().join("vnode.sock").display().to_string();
    let socket = "/.vnode/run/agent.sock";
    host.exec("n", &["sh", "-c", &format!("rm {socket}; ln -s {daemon} {socket}")]).ok();
    let out = host.vnode(&["agent", "ping", "n"]).exits(1);
    assert!(out.all().contains("does not listen"), "{}", out.all());
    host.exec("n", &["sh", "-c", &format!("rm {socket}; echo x >{socket}")]).ok();
    host.vnode(&["agent", "ping", "n"]).exits(1);
    assert_eq!(state(&host, "n"), "running");
}

#[test]
fn a_scratch_image_with_nothing_in_it_is_served_by_the_agent_alone() {
    needs!(Root);
    let Some(agent) = static_agent() else { return };
    let mut host = Host::new();
    host.set_env("VNODE_AGENT", &agent.display().to_string());
    let empty = ImageSpec { busybox: false, cmd: Vec::new(), ..ImageSpec::default() }.with_file(
        "data",
        "in the image\n",
        0o644,
    );
    let tar = image::write_tarball(&empty, &host.dir().join("empty.tar"));
    let image = format!("tar:{}", tar.display());
    // No program at all: `one` has a shell by default, and an empty `cmd` leaves a default alone.
    let node = format!("n: {{kind: linux, agent: init, image: '{image}'}}");
    up(&host, &format!("name: scratch\ntopology:\n  nodes:\n    {node}\n"));
    wait_for_state(&host, "n", "running");
    host.vnode(&["agent", "ping", "n"]).ok();
    assert_eq!(host.vnode(&["agent", "info", "n", "--json"]).ok().json()["agent"], "vnode-agent");
    // A file needs no program of the image; the agent's own program is the only one there is.
    let here = host.dir().join("data").display().to_string();
    host.vnode(&["cp", "--agent", "n:/data", &here]).ok();
    assert_eq!(std::fs::read_to_string(&here).expect("copied"), "in the image\n");
    let out = host.vnode(&["exec", "--agent", "n", "/.vnode/vnode-agent", "--version"]).ok();
    assert!(out.stdout.starts_with("vnode-agent "), "{}", out.stdout);
    host.vnode(&["exec", "--agent", "n", "sh"]).exits(1);
    host.vnode(&["halt", "n"]).ok();
}

#[test]
fn the_toaster_answers_on_the_host() {
    needs!(Root, Program("dbus-daemon"), Program("busctl"));
    let host = Host::new();
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/toaster");
    let file = example.join("lab.clab.yml").canonicalize().expect("the example is there");
    host.vnode(&["up", &file.display().to_string()]).ok();
    let name = "net.vyatta.eng.vci.example.ephemeral.toaster";
    eventually("the toaster is there", SOON * 2, || {
        host.vnode(&["component", "ls", "toaster"]).stdout.contains(name).then_some(())
    });
    let show = host.vnode(&["component", "show", "toaster", name]).ok();
    assert_eq!(show.json()["name"], name, "{}", show.stdout);
    // The exit code and what is said of an error are the tool's own.
    let wrong = host.vnode(&["component", "show", "toaster", "no.such.component"]);
    assert_ne!(wrong.code, 0);
    assert!(wrong.stderr.contains("no.such.component"), "{}", wrong.all());
    // Inside, any client of the bus does the same.
    let bus = "--address=unix:path=/tmp/toaster/bus";
    let names = host.exec("toaster", &["busctl", bus, "list"]).ok().stdout;
    assert!(names.contains("net.vyatta"), "{names}");
    host.vnode(&["down", "toaster"]).ok();
}
