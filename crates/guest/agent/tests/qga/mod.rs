//! What the tests of QEMU's form stand on: the parser over a pair of sockets, and the program as `qemu-ga`.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used)] // in a test the right report
#![allow(clippy::disallowed_methods)] // tests start the built program and QEMU's own themselves

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};
use vnode_agent::{
    command::{Form, Policy, Registry, guest},
    context::Context,
    exchange::{Connection, Peer},
    limits::{Budget, Limits},
    parser::{Session, StreamParser, qga::QgaParser},
};

/// Longer than any answer takes on a busy machine; only a lost answer meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A served connection, the agent's files below a root of its own.
pub(crate) struct Agent {
    pub(crate) stream: BufReader<UnixStream>,
    pub(crate) context: Context,
    pub(crate) root: tempfile::TempDir,
}

impl Agent {
    /// An agent whose files lie below a fresh, nearly empty root.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("tmp")).unwrap();
        let path = root.path().to_owned();
        Self::at(&path, root, json!({}))
    }

    /// An agent on this machine's own files; its state is kept in a temporary folder.
    pub(crate) fn live() -> Self {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state");
        Self::at(Path::new("/"), root, json!({ "state-dir": state }))
    }

    pub(crate) fn at(path: &Path, root: tempfile::TempDir, options: Value) -> Self {
        let context =
            Context::builder(path).options(guest::Options::NAME, options).build().unwrap();
        let stream = connect(&context);
        Self { stream, context, root }
    }

    /// Another connection to the same agent.
    pub(crate) fn reconnect(&mut self) {
        self.stream = connect(&self.context);
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.stream.get_mut().write_all(bytes))
            .await
            .unwrap()
            .unwrap();
    }

    /// One line of answer, as it is.
    pub(crate) async fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        tokio::time::timeout(PATIENCE, read).await.expect("an answer comes").unwrap();
        line
    }

    pub(crate) async fn answer(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_slice(&line)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&line)))
    }

    pub(crate) async fn ask(&mut self, request: &[u8]) -> Value {
        self.send(request).await;
        self.answer().await
    }

    pub(crate) async fn call(&mut self, name: &str, arguments: Value) -> Value {
        let request = json!({ "execute": name, "arguments": arguments });
        self.ask(request.to_string().as_bytes()).await
    }

    /// The result of a call that must succeed.
    pub(crate) async fn get(&mut self, name: &str, arguments: Value) -> Value {
        let mut answer = self.call(name, arguments).await;
        assert!(answer.get("return").is_some(), "{name}: {answer}");
        answer["return"].take()
    }

    /// Class and text of a call that must fail.
    pub(crate) async fn refused(&mut self, name: &str, arguments: Value) -> (String, String) {
        error_of(&self.call(name, arguments).await)
    }

    /// Runs a program and gives its result.
    pub(crate) async fn exec(&mut self, arguments: Value) -> Value {
        let pid = self.get("guest-exec", arguments).await["pid"].clone();
        let began = std::time::Instant::now();
        loop {
            let status = self.get("guest-exec-status", json!({ "pid": pid })).await;
            if status["exited"] == true {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the program does not end");
            tokio::task::yield_now().await;
        }
    }
}

fn connect(context: &Context) -> BufReader<UnixStream> {
    let (client, server) = UnixStream::pair().unwrap();
    let commands = Arc::new(Registry::built_in().for_form(Form::Guest, &Policy::default()));
    let session = Session {
        context: context.for_channel("test", Arc::clone(&commands)),
        commands,
        limits: Limits::default(),
        budget: Budget::default(),
    };
    let connection = Connection { stream: Box::new(server), peer: Peer::default() };
    tokio::spawn(async move {
        // How the connection ended is the client's to see.
        let _ = QgaParser.serve(connection, session).await;
    });
    BufReader::new(client)
}

pub(crate) fn error_of(answer: &Value) -> (String, String) {
    let member = |name: &str| {
        answer["error"][name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    };
    (member("class"), member("desc"))
}

pub(crate) fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = ALPHABET.iter().position(|b| *b == byte).expect("base64") as u32;
        bits = bits << 6 | value;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// A program that serves QEMU's form on a unix socket: ours or QEMU's own. Ends with the value.
pub(crate) struct Program {
    child: Child,
    pub(crate) socket: PathBuf,
}

/// Ours, as `qemu-ga`.
pub(crate) fn ours() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vnode-agent"));
    command.arg("qemu-ga").env_remove("QGA_CONF").env_remove("QGA_OS_RELEASE");
    command
}

impl Program {
    pub(crate) fn start(mut command: Command, folder: &Path, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let socket = folder.join("socket");
        command
            .args(["-m", "unix-listen", "-p"])
            .arg(&socket)
            .arg("-t")
            .arg(folder)
            .args(arguments);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let program = Self { child, socket };
        vnode_testkit::eventually("the socket is there", PATIENCE, || {
            std::os::unix::net::UnixStream::connect(&program.socket).ok()
        });
        program
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a request and gives all lines of answer but those a delimiter makes.
    pub(crate) fn ask(&self, request: &[u8]) -> Vec<Value> {
        use std::io::{Read, Write};
        const END: &[u8] = b"{\"return\": 4711}\n";
        let mut stream = std::os::unix::net::UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The first object drops what an earlier client has left, the last tells the end of the answers.
        let sync =
            |id: &str| format!("{{\"execute\":\"guest-sync\",\"arguments\":{{\"id\":{id}}}}}");
        let bytes = [b"\n", request, b"\n", sync("4711").as_bytes()].concat();
        let mut got = Vec::new();
        let mut read_to = |stream: &mut std::os::unix::net::UnixStream, end: &[u8]| {
            let mut buffer = [0; 4096];
            while !got.ends_with(end) {
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0, "{}", String::from_utf8_lossy(&got));
                got.extend_from_slice(&buffer[..count]);
            }
            std::mem::take(&mut got)
        };
        stream.write_all(&[b"\xff", sync("1234").as_bytes()].concat()).unwrap();
        read_to(&mut stream, b"{\"return\": 1234}\n");
        stream.write_all(&bytes).unwrap();
        let all = read_to(&mut stream, END);
        let lines = all[..all.len() - END.len()].split(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_prefix(b"\xff").unwrap_or(line));
        lines
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    pub(crate) fn call(&self, name: &str, arguments: Value) -> Value {
        let request = json!({ "execute": name, "arguments": arguments });
        let mut answers = self.ask(request.to_string().as_bytes());
        assert_eq!(answers.len(), 1, "{request}: {answers:?}");
        answers.remove(0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
