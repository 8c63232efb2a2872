//! The two old protocols of guests, to their own clients: from a node of a lab, and from a plain process, as the example and
//! README.md show.
#![allow(clippy::disallowed_methods)] // other people's clients are started as they are

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use vnode_testkit::{Host, Xenstored, built_program, eventually, find_program, needs, skip};
use vnode_tests::SOON;

/// A client of QEMU's guest agent on its unix socket.
struct Guest(BufReader<UnixStream>);

impl Guest {
    fn connect(socket: &Path) -> Guest {
        let stream = eventually("the agent listens", SOON, || UnixStream::connect(socket).ok());
        stream.set_read_timeout(Some(SOON)).expect("a socket has time limits");
        Guest(BufReader::new(stream))
    }

    fn call(&mut self, name: &str, arguments: Value) -> Value {
        let request = json!({"execute": name, "arguments": arguments});
        writeln!(self.0.get_mut(), "{request}").expect("the agent takes it");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the agent answers");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }
}

/// What `socat` prints of one request, as README.md has it.
fn by_socat(socket: &Path, request: &str) -> String {
    let mut child = Command::new("socat")
        .args(["-t", "10", "-"])
        .arg(format!("UNIX:{}", socket.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("socat starts");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    writeln!(stdin, "{request}").expect("socat takes it");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("it is a pipe"));
    out.read_line(&mut line).expect("socat answers");
    drop(stdin);
    child.wait().expect("a started child can be waited for");
    line
}

/// A request by `xenstore-write`, and its answer by `xenstore-read`.
fn by_xenstore(daemon: &Xenstored, id: &str, request: &Value) -> Value {
    let node = |folder: &str| format!("/local/domain/5/data/{folder}/{id}");
    daemon.ask("xenstore-write", &[&node("host"), &request.to_string()]).expect("it is written");
    let answer =
        eventually("it is answered", SOON, || daemon.ask("xenstore-read", &[&node("guest")]));
    assert_eq!(daemon.ask("xenstore-read", &[&node("host")]), None, "the request is removed");
    serde_json::from_str(&answer).expect("the answer is JSON")
}

#[test]
fn a_node_of_the_example_serves_both_to_their_clients() {
    needs!(Root, Program("xenstore-write"));
    if let Some(why) = Xenstored::missing() {
        return skip(&why);
    }
    let daemon = Xenstored::start();
    let host = Host::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/agents");
    let example = example.canonicalize().expect("the example is there");
    let sockets = host.dir().join("sockets");
    std::fs::create_dir(&sockets).expect("the host's directory is writable");
    // The example as it is, with this test's folders in the place of the machine's.
    let text = std::fs::read_to_string(example.join("lab.clab.yml")).expect("the example is there");
    let text = text
        .replace("- .:/opt/agents", &format!("- {}:/opt/agents", example.display()))
        .replace("- /run/vnode-agents:", &format!("- {}:", sockets.display()))
        .replace("- /run/xenstored:", &format!("- {}:", daemon.run_dir().display()));
    let file = host.write("agents.clab.yml", &text).display().to_string();
    host.vnode(&["up", &file]).ok();

    let socket = sockets.join("qga.sock");
    let mut guest = Guest::connect(&socket);
    assert_eq!(guest.call("guest-ping", json!({})), json!({"return": {}}));
    assert_eq!(guest.call("guest-sync", json!({"id": 42})), json!({"return": 42}));
    let name = guest.call("guest-get-host-name", json!({}));
    assert_eq!(name["return"]["host-name"], "guest", "it is the node that answers: {name}");
    let interfaces = guest.call("guest-network-get-interfaces", json!({})).to_string();
    assert!(interfaces.contains("\"192.0.2.1\""), "{interfaces}");
    let blocked = guest.call("guest-shutdown", json!({}));
    assert_eq!(blocked["error"]["class"], "CommandNotFound", "{blocked}");
    drop(guest);
    if find_program("socat").is_some() {
        let line = by_socat(&socket, r#"{"execute": "guest-ping"}"#);
        assert_eq!(line.trim_end(), r#"{"return": {}}"#);
    }

    let version = by_xenstore(&daemon, "1", &json!({"name": "version", "value": "agent"}));
    assert_eq!(version["returncode"], "0", "{version}");
    let features = by_xenstore(&daemon, "2", &json!({"name": "features", "value": "agent"}));
    let names: Vec<&str> = features["message"].as_str().unwrap_or_default().split(',').collect();
    assert!(names.contains(&"injectfile") && !names.contains(&"password"), "{features}");
    // `/etc/motd` with a word in it, as Nova sends files.
    let inject = json!({"name": "injectfile", "value": "L2V0Yy9tb3RkLGhlbGxvLCB3b3JsZAo="});
    assert_eq!(by_xenstore(&daemon, "3", &inject)["returncode"], "0");
    assert_eq!(host.exec("guest", &["cat", "/etc/motd"]).ok().stdout, "hello, world\n");
    let unknown = by_xenstore(&daemon, "4", &json!({"name": "nope"}));
    assert_eq!(unknown["returncode"], "404", "{unknown}");
    host.vnode(&["down", "agents"]).ok();
}

/// A process that ends with the value.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

#[test]
fn a_plain_process_serves_both_to_their_clients() {
    needs!(Root);
    let host = Host::new();
    let program = built_program("vnode-agent");
    // The first, as README.md has it: qemu-ga's own options.
    let socket = host.dir().join("qga.sock");
    let state = host.dir().join("qga-state");
    std::fs::create_dir(&state).expect("the host's directory is writable");
    let mut command = Command::new(&program);
    command.args(["qemu-ga", "-m", "unix-listen", "-p"]).arg(&socket).arg("-t").arg(&state);
    let _qga = Ends(command.stdin(Stdio::null()).spawn().expect("the agent starts"));
    let mut guest = Guest::connect(&socket);
    assert_eq!(guest.call("guest-ping", json!({})), json!({"return": {}}));
    drop(guest);
    if find_program("socat").is_some() {
        let line = by_socat(&socket, r#"{"execute": "guest-ping"}"#);
        assert_eq!(line.trim_end(), r#"{"return": {}}"#);
    }
    // The second, as nova-agent was started: with a pid file, in the background.
    if let Some(why) = Xenstored::missing() {
        return skip(&why);
    }
    let daemon = Xenstored::start();
    let config = host.write(
        "agent.toml",
        &format!(
            "defaults = false\n[[channel]]\nname = \"xen\"\nexchange = \"xenstore\"\nparser = \"openstack\"\n\
             path = {:?}\nbase = \"/local/domain/5\"\n",
            daemon.socket()
        ),
    );
    let explained = Command::new(&program)
        .args(["check", "--config"])
        .arg(&config)
        .output()
        .expect("the agent starts");
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.status.success() && text.contains("resetnetwork"), "{text}");
    let mut command = Command::new(&program);
    command.args(["run", "--config"]).arg(&config);
    let _xen = Ends(command.stdin(Stdio::null()).spawn().expect("the agent starts"));
    let version = by_xenstore(&daemon, "1", &json!({"name": "version", "value": "agent"}));
    assert_eq!(version["returncode"], "0", "{version}");
}
