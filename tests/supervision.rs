//! The daemon as others start and reach it: a service manager's socket and watchdog, TLS with a token, a terminal.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Stdio;

use vnode_testkit::{Host, built_program, eventually, needs, needs_or_guest};
use vnode_tests::{SOON, lab, state, up};

#[test]
fn a_service_manager_gives_the_socket_is_told_of_readiness_and_sees_the_watchdog_fed() {
    needs!(Root);
    let host = Host::new();
    std::fs::create_dir_all(host.state_dir()).expect("the host's directory is writable");
    let socket = host.state_dir().join("vnode.sock");
    let given: OwnedFd = UnixListener::bind(&socket).expect("the folder is new").into();
    let manager = host.dir().join("notify");
    let told = UnixDatagram::bind(&manager).expect("the folder is new");
    // Read all the while, as a service manager does: a queue that is full would hold the daemon up.
    let (sender, messages) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut text = [0; 256];
        while let Ok(length @ 1..) = told.recv(&mut text) {
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            let last = text.contains("STOPPING=1");
            if sender.send(text).is_err() || last {
                return;
            }
        }
    });
    let hears = |wanted: &str| {
        eventually(&format!("the daemon tells {wanted}"), SOON, || {
            messages.try_iter().find(|text| text.contains(wanted)).map(drop)
        });
    };
    // As systemd has it: descriptor 3, and the process id that is meant.
    let script =
        "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=$$; exec \"$@\"";
    let mut daemon = host
        .command("sh")
        .args(["-c", script, "sh"])
        .arg(built_program("vnode"))
        .arg("daemon")
        .env("VNODE_STATE_DIR", host.state_dir())
        .env("NOTIFY_SOCKET", &manager)
        .env("WATCHDOG_USEC", "400000")
        .stdin(given)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    hears("READY=1");
    for _ in 0..3 {
        hears("WATCHDOG=1");
    }
    up(&host, &lab("one", "a:", ""));
    assert_eq!(state(&host, "a"), "running", "the commands came by the socket that was given");
    host.vnode(&["daemon", "stop"]).ok();
    hears("STOPPING=1");
    reader.join().expect("it ends with the last word");
    assert!(daemon.wait().expect("a started child can be waited for").success());
    assert!(socket.exists(), "the socket is the service manager's, not the daemon's to remove");
    // The next daemon finds the node; this one is started by the command, and listens by itself.
    assert_eq!(state(&host, "a"), "running");
    host.vnode(&["down", "one"]).ok();
}

#[test]
fn nodes_have_no_part_in_what_the_daemons_unit_gives_it_when_memory_is_short() {
    needs_or_guest!(Root, Capability(24, "CAP_SYS_RESOURCE"));
    let host = Host::new();
    let vnode = built_program("vnode").display().to_string();
    let state = host.state_dir().display().to_string();
    let line = "echo -500 >/proc/self/oom_score_adj && exec \"$0\" --state-dir \"$1\" ps";
    host.run("sh", &["-c", line, &vnode, &state]).ok();
    up(&host, &lab("one", "a:", ""));
    let score = |pid: u32| {
        let path = format!("/proc/{pid}/oom_score_adj");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        text.trim().parse::<i32>().expect("a number")
    };
    for process in host.processes() {
        if process.is_daemon() || process.is_monitor() {
            assert_eq!(score(process.pid), -500, "{:?}", process.argv);
        }
    }
    let read = ["cat", "/proc/1/oom_score_adj", "/proc/self/oom_score_adj"];
    assert_eq!(host.exec("a", &read).ok().stdout, "0\n0\n");
    host.vnode(&["down", "one"]).ok();
}

#[test]
fn another_host_is_reached_over_tls_with_a_token_and_not_without() {
    needs!(Root);
    let host = Host::new();
    let address = format!("localhost:{}", host.free_port());
    let _daemon = host.start_daemon(&[("VNODE_LISTEN", &address)]);
    up(&host, &lab("one", "a:", ""));
    let token = host.vnode(&["token", "create", "test"]).ok().stdout.trim().to_owned();
    let ca = host.state_dir().join("api-cert.pem").display().to_string();
    let far = |token: &str, ca: &str, args: &[&str]| {
        let at = ["--state-dir", "/nowhere", "--host", &address, "--token", token, "--ca", ca];
        host.vnode(&[&at[..], args].concat())
    };
    let nodes = far(&token, &ca, &["ps", "--json"]).ok().json();
    assert_eq!(nodes[0]["node"], "a");
    let out = far(&token, &ca, &["exec", "a", "--", "sh", "-c", "echo over TLS; exit 5"]).exits(5);
    assert_eq!(out.stdout, "over TLS\n");
    let refused = far("wrong", &ca, &["ps"]).exits(1);
    assert!(refused.stderr.contains("a valid token is needed"), "{}", refused.all());
    assert!(refused.stderr.contains("vnode token create"), "the way out: {}", refused.all());
    // A daemon whose certificate nobody vouches for is not spoken to.
    let other = host.write("other.pem", "no certificate\n").display().to_string();
    let unknown = far(&token, &other, &["ps"]).exits(2);
    assert!(unknown.stderr.contains("other.pem` holds no certificate"), "{}", unknown.all());
    host.vnode(&["token", "rm", "test"]).ok();
    far(&token, &ca, &["ps"]).exits(1);
    // A callback runs where the root is.
    let there = far(&token, &ca, &["mount", "a", "--", "true"]).exits(2);
    assert!(there.stderr.contains(&address), "{}", there.all());
    host.vnode(&["down", "one"]).ok();
}

#[test]
fn a_terminal_shows_a_bar_and_a_pipe_gets_lines() {
    needs!(Root, Program("script"));
    let host = Host::new();
    // Its startup command ends when it is told to: the bar has time to be seen.
    let nodes = "a:\n  exec: [\"sh -c 'until test -e /root/go; do sleep 0.05; done'\"]";
    let file = host.write("slow.clab.yml", &lab("slow", nodes, "")).display().to_string();
    let seen = host.dir().join("seen");
    let line = format!("stty cols 100 rows 30; '{}' up '{file}'", built_program("vnode").display());
    let mut terminal = host
        .command("script")
        .args(["-q", "-e", "-f", "-c", &line, "/dev/null"])
        .env("VNODE_STATE_DIR", host.state_dir())
        .env("TERM", "xterm")
        .stdout(std::fs::File::create(&seen).expect("the host's directory is writable"))
        .spawn()
        .expect("sh starts");
    let text = || std::fs::read_to_string(&seen).unwrap_or_default();
    eventually("a bar is drawn", SOON, || {
        let text = text();
        (text.contains("lab.up lab/slow") && text.contains('\u{1b}')).then_some(())
    });
    vnode_tests::wait_for_state(&host, "a", "running");
    host.exec("a", &["touch", "/root/go"]).ok();
    assert!(terminal.wait().expect("a started child can be waited for").success());
    assert!(text().contains("completed"), "{}", text());
    let out = host.vnode(&["down", "slow"]).ok();
    assert!(out.stderr.contains("lab.down lab/slow: completed"), "{}", out.all());
    assert!(!out.all().contains('\u{1b}'), "{}", out.all());
}
