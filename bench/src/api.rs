//! Just enough HTTP for the daemon's unix socket: one connection, kept open.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A kept connection.
pub(crate) struct Api {
    stream: BufReader<UnixStream>,
}

/// The daemon's socket below its state directory.
pub(crate) fn socket(state: &Path) -> PathBuf {
    let mut rest = vec![state.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            use std::os::unix::fs::FileTypeExt;
            let Ok(kind) = entry.file_type() else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_socket() && name.ends_with(".sock") && !name.contains("monitor") {
                return entry.path();
            }
            if kind.is_dir() && rest.len() < 8 {
                rest.push(entry.path());
            }
        }
    }
    panic!("no socket below {}", state.display());
}

impl Api {
    pub(crate) fn connect(socket: &Path) -> Api {
        let stream = UnixStream::connect(socket).expect("the daemon listens");
        Api { stream: BufReader::new(stream) }
    }

    /// One request and its whole answer.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: vnode\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).expect("the daemon reads");
        let (status, length) = self.head();
        let body = match length {
            Some(length) => {
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body).expect("the daemon answers");
                body
            }
            None => self.chunks(),
        };
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Status and length; no length means chunks.
    fn head(&mut self) -> (u16, Option<usize>) {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the daemon answers");
        let status: u16 =
            line.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
        let mut length = (status == 204).then_some(0);
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("the daemon answers");
            if line.trim().is_empty() {
                return (status, length);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(mut chunk) = self.chunk() {
            body.append(&mut chunk);
        }
        body
    }

    fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the daemon answers");
        let size = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).expect("the daemon answers");
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    /// Begins an operation and waits for its end, through its stream of progress: nothing polls.
    pub(crate) fn operate(&mut self, method: &str, path: &str, body: Option<&Value>) {
        let (status, answer) = self.call(method, path, body);
        if status == 204 {
            return;
        }
        assert_eq!(status, 202, "{method} {path}: {answer}");
        let id = ["operation", "id"]
            .iter()
            .find_map(|key| answer[*key].as_str())
            .expect("an operation's id")
            .to_owned();
        let mut ended = String::new();
        self.events(&format!("/v1/operations/{id}/follow"), |text| {
            let last = text.contains("event: ended") || text.contains("event:ended");
            if last {
                ended = text.to_owned();
            }
            last
        });
        assert!(!ended.contains("\"failed\""), "{method} {path}: {ended}");
        // The rest of the stream is its closing chunk.
        while self.chunk().is_some() {}
    }

    /// Reads server-sent events until `stop` says so for one.
    pub(crate) fn events(&mut self, path: &str, mut stop: impl FnMut(&str) -> bool) {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: vnode\r\naccept: text/event-stream\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).expect("the daemon reads");
        let (status, length) = self.head();
        assert!(status == 200 && length.is_none(), "{path}: {status}");
        let mut text = String::new();
        while let Some(chunk) = self.chunk() {
            text.push_str(&String::from_utf8_lossy(&chunk));
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                if stop(&event) {
                    return;
                }
            }
        }
    }
}
