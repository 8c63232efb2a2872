//! Our own form: tagged frames, many requests at a time on one connection (docs/reference/agent.md).

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::timeout,
};
use tokio_util::sync::DropGuard;
use vnode_protocol::frame::{Exit, Frame, MAX_PAYLOAD};

use crate::{
    error::{Class, Error, Result},
    exec::{Control, Controls, Exec, ExecSpec, Pending, Size},
    file::{FileHead, FileReader, FileSpec},
    guest::Shutdown,
    options::Options,
    text::{member, shown},
};

mod incoming;
mod table;
mod writer;

use incoming::{Ended, Incoming, Stream, Which};
use table::Table;
use writer::Outgoing;

/// Bytes of a program's input that are sent at a time.
const PIECE: usize = 32 << 10;
/// Bytes of a file that a guest may send ahead of its reader, beyond the first window.
const AHEAD: u32 = 1 << 20;
/// Causes of a refusal that are passed on.
const CAUSES: usize = 16;

/// A connection to `vnode-agent`.
#[derive(Debug, Clone)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    table: Arc<Table>,
    outgoing: Outgoing,
    /// The last holder ends the connection.
    _over: DropGuard,
}

impl Client {
    /// Speaks over the two halves of a stream. Requests are numbered from `first` on, which should be chosen by chance:
    /// answers to an earlier connection's requests are then not taken for ours.
    pub fn new(
        from: impl AsyncRead + Send + Unpin + 'static,
        to: impl AsyncWrite + Send + Unpin + 'static,
        first: u32,
        options: Options,
    ) -> Self {
        let table = Arc::new(Table::new(first));
        let outgoing = Outgoing::start(to, options.stall, Arc::clone(&table));
        tokio::spawn(Arc::clone(&table).read(from, outgoing.clone()));
        let _over = table.over().drop_guard();
        Self(Arc::new(Shared { options, table, outgoing, _over }))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.0.table.over().is_cancelled()
    }

    pub(crate) async fn closed(&self) {
        self.0.table.over().cancelled().await;
    }

    /// Begins a request.
    async fn begin(&self, command: &str, value: Value) -> Result<Request> {
        let text = serde_json::to_vec(&json!({"command": command, "value": value}))
            .expect("a value has a JSON form");
        if text.len() > MAX_PAYLOAD {
            let what = format!("the request `{command}`");
            return Err(Error::TooLarge { what, limit: MAX_PAYLOAD as u64 });
        }
        let (number, incoming) = self.0.table.begin(self.0.options.answer)?;
        // From here on a future that is dropped gives the request up.
        let request = Request { number, incoming, shared: Arc::clone(&self.0) };
        self.0.outgoing.send(number, &Frame::Request(Vec::new()), text).await?;
        Ok(request)
    }

    pub(crate) async fn call(&self, command: &str, value: Value) -> Result<Value> {
        let after = self.0.options.answer;
        let answered = timeout(after, async {
            let request = self.begin(command, value).await?;
            match ended(request.incoming.wait().await)? {
                Done::Response(value) => Ok(value),
                Done::Exit(_) => Err(Error::protocol("a command ended as a program does")),
            }
        });
        answered.await.unwrap_or_else(|_| Err(Error::Deadline { what: command.to_owned(), after }))
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        self.call("ping", Value::Null).await.map(drop)
    }

    pub(crate) async fn info(&self) -> Result<Value> {
        self.call("info", Value::Null).await
    }

    pub(crate) async fn network(&self) -> Result<Value> {
        self.call("network", Value::Null).await
    }

    pub(crate) async fn metrics(&self) -> Result<Value> {
        self.call("metrics", Value::Null).await
    }

    pub(crate) async fn time(&self) -> Result<u64> {
        let value = self.call("time", Value::Null).await?;
        value["ns"].as_u64().ok_or_else(|| Error::protocol("`time` has no `ns`"))
    }

    pub(crate) async fn set_time(&self, ns: u64) -> Result<()> {
        self.call("time", json!({ "set_ns": ns })).await.map(drop)
    }

    pub(crate) async fn shutdown(&self, how: Shutdown) -> Result<()> {
        let mode = match how {
            Shutdown::Poweroff => "poweroff",
            Shutdown::Reboot => "reboot",
            Shutdown::Halt => "halt",
        };
        self.call("shutdown", json!({ "mode": mode })).await.map(drop)
    }

    pub(crate) async fn exec(&self, spec: ExecSpec) -> Result<Exec> {
        let env: serde_json::Map<String, Value> =
            spec.env.into_iter().map(|(name, value)| (name, value.into())).collect();
        let terminal = spec.terminal.map(|s| json!({"rows": s.rows, "columns": s.columns}));
        let limit = spec.time_limit.map(|limit| limit.as_secs().max(1));
        let value = json!({
            "argv": spec.argv,
            "env": env,
            "folder": spec.folder,
            "user": spec.user,
            "stdin": spec.stdin,
            "terminal": terminal,
            "time_limit_seconds": limit,
        });
        self.program("exec", value, spec.stdin, spec.terminal.is_none()).await
    }

    pub(crate) async fn attach(&self, id: &str, terminal: Option<Size>) -> Result<Exec> {
        let terminal = terminal.map(|s| json!({"rows": s.rows, "columns": s.columns}));
        let value = json!({ "id": id, "terminal": terminal });
        self.program("exec-attach", value, true, true).await
    }

    /// Begins a request that goes on as a program does.
    async fn program(
        &self,
        command: &str,
        value: Value,
        has_input: bool,
        has_errors: bool,
    ) -> Result<Exec> {
        let request = self.begin(command, value).await?;
        let (incoming, outgoing) = (&request.incoming, &self.0.outgoing);
        let output =
            |which| -> crate::exec::Reader { Box::pin(Stream::output(incoming, outgoing, which)) };
        let stdout = Some(output(Which::Out));
        let stderr = has_errors.then(|| output(Which::Err));
        let stdin = has_input.then(|| -> crate::exec::Writer {
            let (ours, theirs) = tokio::io::duplex(PIECE);
            tokio::spawn(feed(request.number, Arc::clone(incoming), outgoing.clone(), theirs));
            Box::pin(ours)
        });
        let control = Control(Arc::new(Remote {
            number: request.number,
            incoming: Arc::clone(incoming),
            outgoing: outgoing.clone(),
        }));
        let end = Box::pin(async move {
            match ended(request.incoming.wait().await)? {
                Done::Exit(exit) => Ok(exit),
                Done::Response(_) => Err(Error::protocol("a program ended as a command does")),
            }
        });
        Ok(Exec { stdin, stdout, stderr, control, end, ended: None })
    }

    pub(crate) async fn read_file(&self, path: &str) -> Result<FileReader> {
        let after = self.0.options.stall;
        let opened = timeout(after, async {
            let request = self.begin("file-get", json!({ "path": path })).await?;
            request.incoming.grant(AHEAD, &self.0.outgoing);
            match request.incoming.progress().await {
                Some(head) => Ok((request, head)),
                None => match ended(request.incoming.wait().await) {
                    Ok(_) => Err(Error::protocol("a file came without a word about it")),
                    Err(error) => Err(error),
                },
            }
        });
        let late = |_| Err(Error::Deadline { what: "file-get".to_owned(), after });
        let (request, head) = opened.await.unwrap_or_else(late)?;
        let head: Value = serde_json::from_slice(&head)
            .map_err(|_| Error::protocol("what it says of a file is no JSON"))?;
        let number = |name: &str| head[name].as_u64();
        let small = |name: &str| number(name).and_then(|number| u32::try_from(number).ok());
        let head = FileHead {
            size: number("size"),
            mode: small("mode").map(|mode| mode & 0o7777),
            uid: small("uid"),
            gid: small("gid"),
            modified_s: head["modified_s"].as_i64(),
        };
        Ok(FileReader { head, bytes: Box::pin(Stream::file(request)) })
    }

    pub(crate) async fn write_file(
        &self,
        file: FileSpec,
        mut from: impl AsyncRead + Send + Unpin,
    ) -> Result<u64> {
        let value = json!({
            "path": file.path,
            "mode": file.mode,
            "uid": file.uid,
            "gid": file.gid,
            "folders": file.folders,
        });
        let request = self.begin("file-put", value).await?;
        let (incoming, outgoing) = (&request.incoming, &self.0.outgoing);
        let number = request.number;
        let data = Frame::Data(Vec::new());
        let stalled =
            || Error::Deadline { what: "file-put".to_owned(), after: self.0.options.stall };
        loop {
            let mut piece = Vec::with_capacity(MAX_PAYLOAD);
            let mut limited = (&mut from).take(MAX_PAYLOAD as u64);
            let read = tokio::select! {
                read = limited.read_buf(&mut piece) => read.map_err(|source| Error::Io { doing: "read what is sent", source })?,
                // It refused in the middle.
                _ = incoming.wait() => break,
            };
            if read == 0 {
                outgoing.send(number, &Frame::DataEnd, Vec::new()).await?;
                break;
            }
            let sent = send(number, incoming, outgoing, &data, piece);
            match timeout(self.0.options.stall, sent).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(stalled()),
            }
        }
        let end = timeout(self.0.options.stall, incoming.wait()).await.map_err(|_| stalled())?;
        match ended(end)? {
            Done::Response(value) => value["bytes"]
                .as_u64()
                .ok_or_else(|| Error::protocol("`file-put` does not say how many bytes it took")),
            Done::Exit(_) => Err(Error::protocol("a command ended as a program does")),
        }
    }
}

/// A request that runs. Dropped before its end, it is given up.
#[derive(Debug)]
struct Request {
    number: u32,
    incoming: Arc<Incoming>,
    /// Keeps the connection open.
    shared: Arc<Shared>,
}

impl Request {
    fn incoming(&self) -> &Arc<Incoming> {
        &self.incoming
    }

    fn outgoing(&self) -> &Outgoing {
        &self.shared.outgoing
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.incoming.cancel() {
            self.shared.outgoing.send_small(self.number, Frame::Cancel);
        }
    }
}

/// How a request came out well.
enum Done {
    Exit(Exit),
    Response(Value),
}

fn ended(end: Ended) -> Result<Done> {
    match end {
        Ended::Exit(exit) => Ok(Done::Exit(exit)),
        Ended::Response(json) => serde_json::from_slice(&json)
            .map(Done::Response)
            .map_err(|_| Error::protocol("its answer is no JSON")),
        Ended::Error(json) => Err(refusal(&json)),
        Ended::Over { why, broken } => Err(table::over(&why, broken)),
    }
}

/// The agent's error in the form of the daemon's: `{"code", "text", "causes"}`.
fn refusal(json: &[u8]) -> Error {
    let Ok(value) = serde_json::from_slice::<Value>(json) else {
        return Error::protocol("its refusal is no JSON");
    };
    let class = match value["code"].as_str() {
        Some("usage") => Class::Usage,
        Some("not-found") => Class::NotFound,
        Some("forbidden") => Class::Forbidden,
        Some("unsupported") => Class::Unsupported,
        Some("state") => Class::State,
        Some("deadline") => Class::Deadline,
        Some("cancelled") => Class::Cancelled,
        Some("unavailable") => Class::Busy,
        _ => Class::Failed,
    };
    let causes = value["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    Error::Refused {
        class,
        text: member(&value, "text").unwrap_or_else(|| "it does not say why".to_owned()),
        causes: causes.iter().take(CAUSES).filter_map(|c| c.as_str().map(shown)).collect(),
    }
}

/// Sends bytes as the guest grants them; `false`: the request has ended.
async fn send(
    number: u32,
    incoming: &Incoming,
    outgoing: &Outgoing,
    kind: &Frame,
    bytes: Vec<u8>,
) -> Result<bool> {
    let all = u32::try_from(bytes.len()).expect("a piece is no longer than a payload");
    if let Ok(credit) = incoming.credit.try_acquire_many(all) {
        credit.forget();
        outgoing.send(number, kind, bytes).await?;
        return Ok(true);
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let Ok(first) = incoming.credit.acquire().await else { return Ok(false) };
        first.forget();
        let more = incoming.credit.available_permits().min(rest.len() - 1);
        let more = match u32::try_from(more).map(|more| incoming.credit.try_acquire_many(more)) {
            Ok(Ok(credit)) => {
                credit.forget();
                more
            }
            _ => 0,
        };
        let (piece, later) = rest.split_at(more + 1);
        outgoing.send(number, kind, piece.to_vec()).await?;
        rest = later;
    }
    Ok(true)
}

/// Sends a program what is written for it, to the end of either.
async fn feed(
    number: u32,
    incoming: Arc<Incoming>,
    outgoing: Outgoing,
    mut from: tokio::io::DuplexStream,
) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = tokio::select! {
            read = from.read_buf(&mut piece) => read,
            _ = incoming.wait() => return,
        };
        let sent = match read {
            Ok(0) | Err(_) => {
                // Over: the program's end says so.
                let _ = outgoing.send(number, &Frame::StdinEnd, Vec::new()).await;
                return;
            }
            Ok(_) => send(number, &incoming, &outgoing, &Frame::Stdin(Vec::new()), piece).await,
        };
        if !matches!(sent, Ok(true)) {
            return;
        }
    }
}

#[derive(Debug)]
struct Remote {
    number: u32,
    incoming: Arc<Incoming>,
    outgoing: Outgoing,
}

impl Remote {
    fn tell(&self, frame: Frame) -> Pending<'_, Result<()>> {
        Box::pin(async move {
            if self.incoming.has_ended() {
                // It crossed the program's end.
                return Ok(());
            }
            let tagged = vnode_protocol::frame::Tagged { request: self.number, frame };
            let bytes = tagged.encode();
            // The head is made again by the writer.
            let payload = bytes[9..].to_vec();
            self.outgoing.send(self.number, &tagged.frame, payload).await
        })
    }
}

impl Controls for Remote {
    fn signal(&self, signal: i32) -> Pending<'_, Result<()>> {
        self.tell(Frame::Signal(signal))
    }

    fn resize(&self, size: Size) -> Pending<'_, Result<()>> {
        self.tell(Frame::Resize { rows: size.rows, columns: size.columns })
    }

    fn lost(&self) -> u64 {
        self.incoming.lost()
    }
}

/// The frame that [`probe`](crate::probe) begins with.
pub(crate) fn first_ping(number: u32) -> Vec<u8> {
    let text = br#"{"command":"ping"}"#.to_vec();
    vnode_protocol::frame::Tagged { request: number, frame: Frame::Request(text) }.encode()
}

/// Looks for the answer to [`first_ping`] in what has come: how many bytes it takes with all that stood before it.
pub(crate) fn first_pong(number: u32, bytes: &[u8]) -> Pong {
    for kind in [Frame::Response(Vec::new()), Frame::Error(Vec::new())] {
        // Its length is not known: the head is found by its kind and its number.
        let head = vnode_protocol::frame::tagged_head(number, &kind, 0);
        for at in 0..bytes.len().saturating_sub(8) {
            let here = &bytes[at..];
            if here[0] != head[0] || here[5..9] != head[5..9] {
                continue;
            }
            let length = u32::from_be_bytes([here[1], here[2], here[3], here[4]]) as usize;
            // The answer to a ping is `{}`; a refusal has a text of its own.
            if length > 64 << 10 {
                continue;
            }
            return if here.len() >= 9 + length {
                Pong::Whole(at + 9 + length)
            } else {
                Pong::Begun
            };
        }
    }
    Pong::No
}

/// What [`first_pong`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pong {
    No,
    Begun,
    Whole(usize),
}
