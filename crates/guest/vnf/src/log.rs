//! What scripts print: for each run a file of JSON lines, bounded for each instance.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Bytes of the logs of one run, and of all runs of an instance.
const RUN: u64 = 48 << 20;
const INSTANCE: u64 = 50 << 20;
/// Runs of an instance that have a log: two thousand short ones are as much of a burden as a long one.
const RUNS: usize = 2000;
/// Runs of an instance, and bytes of their logs, from one look at all its logs to the next: a look costs a microsecond for
/// each of them, and a script waits for it.
const LOOK_RUNS: usize = 32;
const LOOK_BYTES: u64 = 1 << 20;
/// Bytes in one line.
const LINE: usize = 8 << 10;

/// What was logged since the last look, by instance.
#[derive(Debug, Default)]
pub(crate) struct Logged(Mutex<HashMap<String, Since>>);

#[derive(Debug, Default)]
struct Since {
    runs: usize,
    bytes: u64,
}

impl Logged {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Since>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more run; whether its instance's logs are to be looked at before it.
    pub(crate) fn begins(&self, instance: &str) -> bool {
        let mut all = self.all();
        let Some(since) = all.get_mut(instance) else {
            // What an earlier life logged, nobody has counted.
            all.insert(instance.to_owned(), Since { runs: 1, bytes: 0 });
            return true;
        };
        let due = since.runs >= LOOK_RUNS || since.bytes >= LOOK_BYTES;
        if due {
            *since = Since::default();
        }
        since.runs += 1;
        due
    }

    /// What a run has logged.
    pub(crate) fn ended(&self, instance: &str, log: &RunLog) {
        if let Some(since) = self.all().get_mut(instance) {
            since.bytes += log.written;
        }
    }

    /// An instance is no more.
    pub(crate) fn forget(&self, instance: &str) {
        self.all().remove(instance);
    }
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub t: Timestamp,
    pub stream: String,
    pub script: String,
    pub data: String,
}

/// The log of one run.
#[derive(Debug)]
pub(crate) struct RunLog {
    file: Option<BufWriter<File>>,
    path: PathBuf,
    written: u64,
    /// What is not a whole line yet, of each stream.
    partial: Vec<(&'static str, String, Vec<u8>)>,
    secrets: Vec<String>,
}

impl RunLog {
    /// Opens the log of the run `id` in the folder of an instance's logs, at its end. With `look`, old runs make room.
    pub(crate) fn open(
        folder: &Path,
        id: &str,
        secrets: Vec<String>,
        look: bool,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        if look {
            make_room(folder)?;
        }
        let path = folder.join(format!("{id}.jsonl"));
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let written = file.metadata()?.len();
        Ok(Self { file: Some(BufWriter::new(file)), path, written, partial: Vec::new(), secrets })
    }

    /// Adds what a stream gave.
    pub(crate) fn write(&mut self, stream: &'static str, script: &str, bytes: &[u8]) {
        let at =
            self.partial.iter().position(|(s, n, _)| *s == stream && n == script).unwrap_or_else(
                || {
                    self.partial.push((stream, script.to_owned(), Vec::new()));
                    self.partial.len() - 1
                },
            );
        let mut partial = std::mem::take(&mut self.partial[at].2);
        partial.extend_from_slice(bytes);
        let mut rest = partial.as_slice();
        loop {
            let end = rest.iter().take(LINE).position(|byte| *byte == b'\n');
            let length = match end {
                Some(end) => end + 1,
                None if rest.len() >= LINE => LINE,
                None => break,
            };
            self.line(stream, script, &rest[..length]);
            rest = &rest[length..];
        }
        self.partial[at].2 = rest.to_vec();
        self.push();
    }

    fn line(&mut self, stream: &str, script: &str, bytes: &[u8]) {
        if self.written > RUN {
            return;
        }
        let data = masked(&String::from_utf8_lossy(bytes), &self.secrets);
        let line = Line {
            t: Timestamp::now(),
            stream: stream.to_owned(),
            script: script.to_owned(),
            data,
        };
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        text.push(b'\n');
        self.written += text.len() as u64;
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(&text)
        {
            tracing::warn!(path = %self.path.display(), %error, "a log is cut");
            self.file = None;
        }
    }

    fn push(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(error) = file.flush()
        {
            tracing::warn!(path = %self.path.display(), %error, "a log is cut");
            self.file = None;
        }
    }

    /// Writes what is no whole line too.
    pub(crate) fn flush(&mut self) {
        for (stream, script, bytes) in std::mem::take(&mut self.partial) {
            if !bytes.is_empty() {
                self.line(stream, &script, &bytes);
            }
        }
        self.push();
    }
}

/// Takes away the logs of the oldest runs, until there is room for those that come before the next look.
fn make_room(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let data = entry.metadata()?;
        files.push((data.modified()?, data.len(), entry.path()));
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    let mut count = files.len();
    for (_, size, path) in files {
        if total <= INSTANCE && count <= RUNS - LOOK_RUNS {
            break;
        }
        fs::remove_file(path)?;
        total -= size;
        count -= 1;
    }
    Ok(())
}

/// `text` without secrets.
pub(crate) fn masked(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), "***");
        }
    }
    text
}
