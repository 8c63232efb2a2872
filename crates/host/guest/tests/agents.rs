//! The client against the real agents: ours, and QEMU's own as Debian packages it.
#![allow(clippy::disallowed_methods, reason = "tests start the agents")]
#![allow(clippy::unwrap_used, reason = "in a test the right report")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use vnode_guest::{Class, Error, Exec, ExecSpec, FileSpec, Form, Guest, Size, probe};
use vnode_testkit::{built_program, eventually, needs, tools};

/// Far above what anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that listens in a folder of its own.
struct Agent {
    folder: tempfile::TempDir,
    child: Child,
}

impl Agent {
    fn ours() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("agent.toml");
        let path = folder.path().join("agent.sock");
        let text = format!(
            "defaults = false\n[[channel]]\nname = \"native\"\nexchange = \"unix\"\n\
             parser = \"native\"\npath = \"{}\"\n",
            path.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(built_program("vnode-agent"));
        command.args(["run", "--quiet", "--config"]).arg(&config);
        Self::start(folder, command)
    }

    fn qemus() -> Self {
        let command = tools::command("usr/sbin/qemu-ga").unwrap();
        Self::qga(command)
    }

    /// Ours, as it is called where `qemu-ga` was.
    fn ours_as_qga() -> Self {
        let mut command = Command::new(built_program("vnode-agent"));
        command.arg("qemu-ga");
        Self::qga(command)
    }

    fn qga(mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        command.args(["-m", "unix-listen", "-p"]).arg(folder.path().join("agent.sock"));
        command.arg("-t").arg(folder.path());
        Self::start(folder, command)
    }

    fn start(folder: tempfile::TempDir, mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let agent = Self { folder, child };
        let path = agent.path("agent.sock");
        eventually("the agent listens", PATIENCE, || path.exists().then_some(()));
        agent
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn stream(&self) -> UnixStream {
        // The socket's file is there a moment before somebody listens.
        for _ in 0..1000 {
            if let Ok(stream) = UnixStream::connect(self.path("agent.sock")).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nobody listens");
    }

    async fn guest(&self) -> Guest {
        probe(self.stream().await).await.unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

fn spec(argv: &[&str]) -> ExecSpec {
    ExecSpec { argv: argv.iter().map(|&word| word.to_owned()).collect(), ..ExecSpec::default() }
}

async fn all(exec: &mut Exec) -> (String, String, i32) {
    let (mut out, mut err) = (String::new(), String::new());
    let (stdout, stderr) = (exec.stdout.take(), exec.stderr.take());
    let reading = async {
        tokio::join!(
            async {
                if let Some(mut stdout) = stdout {
                    stdout.read_to_string(&mut out).await.unwrap();
                }
            },
            async {
                if let Some(mut stderr) = stderr {
                    stderr.read_to_string(&mut err).await.unwrap();
                }
            }
        );
    };
    let (exit, ()) = tokio::join!(exec.wait(), reading);
    (out, err, exit.unwrap().shell_code())
}

async fn serves_as_any_agent_does(guest: &Guest, folder: &Path) {
    guest.ping().await.unwrap();
    assert!(guest.info().await.unwrap()["agent"].is_string());
    assert!(guest.time().await.unwrap() > 1_700_000_000_000_000_000);
    let network = guest.network().await.unwrap();
    assert!(!network["interfaces"].as_array().unwrap().is_empty());
    assert!(guest.metrics().await.unwrap().is_object());

    // A program with its streams, its exit code, its environment and its folder.
    let script = "cat; echo err >&2; echo $A; pwd; exit 7";
    let mut exec = guest
        .exec(ExecSpec {
            env: vec![("A".into(), "b c".into())],
            folder: Some("/".into()),
            stdin: true,
            ..spec(&["sh", "-c", script])
        })
        .await
        .unwrap();
    let mut stdin = exec.stdin.take().unwrap();
    stdin.write_all(b"input\n").await.unwrap();
    drop(stdin);
    let (out, err, code) = all(&mut exec).await;
    assert_eq!((out.as_str(), err.as_str(), code), ("input\nb c\n/\n", "err\n", 7));

    let mut exec = guest.exec(spec(&["/no/such/program"])).await.unwrap();
    let refused = exec.wait().await.unwrap_err();
    assert!(matches!(refused, Error::Refused { class: Class::NotFound, .. }), "{refused:?}");

    // Signals end a program.
    let mut exec = guest.exec(spec(&["sleep", "1000"])).await.unwrap();
    exec.control().signal(15).await.unwrap();
    assert_eq!(exec.wait().await.unwrap().shell_code(), 128 + 15);

    // Files, larger than any window.
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let path = folder.join("file");
    let name = path.to_str().unwrap();
    let written = guest.write_file(FileSpec::new(name), &content[..]).await.unwrap();
    assert_eq!(written, content.len() as u64);
    assert_eq!(std::fs::read(&path).unwrap(), content);
    let mut read = Vec::new();
    guest.read_file(name).await.unwrap().bytes.read_to_end(&mut read).await.unwrap();
    assert!(read == content, "{} bytes came back", read.len());
    let missing = guest.read_file("/no/such/file").await.unwrap_err();
    assert!(matches!(missing, Error::Refused { class: Class::NotFound, .. }), "{missing:?}");
    guest.read_file("/etc").await.unwrap_err();

    // A file nobody reads on is given up, and the connection goes on.
    drop(guest.read_file(name).await.unwrap());
    guest.ping().await.unwrap();

    // Archives of a file and of a folder, and back.
    let tree = folder.join("tree");
    std::fs::create_dir_all(tree.join("inner")).unwrap();
    std::fs::write(tree.join("inner/a"), "a").unwrap();
    for (from, member) in [(name, "file"), (tree.to_str().unwrap(), "tree/inner/a")] {
        let mut tar = Vec::new();
        guest.archive_out(from).await.unwrap().read_to_end(&mut tar).await.unwrap();
        let target = tempfile::tempdir_in(folder).unwrap();
        let into = target.path().to_str().unwrap();
        guest.archive_in(into, &tar[..]).await.unwrap();
        let (was, is) = (folder.join(member), target.path().join(member));
        assert!(std::fs::read(was).unwrap() == std::fs::read(is).unwrap(), "{member}");
    }
    let error = guest.archive_out("/no/such").await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Refused { class: Class::NotFound, .. }), "{error:?}");
    let error = guest.archive_in("/etc/hostname", &[0; 1024][..]).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    // An archive that breaks off is no whole one.
    let target = tempfile::tempdir_in(folder).unwrap();
    let broken = tokio_test_broken();
    guest.archive_in(target.path().to_str().unwrap(), broken).await.unwrap_err();
    guest.ping().await.unwrap();
}

/// Gives some bytes, and then an error.
fn tokio_test_broken() -> impl tokio::io::AsyncRead + Send + Unpin {
    struct Broken;
    impl tokio::io::AsyncRead for Broken {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
        }
    }
    Broken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_agent_is_known_and_serves() {
    let agent = Agent::ours();
    let guest = agent.guest().await;
    assert_eq!(guest.form(), Form::Native);
    assert_eq!(guest.info().await.unwrap()["agent"], "vnode-agent");
    serves_as_any_agent_does(&guest, agent.folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qemus_own_agent_is_known_and_suffices() {
    needs!(Tool("usr/sbin/qemu-ga"));
    let agent = Agent::qemus();
    let guest = agent.guest().await;
    assert_eq!(guest.form(), Form::Qga);
    serves_as_any_agent_does(&guest, agent.folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_agent_in_qemus_form_suffices_as_well() {
    let agent = Agent::ours_as_qga();
    let guest = agent.guest().await;
    assert_eq!(guest.form(), Form::Qga);
    serves_as_any_agent_does(&guest, agent.folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_has_a_size_that_changes_and_many_requests_share_a_connection() {
    let agent = Agent::ours();
    let guest = agent.guest().await;
    let mut shell = guest
        .exec(ExecSpec {
            terminal: Some(Size { rows: 10, columns: 20 }),
            stdin: true,
            ..spec(&["sh", "-c", "stty size; read x; stty size; exit 3"])
        })
        .await
        .unwrap();
    let mut out = shell.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"10 20\r\n") {
        assert_ne!(out.read_buf(&mut seen).await.unwrap(), 0, "{seen:?}");
    }
    // Meanwhile others ask.
    let pings = (0..8).map(|_| guest.clone()).map(|guest| async move { guest.ping().await });
    for ping in pings.map(tokio::spawn).collect::<Vec<_>>() {
        ping.await.unwrap().unwrap();
    }
    shell.control().resize(Size { rows: 33, columns: 44 }).await.unwrap();
    let mut keys = shell.stdin.take().unwrap();
    keys.write_all(b"\n").await.unwrap();
    out.read_to_end(&mut seen).await.unwrap();
    assert!(String::from_utf8_lossy(&seen).contains("33 44"), "{seen:?}");
    assert_eq!(shell.wait().await.unwrap().shell_code(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_program_ends_it_and_no_more_run_than_the_agent_bears() {
    let agent = Agent::ours();
    let guest = agent.guest().await;
    let mut held = Vec::new();
    let busy = loop {
        match guest.exec(spec(&["sleep", "1000"])).await {
            Ok(exec) => held.push(exec),
            Err(error) => break error,
        }
        assert!(held.len() <= 16, "no bound is kept");
    };
    assert!(matches!(busy, Error::Busy), "{busy:?}");
    drop(held);
    // Each was cancelled, and its place is free again.
    for _ in 0..1000 {
        if guest.ping().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the places stay taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qg_output_that_nobody_reads_holds_up_its_program_and_nothing_else() {
    let agent = Agent::ours();
    let guest = agent.guest().await;
    let mut flood = guest.exec(spec(&["sh", "-c", "yes"])).await.unwrap();
    let kept = flood.stdout.take();
    for _ in 0..20 {
        guest.ping().await.unwrap();
    }
    drop((kept, flood));
    guest.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_ends_what_runs_with_a_word() {
    let mut agent = Agent::ours();
    let guest = agent.guest().await;
    let mut exec = guest.exec(spec(&["sleep", "1000"])).await.unwrap();
    agent.child.kill().unwrap();
    let error = exec.wait().await.unwrap_err();
    assert!(error.is_connection_over(), "{error:?}");
    guest.closed().await;
    assert!(!guest.is_open());
    assert!(guest.ping().await.unwrap_err().is_connection_over());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qg_39_what_an_earlier_connection_left_is_passed_over() {
    needs!(Tool("usr/sbin/qemu-ga"));
    let agent = Agent::qemus();
    {
        let mut first = agent.stream().await;
        first.write_all(b"{\"execute\": \"guest-pi").await.unwrap();
    }
    // It serves one client at a time, and has to see the first go.
    let guest = agent.guest().await;
    guest.ping().await.unwrap();
    let refused = guest.call("guest-no-such", serde_json::Value::Null).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { class: Class::Unsupported, .. }), "{refused:?}");
    let wrong = guest.call("guest-ping", serde_json::json!({"foo": 1})).await.unwrap_err();
    assert!(matches!(wrong, Error::Refused { class: Class::Usage, .. }), "{wrong:?}");
    let terminal = ExecSpec { terminal: Some(Size { rows: 1, columns: 1 }), ..spec(&["sh"]) };
    assert!(matches!(guest.exec(terminal).await.unwrap_err(), Error::Unsupported { .. }));
}
