//! Commands of operators that the service must bear: many at once, long and odd ones, editors, and what reaches for a
//! terminal or a signal that is not its own (RQ-10 to RQ-26 of the specification of network functions).

use std::{
    fs::File,
    os::fd::OwnedFd,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{net::UnixStream, time::timeout};
use vnode_protocol::frame::Frame;
use vnode_testkit::needs;

use super::support::{Agent, Client, PROGRAM, code, eventually};

#[tokio::test]
async fn rq_10_fifty_commands_run_at_a_time() {
    let agent = Agent::start("");
    // As many as one connection may have, and the rest.
    let mut clients = Vec::new();
    for commands in [16, 16, 16, 2] {
        let mut client = agent.connect().await;
        let value = json!({"argv": ["sh", "-c", "echo ready; read line"], "stdin": true});
        let mut requests = Vec::new();
        for _ in 0..commands {
            requests.push(client.begin("exec", value.clone()).await);
        }
        clients.push((client, requests));
    }
    for (client, requests) in &mut clients {
        let mut ready = 0;
        while ready < requests.len() {
            match client.next().await.expect("the agent does not hang up").frame {
                Frame::Stdout(_) => ready += 1,
                Frame::Credit(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    // None of them has ended: all fifty run.
    for (client, requests) in &mut clients {
        for request in requests.iter() {
            client.send(*request, Frame::StdinEnd).await;
        }
        let mut ended = 0;
        while ended < requests.len() {
            if let Frame::Exit(exit) = client.next().await.expect("it does not hang up").frame {
                assert_eq!(exit.code, Some(1));
                ended += 1;
            }
        }
    }
}

#[tokio::test]
async fn rq_15_arguments_arrive_as_they_were_sent() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let long = "x".repeat(100 << 10);
    let ended = client.exec(&["sh", "-c", &format!("printf %s {long} | wc -c")]).await;
    assert_eq!(String::from_utf8_lossy(&ended.stdout).trim(), (100 << 10).to_string());
    let odd = [
        "",
        " ",
        "a b",
        "'",
        "\"",
        "\\",
        "$HOME",
        "`id`",
        "a\nb\n",
        "*",
        "-n",
        "ümläut 文字",
        "\t;&|<>",
    ];
    let ended = client.exec(&[&["printf", "%s\\0"][..], &odd].concat()).await;
    let expected: Vec<u8> = odd.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    assert_eq!(ended.stdout, expected);
}

#[tokio::test]
async fn rq_19_what_stays_in_the_background_lets_nobody_wait() {
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let fifo = agent.path("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let held = File::options().read(true).write(true).open(&fifo).unwrap();
    // It has the streams of the request, and reads as long as the pipe is held.
    let line = format!("cat {} & echo done", fifo.display());
    let ended = client.exec(&["sh", "-c", &line]).await;
    assert_eq!((code(&ended), &ended.stdout[..]), (Some(0), &b"done\n"[..]));
    drop(held);
}

#[tokio::test]
async fn rq_20_an_editor_without_a_terminal_ends_by_itself() {
    needs!(Program("nano"));
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let file = agent.path("text").display().to_string();
    let ended = client.exec(&["nano", &file]).await;
    assert!(ended.exit.is_some(), "{ended:?}");
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
}

/// What a request has printed on its terminal, up to a text.
async fn until(client: &mut Client, seen: &mut Vec<u8>, texts: &[&str]) {
    while !texts.iter().any(|text| String::from_utf8_lossy(seen).contains(text)) {
        let tagged = client.next().await.expect("the agent does not hang up");
        match tagged.frame {
            Frame::Stdout(bytes) => {
                let credit = Frame::Credit(u32::try_from(bytes.len()).unwrap());
                seen.extend(bytes);
                client.send(tagged.request, credit).await;
            }
            Frame::Exit(exit) => panic!("{exit:?}: {}", String::from_utf8_lossy(seen)),
            _ => {}
        }
    }
}

#[tokio::test]
async fn rq_21_an_editor_on_a_terminal_writes_its_file() {
    needs!(Program("nano"));
    let agent = Agent::start("");
    let mut client = agent.connect().await;
    let file = agent.path("text");
    let value = json!({
        // No user's settings, and no help of a screen that is too low.
        "argv": ["nano", "--ignorercfiles", file],
        "terminal": {"rows": 24, "columns": 80},
        "stdin": true,
    });
    let request = client.begin("exec", value).await;
    let mut seen = Vec::new();
    until(&mut client, &mut seen, &["New File"]).await;
    seen.clear();
    // It draws on lines that were not there; a size that came before it listened for sizes is not the last one.
    for rows in 50..80 {
        client.send(request, Frame::Resize { rows, columns: 132 }).await;
        let drawn = until(&mut client, &mut seen, &["\x1b[49", "\x1b[50"]);
        if timeout(Duration::from_secs(2), drawn).await.is_ok() {
            break;
        }
    }
    until(&mut client, &mut seen, &["\x1b[49", "\x1b[50"]).await;
    // The text, ^O and the name as it stands, ^X; each once the screen shows that the one before it was taken.
    for (keys, shown) in
        [(&b"hello"[..], "hello"), (b"\x0f", "File Name to Write"), (b"\r", "Wrote")]
    {
        seen.clear();
        client.send(request, Frame::Stdin(keys.to_vec())).await;
        until(&mut client, &mut seen, &[shown]).await;
    }
    client.send(request, Frame::Stdin(b"\x18".to_vec())).await;
    assert_eq!(code(&client.end(request).await), Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "hello\n");
}

/// An agent that a shell with job control has started in the background of a terminal; its log is a file.
struct Background {
    folder: tempfile::TempDir,
    shell: Child,
    agent: i32,
    /// Our end of the terminal.
    _terminal: OwnedFd,
}

impl Background {
    fn start() -> Self {
        use rustix::pty::OpenptFlags;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let config = format!(
            "defaults = false\n[[channel]]\nname = \"native\"\nexchange = \"unix\"\n\
             parser = \"native\"\npath = \"{}\"\n",
            at("agent.sock").display()
        );
        std::fs::write(at("agent.toml"), config).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&terminal).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&terminal, flags).unwrap();
        let script = format!(
            "set -m; {PROGRAM} run --config {0}/agent.toml 2> {0}/log & echo $! > {0}/pid; wait",
            folder.path().display()
        );
        let mut shell = Command::new("sh");
        let copy = || Stdio::from(slave.try_clone().unwrap());
        shell.args(["-c", &script]).stdin(copy()).stdout(copy()).stderr(copy());
        let before = || {
            rustix::process::setsid()?;
            // SAFETY: a system call on our own descriptor 0, which is a terminal that nobody has.
            match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: two system calls between fork and exec, nothing else.
        unsafe { shell.pre_exec(before) };
        let shell = shell.spawn().unwrap();
        let pid = at("pid");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        eventually("the agent is started", || read(&pid).ends_with('\n'));
        let agent = read(&pid).trim().parse().unwrap();
        let background = Self { folder, shell, agent, _terminal: terminal };
        eventually("it serves", || background.log().contains("serving"));
        background
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn connect(&self) -> Client {
        Client::new(UnixStream::connect(self.folder.path().join("agent.sock")).await.unwrap())
    }

    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.agent)).unwrap();
        stat[stat.rfind(')').unwrap() + 2..].chars().next().unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // SAFETY: signals the child of our shell, which waits for it.
        unsafe { libc::kill(self.agent, libc::SIGKILL) };
        // It ends with what it waits for.
        let _ = self.shell.wait();
    }
}

#[tokio::test]
async fn rq_23_rq_25_rq_26_a_command_disturbs_neither_the_agent_nor_its_log() {
    let agent = Background::start();
    let mut client = agent.connect().await;
    // RQ-23: a terminal that is the agent's is not the command's.
    let ended = client.exec(&["sh", "-c", "stty sane < /dev/tty"]).await;
    assert_ne!(code(&ended), Some(0), "{ended:?}");
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
    assert_ne!(agent.state(), 'T', "it is stopped");
    // RQ-25: a signal to the whole group.
    let ended = client.exec(&["sh", "-c", "kill -TERM 0; exec cat"]).await;
    assert_eq!(ended.exit.unwrap().signal, Some(libc::SIGTERM));
    assert!(client.call("ping", Value::Null).await.result.unwrap().is_ok());
    // RQ-26: what changes a terminal's colours, printed and in names.
    let red = "\x1b[31mred\x1b]0;title\x07";
    let ended = client.exec(&["printf", "%s", red]).await;
    assert_eq!(ended.stdout, red.as_bytes());
    assert!(client.exec(&[&format!("/no/such/{red}")]).await.error()["code"] == "not-found");
    client.call("file-get", json!({"path": format!("/no/such/{red}")})).await;
    client.call(red, Value::Null).await;
    let log = agent.log();
    assert!(log.bytes().all(|byte| byte == b'\n' || byte >= b' '), "{log:?}");
}
