//! One JSON object a line, one request at a time, and the way back in step after anything went wrong.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    error::{Class, Error, Result},
    probe::by_chance,
    text::shown,
};

/// Precedes a synchronised answer, and drops the half of an object that came before it.
const SENTINEL: u8 = 0xff;
/// Largest ordinary answer, bytes.
pub(super) const SMALL: usize = 4 << 20;
/// Largest answer that holds what a program printed: two streams of 16 MiB in base64.
pub(super) const LARGE: usize = 48 << 20;
/// Answers above [`SMALL`] that are held in memory at a time, of all guests together.
static LARGE_ANSWERS: Semaphore = Semaphore::const_new(2);
/// Time a synchronisation gets.
const SYNC: Duration = Duration::from_secs(5);
/// Lines that answer nothing (events, answers to what was given up) before the guest is cut.
const STRANGE: usize = 4096;

type From = Box<dyn AsyncRead + Send + Unpin>;
type To = Box<dyn AsyncWrite + Send + Unpin>;

/// The stream, in step or not.
pub(super) struct Link {
    from: From,
    to: To,
    /// What has come and belongs to no line yet.
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that hold no end of line.
    searched: usize,
    /// No answer is owed to us, and no half of a request was written.
    in_step: bool,
    next: u32,
    stall: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("in_step", &self.in_step).finish_non_exhaustive()
    }
}

/// A line that came, with the place it takes when it is a large one.
struct Line {
    bytes: Vec<u8>,
    _place: Option<SemaphorePermit<'static>>,
}

impl Link {
    pub(super) fn new(from: From, to: To, stall: Duration) -> Self {
        let next = by_chance();
        Self { from, to, buffer: Vec::new(), searched: 0, in_step: false, next, stall }
    }

    /// Asks, and gives what stands under `return`. An answer of more than `most` bytes breaks the connection.
    ///
    /// A future that is dropped, or takes longer than `patience`, leaves the link out of step; the next call sets it
    /// right.
    pub(super) async fn call(
        &mut self,
        command: &str,
        arguments: &Value,
        most: usize,
        patience: Duration,
    ) -> Result<Value> {
        if !self.in_step {
            let synced = timeout(SYNC, self.synchronise()).await;
            let late =
                |_| Err(Error::Deadline { what: "guest-sync-delimited".into(), after: SYNC });
            synced.unwrap_or_else(late)?;
        }
        self.in_step = false;
        let asked = timeout(patience, self.ask(command, arguments, most)).await;
        let late = |_| Err(Error::Deadline { what: command.to_owned(), after: patience });
        let answer = asked.unwrap_or_else(late)?;
        self.in_step = true;
        match answer {
            Answer::Return(value) => Ok(value),
            Answer::Error { class, text } => Err(refusal(&class, &text)),
        }
    }

    /// Asks what is not answered when it succeeds; an error that comes within `patience` is told.
    pub(super) async fn tell(
        &mut self,
        command: &str,
        arguments: &Value,
        patience: Duration,
    ) -> Result<()> {
        match self.call(command, arguments, SMALL, patience).await {
            Ok(_) | Err(Error::Deadline { .. } | Error::Closed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask(&mut self, command: &str, arguments: &Value, most: usize) -> Result<Answer> {
        let id = self.number();
        let mut request = json!({"execute": command, "id": id});
        if arguments.as_object().is_some_and(|members| !members.is_empty()) {
            request["arguments"] = arguments.clone();
        }
        let mut text = request.to_string().into_bytes();
        text.push(b'\n');
        self.write(&text).await?;
        for _ in 0..STRANGE {
            let line = self.line(most).await?;
            if let Some(answer) = answer(&line.bytes, id) {
                return Ok(answer);
            }
        }
        Err(Error::protocol("it tells much and answers nothing"))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stall = self.stall;
        let written = timeout(stall, async {
            self.to.write_all(bytes).await?;
            self.to.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::Closed(Some(error))),
            Err(_) => Err(Error::protocol("it does not read what is written to it")),
        }
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1) & 0x7fff_ffff;
        self.next
    }

    /// Drops whatever is on the way in either direction.
    async fn synchronise(&mut self) -> Result<()> {
        let id = self.number();
        let request = json!({"execute": "guest-sync-delimited", "arguments": {"id": id}});
        let mut text = vec![SENTINEL];
        text.extend_from_slice(request.to_string().as_bytes());
        text.push(b'\n');
        self.write(&text).await?;
        // What comes before the sentinel is dropped as it comes.
        let mut dropped = 0;
        loop {
            let Some(at) = self.buffer.iter().position(|byte| *byte == SENTINEL) else {
                dropped += self.buffer.len();
                self.buffer.clear();
                self.searched = 0;
                if dropped > LARGE {
                    return Err(Error::protocol("it does not come into step"));
                }
                self.more().await?;
                continue;
            };
            dropped += at;
            self.buffer.drain(..=at);
            self.searched = 0;
            let line = self.line(SMALL).await?;
            let value: Option<Value> = serde_json::from_slice(&line.bytes).ok();
            if value.is_some_and(|value| value["return"].as_u64() == Some(u64::from(id))) {
                return Ok(());
            }
            // An earlier connection's, or not the answer's sentinel.
            dropped += line.bytes.len();
        }
    }

    async fn more(&mut self) -> Result<()> {
        self.buffer.reserve(16 << 10);
        match self.from.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Error::Closed(None)),
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Closed(Some(error))),
        }
    }

    async fn line(&mut self, most: usize) -> Result<Line> {
        let mut place = None;
        loop {
            let fresh = &self.buffer[self.searched..];
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                let rest = self.buffer.split_off(end + 1);
                let bytes = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                return Ok(Line { bytes, _place: place });
            }
            self.searched = self.buffer.len();
            if self.searched > most {
                return Err(Error::protocol(format!("a line is longer than {most} bytes")));
            }
            if self.searched > SMALL && place.is_none() {
                let taken = LARGE_ANSWERS.acquire().await;
                place = Some(taken.expect("the semaphore is never closed"));
            }
            self.more().await?;
        }
    }
}

/// What came.
#[derive(Debug, PartialEq)]
enum Answer {
    Return(Value),
    Error { class: String, text: String },
}

/// The answer to request `id` in a line; `None`: an event, another's answer, no JSON.
///
/// An agent that gives no `id` back is one of old; what it answers in step is the answer.
fn answer(line: &[u8], id: u32) -> Option<Answer> {
    let line = line.strip_prefix(&[SENTINEL]).unwrap_or(line);
    let Ok(Value::Object(mut members)) = serde_json::from_slice(line) else { return None };
    if members.get("id").is_some_and(|given| given.as_u64() != Some(u64::from(id))) {
        return None;
    }
    if let Some(error) = members.get("error") {
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        return Some(Answer::Error { class: text("class"), text: text("desc") });
    }
    members.remove("return").map(Answer::Return)
}

/// Reads one line as an answer, for the fuzzer: nothing that comes may do more than be refused.
#[doc(hidden)]
pub fn fuzz(line: &[u8]) {
    if let Some(Answer::Error { class, text }) = answer(line, 1) {
        drop(refusal(&class, &text));
    }
}

fn refusal(class: &str, text: &str) -> Error {
    let has = |part: &str| text.contains(part);
    let class = match class {
        "CommandNotFound" | "CommandDisabled" if has("frozen state") => Class::State,
        "CommandNotFound" if !has("disabled") && !has("not allowed") => Class::Unsupported,
        "CommandNotFound" | "CommandDisabled" => Class::Forbidden,
        _ if has("No such file or directory") => Class::NotFound,
        _ if has("Permission denied") => Class::Forbidden,
        _ if has("is missing") || has("is unexpected") || has("Invalid parameter") => Class::Usage,
        _ => Class::Failed,
    };
    Error::Refused { class, text: shown(text), causes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_known_by_their_number_and_events_are_passed_over() {
        let line = |text: &str| answer(text.as_bytes(), 7);
        assert_eq!(line(r#"{"return": 1, "id": 7}"#), Some(Answer::Return(1.into())));
        assert_eq!(line(r#"{"return": 1}"#), Some(Answer::Return(1.into())));
        assert_eq!(line(r#"{"return": 1, "id": 8}"#), None);
        assert_eq!(line(r#"{"event": "X", "data": {}}"#), None);
        assert_eq!(line("[1]"), None);
        assert_eq!(line("garbage"), None);
        assert_eq!(answer(b"\xff{\"return\": {}}", 7), Some(Answer::Return(json!({}))));
        assert!(matches!(line(r#"{"error": 5, "id": 7}"#), Some(Answer::Error { .. })));
    }

    #[test]
    fn refusals_have_the_class_of_what_they_say() {
        let class = |class: &str, text: &str| match refusal(class, text) {
            Error::Refused { class, .. } => class,
            other => panic!("{other}"),
        };
        assert_eq!(
            class("CommandNotFound", "The command X has not been found"),
            Class::Unsupported
        );
        assert_eq!(class("CommandNotFound", "Command X has been disabled"), Class::Forbidden);
        let frozen = "Command X has been disabled: the agent is in frozen state";
        assert_eq!(class("CommandNotFound", frozen), Class::State);
        assert_eq!(class("GenericError", "x: No such file or directory"), Class::NotFound);
        assert_eq!(class("GenericError", "\u{1b}[2J"), Class::Failed);
    }
}
