//! QEMU's machine protocol: one JSON text a line, over a unix socket.
//!
//! Events of any name are taken; a machine that does not answer costs its caller the time limit and nobody else anything;
//! a line has at most [`LINE_BYTES`]. QEMU serves one client at a time, so a machine has one [`Qmp`].

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;

/// Longest line taken from QEMU.
const LINE_BYTES: usize = 1 << 20;
/// Commands that may wait for their answers at once.
const WAITING: usize = 64;
/// Events kept for a listener that is slow; older ones are lost to it.
const EVENTS: usize = 64;
/// QEMU's main loop answers in a fraction of a millisecond; one that is this late is taken for hung.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    #[error("the machine's control socket is closed")]
    Closed,
    #[error("the machine does not answer its control socket: `{command}` was not over after {} ms", after.as_millis())]
    Timeout { command: String, after: Duration },
    #[error("QEMU refuses `{command}`: {text}")]
    Refused { command: String, class: String, text: String },
    #[error("QEMU is not understood: {what}")]
    Protocol { what: String },
    #[error("{WAITING} commands wait for the machine already")]
    Busy,
    #[error("cannot speak to the machine's control socket")]
    Io(#[from] std::io::Error),
}

/// Something that happened in the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `SHUTDOWN`, `RESET`, `STOP`, ...
    pub name: String,
    pub data: Value,
    /// When, by QEMU's clock, which is the host's: microseconds since 1970; 0 where it is not said.
    pub at_unix_us: u64,
}

/// What QEMU returns, or its error's class and words.
type Answer = Result<Value, (String, String)>;

#[derive(Debug, Default)]
struct Shared {
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    closed: bool,
}

/// A connection. Dropping it lets the machine go on.
#[derive(Debug)]
pub struct Qmp {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    shared: Arc<Mutex<Shared>>,
    events: broadcast::Sender<Event>,
    last: AtomicU64,
    reader: JoinHandle<()>,
    /// As QEMU greets: `7.2.22`.
    pub version: String,
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    // Every change of it is whole, so what a panic leaves is whole too.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends the beginning of a text together with a descriptor; how much of it.
async fn send_with(
    writer: &OwnedWriteHalf,
    text: &[u8],
    descriptor: BorrowedFd<'_>,
) -> std::io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let stream: &UnixStream = writer.as_ref();
    loop {
        stream.writable().await?;
        let send = || {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let fds = [descriptor];
            if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(std::io::Error::other("no room for a descriptor"));
            }
            let text = [std::io::IoSlice::new(text)];
            Ok(sendmsg(stream, &text, &mut ancillary, SendFlags::NOSIGNAL)?)
        };
        match stream.try_io(tokio::io::Interest::WRITABLE, send) {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

impl Qmp {
    /// Connects, takes the greeting and leaves capability negotiation.
    ///
    /// # Errors
    /// There is no such socket, somebody else is served, or what answers is no QEMU.
    pub async fn connect(path: &Path) -> Result<Self, QmpError> {
        let work = async {
            let (read, writer) = UnixStream::connect(path).await?.into_split();
            let mut lines = BufReader::new(read);
            let greeting = next_line(&mut lines).await?.ok_or(QmpError::Closed)?;
            let version = version(&greeting)?;
            let (events, _) = broadcast::channel(EVENTS);
            let shared = Arc::new(Mutex::new(Shared::default()));
            let reader = tokio::spawn(read_on(lines, Arc::clone(&shared), events.clone()));
            let qmp = Self {
                writer: tokio::sync::Mutex::new(writer),
                shared,
                events,
                last: AtomicU64::new(0),
                reader,
                version,
            };
            qmp.run("qmp_capabilities", json!({})).await?;
            Ok(qmp)
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
            Err(QmpError::Timeout { command: "the greeting".to_owned(), after: PATIENCE })
        })
    }

    /// Whether the other side has gone.
    pub fn is_closed(&self) -> bool {
        lock(&self.shared).closed
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Runs a command, within [`PATIENCE`].
    ///
    /// # Errors
    /// [`QmpError::Refused`] with QEMU's reason; the machine is hung or gone.
    pub async fn run(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.run_within(command, arguments, PATIENCE).await
    }

    /// Hands QEMU a descriptor, which commands call `name` from then on.
    ///
    /// # Errors
    /// As [`Qmp::run`].
    pub async fn give(&self, name: &str, descriptor: BorrowedFd<'_>) -> Result<(), QmpError> {
        let arguments = json!({ "fdname": name });
        self.ask("getfd", arguments, PATIENCE, Some(descriptor)).await.map(drop)
    }

    /// As [`Qmp::run`], with another limit.
    ///
    /// # Errors
    /// As [`Qmp::run`].
    pub async fn run_within(
        &self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        self.ask(command, arguments, limit, None).await
    }

    async fn ask(
        &self,
        command: &str,
        arguments: Value,
        limit: Duration,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<Value, QmpError> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        {
            let mut shared = lock(&self.shared);
            if shared.closed {
                return Err(QmpError::Closed);
            }
            // Those that are no longer waited for may be answered yet; a hung machine must not gather them.
            shared.waiting.retain(|_, other| !other.is_closed());
            if shared.waiting.len() >= WAITING {
                return Err(QmpError::Busy);
            }
            shared.waiting.insert(id, sender);
        }
        let mut text = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        text.push('\n');
        let work = async {
            let mut writer = self.writer.lock().await;
            let sent = match descriptor {
                Some(descriptor) => send_with(&writer, text.as_bytes(), descriptor).await?,
                None => 0,
            };
            writer.write_all(&text.as_bytes()[sent..]).await?;
            drop(writer);
            receiver.await.map_err(|_| QmpError::Closed)?.map_err(|(class, text)| {
                QmpError::Refused { command: command.to_owned(), class, text }
            })
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(QmpError::Timeout { command: command.to_owned(), after: limit })
        })
    }
}

fn version(greeting: &str) -> Result<String, QmpError> {
    let wrong = || QmpError::Protocol { what: "it does not greet as QEMU does".to_owned() };
    let greeting: Value = serde_json::from_str(greeting).map_err(|_| wrong())?;
    let numbers = greeting.pointer("/QMP/version/qemu").ok_or_else(wrong)?;
    let number = |name: &str| numbers.get(name).and_then(Value::as_u64).ok_or_else(wrong);
    Ok(format!("{}.{}.{}", number("major")?, number("minor")?, number("micro")?))
}

/// The next line without its end; `None` at the end of the stream.
async fn next_line(lines: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>, QmpError> {
    let mut line = Vec::new();
    loop {
        let some = lines.fill_buf().await?;
        if some.is_empty() {
            return Ok(None);
        }
        let end = some.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(some.len(), |end| end + 1);
        line.extend_from_slice(&some[..taken]);
        lines.consume(taken);
        if line.len() > LINE_BYTES {
            let what = format!("it sends a line of more than {LINE_BYTES} bytes");
            return Err(QmpError::Protocol { what });
        }
        if end.is_some() {
            let text = String::from_utf8(line);
            return text
                .map(|text| Some(text.trim_end().to_owned()))
                .map_err(|_| QmpError::Protocol { what: "its answer is not UTF-8".to_owned() });
        }
    }
}

/// What one line is.
#[derive(Debug, PartialEq)]
enum Message {
    Event(Event),
    Answer(u64, Answer),
}

fn parse(line: &str) -> Option<Message> {
    let mut message: Map<String, Value> = serde_json::from_str(line).ok()?;
    if let Some(Value::String(name)) = message.remove("event") {
        let part = |part: &str| message.get("timestamp")?.get(part)?.as_u64();
        let at = part("seconds").zip(part("microseconds"));
        let at_unix_us = at.and_then(|(s, us)| s.checked_mul(1_000_000)?.checked_add(us));
        return Some(Message::Event(Event {
            name,
            at_unix_us: at_unix_us.unwrap_or(0),
            data: message.remove("data").unwrap_or_default(),
        }));
    }
    let id = message.get("id")?.as_u64()?;
    if let Some(error) = message.remove("error") {
        let word = |key: &str| {
            error.get(key).and_then(Value::as_str).unwrap_or("no reason is given").to_owned()
        };
        return Some(Message::Answer(id, Err((word("class"), word("desc")))));
    }
    Some(Message::Answer(id, Ok(message.remove("return")?)))
}

async fn read_on(
    mut lines: impl AsyncBufRead + Unpin,
    shared: Arc<Mutex<Shared>>,
    events: broadcast::Sender<Event>,
) {
    loop {
        let line = match next_line(&mut lines).await {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                tracing::debug!(%error, "a machine's control socket");
                break;
            }
        };
        match parse(&line) {
            Some(Message::Event(event)) => {
                // Nobody listens: nothing is lost by it.
                let _ = events.send(event);
            }
            Some(Message::Answer(id, answer)) => {
                if let Some(sender) = lock(&shared).waiting.remove(&id) {
                    // Whoever asked has given up.
                    let _ = sender.send(answer);
                }
            }
            None => tracing::warn!("a line of a machine's control socket is not understood"),
        }
    }
    *lock(&shared) = Shared { waiting: HashMap::new(), closed: true };
}

#[cfg(test)]
mod tests;
