//! Clients of the agent: QEMU's form and our own, no faster and no slower than they need be.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use vnode_protocol::frame::{Frame, Tagged};

/// A client of QEMU's form.
pub(crate) struct Guest {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Guest {
    pub(crate) fn connect(socket: &Path) -> Guest {
        let stream = UnixStream::connect(socket).expect("the agent listens");
        Guest { stream: BufReader::with_capacity(1 << 20, stream), line: Vec::new() }
    }

    fn round(&mut self, request: &[u8]) {
        self.stream.get_mut().write_all(request).expect("the agent reads");
        self.line.clear();
        self.stream.read_until(b'\n', &mut self.line).expect("the agent answers");
    }

    pub(crate) fn ping(&mut self) {
        self.round(b"{\"execute\":\"guest-ping\"}\n");
        assert_eq!(self.line, b"{\"return\": {}}\n");
    }

    fn call(&mut self, name: &str, arguments: Value) -> Value {
        let request = json!({ "execute": name, "arguments": arguments });
        self.round(format!("{request}\n").as_bytes());
        let mut answer: Value = serde_json::from_slice(&self.line).expect("the answer is JSON");
        assert!(answer.get("return").is_some(), "{name}: {answer}");
        answer["return"].take()
    }

    /// Runs a program and asks for its result until it is there.
    pub(crate) fn exec(&mut self, path: &str, poll: Duration) {
        let started = self.call("guest-exec", json!({ "path": path, "capture-output": true }));
        loop {
            std::thread::sleep(poll);
            let status = self.call("guest-exec-status", json!({ "pid": started["pid"] }));
            if status["exited"] == true {
                assert_eq!(status["exitcode"], 0);
                return;
            }
        }
    }

    /// Reads the first bytes of a file; base64 is not decoded, to the agent's advantage.
    pub(crate) fn get(&mut self, path: &Path, bytes: usize, piece: usize) {
        let handle = self.call("guest-file-open", json!({ "path": path }));
        let mut got = 0;
        while got < bytes {
            let read = self.call("guest-file-read", json!({ "handle": handle, "count": piece }));
            let count = read["count"].as_u64().expect("a count comes");
            assert!(count > 0, "the whole file comes");
            got += count as usize;
        }
        self.call("guest-file-close", json!({ "handle": handle }));
    }
}

/// Bytes before a tagged frame's payload: kind, length, request.
const HEAD: usize = 9;
/// Kinds of frames, with the mark of a tagged one.
const EXIT: u8 = 19 | 0x80;
const ERROR: u8 = 20 | 0x80;
const RESPONSE: u8 = 34 | 0x80;
const DATA: u8 = 37 | 0x80;
const MORE: u8 = 39 | 0x80;
/// Bytes granted at a time.
const CREDIT: u32 = 8 << 20;

/// A client of our own form.
pub(crate) struct Native<S = UnixStream> {
    stream: BufReader<S>,
    next: u32,
    payload: Vec<u8>,
}

impl Native {
    pub(crate) fn connect(socket: &Path) -> Native {
        Native::over(UnixStream::connect(socket).expect("the agent listens"))
    }
}

impl<S: Read + Write> Native<S> {
    pub(crate) fn over(stream: S) -> Native<S> {
        Native {
            stream: BufReader::with_capacity(HEAD, stream),
            next: 0,
            payload: vec![0; 256 << 10],
        }
    }

    fn send(&mut self, frame: Frame) {
        let bytes = Tagged { request: self.next, frame }.encode();
        self.stream.get_mut().write_all(&bytes).expect("the agent reads");
    }

    fn request(&mut self, command: &str, value: Value) {
        self.next += 1;
        let request = json!({ "command": command, "value": value });
        self.send(Frame::Request(request.to_string().into_bytes()));
    }

    /// The next frame's kind and the length of its payload.
    fn frame(&mut self) -> (u8, usize) {
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head).expect("the agent answers");
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        self.stream.read_exact(&mut self.payload[..length]).expect("the agent answers");
        assert!(head[0] != ERROR, "{}", String::from_utf8_lossy(&self.payload[..length]));
        (head[0], length)
    }

    pub(crate) fn exec(&mut self, path: &str) {
        self.request("exec", json!({ "argv": [path] }));
        while self.frame().0 != EXIT {}
    }

    /// Takes a whole file; gives its length.
    pub(crate) fn get(&mut self, path: &Path) -> usize {
        self.request("file-get", json!({ "path": path }));
        self.send(Frame::Credit(CREDIT));
        let (mut got, mut granted) = (0, CREDIT as usize);
        loop {
            match self.frame() {
                (DATA, length) => {
                    got += length;
                    if got + CREDIT as usize / 2 > granted {
                        self.send(Frame::Credit(CREDIT / 2));
                        granted += CREDIT as usize / 2;
                    }
                }
                (RESPONSE, _) => return got,
                _ => {}
            }
        }
    }

    /// Gives a file of these pieces, each of at most 256 KiB.
    pub(crate) fn put<'a>(&mut self, path: &Path, pieces: impl Iterator<Item = &'a [u8]>) {
        self.request("file-put", json!({ "path": path }));
        let mut window = vnode_protocol::frame::WINDOW as usize;
        for mut piece in pieces {
            while !piece.is_empty() {
                while window == 0 {
                    if let (MORE, 4) = self.frame() {
                        let bytes = [0, 1, 2, 3].map(|at| self.payload[at]);
                        window += u32::from_be_bytes(bytes) as usize;
                    }
                }
                let (now, rest) = piece.split_at(piece.len().min(window));
                self.send(Frame::Data(now.to_vec()));
                window -= now.len();
                piece = rest;
            }
        }
        self.send(Frame::DataEnd);
        while self.frame().0 != RESPONSE {}
    }
}
