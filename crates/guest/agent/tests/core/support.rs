//! An agent of each test's own, and a client of our own form.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::UnixStream,
    time::timeout,
};
use vnode_protocol::frame::{Exit, Frame, Tagged, TaggedReader};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_vnode-agent");
/// Far above what anything takes on a busy machine: a test that waits longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running agent with a configuration of its own.
pub(crate) struct Agent {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) child: Child,
}

impl Agent {
    /// With a unix channel in our own form, and whatever `more` configures.
    pub(crate) fn start(more: &str) -> Self {
        Self::with(|folder| {
            format!(
                "defaults = false\n[[channel]]\nname = \"native\"\nexchange = \"unix\"\n\
                 parser = \"native\"\npath = \"{}/agent.sock\"\n{more}",
                folder.display()
            )
        })
    }

    pub(crate) fn with(config: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, config(folder.path())).unwrap();
        let child = Command::new(PROGRAM)
            .args(["run", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut agent = Self { folder, child };
        agent.wait_for("serving");
        agent
    }

    /// Reads the log until a line holds `text`; what comes after it is thrown away.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let stderr = self.child.stderr.take().unwrap();
        let mut lines = BufReader::new(stderr).lines();
        let mut seen = Vec::new();
        loop {
            let Some(Ok(line)) = lines.next() else { panic!("no `{text}` in {seen:#?}") };
            if line.contains(text) {
                break;
            }
            seen.push(line);
        }
        std::thread::spawn(move || for _line in lines {});
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::new(self.stream().await)
    }

    pub(crate) async fn stream(&self) -> UnixStream {
        let path = self.path("agent.sock");
        for _ in 0..600 {
            if let Ok(stream) = UnixStream::connect(&path).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} is not listened at", path.display());
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: signals our own child, which is not waited for yet.
        assert_eq!(unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), signal) }, 0);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// A figure of /proc/PID/smaps_rollup or status, in bytes.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        for file in ["smaps_rollup", "status"] {
            let mut text = String::new();
            let path = format!("/proc/{}/{file}", self.child.id());
            std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
            let line = text.lines().find(|line| line.starts_with(&format!("{name}:")));
            if let Some(line) = line {
                let kib = line.split_whitespace().nth(1).unwrap();
                return kib.parse::<u64>().unwrap() * 1024;
            }
        }
        panic!("no `{name}`")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended; either way it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Speaks our own form.
pub(crate) struct Client<S = UnixStream> {
    pub(crate) reader: TaggedReader<ReadHalf<S>>,
    pub(crate) writer: WriteHalf<S>,
    next: u32,
}

/// All that a request gave.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) progress: Vec<Value>,
    pub(crate) exit: Option<Exit>,
    pub(crate) result: Option<Result<Value, Value>>,
}

impl Ended {
    pub(crate) fn ok(&self) -> &Value {
        self.result.as_ref().unwrap().as_ref().unwrap()
    }

    pub(crate) fn error(&self) -> &Value {
        self.result.as_ref().unwrap().as_ref().unwrap_err()
    }
}

impl<S: AsyncRead + AsyncWrite> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        let (from, to) = split(stream);
        Self { reader: TaggedReader::new(from), writer: to, next: 1 }
    }

    pub(crate) async fn send(&mut self, request: u32, frame: Frame) {
        let bytes = Tagged { request, frame }.encode();
        timeout(PATIENCE, self.writer.write_all(&bytes)).await.unwrap().unwrap();
    }

    /// Begins a request; gives its number.
    pub(crate) async fn begin(&mut self, command: &str, value: Value) -> u32 {
        let request = self.next;
        self.next += 1;
        let text = json!({"command": command, "value": value}).to_string();
        self.send(request, Frame::Request(text.into_bytes())).await;
        request
    }

    pub(crate) async fn next(&mut self) -> Option<Tagged> {
        timeout(PATIENCE, self.reader.next()).await.expect("the agent answers").unwrap()
    }

    /// Reads to the end of a request, granting what comes; frames of others are dropped.
    pub(crate) async fn end(&mut self, request: u32) -> Ended {
        let mut ended = Ended::default();
        loop {
            let tagged = self.next().await.expect("the agent does not hang up");
            if tagged.request != request {
                continue;
            }
            let came = match tagged.frame {
                Frame::Stdout(bytes) => {
                    ended.stdout.extend(&bytes);
                    bytes.len()
                }
                Frame::Stderr(bytes) => {
                    ended.stderr.extend(&bytes);
                    bytes.len()
                }
                Frame::Data(bytes) => {
                    ended.data.extend(&bytes);
                    bytes.len()
                }
                Frame::Progress(text) => {
                    ended.progress.push(serde_json::from_slice(&text).unwrap());
                    0
                }
                Frame::Response(text) => {
                    ended.result = Some(Ok(serde_json::from_slice(&text).unwrap()));
                    return ended;
                }
                Frame::Error(text) => {
                    ended.result = Some(Err(serde_json::from_slice(&text).unwrap()));
                    return ended;
                }
                Frame::Exit(exit) => {
                    ended.exit = Some(exit);
                    return ended;
                }
                _ => 0,
            };
            if came > 0 {
                let credit = Frame::Credit(u32::try_from(came).unwrap());
                // An agent that ends takes no more; what it sent before can be read all the same.
                let _ = self.writer.write_all(&Tagged { request, frame: credit }.encode()).await;
            }
        }
    }

    pub(crate) async fn call(&mut self, command: &str, value: Value) -> Ended {
        let request = self.begin(command, value).await;
        self.end(request).await
    }

    pub(crate) async fn exec(&mut self, argv: &[&str]) -> Ended {
        self.call("exec", json!({"argv": argv})).await
    }
}

pub(crate) fn code(ended: &Ended) -> Option<i32> {
    ended.exit.expect("the program was run").code
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, is: impl Fn() -> bool) {
    for _ in 0..1200 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not within a minute: {what}");
}
