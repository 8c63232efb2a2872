//! The program: check, init, stop and reload, what nova-agent's scripts give it.

use std::{
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use super::support::{Agent, PROGRAM};

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_and_version_end_with_0_and_what_is_wrong_with_1() {
    assert!(text(&run(&["--help"]).stdout).contains("vnode-agent"));
    assert!(text(&run(&["--version"]).stdout).starts_with("vnode-agent "));
    for wrong in [&["--no-such-option"][..], &["run", "--config", "/no/such/file"], &[]] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn check_explains_each_channel() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    let config = "defaults = false\n[[channel]]\nname = \"a\"\nexchange = \"vsock\"\nport = 9\n\
                  parser = \"native\"\nallow = [\"ping\", \"pong\"]\n";
    std::fs::write(&file, config).unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let told = text(&output.stdout);
    for part in [
        "channel a",
        "vsock port 9, for context ids 2",
        "allowed   ping\n",
        "no command of this form is named `pong`",
    ] {
        assert!(told.contains(part), "no `{part}` in\n{told}");
    }
    let output = run(&["check", "--json", "--config", file.to_str().unwrap()]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["channels"][0]["allowed"], json!(["ping"]));
}

#[test]
fn check_names_every_fault_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, "[log]\nlevle = \"info\"\n").unwrap();
    std::fs::create_dir(folder.path().join("agent.d")).unwrap();
    std::fs::write(folder.path().join("agent.d/1.toml"), "x = 1\n").unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("agent.toml:2:1: [log] has no key `levle`; did you mean `level`?"));
    assert!(said.contains("agent.d/1.toml:1:1: the file has no key `x`"), "{said}");
    // The same keeps it from running (R-D6).
    assert_eq!(run(&["run", "--config", file.to_str().unwrap()]).status.code(), Some(1));
}

#[test]
fn init_ends_with_the_programs_exit_code_and_passes_signals_on() {
    assert_eq!(run(&["init", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(run(&["init", "--", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    assert_eq!(run(&["init", "--", "/no/such/program"]).status.code(), Some(127));
    let mut child = Command::new(PROGRAM)
        .args([
            "init",
            "--",
            "sh",
            "-c",
            "trap 'exit 42' TERM; echo ready; while :; do read x; done",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    // SAFETY: signals our own child, which is not waited for yet.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) };
    // A shell acts on it when its `read` returns.
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(42));
}

#[test]
fn init_passes_on_what_other_inits_are_asked_with_and_drops_to_the_programs_user() {
    // Of systemd (SIGRTMIN+3) and of power failures.
    for (signal, code) in [(37, 43), (libc::SIGPWR, 44)] {
        let script = format!("trap 'exit {code}' {signal}; echo ready; while :; do read x; done");
        let mut child = Command::new(PROGRAM)
            .args(["init", "--", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        // SAFETY: signals our own child, which is not waited for yet.
        unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) };
        // The shell may have ended by the signal already, without this line.
        let _ = std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n");
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root becomes somebody else");
        return;
    }
    let ids = "id -u; id -g; id -G";
    let output = run(&["init", "--user", "12345:54321", "--", "sh", "-c", ids]);
    assert_eq!(text(&output.stdout), "12345\n54321\n54321\n");
    let output = run(&["init", "--user", "nobody", "--", "id", "-un"]);
    assert_eq!(text(&output.stdout), "nobody\n");
    let output = run(&["init", "--user", "nobody-of-that-name", "--", "true"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(text(&output.stderr).contains("there is no such user"));
}

#[test]
fn init_that_only_serves_starts_its_agent_again_and_ends_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("agent.toml"), folder.path().join("agent.sock"));
    let config = format!(
        "defaults = false\n[[channel]]\nname = \"native\"\nexchange = \"unix\"\nparser = \"native\"\n\
         path = \"{}\"\n",
        socket.display()
    );
    std::fs::write(&file, config).unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["init", "--serve", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let served = |not: &str| {
        vnode_testkit::eventually("the agent serves", super::support::PATIENCE, || {
            let agent = std::fs::read_to_string(&children).unwrap().trim().to_owned();
            let there = std::os::unix::net::UnixStream::connect(&socket).is_ok();
            (there && !agent.is_empty() && agent != not).then_some(agent)
        })
    };
    let first = served("");
    // SAFETY: signals a child of our child, which is its parent and has not waited for it.
    unsafe { libc::kill(first.parse().unwrap(), libc::SIGKILL) };
    served(&first);
    // SAFETY: signals our own child, which is not waited for yet.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) };
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn init_reaps_orphans() {
    // The orphan's parent ends at once; the orphan's own end is seen by its process id's going.
    let script = "sh -c 'sleep 0.01 & echo $! > orphan'; \
                  while kill -0 $(cat orphan) 2>/dev/null; do sleep 0.01; done; echo reaped";
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["init", "--", "sh", "-c", script])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "reaped\n");
}

#[tokio::test]
async fn term_lets_the_running_command_end() {
    let mut agent = Agent::start("");
    let mut client = agent.connect().await;
    let argv = ["sh", "-c", "echo begun; read x; echo done"];
    let request = client.begin("exec", json!({"argv": argv, "stdin": true})).await;
    client.next().await;
    agent.signal(libc::SIGTERM);
    client.send(request, vnode_protocol::frame::Frame::StdinEnd).await;
    assert_eq!(client.end(request).await.stdout, b"done\n");
    assert_eq!(agent.wait().code(), Some(0));
    assert!(!agent.path("agent.sock").exists());
}

#[tokio::test]
async fn hup_reads_the_configuration_again_and_keeps_what_did_not_change() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let file = agent.path("agent.toml");
    let mut config = std::fs::read_to_string(&file).unwrap();
    let path = agent.path("second.sock");
    config.push_str(&format!(
        "\n[[channel]]\nname = \"second\"\nexchange = \"unix\"\nparser = \"native\"\nallow = [\"ping\"]\npath = {path:?}\n"
    ));
    std::fs::write(&file, config).unwrap();
    agent.signal(libc::SIGHUP);
    let mut second = None;
    for _ in 0..1200 {
        if let Ok(stream) = tokio::net::UnixStream::connect(&path).await {
            second = Some(super::support::Client::new(stream));
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut second = second.expect("the new channel is there");
    assert!(second.call("ping", Value::Null).await.result.unwrap().is_ok());
    assert_eq!(second.call("info", Value::Null).await.error()["code"], "forbidden");
    // The old connection goes on, and a wrong configuration changes nothing.
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
    std::fs::write(&file, "nonsense").unwrap();
    agent.signal(libc::SIGHUP);
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
    assert!(second.call("ping", Value::Null).await.result.unwrap().is_ok());
}

#[test]
fn started_as_nova_agent_it_forks_and_tells_how_the_start_went() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::os::unix::fs::symlink(PROGRAM, at("nova-agent")).unwrap();
    let config = format!(
        "defaults = false\n[[channel]]\nname = \"n\"\nexchange = \"unix\"\nparser = \"native\"\npath = \"{}\"\n",
        at("agent.sock")
    );
    std::fs::write(at("agent.toml"), config).unwrap();
    let start = |config: &str| {
        Command::new(at("nova-agent"))
            .args(["-q", "-p", &at("pid"), "-o", &at("log"), "-l", "info", "-c", config])
            .arg("/etc/nova-agent.py")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let failed = start(&at("none.toml"));
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let started = start(&at("agent.toml"));
    assert_eq!(started.status.code(), Some(0), "{started:?}");
    let pid: i32 = std::fs::read_to_string(at("pid")).unwrap().trim().parse().unwrap();
    let mode = |name| std::fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("pid"), mode("log")), (0o600, 0o600));
    let log = std::fs::read_to_string(at("log")).unwrap();
    assert!(log.contains("Python configuration is not read"), "{log}");
    // SAFETY: the process is the daemon that we started, which its own file names.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    for _ in 0..1200 {
        if !folder.path().join("pid").exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the daemon did not end");
}

#[test]
fn the_published_schema_is_this_programs() {
    held("schemas/vnode-agent.schema.json", &format!("{:#}\n", vnode_agent::config::json_schema()));
}

#[test]
fn the_published_man_pages_are_this_programs() {
    let mut command = <vnode_agent::cli::Cli as clap::CommandFactory>::command();
    // The version in the page's footer would change every page with every release.
    command = command.version("").display_name("vnode-agent");
    command.build();
    let mut pages = vec![("vnode-agent".to_owned(), command.clone())];
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        pages.push((format!("vnode-agent-{}", sub.get_name()), sub.clone()));
    }
    for (name, command) in pages {
        let mut page = Vec::new();
        let name: &'static str = name.leak();
        clap_mangen::Man::new(command.display_name(name))
            .title(name.to_uppercase())
            .source("vnode")
            .manual("vnode")
            .render(&mut page)
            .unwrap();
        held(&format!("docs/reference/man-agent/{name}.8"), &text(&page));
    }
}

/// Compares a committed file with what is made now; writes it with VNODE_WRITE_REFERENCE=1.
fn held(name: &str, made: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(name);
    if std::env::var_os("VNODE_WRITE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == made,
        "{name} is not up to date; run this test with VNODE_WRITE_REFERENCE=1"
    );
}
